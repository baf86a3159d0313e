"""The default space holds the published networks, to the parameter and the multiply-add."""

from pathlib import Path

import pytest

from searchspace.cost import macs, params
from searchspace.errors import InvalidChoice, StorageError
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spaces.toml import space_from_toml
from searchspace.zoo.efficientnet import preset

SPACE = mnasnet_space()


def test_mobilenet_v2_has_the_published_3_504_872_parameters() -> None:
    spec = SPACE.spec(KNOWN["mobilenet_v2"])
    # arXiv:1801.04381: 3.4 M and 300 M MACs; the released checkpoint has 3,504,872.
    assert params(spec) == 3_504_872
    assert macs(spec) == 300_774_272


def test_mnasnet_a1_has_the_published_3_887_038_parameters() -> None:
    spec = SPACE.spec(KNOWN["mnasnet_a1"])
    # arXiv:1807.11626, Table 1: 3.9 M and 312 M MACs.
    assert params(spec) == 3_887_038
    assert macs(spec) == 311_579_072


def test_efficientnet_b0_of_the_space_is_the_published_b0() -> None:
    spec = SPACE.spec(KNOWN["efficientnet_b0"])
    assert params(spec) == 5_288_548
    assert spec.fingerprint() == preset("b0").fingerprint()


def test_mobilenet_v3_like_is_about_as_large_as_mobilenet_v3() -> None:
    # arXiv:1905.02244, Table 3: V3-Large has 5.4 M parameters and 219 M MACs; without its last stage and wide
    # classifier the nearest point of the space is smaller.
    spec = SPACE.spec(KNOWN["mobilenet_v3_like"])
    assert 150e6 < macs(spec) < 300e6
    assert {block.activation for block in spec.blocks[:-1]} == {"relu", "h_swish"}


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks_are_canonical_points(name: str) -> None:
    assert SPACE.canonical(SPACE.canonical(KNOWN[name])) == SPACE.canonical(KNOWN[name])


def test_the_space_has_the_choices_that_it_promises() -> None:
    # Per stage: 3 ratios x 3 kernels x 2 SE x 3 activations x 3 widths = 162 a layer count; stage 1 has no expansion.
    per_layers = 3 * 3 * 2 * 3 * 3
    assert SPACE.size() == (4 * per_layers // 3) * (4 * per_layers) ** 4 * (4 * per_layers + 1) ** 2


@pytest.mark.parametrize(
    ("stage", "widths"),
    [
        (2, (16, 24, 32)),
        (3, (32, 40, 48)),
        (4, (64, 80, 104)),
        (5, (72, 96, 112)),
        (6, (120, 160, 192)),
        (7, (240, 320, 400)),
    ],
)
def test_stage_widths_are_those_that_the_module_names(stage: int, widths: tuple[int, ...]) -> None:
    found = [
        SPACE.decode(KNOWN["mobilenet_v2"] | {f"stage{stage}.width_mult": mult}).stages[stage].rows[0].width
        for mult in (0.75, 1.0, 1.25)
    ]
    assert tuple(found) == widths


def read(tmp_path: Path, text: str) -> SearchSpace:
    (tmp_path / "space.toml").write_text(text, encoding="utf-8")
    return space_from_toml(tmp_path / "space.toml", classes=10, resolution=96)


@pytest.mark.parametrize(
    "text",
    [
        '[choices]\n"*.activation" = ["relu"]\n"stage3.kernel" = [3, 9]\n',
        '[choices]\nstage3.kernel = [3, 9]\n"*".activation = ["relu"]\n',
        '[choices."*"]\nactivation = ["relu"]\n[choices.stage3]\nkernel = [3, 9]\n',
        'choices = {"*.activation" = ["relu"], stage3 = {kernel = [3, 9]}}',
    ],
)
def test_a_toml_file_may_quote_its_keys_or_nest_them(tmp_path: Path, text: str) -> None:
    default = mnasnet_space(classes=10, resolution=96)
    assert read(tmp_path, text) == default.with_choices({"*.activation": ("relu",), "stage3.kernel": (3, 9)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must have one table, .*got an empty file"),
        ("kernel = [3]", r"must have one table, .*got \['kernel'\]"),
        ("choices = 3", r"must have one table, .*got \['choices'\]"),
        ("[choices]\n[more]\n", r"must have one table, .*got \['choices', 'more'\]"),
        ("[choices", "must be a TOML file"),
        pytest.param(f"a = {'[' * 3000}", "must be a TOML file .*recursion", id="deep list"),
        pytest.param(f"[choices]\n{'a.' * 3000}b = 1", "must be a TOML file .*recursion", id="deep table"),
        pytest.param(f"[choices]\na = {'1' * 5000}", "must be a TOML file .*digits", id="long number"),
        ("[choices]\nstage3.kernal = [3]", "'stage3.kernal' is no choice"),
        ("[choices]\nstage3.kernel.size = [3]", "stage3.kernel must be an odd integer from 1 to 15, got 'size'"),
        ("[choices]\nstage3.kernel = [[3]]", "stage3.kernel must be an odd integer"),
        ("[choices]\nstage3 = [3]", "'stage3' is no choice"),
        ('[choices]\n"stage3.kernel" = [3]\nstage3.kernel = [5]', "gives 'stage3.kernel' twice, quoted and bare"),
    ],
)
def test_a_mistake_in_a_toml_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidChoice, match=said):
        read(tmp_path, text)


def test_a_byte_order_mark_before_a_toml_file_is_passed_over(tmp_path: Path) -> None:
    text = "[choices]\nstage3.kernel = [3, 9]\n"
    assert read(tmp_path, f"\ufeff{text}") == read(tmp_path, text)


def test_an_empty_stage_table_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "[choices.stage3]\n") == mnasnet_space(classes=10, resolution=96)


def test_a_space_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read the search space .*missing\.toml: No such file"):
        space_from_toml(tmp_path / "missing.toml", classes=10, resolution=96)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidChoice, match="must be a TOML file"):
        space_from_toml(tmp_path / "binary.toml", classes=10, resolution=96)
