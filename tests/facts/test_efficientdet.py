"""EfficientDet D0 to D7 have the parameters and MACs of effdet's implementation, to the unit, and its outputs.

effdet (90 classes) gives these integers. tests/facts/efficientdet.json holds, for D0 and D1, the first 16 hex digits of
the SHA-256 of their state dict's JSON [[key, shape], ...] in order, and of each level's raw outputs the first 8, mean
and standard deviation, with the weights and the image of `tests.searchspace.nn.weights.states`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling.efficientdet.graph import lower
from scaling.efficientdet.presets import ROWS, get
from scaling.efficientdet.weights import load_published, to_published
from searchspace.cost import costs
from tests.searchspace.nn.weights.states import fill, image

#        name, resolution, parameters, MACs (None: the implementation's were not counted)
EXACT = (
    ("d0", 512, 3_880_067, 2_492_331_520),
    ("d1", 640, 6_625_898, 6_003_416_880),
    ("d2", 768, 8_097_039, 10_832_466_688),
    ("d3", 896, 12_032_296, 24_568_753_664),
    ("d4", 1024, 20_723_675, None),
    ("d5", 1280, 33_653_315, None),
    ("d6", 1280, 51_871_782, None),
    ("d7", 1536, 51_871_782, None),
)
# Table 2 of the paper: billions of multiply-adds, rounded; they count a little more than convolutions.
PRINTED = {"d0": 2.5, "d1": 6.1, "d2": 11, "d3": 25, "d4": 55, "d5": 135, "d6": 226, "d7": 325}
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "efficientdet.json").read_text())
SLOW = [pytest.param(case, marks=pytest.mark.slow if case["name"] != "d0" else (), id=case["name"]) for case in CASES]


@pytest.mark.parametrize(("name", "resolution", "parameters", "multiply_adds"), EXACT)
def test_a_detector_has_the_published_parameters_and_macs_to_the_unit(
    name: str, resolution: int, parameters: int, multiply_adds: int | None
) -> None:
    spec = get(name)
    found = costs(lower(spec))
    assert (spec.resolution, found.params) == (resolution, parameters)
    assert multiply_adds in (None, found.macs)
    assert found.macs / 1e9 == pytest.approx(PRINTED[name], rel=0.025)


def test_the_facts_are_of_every_detector() -> None:
    assert [name for name, *_ in EXACT] == list(ROWS) == list(PRINTED)


@pytest.mark.parametrize("case", SLOW)
@pytest.mark.usefixtures("one_thread")
def test_published_weights_give_the_raw_outputs_of_their_implementation_and_come_back(case: dict[str, Any]) -> None:
    with torch.device("meta"):
        shapes = {key: tuple(each.shape) for key, each in to_published(_skeleton(case["name"])).items()}
    entries = json.dumps([[key, list(shape)] for key, shape in shapes.items()])
    assert hashlib.sha256(entries.encode()).hexdigest()[:16] == case["state_dict"]
    state = {key: fill(key, shape) for key, shape in shapes.items()}
    detector = load_published(get(case["name"]), state)
    assert not detector.training
    with torch.inference_mode():
        found = detector(image(case["resolution"]))
    for outputs, expected in zip(found, (case["class_outputs"], case["box_outputs"]), strict=True):
        for level, facts in zip(outputs, expected, strict=True):
            assert list(level.shape) == facts["shape"]
            tolerance = 1e-5 * max(facts["std"], *map(abs, facts["first"]))
            assert level.flatten()[:8].tolist() == pytest.approx(facts["first"], rel=0, abs=tolerance)
            assert level.mean().item() == pytest.approx(facts["mean"], rel=0, abs=tolerance)
            assert level.std().item() == pytest.approx(facts["std"], rel=0, abs=tolerance)
    back = to_published(detector)
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) for key in state)


def _skeleton(name: str) -> Any:
    from scaling.efficientdet.module import Detector

    return Detector(get(name))
