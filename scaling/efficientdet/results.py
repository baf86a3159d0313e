"""What is printed of a trained detector and of what it finds."""

from pathlib import Path
from typing import Any

from scaling.efficientdet.job import SUMMARY, Trained
from searchspace.files import content_of
from searchspace.report import fields, next_steps, paragraphs, percent_text, table

SHOWN_CLASSES = 20


def trained_text(trained: Trained) -> str:
    """A training's result and what to do next. Raises StorageError for a damaged summary that was read back."""
    with content_of(trained.folder / SUMMARY):
        return _text(trained.summary, trained.folder)


def _text(summary: dict[str, Any], folder: Path) -> str:
    images = summary["images"]
    head = fields(
        [
            ("detector", f"{summary['detector']} at {summary['resolution']} px, {len(summary['classes'])} classes"),
            ("weights", summary["weights"] or "random at first"),
            ("trained", f"{summary['steps']} steps in {summary['seconds'] / 60:.1f} minutes, {images['train']} images"),
            (
                "validation",
                f"AP50 {percent_text(summary['validation_ap50'][-1])}" if summary["validation_ap50"] else "-",
            ),
        ]
    )
    steps = [
        f"python -m scaling.efficientdet predict IMAGE --detector {folder} --out drawn/",
        f"python -m scaling.efficientdet export --detector {folder} --out {folder / 'detector.onnx'}",
    ]
    written = f"Written to {folder}/: detector.json (network), detector.safetensors (weights), summary.json"
    return paragraphs(head, scores_text(summary["test"], images["test"]), written, next_steps(steps))


def scores_text(test: dict[str, Any], images: int, *, title: str = "test") -> str:
    """COCO's figures, and each class."""
    rows = [
        ["AP (mean of IoU .50 to .95)", percent_text(test["ap"])],
        ["AP50", percent_text(test["ap50"])],
        ["AP75", percent_text(test["ap75"])],
        *([f"AP, {size} objects", percent_text(test[f"ap_{size}"])] for size in ("small", "medium", "large")),
    ]
    classes = list(test["ap50_of"].items())
    rows += [[f"AP50 of {name}", percent_text(value)] for name, value in classes[:SHOWN_CLASSES]]
    if len(classes) > SHOWN_CLASSES:
        rows.append([f"and {len(classes) - SHOWN_CLASSES} more classes in summary.json", ""])
    return table([title, f"{images} images"], rows, text_columns=(0,))
