"""Every network of the zoo has the parameters and MACs of its published implementation, to the unit where it has any.

MACs count convolutions and linear layers, batch 1, 1000 classes. The integers are what torchvision 0.29.1 and timm
1.0.31 count on their own modules; the papers' figures are as printed.
"""

from typing import Any

import pytest

from searchspace import zoo
from searchspace.blocks import ConvBN, MBConv, SeparableConv
from searchspace.cost import costs, macs, params
from searchspace.graph import lower
from searchspace.spec import NetworkSpec

#        implementation, its name, resolution, parameters, MACs; our name, our options
EXACT: tuple[tuple[str, str, int, int, int, str, dict[str, Any]], ...] = (
    ("torchvision", "mobilenet_v2", 224, 3_504_872, 300_774_272, "mobilenet_v2", {}),
    ("torchvision", "mobilenet_v3_large", 224, 5_483_032, 216_589_760, "mobilenet_v3_large", {}),
    ("torchvision", "mobilenet_v3_small", 224, 2_542_856, 56_510_400, "mobilenet_v3_small", {}),
    ("torchvision", "mnasnet1_0", 224, 4_383_312, 314_415_872, "mnasnet_b1", {}),
    ("torchvision", "shufflenet_v2_x1_0", 224, 2_278_604, 144_907_992, "shufflenet_v2", {}),
    ("torchvision", "shufflenet_v2_x2_0", 224, 7_393_996, 583_253_464, "shufflenet_v2", {"width": 2.0}),
    ("torchvision", "squeezenet1_0", 224, 1_248_424, 818_924_576, "squeezenet1_0", {}),
    ("torchvision", "squeezenet1_1", 224, 1_235_496, 349_151_936, "squeezenet1_1", {}),
    ("torchvision", "efficientnet_b0", 224, 5_288_548, 385_814_752, "efficientnet_b0", {}),
    ("torchvision", "efficientnet_b1", 240, 7_794_184, 686_802_832, "efficientnet_b1", {}),
    ("torchvision", "efficientnet_b2", 260, 9_109_994, 993_561_872, "efficientnet_b2", {}),
    ("torchvision", "efficientnet_b3", 300, 12_233_232, 1_827_141_392, "efficientnet_b3", {}),
    ("torchvision", "efficientnet_b4", 380, 19_341_616, 4_393_771_024, "efficientnet_b4", {}),
    ("torchvision", "efficientnet_b7", 600, 66_347_960, 37_745_884_192, "efficientnet_b7", {}),
    ("timm", "resnet18", 224, 11_689_512, 1_814_073_344, "resnet18", {}),
    ("timm", "resnet50", 224, 25_557_032, 4_089_184_256, "resnet50", {}),
    ("timm", "regnetx_002", 224, 2_684_792, 199_039_872, "regnetx_002", {}),
    ("timm", "regnety_004", 224, 4_344_144, 401_842_848, "regnety_004", {}),
    ("timm", "repvgg_a0", 224, 9_108_968, 1_512_581_120, "repvgg_a0", {}),
    ("timm", "mobileone_s0", 224, 5_293_272, 1_051_935_232, "mobileone_s0", {}),
    ("timm", "mixnet_s", 224, 4_134_606, 239_173_360, "mixnet_s", {}),
    ("timm", "ghostnet_100", 224, 5_182_508, 141_150_512, "ghostnet_100", {}),
    ("timm", "hgnetv2_b0", 224, 5_996_550, 321_326_464, "hgnetv2_b0", {}),
    ("timm", "mobilenetv1_100", 224, 4_231_976, 568_740_352, "mobilenet_v1", {}),
    ("timm", "mobilenetv2_100", 224, 3_504_872, 300_774_272, "mobilenet_v2", {}),
    ("timm", "mobilenetv3_large_100", 224, 5_483_032, 216_589_760, "mobilenet_v3_large", {}),
    ("timm", "mobilenetv3_small_100", 224, 2_542_856, 56_510_400, "mobilenet_v3_small", {}),
    ("timm", "mnasnet_100", 224, 4_383_312, 314_415_872, "mnasnet_b1", {}),
    ("timm", "semnasnet_100", 224, 3_887_038, 311_579_072, "mnasnet_a1", {}),
    ("timm", "tf_efficientnet_lite0", 224, 4_652_008, 385_187_552, "tf_efficientnet_lite0", {}),
    ("timm", "tf_efficientnet_lite1", 240, 5_416_680, 600_185_232, "tf_efficientnet_lite1", {}),
    ("timm", "lcnet_100", 224, 2_953_800, 155_700_480, "lcnet_100", {}),
    ("timm", "tinynet_a", 192, 6_187_972, 336_867_712, "tinynet_a", {}),
    ("timm", "hardcorenas_a", 224, 5_260_232, 224_227_936, "hardcorenas_a", {}),
    ("timm", "mobilenetv4_conv_small", 224, 3_774_024, 186_005_568, "mobilenetv4_conv_small", {}),
    ("timm", "mobilenetv4_conv_medium", 256, 9_715_512, 1_080_244_224, "mobilenetv4_conv_medium", {}),
    ("timm", "tf_efficientnetv2_b0", 192, 7_139_704, 528_186_752, "tf_efficientnetv2_b0", {}),
    ("timm", "tf_efficientnetv2_s", 300, 21_458_488, 5_307_561_248, "tf_efficientnetv2_s", {}),
    ("timm", "efficientnet_es", 224, 5_438_392, 1_788_731_008, "efficientnet_es", {}),
)

#        implementation's name, parameters, millions of MACs at 224 px in one decimal; our name, our options
COUNTED: tuple[tuple[str, int, float, str, dict[str, Any]], ...] = (
    ("timm mobilenetv1_125", 6_270_840, 879.5, "mobilenet_v1", {"width": 1.25}),
    ("timm mobilenetv2_035", 1_677_128, 59.3, "mobilenet_v2", {"width": 0.35}),
    ("timm mobilenetv2_050", 1_968_680, 97.1, "mobilenet_v2", {"width": 0.5}),
    ("timm mobilenetv2_075", 2_636_424, 209.1, "mobilenet_v2", {"width": 0.75}),
    ("timm mobilenetv2_140", 6_108_776, 582.2, "mobilenet_v2", {"width": 1.4}),
    ("timm mobilenetv2_110d", 4_516_520, 430.5, "mobilenet_v2", {"width": 1.1, "depth": 1.2, "fixed_ends": True}),
    ("timm mobilenetv2_120d", 5_831_144, 668.9, "mobilenet_v2", {"width": 1.2, "depth": 1.4, "fixed_ends": True}),
    ("timm mnasnet_050", 2_218_512, 104.5, "mnasnet_b1", {"width": 0.5}),
    ("timm mnasnet_075", 3_170_208, 215.5, "mnasnet_b1", {"width": 0.75}),
    ("timm mnasnet_140", 7_115_728, 588.8, "mnasnet_b1", {"width": 1.4}),
    ("timm mnasnet_small", 2_030_264, 68.3, "mnasnet_small", {}),
    ("timm semnasnet_050", 2_082_006, 103.2, "mnasnet_a1", {"width": 0.5}),
    ("timm semnasnet_075", 2_912_278, 223.4, "mnasnet_a1", {"width": 0.75}),
    ("timm semnasnet_140", 6_105_992, 586.3, "mnasnet_a1", {"width": 1.4}),
    ("timm mobilenetv3_large_075", 3_993_528, 154.6, "mobilenet_v3_large", {"width": 0.75}),
    ("timm mobilenetv3_small_050", 1_593_224, 24.2, "mobilenet_v3_small", {"width": 0.5}),
    ("timm mobilenetv3_small_075", 2_041_872, 43.4, "mobilenet_v3_small", {"width": 0.75}),
    ("timm fbnetc_100", 5_572_200, 385.0, "fbnet_c", {}),
    ("timm spnasnet_100", 4_421_616, 333.5, "single_path_nas", {}),
    ("timm efficientnet_b1", 7_794_184, 569.7, "efficientnet_b1", {}),
    ("timm efficientnet_b2", 9_109_994, 659.0, "efficientnet_b2", {}),
    ("timm efficientnet_b3", 12_233_232, 962.7, "efficientnet_b3", {}),
    ("timm efficientnet_b4", 19_341_616, 1503.7, "efficientnet_b4", {}),
    ("timm efficientnet_b5", 30_389_784, 2356.5, "efficientnet_b5", {}),
    ("timm efficientnet_b6", 43_040_704, 3360.2, "efficientnet_b6", {}),
    ("timm efficientnet_b7", 66_347_960, 5169.9, "efficientnet_b7", {}),
    ("torchvision shufflenet_v2_x0_5", 1_366_792, 40.5, "shufflenet_v2", {"width": 0.5}),
    ("torchvision shufflenet_v2_x1_5", 3_503_624, 295.8, "shufflenet_v2", {"width": 1.5}),
)

#        implementation's name, parameters; our name, our options
PARAMETERS: tuple[tuple[str, int, str, dict[str, Any]], ...] = (
    ("torchvision mobilenet_v3_large 0.75", 3_377_576, "mobilenet_v3_large", {"width": 0.75}),
    ("torchvision mobilenet_v3_large 0.5", 1_734_576, "mobilenet_v3_large", {"width": 0.5}),
    ("torchvision mobilenet_v3_small 0.75", 1_653_920, "mobilenet_v3_small", {"width": 0.75}),
    ("torchvision mobilenet_v3_small 0.5", 917_264, "mobilenet_v3_small", {"width": 0.5}),
)

# timm's widths of stem and stages, and of the head's 1x1 convolution (None: no such layer).
WIDTHS: tuple[tuple[str, str, dict[str, Any], list[int], int | None], ...] = (
    ("mobilenetv1_125", "mobilenet_v1", {"width": 1.25}, [40, 80, 160, 320, 640, 1280], None),
    ("mobilenetv2_035", "mobilenet_v2", {"width": 0.35}, [16, 8, 8, 16, 24, 32, 56, 112], 1280),
    ("mobilenetv2_140", "mobilenet_v2", {"width": 1.4}, [48, 24, 32, 48, 88, 136, 224, 448], 1792),
    (
        "mobilenetv2_120d",
        "mobilenet_v2",
        {"width": 1.2, "depth": 1.4, "fixed_ends": True},
        [32, 24, 32, 40, 80, 112, 192, 384],
        1280,
    ),
    ("mnasnet_050", "mnasnet_b1", {"width": 0.5}, [16, 8, 16, 24, 40, 48, 96, 160], 1280),
    ("semnasnet_140", "mnasnet_a1", {"width": 1.4}, [48, 24, 32, 56, 112, 160, 224, 448], 1280),
    ("mobilenetv3_large_075", "mobilenet_v3_large", {"width": 0.75}, [16, 16, 24, 32, 64, 88, 120], 720),
    ("mobilenetv3_small_050", "mobilenet_v3_small", {"width": 0.5}, [16, 8, 16, 24, 24, 48], 288),
    ("efficientnet_b3", "efficientnet_b3", {}, [40, 24, 32, 48, 96, 136, 232, 384], 1536),
    ("efficientnet_b7", "efficientnet_b7", {}, [64, 32, 48, 80, 160, 224, 384, 640], 2560),
)

# timm's layers by stage.
DEPTHS: tuple[tuple[str, str, dict[str, Any], list[int]], ...] = (
    ("mobilenetv2_110d", "mobilenet_v2", {"width": 1.1, "depth": 1.2, "fixed_ends": True}, [1, 3, 4, 5, 4, 4, 1]),
    ("mobilenetv2_120d", "mobilenet_v2", {"width": 1.2, "depth": 1.4, "fixed_ends": True}, [1, 3, 5, 6, 5, 5, 1]),
    ("efficientnet_b1", "efficientnet_b1", {}, [2, 3, 3, 4, 4, 5, 2]),
    ("efficientnet_b5", "efficientnet_b5", {}, [3, 5, 5, 7, 7, 9, 3]),
    ("efficientnet_b7", "efficientnet_b7", {}, [4, 7, 7, 10, 10, 13, 4]),
)

# timm's expanded channels of MobileNetV3 where a width multiplier rounds them.
EXPANDED: tuple[tuple[str, float, list[int]], ...] = (
    ("mobilenet_v3_large", 0.75, [64, 72, 72, 96, 96, 192, 160, 144, 144, 384, 528, 528, 720, 720]),
    ("mobilenet_v3_small", 0.5, [40, 56, 64, 144, 144, 72, 72, 144, 288, 288]),
)
TORCHVISION_EXPANDED_LARGE_075 = [48, 56, 56, 88, 88, 184, 152, 136, 136, 360, 504, 504, 720, 720]


@pytest.mark.parametrize(
    ("implementation", "known_as", "resolution", "parameters", "multiply_adds", "name", "options"),
    EXACT,
    ids=[f"{row[0]} {row[1]}" for row in EXACT],
)
def test_a_network_has_the_parameters_and_macs_of_its_published_implementation(
    implementation: str,
    known_as: str,
    resolution: int,
    parameters: int,
    multiply_adds: int,
    name: str,
    options: dict[str, Any],
) -> None:
    spec = zoo.get(name, **options)
    assert (spec.resolution, params(spec), macs(spec)) == (resolution, parameters, multiply_adds)


@pytest.mark.parametrize(
    ("known_as", "parameters", "mega_macs", "name", "options"), COUNTED, ids=[row[0] for row in COUNTED]
)
def test_widths_and_variants_have_the_parameters_and_macs_that_the_implementation_counts(
    known_as: str, parameters: int, mega_macs: float, name: str, options: dict[str, Any]
) -> None:
    spec = zoo.get(name, resolution=224, **options)
    assert (params(spec), round(macs(spec) / 1e6, 1)) == (parameters, mega_macs)


@pytest.mark.parametrize(("known_as", "parameters", "name", "options"), PARAMETERS, ids=[row[0] for row in PARAMETERS])
def test_torchvisions_rounding_gives_torchvisions_mobilenet_v3(
    known_as: str, parameters: int, name: str, options: dict[str, Any]
) -> None:
    assert params(zoo.get(name, rounding="torchvision", **options)) == parameters
    assert params(zoo.get(name, **options)) != parameters


def test_torchvisions_mnasnet1_3_has_its_6_282_256_parameters() -> None:
    spec = zoo.get("mnasnet_b1", width=1.3)
    assert params(spec) == 6_282_256
    assert widths(spec) == ([40, 24, 32, 56, 104, 128, 248, 416], 1280)


def widths(spec: NetworkSpec) -> tuple[list[int], int | None]:
    """Output channels of stem and stages, and of the head's convolution."""
    ends = {stage.name: stage.blocks[-1].channels_after(0) for stage in spec.stages}
    return [channels for name, channels in ends.items() if name not in ("head", "classifier")], ends.get("head")


@pytest.mark.parametrize(("known_as", "name", "options", "stages", "head"), WIDTHS, ids=[row[0] for row in WIDTHS])
def test_stem_stages_and_head_have_the_implementations_widths(
    known_as: str, name: str, options: dict[str, Any], stages: list[int], head: int | None
) -> None:
    assert widths(zoo.get(name, **options)) == (stages, head)


@pytest.mark.parametrize(("known_as", "name", "options", "layers"), DEPTHS, ids=[row[0] for row in DEPTHS])
def test_stages_have_the_implementations_layers(
    known_as: str, name: str, options: dict[str, Any], layers: list[int]
) -> None:
    stages = zoo.get(name, **options).stages
    assert [len(stage.blocks) for stage in stages if stage.name.startswith("stage")] == layers


@pytest.mark.parametrize(("name", "width", "expanded"), EXPANDED)
def test_mobilenet_v3_expands_the_scaled_input_by_the_released_codes_ratio(
    name: str, width: float, expanded: list[int]
) -> None:
    assert expanded_channels(zoo.get(name, width=width)) == expanded


def test_torchvisions_rounding_scales_the_printed_expansions() -> None:
    spec = zoo.get("mobilenet_v3_large", width=0.75, rounding="torchvision")
    assert expanded_channels(spec) == TORCHVISION_EXPANDED_LARGE_075


def expanded_channels(spec: NetworkSpec) -> list[int]:
    return [block.expand_channels for block in spec.blocks if isinstance(block, MBConv)]


#                    width, resolution, millions of parameters and of MACs as Tables 6 and 7 print them
@pytest.mark.parametrize(
    ("width", "resolution", "mega_params", "mega_macs"),
    [
        (1.0, 224, 4.2, 569),
        (0.75, 224, 2.6, 325),
        (0.5, 224, 1.3, 149),
        (0.25, 224, 0.5, 41),
        (1.0, 192, 4.2, 418),
        (1.0, 160, 4.2, 290),
        (1.0, 128, 4.2, 186),
    ],
)
def test_mobilenet_v1_agrees_with_its_papers_printed_digits(
    width: float, resolution: int, mega_params: float, mega_macs: int
) -> None:
    spec = zoo.get("mobilenet_v1", width=width, resolution=resolution)
    assert round(params(spec) / 1e6, 1) == mega_params
    # The paper cuts 290.7 off and rounds 568.7 up.
    assert mega_macs in (int(macs(spec) / 1e6), round(macs(spec) / 1e6))


def paper_mega_macs(spec: NetworkSpec) -> float:
    """Millions of MACs as the ShuffleNetV1 paper counts them: stem and units, not the classifier."""
    total = costs(lower(spec))
    assert total.layers[-1].name == "classifier.0.linear"
    return (total.macs - total.layers[-1].macs) / 1e6


@pytest.mark.parametrize(
    ("groups", "printed", "exact"),
    [(1, 143, 142.5), (2, 140, 140.0), (3, 137, 136.5), (4, 133, 133.3), (8, 137, 136.8)],
)
def test_shufflenet_v1_has_table_1s_complexity(groups: int, printed: int, exact: float) -> None:
    mega_macs = paper_mega_macs(zoo.get("shufflenet_v1", groups=groups))
    assert round(mega_macs) == printed
    assert round(mega_macs, 1) == exact


#                          parameters, millions of MACs, of the released code's units with a bias in the classifier
@pytest.mark.parametrize(
    ("groups", "parameters", "mega_macs"),
    [(1, 1_531_936, 143.1), (2, 1_733_848, 140.8), (3, 1_865_728, 137.5), (4, 1_968_344, 134.3), (8, 2_434_768, 138.4)],
)
def test_shufflenet_v1_with_its_classifier_has_the_released_codes_counts(
    groups: int, parameters: int, mega_macs: float
) -> None:
    spec = zoo.get("shufflenet_v1", groups=groups)
    assert (params(spec), round(macs(spec) / 1e6, 1)) == (parameters, mega_macs)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("width", "mega_macs"), [(0.5, 38), (0.25, 13)])
def test_narrow_shufflenet_v1_is_in_table_2s_complexity_class(width: float, mega_macs: int, groups: int) -> None:
    # The paper does not say how it rounded widths that its groups do not divide.
    assert paper_mega_macs(zoo.get("shufflenet_v1", width=width, groups=groups)) == pytest.approx(mega_macs, rel=0.08)


@pytest.mark.parametrize(("width", "mega_macs"), [(1.5, 292), (2.0, 524)])
def test_wide_shufflenet_v1_has_table_5s_complexity(width: float, mega_macs: int) -> None:
    # Here the print is with the classifier: 292.4 and 524.0 (without: 291.0 and 522.1).
    assert round(macs(zoo.get("shufflenet_v1", width=width, groups=3)) / 1e6) == mega_macs


@pytest.mark.parametrize(
    ("width", "channels"),
    [(0.5, [48, 96, 192]), (1.0, [116, 232, 464]), (1.5, [176, 352, 704]), (2.0, [244, 488, 976])],
)
def test_shufflenet_v2_has_table_5s_channels(width: float, channels: list[int]) -> None:
    stages, head = widths(zoo.get("shufflenet_v2", width=width))
    assert (stages[1:], head) == (channels, 2048 if width == 2 else 1024)


#        name, options of zoo.get, ImageNet top-1 in percent as the paper prints it
TOP1: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("mobilenet_v1", {}, 70.6),
    ("mobilenet_v1", {"width": 0.75}, 68.4),
    ("mobilenet_v1", {"width": 0.5}, 63.7),
    ("mobilenet_v1", {"width": 0.25}, 50.6),
    ("mobilenet_v1", {"resolution": 192}, 69.1),
    ("mobilenet_v1", {"resolution": 160}, 67.2),
    ("mobilenet_v1", {"resolution": 128}, 64.4),
    ("mobilenet_v2", {}, 72.0),
    ("mobilenet_v2", {"width": 1.4}, 74.7),
    ("mobilenet_v3_large", {}, 75.2),
    ("mobilenet_v3_large", {"width": 0.75}, 73.3),
    ("mobilenet_v3_small", {}, 67.4),
    ("mnasnet_a1", {}, 75.2),
    ("mnasnet_b1", {}, 74.5),
    ("shufflenet_v1", {"groups": 1}, 66.4),
    ("shufflenet_v1", {"groups": 2}, 67.3),
    ("shufflenet_v1", {"groups": 3}, 67.4),
    ("shufflenet_v1", {"groups": 4}, 67.2),
    ("shufflenet_v1", {"groups": 8}, 67.6),
    ("shufflenet_v2", {}, 69.4),
    ("squeezenet1_0", {}, 57.5),
    ("efficientnet_b0", {}, 77.1),
    ("efficientnet_b1", {}, 79.1),
    ("efficientnet_b2", {}, 80.1),
    ("efficientnet_b3", {}, 81.6),
    ("efficientnet_b4", {}, 82.9),
    ("efficientnet_b5", {}, 83.6),
    ("efficientnet_b6", {}, 84.0),
    ("efficientnet_b7", {}, 84.3),
    ("efficientnet_lite0", {}, 75.1),
    ("efficientnet_lite1", {}, 76.7),
    ("efficientnet_lite2", {}, 77.6),
    ("efficientnet_lite3", {}, 79.8),
    ("efficientnet_lite4", {}, 81.5),
    ("tinynet_e", {}, 59.9),
    ("hardcorenas_a", {}, 75.9),
    ("hardcorenas_f", {}, 78.1),
    ("lcnet", {}, 71.32),
    ("lcnet", {"width": 0.5}, 63.14),
    ("lcnet_050", {}, 63.14),
    ("lcnet_100", {}, 71.32),
    ("lcnet_100", {"width": 0.75}, 68.18),
    ("efficientnetv2_b3", {}, 82.1),
    ("efficientnetv2_s", {}, 83.9),
    ("mobilenetv1_100", {"width": 0.5}, 63.7),
)


@pytest.mark.parametrize(("name", "options", "top1"), TOP1, ids=[f"{name} {options}" for name, options, _ in TOP1])
def test_the_zoo_knows_the_accuracy_that_the_paper_prints(name: str, options: dict[str, Any], top1: float) -> None:
    assert zoo.published_top1(name, **options) == top1


def test_an_accuracy_is_of_exactly_one_network() -> None:
    assert zoo.published_top1("mobilenet_v2", width=1.0, depth=1.0, resolution=224) == 72.0
    assert zoo.published_top1("shufflenet_v1") == zoo.published_top1("shufflenet_v1", groups=3)
    assert zoo.published_top1("mobilenet_v2", width=0.35) is None
    assert zoo.published_top1("mobilenet_v2", depth=1.2) is None
    assert zoo.published_top1("mobilenet_v3_large", width=0.75, rounding="torchvision") is None
    assert zoo.published_top1("squeezenet1_1") is None


RESOLUTIONS = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}
LITE_RESOLUTIONS = {"lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300}

# The pixels that timm trains at, which are the release's.
LATER_RESOLUTIONS = {
    **{"tinynet_a": 192, "tinynet_b": 188, "tinynet_c": 184, "tinynet_d": 152, "tinynet_e": 106},
    **{"efficientnet_em": 240, "efficientnet_el": 300},
    **{"efficientnetv2_b0": 192, "efficientnetv2_b1": 192, "efficientnetv2_b2": 208, "efficientnetv2_b3": 240},
    **{"efficientnetv2_s": 300, "mobilenetv4_conv_medium": 256, "mobilenetv4_conv_large": 384},
}


def test_networks_have_their_papers_resolutions() -> None:
    own = {f"efficientnet_{name}": resolution for name, resolution in (RESOLUTIONS | LITE_RESOLUTIONS).items()}
    own |= LATER_RESOLUTIONS
    assert {name: zoo.get(name).resolution for name in zoo.names()} == dict.fromkeys(zoo.names(), 224) | own


def test_every_network_has_three_input_channels_1000_classes_and_a_total_stride_of_32_or_squeezenets_16() -> None:
    for name in zoo.names():
        spec = zoo.get(name)
        assert (spec.in_channels, spec.classes) == (3, 1000)
        assert spec.total_stride == (16 if name.startswith("squeezenet") else 32)


def test_activations_gates_and_skips_are_the_papers() -> None:
    kinds = {name: {b.activation for b in bodies(name)} for name in zoo.names()}
    assert kinds["mobilenet_v1"] == kinds["mobilenet_v2"] == {"relu6"}
    assert kinds["mobilenet_v3_large"] == kinds["mobilenet_v3_small"] == {"relu", "h_swish"}
    assert kinds["efficientnet_b0"] == kinds["efficientnet_b7"] == {"swish"}
    assert kinds["efficientnet_lite0"] == kinds["efficientnet_lite4"] == {"relu6"}
    assert all(kinds[name] == {"relu"} for name in ("mnasnet_a1", "mnasnet_b1", "fbnet_c", "single_path_nas"))
    gates = {name: {b.gate for b in bodies(name) if b.squeeze_channels} for name in zoo.names()}
    assert gates["mobilenet_v3_large"] == {"hard_sigmoid"}
    assert gates["efficientnet_b0"] == gates["mnasnet_a1"] == {"sigmoid"}
    assert gates["mobilenet_v2"] == gates["mnasnet_b1"] == gates["efficientnet_lite0"] == set()
    assert not any(block.skip for block in bodies("mobilenet_v1"))
    # Of V2's 17 blocks, 10 repeat within their stage (1 + 2 + 3 + 2 + 2).
    assert sum(block.skip for block in bodies("mobilenet_v2")) == 10


def bodies(name: str) -> list[MBConv | SeparableConv]:
    return [block for block in zoo.get(name).blocks if isinstance(block, (MBConv, SeparableConv))]


def test_the_last_convolution_of_mobilenet_v2_follows_wider_multipliers_only() -> None:
    def last(width: float) -> int:
        block = zoo.get("mobilenet_v2", width=width).blocks[-2]
        assert isinstance(block, ConvBN)
        return block.out_channels

    assert {width: last(width) for width in (0.35, 0.75, 1.0, 1.3, 1.4)} == {
        0.35: 1280,
        0.75: 1280,
        1.0: 1280,
        1.3: 1664,
        1.4: 1792,
    }
