"""Options of the zoo, and what it says to names, widths, resolutions, groups and options that cannot be."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace import zoo
from searchspace.blocks import ShuffleUnit
from searchspace.cost import costs, macs, params
from searchspace.errors import InvalidArgument, InvalidSpec, PhinasError
from searchspace.graph import lower
from searchspace.spec import NetworkSpec
from searchspace.to_template import to_template
from searchspace.zoo.aliases import aliases
from searchspace.zoo.catalogue import CATALOGUE, entry

# Options that a network has beside the common ones, with every value it takes.
OF_SOME: dict[str, tuple[str, tuple[Any, ...]]] = {
    "mobilenet_v2": ("fixed_ends", (False, True)),
    "mobilenet_v3_large": ("rounding", ("paper", "torchvision")),
    "mobilenet_v3_small": ("rounding", ("paper", "torchvision")),
    "shufflenet_v1": ("groups", (1, 2, 3, 4, 8)),
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A name and options that `get` takes, widths and depths of every kind among them."""
    name = draw(st.sampled_from(zoo.names()))
    options: dict[str, Any] = {
        "width": draw(st.sampled_from((0.25, 0.5, 1.0, 1.4, 2.0)) | st.floats(0.13, 3.0)),
        "depth": draw(st.sampled_from((1.0, 1.0, 0.1, 1.2)) | st.floats(0.05, 2.0)),
        "resolution": draw(st.integers(48, 320)),
        "classes": draw(st.integers(1, 2000)),
        "padding": draw(st.sampled_from(("half", "same"))),
    }
    if name in OF_SOME:
        option, values = OF_SOME[name]
        options[option] = draw(st.sampled_from(values))
    return name, options


@settings(max_examples=40)
@given(request=requests())
def test_every_request_gives_a_network_that_json_and_lifting_keep(request: tuple[str, dict[str, Any]]) -> None:
    name, options = request
    spec = zoo.get(name, **options)
    assert (spec.resolution, spec.classes) == (options["resolution"], options["classes"])
    again = NetworkSpec.from_json(spec.to_json())
    assert (again, again.fingerprint()) == (spec, spec.fingerprint())
    lifted = to_template(spec).expand()
    assert (lifted, lifted.fingerprint()) == (spec, spec.fingerprint())


def test_the_representatives_have_every_kind_of_block_of_the_zoo() -> None:
    def kinds(names: tuple[str, ...]) -> set[type]:
        return {type(block) for name in names for block in zoo.get(name).blocks}

    assert kinds(zoo.representatives()) == kinds(zoo.names())
    assert len(zoo.representatives()) < len(zoo.names()) / 2


@pytest.mark.parametrize("name", zoo.names())
def test_a_published_network_survives_json_and_lifting(name: str) -> None:
    spec = zoo.get(name)
    assert NetworkSpec.from_json(spec.to_json()).fingerprint() == spec.fingerprint()
    assert to_template(spec).expand() == spec
    assert zoo.get(name) == spec
    assert hash(zoo.get(name)) == hash(spec)


@pytest.mark.parametrize("name", zoo.names())
def test_what_grows_has_the_pixels_of_the_network(name: str) -> None:
    assert zoo.template(name).resolution == zoo.get(name).resolution


def test_all_networks_differ() -> None:
    fingerprints = {zoo.get(name).fingerprint() for name in zoo.names()}
    assert len(fingerprints) == len(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_classes_change_the_last_layer_only(name: str) -> None:
    many, few = (costs(lower(zoo.get(name, classes=classes))).layers for classes in (1000, 10))
    changed = [a.name for a, b in zip(many, few, strict=True) if (a.params, a.macs) != (b.params, b.macs)]
    assert len(changed) == 1
    assert changed[0].startswith("classifier.0.")
    features = zoo.get(name).blocks[-1]
    width = getattr(features, "hidden_features", 0) or lower(zoo.get(name)).layers[-2].out_shape[0]
    if not name.startswith("squeezenet"):
        assert params(zoo.get(name)) - params(zoo.get(name, classes=10)) == 990 * (width + 1)


@pytest.mark.parametrize("name", zoo.names())
def test_resolution_and_padding_change_no_parameter(name: str) -> None:
    spec = zoo.get(name)
    finer, same = zoo.get(name, resolution=spec.resolution + 32), zoo.get(name, padding="same")
    assert params(finer) == params(same) == params(spec)
    assert macs(finer) > macs(spec) == macs(same)
    assert spec.fingerprint() not in (finer.fingerprint(), same.fingerprint())


def test_padding_same_is_tensorflows_variant_with_its_batch_norm() -> None:
    half, same = zoo.get("efficientnet_b0").conventions, zoo.get("efficientnet_b0", padding="same").conventions
    assert (half.padding, half.norm_eps) == ("half", 1e-5)
    assert (same.padding, same.norm_eps) == ("same", 1e-3)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite3", "mobilenet_v3_small"])
def test_tf_before_a_name_is_tensorflows_variant_of_it(name: str) -> None:
    assert zoo.is_name(name)
    assert zoo.is_name(f"tf_{name}")
    assert not zoo.is_name(f"tf_tf_{name}")
    assert f"tf_{name}" not in zoo.names()
    spec = zoo.get(f"tf_{name}", width=0.5)
    assert spec.name == f"tf_{name}_w0.5"
    assert spec.fingerprint() == zoo.get(name, width=0.5, padding="same").fingerprint()
    assert zoo.get(f"tf_{name}", padding="half").fingerprint() == zoo.get(name).fingerprint()
    assert zoo.template(f"tf_{name}").conventions == spec.conventions
    assert zoo.published_top1(f"tf_{name}") == zoo.published_top1(name)
    assert zoo.describe(f"tf_{name}") == zoo.describe(name)


@pytest.mark.parametrize("name", zoo.names())
def test_more_width_and_more_depth_make_a_larger_network(name: str) -> None:
    own = params(zoo.get(name))
    assert params(zoo.get(name, width=0.5)) < own < params(zoo.get(name, width=1.5))
    assert params(zoo.get(name, depth=0.4)) < own < params(zoo.get(name, depth=2.0))


def test_a_network_says_in_its_name_what_was_asked_for() -> None:
    assert zoo.get("mobilenet_v2").name == "mobilenet_v2"
    assert zoo.get("mobilenet_v2", width=1.4, depth=1.2).name == "mobilenet_v2_w1.4_d1.2"
    assert zoo.get("shufflenet_v1", groups=8).name == "shufflenet_v1_g8"


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 1.5, 2.0])
def test_every_group_of_shufflenet_v1_divides_its_channels_at_the_papers_widths(width: float, groups: int) -> None:
    units = [b for b in zoo.get("shufflenet_v1", width=width, groups=groups).blocks if isinstance(b, ShuffleUnit)]
    assert len(units) == 16
    assert {unit.groups for unit in units} == {groups}
    # Section 3.2: stage 2 does not group its first 1x1 convolution, whose input is narrow.
    assert [unit.reduce_groups for unit in units] == [1, *[groups] * 15]


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("mobilenet_v3", "mobilenet_v3_large or mobilenet_v3_small"),
        ("mobilenetv2", "mobilenet_v2"),
        ("efficientnet-b9", "efficientnet_b"),
        ("shuflenet_v1", "shufflenet_v1"),
        ("mnasnet", "mnasnet_"),
        ("SqueezeNet1_0", "squeezenet1_0"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(name: str, offered: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the zoo has no network '{name}'; did you mean .*{offered}"):
        zoo.get(name)
    with pytest.raises(InvalidArgument, match=f"did you mean .*{offered}"):
        zoo.describe(name)


@pytest.mark.parametrize("name", ["", "xyz"])
def test_a_name_like_no_other_is_refused_with_all_of_them(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"give one of mobilenet_v1, .*{zoo.names()[-1]}"):
        zoo.get(name)


@pytest.mark.parametrize("name", zoo.names())
def test_a_width_that_rounds_a_layer_to_nothing_is_refused_with_the_least_that_does_not(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"width 0\.002 rounds a layer of \d+ channels to nothing") as refused:
        zoo.get(name, width=0.002)
    least = float(str(refused.value).rpartition(" ")[2])
    if name != "shufflenet_v1":
        assert zoo.get(name, width=least)
    with pytest.raises(InvalidArgument, match="to nothing"):
        zoo.get(name, width=0.9 * least)


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_a_width_that_leaves_a_concatenating_unit_no_branch_is_refused(groups: int) -> None:
    with pytest.raises(InvalidSpec, match=r"stage\d\.0: .* must hand on more channels than it gets; got"):
        zoo.get("shufflenet_v1", width=0.03, groups=groups)


@pytest.mark.parametrize("option", ["width", "depth"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_multipliers_are_finite_and_above_0(option: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=f"{option} must be a finite multiplier above 0, got"):
        zoo.get("mobilenet_v2", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", zoo.names())
def test_a_resolution_below_the_total_stride_is_refused(name: str) -> None:
    stride = zoo.get(name).total_stride
    with pytest.raises(
        InvalidSpec, match=f"the resolution must be at least the total stride {stride}, got {stride - 1}"
    ):
        zoo.get(name, resolution=stride - 1)


@pytest.mark.parametrize("name", [name for name in zoo.names() if not name.startswith("squeezenet")])
def test_the_total_stride_is_resolution_enough(name: str) -> None:
    assert lower(zoo.get(name, resolution=32)).layers[-2].out_shape[1:] == (1, 1)


@pytest.mark.parametrize(("name", "least"), [("squeezenet1_0", 21), ("squeezenet1_1", 17)])
def test_squeezenet_needs_room_for_its_unpadded_kernels(name: str, least: int) -> None:
    # Three poolings make ceil((n - 3) / 2) + 1 of n: 1 of 2 of 4 of 8, which the stem makes of 21 (7x7) or 17 (3x3).
    assert lower(zoo.get(name, resolution=least)).layers[-1].in_shape == (1000, 1, 1)
    with pytest.raises(InvalidSpec, match=r"its unpadded kernel does not fit a map of \d px: raise the resolution"):
        zoo.get(name, resolution=least - 1)


@pytest.mark.parametrize("groups", [0, 5, 7, 16, -1])
def test_groups_that_do_not_divide_the_papers_channels_are_refused(groups: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"groups must be one of 1, 2, 3, 4, 8 .*, got {groups}"):
        zoo.get("shufflenet_v1", groups=groups)


@pytest.mark.parametrize(("option", "value"), [("groups", 3), ("rounding", "paper"), ("fixed_ends", True)])
def test_an_option_that_a_network_does_not_have_is_refused_with_those_that_have_it(option: str, value: object) -> None:
    takers = [name for name, (own, _) in OF_SOME.items() if own == option]
    for name in zoo.names():
        if name in takers:
            zoo.get(name, **{option: value})  # type: ignore[arg-type]
            continue
        with pytest.raises(
            InvalidArgument, match=f"{option} is an option of {', '.join(takers)}, got .* for {name}, which has none"
        ):
            zoo.get(name, **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "valid"}, 'padding must be "half" or "same"'),
        ({"rounding": "timm"}, "rounding must be one of paper, torchvision, got 'timm'"),
        ({"classes": 0}, "classes must be an integer from 1 to 1,000,000, got 0"),
        ({"classes": 1.5}, "classes must be an integer from 1 to 1,000,000, got 1.5"),
        ({"resolution": 224.0}, "resolution must be an integer from 1 to 1,000,000, got 224.0"),
    ],
)
def test_what_else_cannot_be_is_refused_with_the_rule_and_the_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PhinasError, match=message):
        zoo.get("mobilenet_v3_large", **options)


@pytest.mark.parametrize("name", zoo.names())
def test_a_description_names_title_source_size_options_and_accuracies(name: str) -> None:
    text = zoo.describe(name)
    assert f"({params(zoo.get(name)):,})" in text
    assert f"({macs(zoo.get(name)):,}) at {zoo.get(name).resolution} px" in text
    assert "arXiv:" in text or name == "squeezenet1_1" or name.startswith("hgnetv2_")
    assert all(option in text for option in ("width", "depth", "resolution", "classes", "padding"))
    if name in OF_SOME:
        assert OF_SOME[name][0] in text
    assert ("top-1" in text) == bool(entry(name).published)
    assert text.isascii()


# timm's and torchvision's names


@pytest.mark.parametrize("name", aliases(CATALOGUE))
def test_another_name_is_a_network_of_the_zoo_that_no_list_repeats(name: str) -> None:
    assert zoo.is_name(name)
    assert zoo.is_name(f"tf_{name}")
    assert name not in zoo.names()
    assert zoo.get(name).name == name
    assert to_template(zoo.get(name, depth=1.5)).expand() == zoo.get(name, depth=1.5)


@pytest.mark.parametrize(
    ("name", "ours", "options"),
    [
        ("lcnet_050", "lcnet", {"width": 0.5}),
        ("mobilenetv2_120d", "mobilenet_v2", {"width": 1.2, "depth": 1.4, "fixed_ends": True}),
        ("mobilenetv3_small_050", "mobilenet_v3_small", {"width": 0.5}),
        ("semnasnet_075", "mnasnet_a1", {"width": 0.75}),
        ("shufflenet_v2_x2_0", "shufflenet_v2", {"width": 2.0}),
        ("efficientnet_v2_s", "efficientnetv2_s", {}),
        ("tf_mobilenetv3_large_075", "mobilenet_v3_large", {"width": 0.75, "padding": "same"}),
    ],
)
def test_another_name_means_these_options(name: str, ours: str, options: dict[str, Any]) -> None:
    assert zoo.get(name).fingerprint() == zoo.get(ours, **options).fingerprint()
    more = {**options, "width": 2 * options.get("width", 1.0)}
    assert zoo.get(name, width=2.0).fingerprint() == zoo.get(ours, **more).fingerprint()
    assert zoo.get(name, resolution=96, classes=7).resolution == 96
