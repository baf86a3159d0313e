"""EfficientNet B0 to B7 have the published parameters and MACs, to the unit.

torchvision's implementation gives these integers (batch 1, 1000 classes, the member's own resolution). For B5 and
B6 it documents the parameters exactly and the MACs in thousandths of 10^9.
"""

import pytest

from searchspace.blocks import Classifier
from searchspace.cost import macs, params
from searchspace.errors import InvalidArgument
from searchspace.zoo.efficientnet import PRESETS, preset

#        name, resolution, parameters, MACs
EXACT = (
    ("b0", 224, 5_288_548, 385_814_752),
    ("b1", 240, 7_794_184, 686_802_832),
    ("b2", 260, 9_109_994, 993_561_872),
    ("b3", 300, 12_233_232, 1_827_141_392),
    ("b4", 380, 19_341_616, 4_393_771_024),
    ("b7", 600, 66_347_960, 37_745_884_192),
)
ROUNDED = (("b5", 456, 30_389_784, 10.266), ("b6", 528, 43_040_704, 19.068))
# Dropout of the released `efficientnet_params`, in percent.
DROPOUT = {"b0": 20, "b1": 20, "b2": 30, "b3": 30, "b4": 40, "b5": 40, "b6": 50, "b7": 50}


@pytest.mark.parametrize(("name", "resolution", "parameters", "multiply_adds"), EXACT)
def test_a_preset_has_the_published_parameters_and_macs_to_the_unit(
    name: str, resolution: int, parameters: int, multiply_adds: int
) -> None:
    spec = preset(name)
    assert (spec.resolution, params(spec), macs(spec)) == (resolution, parameters, multiply_adds)


@pytest.mark.parametrize(("name", "resolution", "parameters", "giga_macs"), ROUNDED)
def test_b5_and_b6_have_the_documented_parameters_and_macs(
    name: str, resolution: int, parameters: int, giga_macs: float
) -> None:
    spec = preset(name)
    assert (spec.resolution, params(spec), round(macs(spec) / 1e9, 3)) == (resolution, parameters, giga_macs)


def test_every_preset_has_its_dropout() -> None:
    heads = {name: preset(name).blocks[-1] for name in PRESETS}
    assert {name: head.dropout_percent for name, head in heads.items() if isinstance(head, Classifier)} == DROPOUT


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"b0, b1, .* b7; got 'b8'"):
        preset("b8")
