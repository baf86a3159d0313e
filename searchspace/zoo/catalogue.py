"""The published networks by name."""

import difflib
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

from searchspace.cost import costs
from searchspace.deployed import deployed
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.report import count_text
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions, NetworkSpec, read_spec
from searchspace.template import Template
from searchspace.zoo import (
    efficientnet,
    efficientnet_edgetpu,
    efficientnet_lite,
    efficientnet_v2,
    fbnet,
    ghostnet,
    hardcorenas,
    hgnet_v2,
    lcnet,
    mixnet,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    mobileone,
    regnet,
    repvgg,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    single_path_nas,
    squeezenet,
    tinynet,
)
from searchspace.zoo.aliases import aliases
from searchspace.zoo.entry import Entry, Published

_FILES = (
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mnasnet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    fbnet,
    single_path_nas,
    efficientnet,
    efficientnet_lite,
    tinynet,
    hardcorenas,
    lcnet,
    efficientnet_edgetpu,
    efficientnet_v2,
    mobilenet_v4,
    resnet,
    regnet,
    repvgg,
    mobileone,
    mixnet,
    ghostnet,
    hgnet_v2,
)
CATALOGUE: dict[str, Entry] = {entry.name: entry for file in _FILES for entry in file.ENTRIES}
_KNOWN = CATALOGUE | aliases(CATALOGUE)
TENSORFLOW = Conventions(padding="same", norm_eps=1e-3)
PADDINGS = {"half": DEFAULT_CONVENTIONS, "same": TENSORFLOW}
MOBILE_MACS = 600e6
TF = "tf_"  # before a name: its padding is "same" where none is given, as in timm's names


def names() -> tuple[str, ...]:
    """Every network of the zoo, oldest family first; `get` takes each with "tf_" before it, and `aliases`, as well."""
    return tuple(CATALOGUE)


def is_name(text: str) -> bool:
    """Whether `get` takes it as a name."""
    return text.removeprefix(TF) in _KNOWN


def entry(name: str) -> Entry:
    """What the zoo knows of `name`. Raises InvalidArgument that offers the nearest names."""
    if is_name(name):
        return _KNOWN[name.removeprefix(TF)]
    longer = [known for known in CATALOGUE if name and known.startswith(name)]
    near = longer or difflib.get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"give one of {', '.join(CATALOGUE)}"
    raise InvalidArgument(f"the zoo has no network {name!r:.80}; {hint}")


def is_grown(name: str) -> bool:
    """Whether a name is another network grown by compound scaling (EfficientNet-B1 to B7, Lite1 to Lite4)."""
    return (entry(name).width, entry(name).depth) != (1.0, 1.0)


@cache
def representatives() -> tuple[str, ...]:
    """Of each paper the first network, the smallest, and the largest within the mobile setting: all kinds of blocks.

    By MACs; the mobile setting has at most MOBILE_MACS (NASNet, arXiv:1707.07012, Table 3; DARTS, arXiv:1806.09055).
    """
    chosen: list[str] = []
    for file in _FILES:
        sizes = {e.name: costs(lower(deployed(get(e.name)))).macs for e in file.ENTRIES if not is_grown(e.name)}
        ordered = sorted(sizes, key=lambda name: sizes[name])
        mobile = [name for name in ordered if sizes[name] <= MOBILE_MACS]
        kept = {next(iter(sizes)), ordered[0], *mobile[-1:]}
        chosen += [name for name in sizes if name in kept]
    return tuple(chosen)


def template(
    name: str,
    *,
    width: float = 1.0,
    groups: int | None = None,
    rounding: str | None = None,
    fixed_ends: bool | None = None,
) -> Template:
    """The paper's table as a Template at the name's pixels, before any scaling; `width` where a table depends on it."""
    found = entry(name)
    extra = {"groups": groups, "rounding": rounding, "fixed_ends": fixed_ends}
    options: dict[str, object] = {option: value for option, value in extra.items() if value is not None}
    for option in options:
        if option not in found.options:
            takers = [other.name for other in CATALOGUE.values() if option in other.options]
            raise InvalidArgument(
                f"{option} is an option of {', '.join(takers)}, got {options[option]!r:.80} for {name}, which has none"
                ": leave it out"
            )
    if found.reads_width:
        options["width"] = found.width * width
    table = found.template if isinstance(found.template, Template) else found.template(**options)
    table = replace(table, resolution=found.resolution)
    return replace(table, name=name, conventions=TENSORFLOW) if name.startswith(TF) else table


def get(
    name: str,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int | None = None,
    classes: int = 1000,
    padding: str | None = None,
    groups: int | None = None,
    rounding: str | None = None,
    fixed_ends: bool | None = None,
) -> NetworkSpec:
    """The published network `name`, at another width, depth, resolution or number of classes if asked.

    padding: "half", or "same" for TensorFlow's own variant (SAME padding, batch-norm eps 1e-3), which
    "tf_efficientnet_lite0" and any other name with "tf_" before it has from the start. timm's and torchvision's names
    are taken as well (`aliases`); `width` and `depth` multiply what such a name means.
    groups: of shufflenet_v1, 1, 2, 3, 4 or 8. rounding: of mobilenet_v3_*, "paper" or "torchvision". fixed_ends: of
    mobilenet_v2, as timm's 110d and 120d have them.

    Raises InvalidArgument for an unknown name (the nearest are offered), an option the network does not have, or a
    width that rounds a layer to nothing; InvalidSpec for a resolution below the network's total stride.
    """
    found = entry(name)
    for what, value in (("width", width), ("depth", depth)):
        if not 0 < value < math.inf:
            raise InvalidArgument(
                f"{what} must be a finite multiplier above 0, got {value}: 1 is the paper's, choose near it"
            )
    table = template(name, width=width, groups=groups, rounding=rounding, fixed_ends=fixed_ends)
    own = found.width if found.multiplies_width else 1.0
    _check_width(template(name), width, own)
    scaled = table.with_classes(classes).expand(
        width=own * (width if found.multiplies_width else 1.0),
        depth=found.depth * depth,
        resolution=found.resolution if resolution is None else resolution,
        name=_label(name, width, depth, groups),
    )
    if padding not in (None, *PADDINGS):
        raise InvalidArgument(f'padding must be "half" or "same" (TensorFlow), got {padding!r}: choose one of them')
    return scaled if padding is None else scaled.with_conventions(PADDINGS[padding])


def load(network: str, *, resolution: int | None = None, classes: int | None = None) -> NetworkSpec:
    """The network of a spec file, a path that ends in ".json", or of a name of the zoo.

    `resolution` and `classes` replace its own. Raises InvalidArgument for an unknown name, and for a file what
    `searchspace.spec.read_spec` raises.
    """
    spec = read_spec(Path(network)) if network.endswith(".json") else get(network)
    spec = spec if resolution is None else spec.with_resolution(resolution)
    return spec if classes is None else spec.with_classes(classes)


def _check_width(table: Template, width: float, own: float) -> None:
    """Raises InvalidArgument if `width` times the name's own multiplier rounds a layer of the table to nothing."""
    # Behind no channels, a block without channels of its own has none.
    widths = [block.channels_after(0) for block in table.expand().blocks if not block.is_head]
    narrowest = min(width for width in widths if width)
    least = 0.5 / (narrowest * own)
    if width < least:
        raise InvalidArgument(
            f"width {width:g} rounds a layer of {narrowest} channels to nothing: the least is "
            f"{math.ceil(least * 1e4) / 1e4:g}"
        )


def _label(name: str, width: float, depth: float, groups: int | None) -> str:
    parts = {f"_w{width:g}": width != 1, f"_d{depth:g}": depth != 1, f"_g{groups}": groups is not None}
    return name + "".join(part for part, is_said in parts.items() if is_said)


def published(name: str, **options: object) -> Published | None:
    """What the paper prints for `name` with exactly these options of `get` (left out: their defaults), if anything."""
    found = entry(name)
    default: dict[str, object] = {"width": 1.0, "depth": 1.0, "resolution": found.resolution}
    default["groups"] = shufflenet_v1.GROUPS
    return next((row for row in found.published if default | row.options == default | options), None)


def published_top1(name: str, **options: object) -> float | None:
    """ImageNet top-1 in percent that the paper prints for `name` with these options of `get`, None for none."""
    row = published(name, **options)
    return row and row.top1


def describe(name: str) -> str:
    """A name in words: title, source, size, options of `get`, the accuracies its paper prints."""
    found = entry(name)
    spec = get(name)
    cost = costs(lower(spec))
    options = ["width", "depth", "resolution", "classes", "padding", *found.options]
    lines = [
        f"{found.title} ({found.source})",
        f"{count_text(cost.params)} parameters ({cost.params:,}), {count_text(cost.macs)} MACs ({cost.macs:,}) at "
        f"{spec.resolution} px, total stride {spec.total_stride}",
        f"options: {', '.join(options)}",
    ]
    if (small := deployed(spec)) != spec:
        less = costs(lower(small))
        lines.insert(2, f"deployed, its branches as one convolution: {less.params:,} parameters, {less.macs:,} MACs")
    for row in found.published:
        variant = ", ".join(f"{option} {value:g}" for option, value in row.options.items()) or "as above"
        lines.append(f"published: top-1 {row.top1:g} % ({row.source}; {variant})")
    if found.note:
        lines.append(found.note)
    return "\n".join(lines)
