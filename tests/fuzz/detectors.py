"""Kinds of files of trained detectors: network, weights, what was asked for and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from scaling.efficientdet.binding import JOB
from scaling.efficientdet.detection_data import load
from scaling.efficientdet.job import SUMMARY, Settings, train
from scaling.efficientdet.module import Detector, build
from scaling.efficientdet.results import trained_text
from scaling.efficientdet.saved import SPEC, WEIGHTS, load_detector, save_detector
from scaling.efficientdet.spec import read_detector
from searchspace.files import write_json
from tests.fuzz.law import Subject
from tests.fuzz.networks import values
from tests.scaling.efficientdet.small import small

SETTINGS = Settings(data="digits:20", steps=2)
TEST = {"ap": 0.5, "ap50": 0.75, "ap75": 0.25, "ap_small": 0.125, "ap_medium": 0.5, "ap_large": 0.625}
TRAINED = {
    **{"detector": "small", "resolution": 128, "classes": ["a", "b"], "data": "digits:20", "data_fingerprint": "f"},
    **{"images": {"train": 20, "validation": 5, "test": 5}, "weights": None, "steps": 2, "seconds": 1.5},
    **{"validation_ap50": [0.5, 0.75], "test": TEST | {"ap50_of": {"a": 0.75, "b": 0.75}}},
    "settings": asdict(SETTINGS),
}


@cache
def _detector() -> Detector:
    return build(small()).eval()


@cache
def _images() -> str:
    """The fingerprint of the images that the job is of: others would be refused."""
    return load(SETTINGS.data, seed=SETTINGS.seed, resolution=SETTINGS.spec(1).resolution).fingerprint


def _trained(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        save_detector(folder, _detector(), ("a", "b"), {"trained_at_px": 128})
        write_json(folder / JOB, asdict(SETTINGS) | {"images": _images()})
        write_json(folder / SUMMARY, TRAINED)
        return folder / name

    return make


def _weights_read(path: Path) -> Any:
    found = load_detector(path.parent)
    return values(found.detector.state_dict()), found.classes


def _trained_read(path: Path) -> Any:
    found = train(SETTINGS, path.parent, quiet=True)
    return found.classes, found.summary, trained_text(found)


SUBJECTS = (
    Subject("detector", _trained(SPEC), read_detector, form="json"),
    Subject("weights of a detector", _trained(WEIGHTS), _weights_read),
    Subject("job of a detector", _trained(JOB), _trained_read, form="json"),
    Subject("summary of a detector", _trained(SUMMARY), _trained_read, form="json"),
)
