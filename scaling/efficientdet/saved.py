"""A trained detector on disk: detector.json (the network) and detector.safetensors (weights, classes) in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scaling.efficientdet.module import Detector, build
from scaling.efficientdet.spec import DetectorSpec, read_detector, write_detector
from searchspace.errors import InvalidArgument, StorageError
from searchspace.files import write_atomic
from searchspace.nn.weights.files import network_bytes, read_about, read_weights

SPEC, WEIGHTS = "detector.json", "detector.safetensors"


class Saved(NamedTuple):
    """A trained detector in eval mode, and the names of its classes by label."""

    detector: Detector
    classes: tuple[str, ...]


def save_detector(folder: Path, detector: Detector, classes: tuple[str, ...], about: Mapping[str, Any]) -> None:
    """Write both files, the weights last, each whole or not at all. Raises StorageError."""
    write_detector(folder / SPEC, detector.spec)
    content = {"classes": list(classes), "fingerprint": detector.spec.fingerprint(), **about}
    write_atomic(folder / WEIGHTS, network_bytes(detector, content))


def load_detector(place: str | Path) -> Saved:
    """The detector in a folder, or of its detector.json.

    Raises StorageError for files that cannot be read or are damaged, InvalidArgument for weights of another detector.
    """
    path = Path(place)
    path = path / SPEC if path.is_dir() else path
    if not path.exists():
        raise StorageError(
            f"there is no trained detector in {place}: give the folder that python -m scaling.efficientdet train wrote"
        )
    spec, weights = read_detector(path), path.with_suffix(".safetensors")
    state, about = read_weights(weights), read_about(weights)
    said = about.get("fingerprint")
    if said != spec.fingerprint():
        raise InvalidArgument(
            f"{weights} must hold the weights of {path} ({spec.fingerprint()}), it says it is of {said}: give the two "
            "files of one training"
        )
    return Saved(_filled(spec, state, weights), _classes(spec, about, weights))


def _filled(spec: DetectorSpec, state: Mapping[str, Any], path: Path) -> Detector:
    detector = build(spec)
    try:
        detector.load_state_dict(dict(state))
    except RuntimeError as error:
        raise StorageError(f"the weights in {path} do not fit the detector: {str(error).splitlines()[-1]}") from None
    return detector.eval()


def _classes(spec: DetectorSpec, about: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    classes = tuple(about.get("classes") or ())
    if len(classes) != spec.classes or not all(isinstance(name, str) for name in classes):
        raise StorageError(f"{path} must name the detector's {spec.classes} classes, it names {len(classes)}")
    return classes
