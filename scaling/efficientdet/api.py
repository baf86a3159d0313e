"""`scaling.efficientdet.find`: what `python -m scaling.efficientdet train` does, as a function."""

from dataclasses import replace
from pathlib import Path

from scaling.efficientdet import fitting
from scaling.efficientdet.job import Settings, Trained, train
from scaling.efficientdet.spec import DetectorSpec, write_detector
from scaling.efficientdet.starting import weights_beside
from scaling.efficientdet.training import DetectionRecipe
from search.data.source import digest_of
from searchspace.arguments import check_types
from searchspace.errors import InvalidArgument


def find(
    *,
    data: str | Path | None = None,
    phi: int | None = None,
    backbone: str | Path | None = None,
    detector: str | Path | None = None,
    budget_ms: float | None = None,
    resolution: int | None = None,
    weights: str = "auto",
    minutes: float | None = None,
    steps: int | None = None,
    batch_size: int = DetectionRecipe.batch_size,
    learning_rate: float = DetectionRecipe.learning_rate,
    seed: int = 0,
    threads: int | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Trained:
    """Train a detector on images with boxes; with `budget_ms` the largest that this machine runs within it.

    The keywords are the command's flags, and `budget_ms` with the `threads` that latency is measured with.
    `result.detector` is the torch module, `result.summary` holds the test's average precision, `result.folder` the
    files. Raises PhinasError.
    """
    check_types(find, locals())
    if budget_ms is not None and any(each is not None for each in (phi, resolution, detector)):
        raise InvalidArgument(
            f"budget_ms finds phi and pixels, got {budget_ms:g} with phi, resolution or detector as well: leave one out"
        )
    settings = Settings(
        data=None if data is None else str(data),
        phi=phi or 0,
        backbone=None if backbone is None else str(backbone),
        detector=None if detector is None else str(detector),
        resolution=resolution,
        weights=weights,
        minutes=minutes,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    if budget_ms is None:
        return train(settings, Path(out) if out else Path("detectors") / settings.name, quiet=quiet)
    folder = Path(out) if out else Path("detectors") / f"{settings.name}-{budget_ms:g}ms"
    file = folder / f"wanted-{digest_of(budget_ms, str(backbone), threads)[:8]}.json"
    if not file.exists():  # a second measurement might find another one; another budget is refused as another detector
        write_detector(file, _within(budget_ms, backbone, threads))
    own = weights_beside(backbone, weights)
    return train(replace(settings, detector=str(file), backbone=None, weights=own), folder, quiet=quiet)


def _within(budget_ms: float, backbone: str | Path | None, threads: int | None) -> DetectorSpec:
    from scaling.efficientdet import timing

    def price(spec: DetectorSpec) -> float:
        (found,) = timing.measure([timing.untrained(spec)], threads=threads, seconds=2.0)
        return found.whole.high_ms

    spec, _ = fitting.within(budget_ms, price, backbone=backbone)
    return spec
