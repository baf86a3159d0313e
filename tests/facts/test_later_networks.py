"""Widths, layers and blocks of the networks after 2019 are the released ones, where their own rules round.

Read off timm's `round_channels` and `_scale_stage_depth` for its definitions of these networks.
"""

import pytest

from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN, FusedMBConv
from searchspace.describe import stage_rows

#    name, widths of stem, stages and last convolution, layers of the stages
RELEASED: tuple[tuple[str, list[int], list[int]], ...] = (
    ("efficientnetv2_b1", [32, 16, 32, 48, 96, 112, 192, 1280], [2, 3, 3, 4, 6, 9]),
    ("efficientnetv2_b2", [32, 16, 32, 56, 104, 120, 208, 1408], [2, 3, 3, 4, 6, 10]),
    ("efficientnetv2_b3", [40, 16, 40, 56, 112, 136, 232, 1536], [2, 3, 3, 5, 7, 12]),
    ("efficientnetv2_s", [24, 24, 48, 64, 128, 160, 256, 1280], [2, 4, 4, 6, 9, 15]),
    ("efficientnet_em", [32, 24, 32, 48, 96, 144, 192, 1280], [2, 3, 5, 6, 5, 3]),
    ("efficientnet_el", [40, 32, 40, 56, 112, 176, 232, 1536], [2, 3, 6, 7, 6, 3]),
    ("tinynet_a", [32, 16, 24, 40, 80, 112, 192, 320, 1280], [1, 2, 2, 4, 4, 5, 1]),
    ("tinynet_b", [32, 16, 24, 32, 64, 88, 144, 240, 1280], [1, 2, 2, 3, 3, 4, 1]),
    ("tinynet_d", [32, 8, 16, 24, 40, 64, 104, 176, 1280], [1, 1, 1, 2, 2, 3, 1]),
    ("tinynet_e", [32, 8, 16, 24, 40, 56, 96, 160, 1280], [1, 1, 1, 2, 2, 2, 1]),
    ("mobilenetv4_conv_small_050", [32, 16, 32, 48, 64, 480], [2, 2, 6, 6]),
    ("mobilenetv4_conv_medium", [32, 48, 80, 160, 256, 960], [1, 2, 8, 11]),
    ("mobilenetv4_conv_large", [24, 48, 96, 192, 512, 960], [1, 2, 11, 13]),
)


@pytest.mark.parametrize(("name", "widths", "layers"), RELEASED, ids=[row[0] for row in RELEASED])
def test_a_network_has_the_released_widths_and_layers(name: str, widths: list[int], layers: list[int]) -> None:
    *stages, _ = zoo.get(name).stages
    assert [stage.blocks[-1].channels_after(0) for stage in stages] == widths
    assert [len(stage.blocks) for stage in stages if stage.name.startswith("stage")] == layers


def test_the_first_blocks_of_edgetpu_expand_by_what_they_hand_on_and_have_no_skip() -> None:
    spec = zoo.get("efficientnet_el")
    first, second = (block for block in spec.stages[1].blocks if isinstance(block, FusedMBConv))
    assert (first.expand_channels, second.expand_channels) == (128, 128)
    assert (first.skip, second.skip) == (False, False)
    only = zoo.get("efficientnet_es").stages[1].blocks[0]
    assert isinstance(only, FusedMBConv)
    assert only.expand_channels == 96


def test_mobilenet_v4_has_the_papers_kinds_of_blocks() -> None:
    kinds = [row.kind for row in stage_rows(zoo.get("mobilenetv4_conv_small"))]
    assert kinds == [
        *["conv", "conv", "conv", "conv", "conv"],
        *["ExtraDW/5", "MBConv", "ConvNeXt"],
        *["ExtraDW/3", "ExtraDW/5", "MBConv", "MBConv", "MBConv"],
        *["conv", "linear/1280"],
    ]
    kinds = [row.kind for row in stage_rows(zoo.get("mobilenetv4_conv_medium"))]
    assert kinds.count("FFN") == 3  # rows; one has two blocks
    head = zoo.get("mobilenetv4_conv_large").head
    assert isinstance(head, Classifier)
    assert (head.hidden_features, head.hidden_norm, head.hidden_activation) == (1280, True, "relu")


def test_a_narrower_mobilenet_v4_keeps_its_stem_and_a_wider_one_does_not() -> None:
    def stem(width: float) -> int:
        block = zoo.get("mobilenetv4_conv_small", width=width).blocks[0]
        assert isinstance(block, ConvBN)
        return block.out_channels

    assert [stem(width) for width in (0.35, 1.0, 1.5)] == [32, 32, 48]
