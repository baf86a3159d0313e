"""EfficientNet-Lite0 to Lite4 are the released networks: table, coefficients, sizes.

The integers of Lite0 and Lite1 are in `test_zoo.py`. The millions of parameters are those that the README of
tensorflow/tpu's efficientnet/lite prints, and widths and layers follow from `efficientnet_lite_builder.py`: what its
`round_filters` and `round_repeats` give, with stem, head, first and last stage as they are.
"""

import pytest

from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN
from searchspace.cost import params

#    name, resolution, dropout in percent, millions of parameters, widths of the seven stages, their layers
LITE: tuple[tuple[str, int, int, float, list[int], list[int]], ...] = (
    ("lite0", 224, 20, 4.7, [16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1]),
    ("lite1", 240, 20, 5.4, [16, 24, 40, 80, 112, 192, 320], [1, 3, 3, 4, 4, 5, 1]),
    ("lite2", 260, 30, 6.1, [16, 24, 48, 88, 120, 208, 352], [1, 3, 3, 4, 4, 5, 1]),
    ("lite3", 280, 30, 8.2, [24, 32, 48, 96, 136, 232, 384], [1, 3, 3, 5, 5, 6, 1]),
    ("lite4", 300, 30, 13.0, [24, 32, 56, 112, 160, 272, 448], [1, 4, 4, 6, 6, 8, 1]),
)


@pytest.mark.parametrize(
    ("name", "resolution", "dropout", "mega_params", "widths", "layers"), LITE, ids=[row[0] for row in LITE]
)
def test_a_lite_network_is_the_released_one(
    name: str, resolution: int, dropout: int, mega_params: float, widths: list[int], layers: list[int]
) -> None:
    spec = zoo.get(f"efficientnet_{name}")
    stages = [stage for stage in spec.stages if stage.name.startswith("stage")]
    head = spec.blocks[-1]
    assert isinstance(head, Classifier)
    assert (spec.resolution, head.dropout_percent) == (resolution, dropout)
    assert round(params(spec) / 1e6, 1) == mega_params
    assert [stage.blocks[-1].channels_after(0) for stage in stages] == widths
    assert [len(stage.blocks) for stage in stages] == layers
    assert [block.out_channels for block in spec.blocks if isinstance(block, ConvBN)] == [32, 1280]
