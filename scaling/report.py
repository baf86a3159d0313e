"""What a growth prints: as text for a person, as a dict for a machine."""

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scaling.coefficients import Coefficients, Factors
from scaling.family import Priced, interval_text, latency_text
from searchspace.cost import Costs
from searchspace.describe import StageRow, ratio_text, short, stage_names, stage_rows, stage_table, table
from searchspace.latency.table import LatencyTable
from searchspace.serialize import spec_to_dict
from searchspace.spec import NetworkSpec
from searchspace.template import Template


class Member(NamedTuple):
    """One network with the factors that made it from its base."""

    title: str
    factors: Factors
    priced: Priced

    @property
    def spec(self) -> NetworkSpec:
        """The network."""
        return self.priced.spec


class Weights(NamedTuple):
    """What became of weights: where they are, what they were inherited from and how exactly (the largest difference of
    logits, as a share of the largest), what stood in the way, and the figures of a training."""

    path: Path
    inherited_from: Path | None
    difference: float | None
    reasons: tuple[str, ...]
    trained: dict[str, Any] | None


class Result(NamedTuple):
    """Base, and what was made of it: by the formula, as published, or both.

    `network` is the base's file; `latencies` the table that predicts; `alone` what each dimension does by itself;
    `target` the flag and the value that phi was solved for; `template` what was expanded; `flags` those that make the
    network again.
    """

    base: Priced
    formula: Member | None
    published: Member | None
    phi: float | None = None
    coefficients: Coefficients | None = None
    network: Path | None = None
    latencies: LatencyTable | None = None
    alone: dict[str, Priced] | None = None
    target: tuple[str, float] | None = None
    template: Template | None = None
    weights: Weights | None = None
    flags: str = ""

    @property
    def networks(self) -> list[Priced]:
        """Base first."""
        return [self.base, *(member.priced for member in self.members)]

    @property
    def members(self) -> list[Member]:
        """The formula's network first."""
        return [member for member in (self.formula, self.published) if member]

    @property
    def main(self) -> Member:
        """The formula's network, or the preset if that alone was asked for."""
        return self.members[0]


def as_dict(result: Result, *, written: Path | None = None) -> dict[str, Any]:
    """The result as JSON types; bytes are for batch 1 and float32, `published` is null where there is none."""
    coefficients = result.coefficients
    return {
        "phi": result.phi,
        "coefficients": coefficients
        and {
            "alpha": coefficients.alpha,
            "beta": coefficients.beta,
            "gamma": coefficients.gamma,
            "cost_factor": coefficients.cost_factor,
            "warning": coefficients.warning(),
        },
        "base": _network_dict(result.base),
        "formula": result.formula and _member_dict(result.formula),
        "published": result.published and _member_dict(result.published),
        "by_dimension": result.alone and {name: priced.as_dict() for name, priced in result.alone.items()},
        "target": result.target and dict(zip(("flag", "value"), result.target, strict=True)),
        "latency_table": result.latencies and result.latencies.to_dict(),
        "written": str(written) if written else None,
        "weights": result.weights
        and {
            **result.weights._asdict(),
            "path": str(result.weights.path),
            "inherited_from": result.weights.inherited_from and str(result.weights.inherited_from),
        },
    }


def _member_dict(member: Member) -> dict[str, Any]:
    return {"title": member.title, **member.factors._asdict(), **_network_dict(member.priced)}


def _network_dict(priced: Priced) -> dict[str, Any]:
    spec = priced.spec
    return {
        **priced.as_dict(),
        "dropout_percent": _dropout(spec),
        "stages": [row._asdict() for row in stage_rows(spec)],
        "spec": spec_to_dict(spec),
    }


def _dropout(spec: NetworkSpec) -> int:
    return spec.head.dropout_percent


def as_text(result: Result, *, written: Path | None = None) -> str:
    """The report, at most 100 columns wide (file names aside)."""
    both = result.formula is not None and result.published is not None
    parts = [
        _title(result),
        _side_by_side(result.members) if both else stage_table(result.main.spec),
        _totals(result),
        _by_dimension(result),
        _explanation(result),
        _written(result.main, written),
        _weights(result.weights),
        _next_steps(result, written),
    ]
    return "\n\n".join(part for part in parts if part)


def _title(result: Result) -> str:
    if result.formula is None:
        name, (depth, width, resolution) = result.main.spec.name, result.main.factors
        return f"{name} as published (arXiv:1905.11946): B0 with depth x{depth:g}, width x{width:g}, {resolution} px"
    assert result.coefficients is not None
    alpha, beta, gamma = result.coefficients.alpha, result.coefficients.beta, result.coefficients.gamma
    verb = "shrunk" if result.phi is not None and result.phi < 0 else "grown"
    depth, width, resolution = result.formula.factors
    name, base, step = _cut(result.base.spec.name), result.base.spec.resolution, f"^{result.phi:.4g}"
    bases = f"(alpha {alpha:g}, beta {beta:g}, gamma {gamma:g})"
    if result.target:
        flag, value = result.target
        title = _wrapped(f"{name} {verb} to {flag} {value:.12g}, as by phi = {result.phi:.4g} {bases}")
        pixels = f"pixels {base} x {resolution / base:.4g} = {resolution}"
        return f"{title}\nlayers x {depth:.4g}, channels x {width:.4g}, {pixels}"
    exact = base * gamma**result.phi if result.phi is not None else 0.0
    rounded = "" if abs(exact - resolution) < 0.05 else f", so {resolution}"
    return (
        f"{name} {verb} by phi = {result.phi:.4g} {bases}\n"
        f"layers x {alpha:g}{step} = {depth:.4g}, channels x {beta:g}{step} = {width:.4g}, "
        f"pixels {base} x {gamma:g}{step} = {exact:.4g}{rounded}"
    )


def _cut(name: str) -> str:
    """At most 20 printable ASCII characters of a network's name, which may hold anything."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
    return plain if len(plain) <= 20 else plain[:18] + ".."


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _side_by_side(members: list[Member]) -> str:
    """Two networks grown from one table, stage by stage; what they share stands once, on the left."""
    sides = [stage_rows(member.spec) for member in members]
    shared = [
        [name, _block(row), ratio_text(row.se_ratio), str(row.stride or "-")]
        for name, row in zip(stage_names(sides[0]), sides[0], strict=True)
    ]
    left = table(["stage", "block", "SE", "stride"], [*shared, ["total", "", "", ""]], text_columns=(0, 1), gap=1)
    columns = [["", "", *left.splitlines()]]
    for member, rows in zip(members, sides, strict=True):
        depth, width, resolution = member.factors
        banner = [f"{member.title.upper()}, {resolution} px", f"depth x{depth:.4g}, width x{width:.4g}"]
        columns.append([*banner, *_side(rows).splitlines()])
    widths = [max(map(len, column)) for column in columns]
    lines = [
        " | ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip(*columns, strict=True)
    ]
    legend = "chan: output channels; n: layers; px: output height and width; SE: squeezed share of the input"
    return "\n".join([*lines, legend])


def _block(row: StageRow) -> str:
    """Kind, expansion and kernel as the paper's Table 1 writes them: MBConv6 5x5."""
    expansion = ratio_text(row.expand_ratio) if row.kind == "MBConv" else ""
    return f"{row.kind}{expansion} {row.kernel}x{row.kernel}" if row.kernel else row.kind


def _side(rows: list[StageRow]) -> str:
    lines = [
        [str(row.channels), str(row.layers), str(row.out_resolution), short(row.params), short(row.macs)]
        for row in rows
    ]
    params, macs = sum(row.params for row in rows), sum(row.macs for row in rows)
    total = ["", str(sum(row.layers for row in rows)), "", short(params), short(macs)]
    return table(["chan", "n", "px", "params", "MACs"], [*lines, total])


def _totals(result: Result) -> str:
    """Exact figures of each network, and their multiples of the base's."""
    headers = ["total"]
    for member in result.members:
        headers += [member.title, "x base"]
    rows = []
    for what, figure, show in _FIGURES:
        row = [what]
        for member in result.members:
            row += [
                show(figure(member.priced.costs)),
                _multiple(figure(member.priced.costs), figure(result.base.costs)),
            ]
        rows.append([*row, show(figure(result.base.costs))])
    rows += _latency_rows(result)
    for what, text in _FACTS:
        rows.append([what, *(cell for m in result.members for cell in (text(m.spec), "")), text(result.base.spec)])
    lines = table([*headers, f"base {_cut(result.base.spec.name)}"], rows, text_columns=(0,))
    notes = "Memory: batch 1, float32; peak is weights and the activations alive at once, as inference needs."
    if result.latencies:
        identity = result.latencies.identity
        notes += "\n" + _wrapped(
            f"Latency: {identity['runtime']}, {identity['threads']} threads, {identity['machine']}; ~ where kernels "
            "that the table lacks were estimated."
        )
    return f"{lines}\n{notes}"


def _multiple(value: float, base: float) -> str:
    multiple = value / base
    return f"{multiple:.2f}" if multiple >= 0.1 else f"{multiple:.2g}"


def _latency_rows(result: Result) -> list[list[str]]:
    """Predicted, its 90 % interval, measured: as far as they are known."""
    rows = []
    own, base = [member.priced for member in result.members], result.base
    if base.latency:
        predicted = ["predicted ms"]
        for priced in own:
            assert priced.latency is not None
            predicted += [latency_text(priced.latency), _multiple(priced.latency.latency_ms, base.latency.latency_ms)]
        rows.append([*predicted, latency_text(base.latency)])
        intervals = [cell for priced in own for cell in (interval_text(priced.latency), "")]
        rows.append(["90 % interval", *intervals, interval_text(base.latency)])
    if base.measured:
        measured = ["measured ms"]
        for priced in own:
            assert priced.measured is not None
            measured += [_measured(priced), _multiple(priced.measured.latency_ms, base.measured.latency_ms)]
        rows.append([*measured, _measured(base)])
    return rows


def _measured(priced: Priced) -> str:
    assert priced.measured is not None
    return f"{priced.measured.latency_ms:.2f}{' (noisy)' if priced.measured.noisy else ''}"


def _by_dimension(result: Result) -> str:
    """Multiples of the base with one dimension grown, and with all three."""
    if not result.alone or not result.formula:
        return ""
    depth, width, resolution = result.formula.factors
    titles = [f"layers x{depth:.4g}", f"channels x{width:.4g}", f"{resolution} px", "all three"]
    columns = [*result.alone.values(), result.formula.priced]
    rows = [
        [what, *(_multiple(figure(own.costs), figure(result.base.costs)) for own in columns)]
        for what, figure, _ in _FIGURES
    ]
    if result.base.latency:
        ms = [own.latency.latency_ms for own in columns if own.latency]
        rows.append(["predicted ms", *(_multiple(each, result.base.latency.latency_ms) for each in ms)])
    return table(["by dimension, x base", *titles], rows, text_columns=(0,))


_FIGURES: tuple[tuple[str, Callable[[Costs], int], Callable[[int], str]], ...] = (
    ("parameters", lambda own: own.params, lambda count: f"{count:,}"),
    ("MACs", lambda own: own.macs, lambda count: f"{count:,}"),
    ("activations", lambda own: own.activation_bytes, lambda size: f"{size / 1e6:,.1f} MB"),
    ("peak memory", lambda own: own.peak_memory_bytes, lambda size: f"{size / 1e6:,.1f} MB"),
)
_FACTS: tuple[tuple[str, Callable[[NetworkSpec], str]], ...] = (
    ("dropout", lambda spec: f"{_dropout(spec)} %"),
    ("fingerprint", NetworkSpec.fingerprint),
)


def _explanation(result: Result) -> str:
    if result.formula is None or result.coefficients is None or result.phi is None:
        return "This is the network as released, to the unit. The formula gives others: see --phi."
    gamma, resolution = result.coefficients.gamma, result.formula.factors.resolution
    if result.target:
        rounding = (
            "Layers come whole, channels by eights and pixels in usable steps, so each of the three has the phi "
            f"nearest to the others' that the target allows; together they cost as by phi = {result.phi:.4g}."
        )
        return f"{_wrapped(_comparison(result))}\n{_wrapped(rounding)}"
    base = result.base.spec.resolution
    exact = base * gamma**result.phi
    aim = result.coefficients.cost_factor**result.phi
    rounding = (
        "Rounding: layers up, channels to multiples of 8 (as the released code does), pixels to the nearest: "
        f"{base} x {gamma:g}^{result.phi:g} = {exact:.1f}, so {resolution}. "
        f"Before rounding, MACs grow by alpha x beta^2 x gamma^2 to the phi: about x{aim:.3g}."
    )
    return f"{_wrapped(_comparison(result))}\n{_wrapped(rounding)}"


def _solved(result: Result) -> str:
    """How close a network that was grown to a target comes to it."""
    assert result.target is not None
    flag, value = result.target
    own = result.main.priced
    if flag == "--target-ms":
        assert own.latency is not None
        cost, text, unit = own.latency.latency_ms, f"{own.latency.latency_ms:.4g}", " ms predicted"
    else:
        cost = own.costs.macs if flag == "--target-macs" else own.costs.params
        text, unit = f"{cost:,.0f}", " MACs" if flag == "--target-macs" else " parameters"
    short_of = (
        ""
        if cost >= 0.98 * value
        else (
            " No nearer network was found: layers come whole and channels by eights; try another "
            "--resolution-step or --rule."
        )
    )
    return f"Target: {flag} {value:.12g}: {text}{unit}, {cost / value - 1:+.1%} from it.{short_of}"


def _comparison(result: Result) -> str:
    """Why formula and publication differ, or why only the formula is shown."""
    if result.target:
        return _solved(result)
    if result.network:
        return "Only the formula is shown: the published family B0 to B7 is grown from EfficientNet-B0."
    if result.published is None:
        return f"Only the formula is shown: phi = {result.phi:g} has no published member (B0 to B7 are phi 0 to 7)."
    if not result.phi:
        return "phi = 0 is EfficientNet-B0 itself: the formula and the published B0 are the same network."
    own, released = Coefficients(), result.published.factors
    depth = math.log(released.depth, own.alpha)
    width = math.log(released.width, own.beta)
    pixels = math.log(released.resolution / result.base.spec.resolution, own.gamma)
    return (
        "Why they differ: the formula is equation 3 of arXiv:1905.11946; B1 to B7 were released with factors of their "
        f"own. B{result.phi:g}'s depth, width and pixels are the formula's (with the paper's alpha, beta and gamma) at "
        f"phi = {depth:.2f}, {width:.2f} and {pixels:.2f}, not {result.phi:g}."
    )


def _written(member: Member, path: Path | None) -> str:
    if path is None:
        return ""
    return (
        f"Written to {path}: {member.title}. As a torch module:\n"
        f"  from pathlib import Path; from searchspace.nn import build; from searchspace.serialize import read_spec\n"
        f"  network = build(read_spec(Path({str(path)!r})))"
    )


def _weights(weights: Weights | None) -> str:
    """What the weights are, and how good."""
    if weights is None:
        return ""
    lines = []
    if weights.difference is not None:
        equal = "the same outputs" if weights.difference <= 1e-4 else "NOT the same outputs"
        lines.append(
            f"inherited  from {weights.inherited_from}:\n           {equal} at the small network's resolution (logits "
            f"differ by {weights.difference:.1e} of the largest)"
        )
        for reason in weights.reasons:
            lines += textwrap.wrap(reason, 100, initial_indent=" " * 11, subsequent_indent=" " * 13)
    if weights.trained:
        own = weights.trained
        lines.append(
            f"trained    {own['epochs']} epochs at {own['pixels']} px in {own['seconds']:.0f} s: validation accuracy "
            f"{own['before']:.1%} before, {own['after']:.1%} after"
        )
        lines.append(
            f"tested     {own['test']:.1%} (95 % interval {own['low']:.1%} to {own['high']:.1%}, "
            f"{own['test_images']} images)"
        )
    return "\n".join([*lines, f"weights    {weights.path}"])


def _next_steps(result: Result, written: Path | None) -> str:
    command = "python -m scaling.compound"
    steps = []
    if result.phi is not None and not written:
        steps.append((f"{command} {result.flags} --out grown.json", "keep the formula's network"))
    if result.published:
        name = result.published.title.split()[-1].lower()
        if result.formula or not written:
            steps.append((f"{command} --preset {name} --out {name}.json", f"keep the published {name.upper()}"))
        if not result.formula:
            steps.append((f"{command} --phi {name[1:]}", f"the formula beside {name.upper()}"))
    if not result.network:
        steps.append((f"{command} --network studies/NAME/best.json", "grow what a search found"))
    if not steps:
        return ""
    width = max(len(step) for step, _ in steps)
    lines = [f"  {step:{width}}  # {what}" for step, what in steps]
    if max(map(len, lines)) > 100:
        lines = [f"  # {what}\n  {step}" for step, what in steps]
    return "\n".join(["Next:", *lines])
