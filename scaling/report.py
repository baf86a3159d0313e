"""What a growth prints: as text for a person, as a dict for a machine."""

import math
from collections.abc import Callable
from dataclasses import asdict
from itertools import chain
from operator import attrgetter
from pathlib import Path
from shlex import quote
from typing import Any

from scaling.family import device_text, latency_interval_text, measured_text, predicted_text, titles
from scaling.formula import Coefficients
from scaling.growth import BAND
from scaling.member import Member
from scaling.result import Result, Weights
from search.report import balance_rows, training_rows
from searchspace.describe import StageRow, block_names, stage_names, stage_rows, stage_table
from searchspace.preprocessing import OWN
from searchspace.report import (
    WIDTH,
    beside,
    count_text,
    fields,
    megabytes_text,
    multiple_text,
    next_steps,
    notes,
    paragraphs,
    ratio_text,
    shortened,
    signed_percent_text,
    table,
)

COMMAND = "python -m scaling.compound"
# What is printed of each network: the name of a figure, its value where that is a multiple of the base's, its text.
_Figure = tuple[str, Callable[[Member], float] | None, Callable[[Member], str]]
_COSTS: tuple[_Figure, ...] = (
    ("parameters", attrgetter("costs.params"), lambda one: f"{one.costs.params:,}"),
    ("MACs", attrgetter("costs.macs"), lambda one: f"{one.costs.macs:,}"),
    ("activations", attrgetter("costs.activation_bytes"), lambda one: megabytes_text(one.costs.activation_bytes)),
    ("peak memory", attrgetter("costs.peak_memory_bytes"), lambda one: megabytes_text(one.costs.peak_memory_bytes)),
)
_PREDICTED: _Figure = ("predicted ms", attrgetter("latency.latency_ms"), predicted_text)
_INTERVAL: _Figure = ("90 % interval", None, latency_interval_text)
_MEASURED: _Figure = ("measured ms", attrgetter("measured.latency_ms"), measured_text)
_OTHERS: tuple[_Figure, ...] = (
    ("dropout", None, lambda one: f"{one.spec.head.dropout_percent} %"),
    ("fingerprint", None, lambda one: one.spec.fingerprint()),
)


def family_as_dict(result: Result, *, written: str | Path | None = None) -> dict[str, Any]:
    """The result of several phis or rules as JSON types."""
    heading, title = titles(result.by_rule)
    rows = [
        {
            heading: title(member),
            "phi": member.phi,
            **member.factors._asdict(),
            "coefficients": member.coefficients and asdict(member.coefficients),
            **member.as_dict(),
            "spec": member.spec.to_dict(),
        }
        for member in result.grown
    ]
    return {
        "base": result.base.as_dict(),
        heading: rows,
        "latency_table": result.latencies and result.latencies.to_dict(),
        "written": str(written) if written else None,
    }


def as_dict(result: Result, *, written: str | Path | None = None) -> dict[str, Any]:
    """The result of one network as JSON types; bytes are for batch 1 and float32.

    `formula` and `published` are null where there is no such network.
    """
    formula = next(iter(result.grown), None)
    coefficients, target, weights = formula and formula.coefficients, result.target, result.weights
    return {
        "phi": formula and formula.phi,
        "coefficients": coefficients
        and {**asdict(coefficients), "cost_factor": coefficients.cost_factor, "warning": coefficients.warning()},
        "base": _network_dict(result.base),
        "formula": formula and _grown_dict(formula),
        "published": result.published and _grown_dict(result.published),
        "by_dimension": formula and {name: one.as_dict() for name, one in result.by_dimension.items()},
        "target": target and {"flag": target.flag, "value": target.value},
        "latency_table": result.latencies and result.latencies.to_dict(),
        "written": str(written) if written else None,
        "weights": weights
        and {
            "path": str(weights.path),
            "inherited_from": weights.inherited_from and str(weights.inherited_from),
            "parent": weights.parent,
            "preprocessing": (weights.module.spec.preprocessing or OWN).to_dict(),
            "difference": weights.difference,
            "reasons": weights.reasons,
            "trained": weights.trained,
        },
    }


def _grown_dict(member: Member) -> dict[str, Any]:
    return {"title": member.title, **member.factors._asdict(), **_network_dict(member)}


def _network_dict(member: Member) -> dict[str, Any]:
    return {
        **member.as_dict(),
        "dropout_percent": member.spec.head.dropout_percent,
        "stages": [row._asdict() for row in stage_rows(member.spec)],
        "spec": member.spec.to_dict(),
    }


def as_text(result: Result, *, written: str | Path | None = None, again: str = "") -> str:
    """The report, at most 100 columns wide (file names aside). `again`: the flags that make the network again."""
    return paragraphs(
        _title(result),
        _two_networks(result.members) if len(result.members) > 1 else stage_table(result.spec),
        _totals(result),
        _by_dimension(result),
        _explanation(result),
        _written(result.members[0], written),
        _weights(result.weights),
        _next_steps(result, written, again),
    )


def _title(result: Result) -> str:
    if not result.grown:
        name, (depth, width, resolution) = result.spec.name, result.members[0].factors
        return f"{name} as published (arXiv:1905.11946): B0 with depth x{depth:g}, width x{width:g}, {resolution} px"
    (member,) = result.grown
    assert member.coefficients is not None
    assert member.phi is not None
    alpha, beta, gamma = member.coefficients.alpha, member.coefficients.beta, member.coefficients.gamma
    depth, width, resolution = member.factors
    name, base, step = shortened(result.base.spec.name, 20), result.base.spec.resolution, f"^{member.phi:.4g}"
    what = f"{name} {'shrunk' if member.phi < 0 else 'grown'}"
    bases = f"(alpha {alpha:g}, beta {beta:g}, gamma {gamma:g})"
    if result.target:
        flag, value, _ = result.target
        return (
            f"{notes(f'{what} to {flag} {value:.12g}, as by phi = {member.phi:.4g} {bases}')}\nlayers x {depth:.4g}, "
            f"channels x {width:.4g}, pixels {base} x {resolution / base:.4g} = {resolution}"
        )
    exact = base * gamma**member.phi
    rounded = "" if abs(exact - resolution) < 0.05 else f", so {resolution}"
    return (
        f"{what} by phi = {member.phi:.4g} {bases}\n"
        f"layers x {alpha:g}{step} = {depth:.4g}, channels x {beta:g}{step} = {width:.4g}, "
        f"pixels {base} x {gamma:g}{step} = {exact:.4g}{rounded}"
    )


def _two_networks(members: list[Member]) -> str:
    sides = [stage_rows(member.spec) for member in members]
    shared = [
        [name, block, ratio_text(row.se_ratio), str(row.stride or "-")]
        for name, block, row in zip(stage_names(sides[0]), block_names(members[0].spec), sides[0], strict=True)
    ]
    headers = ["stage", "block", "SE", "stride"]
    columns = ["\n\n" + table(headers, shared, text_columns=(0, 1), gap=1, total=["total", "", "", ""])]
    for member, rows in zip(members, sides, strict=True):
        depth, width, resolution = member.factors
        title = f"{member.title.upper()}, {resolution} px\ndepth x{depth:.4g}, width x{width:.4g}\n"
        columns.append(title + _side(rows))
    legend = "chan: output channels; n: layers; px: output height and width; SE: squeezed share of the input"
    return f"{beside(columns)}\n{legend}"


def _side(rows: list[StageRow]) -> str:
    lines = [
        [str(row.channels), str(row.layers), str(row.out_resolution), count_text(row.params), count_text(row.macs)]
        for row in rows
    ]
    params, macs = sum(row.params for row in rows), sum(row.macs for row in rows)
    total = ["", str(sum(row.layers for row in rows)), "", count_text(params), count_text(macs)]
    return table(["chan", "n", "px", "params", "MACs"], lines, total=total)


def _totals(result: Result) -> str:
    base, members = result.base, result.members
    latencies = [*([_PREDICTED, _INTERVAL] if base.latency else []), *([_MEASURED] if base.measured else [])]
    rows = []
    for what, value, show in [*_COSTS, *latencies, *_OTHERS]:
        cells = [(show(one), multiple_text(value(one), value(base)) if value else "") for one in members]
        rows.append([what, *chain(*cells), show(base)])
    titles = [cell for member in members for cell in (member.title, "x base")]
    lines = table(["total", *titles, f"base {shortened(base.spec.name, 20)}"], rows, text_columns=(0,))
    legend = ["Memory: batch 1, float32; peak is weights and the activations alive at once, as inference needs."]
    if result.latencies:
        device = device_text(result.latencies)
        legend.append(f"Latency: {device}; ~ where kernels that the table lacks were estimated.")
    return f"{lines}\n{notes(*legend)}"


def _by_dimension(result: Result) -> str:
    if not result.grown:
        return ""
    depth, width, resolution = result.grown[0].factors
    titles = [f"layers x{depth:.4g}", f"channels x{width:.4g}", f"{resolution} px", "all three"]
    columns, base = [*result.by_dimension.values(), result.grown[0]], result.base
    rows = [
        [what, *(multiple_text(value(one), value(base)) for one in columns)]
        for what, value, _ in [*_COSTS, *([_PREDICTED] if base.latency else [])]
        if value
    ]
    return table(["by dimension, x base", *titles], rows, text_columns=(0,))


def _explanation(result: Result) -> str:
    if not result.grown:
        return "This is the network as released, to the unit. The formula gives others: see --phi."
    (member,) = result.grown
    assert member.coefficients is not None
    assert member.phi is not None
    if result.target:
        rounding = (
            "Layers come whole, channels by eights and pixels in usable steps, so each of the three has the phi "
            f"nearest to the others' that the target allows; together they cost as by phi = {member.phi:.4g}."
        )
    else:
        base, gamma = result.base.spec.resolution, member.coefficients.gamma
        most = result.template.largest_resolution
        limit = f", at most {most} px by its own rule" if most else ""
        rounding = (
            "Rounding: layers up, channels to multiples of 8 (as the released code does), pixels to the nearest: "
            f"{base} x {gamma:g}^{member.phi:g} = {base * gamma**member.phi:.1f}{limit}, so "
            f"{member.factors.resolution}. "
            "Before rounding, MACs grow by alpha x beta^2 x gamma^2 to the phi: about "
            f"x{member.coefficients.cost_factor**member.phi:.3g}."
        )
    return notes(_comparison(result, member.phi), rounding)


def _comparison(result: Result, phi: float) -> str:
    """Why formula and publication differ, or why only the formula is shown."""
    if result.target:
        return _distance(result)
    if not result.from_b0:
        return "Only the formula is shown: the published family B0 to B7 is grown from EfficientNet-B0."
    if result.published is None:
        return f"Only the formula is shown: phi = {phi:g} has no published member (B0 to B7 are phi 0 to 7)."
    if not phi:
        return "phi = 0 is EfficientNet-B0 itself: the formula and the published B0 are the same network."
    paper, released = Coefficients(), result.published.factors
    depth = math.log(released.depth, paper.alpha)
    width = math.log(released.width, paper.beta)
    pixels = math.log(released.resolution / result.base.spec.resolution, paper.gamma)
    return (
        "Why they differ: the formula is equation 3 of arXiv:1905.11946; B1 to B7 were released with factors of their "
        f"own. B{phi:g}'s depth, width and pixels are the formula's (with the paper's alpha, beta and gamma) at "
        f"phi = {depth:.2f}, {width:.2f} and {pixels:.2f}, not {phi:g}."
    )


def _distance(result: Result) -> str:
    assert result.target is not None
    flag, value, unit = result.target
    network = result.grown[0]
    if network.latency and unit == "ms":
        cost, text = network.latency.latency_ms, f"{network.latency.latency_ms:.4g} ms predicted"
    else:
        cost, what = (network.costs.macs, "MACs") if unit == "macs" else (network.costs.params, "parameters")
        text = f"{cost:,} {what}"
    found = f"Target: {flag} {value:.12g}: {text}, {signed_percent_text(cost / value - 1)} from it."
    if cost >= (1 - BAND) * value:
        return found
    return (
        f"{found} No nearer network was found: layers come whole and channels by eights; try another --resolution-step "
        "or --rule."
    )


def _written(member: Member, path: str | Path | None) -> str:
    if path is None:
        return ""
    return (
        f"Written to {path}: {member.title}. As a torch module:\n"
        f"  from pathlib import Path; from searchspace.nn import build; from searchspace.spec import read_spec\n"
        f"  network = build(read_spec(Path({str(path)!r})))"
    )


def _weights(weights: Weights | None) -> str:
    if weights is None:
        return ""
    pairs = []
    if weights.parent:
        pairs = [("weights of", weights.parent), *(("", reason) for reason in weights.reasons)]
    elif weights.difference is not None:
        outputs = f"{'' if weights.difference <= 1e-4 else 'NOT '}the same outputs at the small network's resolution"
        difference = f"(logits differ by {weights.difference:.1e} of the largest)"
        pairs = [("inherited", f"from {weights.inherited_from}:"), ("", f"{outputs} {difference}")]
        pairs += [("", reason) for reason in weights.reasons]
    if weights.trained:
        figures = weights.trained
        how = f"{figures['epochs']} epochs" if figures["epochs"] else "fine-tuned"
        how += " at {pixels} px in {seconds:.0f} s".format(**figures)
        accuracies = "validation accuracy {before:.1%} before, {after:.1%} after".format(**figures)
        pairs.append(("trained", f"{how}: {accuracies}"))
        pairs.extend(training_rows(figures))
        tested = "{test:.1%} at {deployed_at} px (95 % interval {low:.1%} to {high:.1%}, {test_images} images)"
        pairs.append(("tested", tested.format(**figures)))
        pairs.extend(balance_rows(figures))
        if figures["as_trained"] is not None:
            pairs.append(("", "{as_trained:.1%} at {pixels} px, where it was trained".format(**figures)))
    spec = weights.module.spec
    pairs.append(("input", f"{(spec.preprocessing or OWN).sentence()}, at {spec.resolution} px"))
    return fields([*pairs, ("weights", str(weights.path))])


def _next_steps(result: Result, written: str | Path | None, again: str) -> str:
    steps = []
    if result.grown and not written:
        steps.append((f"{COMMAND} {again} --out grown.json", "keep the formula's network"))
    if written and result.weights and not result.weights.trained:
        steps.append((f"python -m search.finetune --network {quote(str(written))} --data YOUR_IMAGES", "train it on"))
    if result.published:
        name = result.published.name
        if result.grown or not written:
            steps.append((f"{COMMAND} --preset {name} --out {name}.json", f"keep the published {name.upper()}"))
        if not result.grown:
            steps.append((f"{COMMAND} --phi {name[1:]}", f"the formula beside {name.upper()}"))
    if result.from_b0:
        steps.append((f"{COMMAND} --network studies/NAME/best.json", "grow what a search found"))
    text = next_steps(steps)
    if max(map(len, text.splitlines()), default=0) > WIDTH:
        text = next_steps([line for command, purpose in steps for line in (f"# {purpose}", command)])
    return text
