"""What lies among a person's images and is none of them: system folders, thumbnails, results of this program."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

# Of macOS, Windows, Synology, QNAP, Linux, Lightroom and tools for training.
_SYSTEM = frozenset(
    {
        *("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "$recycle.bin", "recycler", "lost+found"),
        *("system volume information", "found.000", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "_gsdata_"),
        *("@recently-snapshot", "@sharebin", "network trash folder", "temporary items"),
        *("__pycache__", "node_modules", "site-packages", "wandb", "mlruns", "lightning_logs", "cvs"),
    }
)
_THUMBNAILS = frozenset({"thumbnail", "thumbnails", "_thumbs", "_thumb", "_thumbnails", "previews.lrdata"})
_BESIDE_IMAGES = frozenset({"thumbs", "thumb"})  # thumbnails, where they stand beside images; else perhaps fingers
_RESULTS = frozenset({"studies", "runs"})  # of this program, TensorBoard, YOLO; unless images are right in them
# A folder that holds one of these is a study, or a reference set's or a table's folder, or an environment of Python.
_OWN = frozenset({"study.db", "finetune.json", "finetune.ckpt", "best.safetensors", "shared.pt", "trials.csv"})
_ENVIRONMENT = "pyvenv.cfg"


class Visible(NamedTuple):
    """What is left to look at, and the folders that were left out and deserve a word."""

    files: list[str]
    folders: list[str]
    left_out: list[str]


def is_junk(name: str) -> bool:
    """Whether a file or a folder of this name is never looked at, and never told of."""
    return name.startswith(".") or name.lower() in _SYSTEM


def visible(files: Sequence[str], folders: Iterable[str], *, is_image: Callable[[str], bool]) -> Visible:
    """What may be data of the paths of `files` and `folders`."""
    files = [path for path in files if not any(map(is_junk, path.split("/")))]
    folders = [path for path in folders if not any(map(is_junk, path.split("/")))]
    with_images = {path.rpartition("/")[0] for path in files if is_image(path)}
    marked = {path.rpartition("/")[0] for path in files if path.rpartition("/")[2] in {*_OWN, _ENVIRONMENT}} - {""}
    everything = {*folders, *(above for path in files for above in _above(path))}
    for folder in everything:
        parent, _, name = folder.rpartition("/")
        beside_images = name.lower() in _BESIDE_IMAGES and parent in with_images
        is_results = name.lower() in _RESULTS and folder not in with_images
        if name.lower() in _THUMBNAILS or beside_images or is_results:
            marked.add(folder)
    out = {folder for folder in everything if folder in marked or any(above in marked for above in _above(folder))}
    return Visible(
        [path for path in files if path.rpartition("/")[0] not in out],
        [path for path in folders if path not in out],
        _told(out, files, is_image),
    )


def _told(out: set[str], files: Sequence[str], is_image: Callable[[str], bool]) -> list[str]:
    """The outermost of the folders that are left out, as far as they hold images."""
    hold_images = {above for path in files if is_image(path) for above in _above(path)}
    return sorted(folder for folder in out if folder.rpartition("/")[0] not in out and folder in hold_images)


def _above(path: str) -> list[str]:
    """The folders above a path."""
    steps = path.split("/")[:-1]
    return ["/".join(steps[: at + 1]) for at in range(len(steps))]
