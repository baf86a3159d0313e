"""`scaling.compound`: what the command `python -m scaling.compound` does, as a function."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from scaling.base import Base, base_template, latency_table, separate_files, zoo_name
from scaling.formula import RULES, Coefficients, Factors, read_coefficients
from scaling.growth import RESOLUTION_STEP, Grown, grow, grow_to
from scaling.member import Member
from scaling.result import Result, Target, weights_file
from search.budget import CostModel
from search.settings import check_minutes
from search.sources import source_text
from search.training.variation import AUTO, NONE, check_class_weights, checked
from searchspace.arguments import check_flag, check_types
from searchspace.errors import InvalidArgument
from searchspace.files import check_writable
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.template import Template
from searchspace.zoo import efficientnet


def compound(
    network: Base = None,
    *,
    phi: float | Sequence[float] | None = None,
    target_ms: float | None = None,
    target_macs: float | None = None,
    target_params: float | None = None,
    rule: str | None = None,
    coefficients: Coefficients | str | Path | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    compare: bool = False,
    resolution_step: int | None = None,
    latency: LatencyTable | str | Path | None = None,
    measure: bool = False,
    inherit: str | Path | None = None,
    weights: str | Path | None = None,
    ema: bool | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    data: str | Path | None = None,
    split_folders: str | None = None,
    label_column: str | None = None,
    proxy_resolution: int | None = None,
    augment: str | None = None,
    class_weights: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    onnx: str | Path | None = None,
    quiet: bool = False,
) -> Result:
    """Grow a network deeper, wider and finer by compound scaling (EfficientNet, arXiv:1905.11946).

    The keywords are the flags of `python -m scaling.compound`, whose --help explains each. `network` is a spec, a
    template, a spec file or a name of the zoo (None: EfficientNet-B0). It grows by `phi` (default 1; several phis make
    several networks) or to one target. The growth is shared by a `rule` of `scaling.formula.RULES`, by `coefficients`,
    or by alpha, beta and gamma; `compare` takes every rule. `inherit` starts from the small network's weights,
    `weights` from published ones; `minutes` fine-tunes, `epochs` trains. With `out` the spec, and the weights beside
    it, are written, and a training that was stopped goes on. `quiet`: no progress is printed. Raises PhinasError.
    """
    check_types(compound, locals())
    data = source_text(data, split_folders=split_folders, label_column=label_column)
    phis = [] if phi is None else [float(one) for one in (phi if isinstance(phi, Sequence) else [phi])]
    target = _target(phis, {"ms": target_ms, "macs": target_macs, "params": target_params})
    rules = _rules(compare, rule, coefficients, {"alpha": alpha, "beta": beta, "gamma": gamma})
    flags = {"--out": out, "--onnx": onnx, "--inherit": inherit, "--weights": weights, "--ema": ema, "--data": data}
    lengths = {"--epochs": epochs, "--minutes": minutes}
    pixels = {"--proxy-resolution": proxy_resolution, "--resolution-step": resolution_step}
    training = {"--augment": augment, "--class-weights": class_weights, "--seed": seed}
    _check(flags | lengths | pixels | training, phis, rules)
    trains = bool(epochs or minutes)
    makes_weights = inherit is not None or weights is not None or trains
    file = weights_file(out) if out and makes_weights else None
    separate_files(
        {"--out": out, "--onnx": onnx, "the weights' file beside --out": file},
        {"--network": network, "--latency": latency, "--coefficients": coefficients, "--inherit": inherit},
    )
    if makes_weights and out is not None:
        check_writable(Path(out))  # told before minutes of training
    table = latency_table(latency, needed=target_ms is not None)
    template = base_template(network)
    grown = partial(_grown, network is None, rules, phis or [1.0], target, table, resolution_step)
    if makes_weights:
        from scaling.weights import Schedule, published_start, with_weights

        name = zoo_name(network)
        schedule = Schedule(epochs, minutes, data, proxy_resolution, seed or 0, augment or AUTO, class_weights or NONE)
        parent = None
        if weights is not None:
            parent, template = published_start(template, weights, name=name, ema=ema, quiet=quiet)
        is_of_imagenet = weights is not None or (name and inherit is None)
        if trains and is_of_imagenet:  # it is to tell the classes of the data apart
            template = template.with_classes(len(schedule.images(grown(template)).classes))
    result = grown(template, beside_published=not trains)
    if measure:
        result.measure()
    if makes_weights:
        return with_weights(result, inherit, schedule, ema=ema, parent=parent, out=out, onnx=onnx, quiet=quiet)
    result.save(out, onnx=onnx)
    return result


def published(name: str, *, latency: LatencyTable | str | Path | None = None, measure: bool = False) -> Result:
    """The EfficientNet that was released as `name`, "b0" to "b7", as a result. Raises PhinasError."""
    table, template = latency_table(latency, needed=False), efficientnet.B0
    result = Result(
        base=_base(template, table), template=template, published=_published(name.lower(), table), from_b0=True
    )
    if measure:
        result.measure()
    return result


def _published(name: str, table: LatencyTable | None) -> Member:
    spec, row = efficientnet.preset(name), efficientnet.PRESETS[name]
    return Member(spec, Factors(row.depth, row.width, row.resolution), table, name)


def _base(template: Template, table: LatencyTable | None) -> Member:
    return Member(template.expand(), Factors(1.0, 1.0, template.resolution), table)


def _grown(
    from_b0: bool,
    rules: Mapping[str, Coefficients],
    phis: Sequence[float],
    target: Target | None,
    table: LatencyTable | None,
    resolution_step: int | None,
    template: Template,
    *,
    beside_published: bool = False,
) -> Result:
    """Every rule at every phi or to the target, beside the EfficientNet of that phi where it is wanted."""
    members = []
    for rule, own in rules.items():
        if target is None:
            step = resolution_step or 1
            grown = [grow(template, phi=phi, coefficients=own, resolution_step=step) for phi in phis]
        else:
            grown = [_grown_to(template, target, own, table, resolution_step or RESOLUTION_STEP)]
        members += [Member(one.spec, one.factors, table, rule, one.phi, own) for one in grown]
    preset = f"b{members[0].phi:g}"
    has_published = from_b0 and target is None and len(members) == 1 and preset in efficientnet.PRESETS
    return Result(
        base=_base(template, table),
        template=template,
        grown=tuple(members),
        published=_published(preset, table) if beside_published and has_published else None,
        by_rule=len(rules) > 1,
        from_b0=from_b0,
        target=target,
    )


def _grown_to(
    template: Template, target: Target, coefficients: Coefficients, table: LatencyTable | None, step: int
) -> Grown:
    flag, value, unit = target
    model = CostModel(unit, table if unit == "ms" else None)
    try:
        return grow_to(
            template,
            cost=lambda spec: model.cost(lower(spec)),
            target=value,
            coefficients=coefficients,
            unit=("{:.3g} ms" if unit == "ms" else "{:,.0f}").format,
            resolution_step=step,
        )
    except InvalidArgument as error:
        raise InvalidArgument(f"{flag}: {error}") from None


def _target(phis: Sequence[float], values: Mapping[str, float | None]) -> Target | None:
    """The one target of `values` by unit; None to grow by phi. Raises InvalidArgument for two, or one not above 0."""
    targets = [Target(f"--target-{unit}", value, unit) for unit, value in values.items() if value is not None]
    flags = [target.flag for target in targets] + ["--phi"] * bool(phis)
    if len(flags) > 1:
        raise InvalidArgument(f"a network grows to one target or by --phi, got {' and '.join(flags)}: choose one")
    for flag, value, _ in targets:
        check_flag(flag, value, value > 0, "above 0")
    return targets[0] if targets else None


def _rules(
    compare: bool, rule: str | None, coefficients: Coefficients | str | Path | None, bases: Mapping[str, float | None]
) -> dict[str, Coefficients]:
    """By name, the coefficients to grow by. Raises InvalidArgument where they come from several places."""
    chosen = {name: value for name, value in bases.items() if value is not None}
    places = [f"--{name}" for name in chosen]
    places += [flag for flag, value in (("--rule", rule), ("--coefficients", coefficients)) if value]
    if ((rule or coefficients) and len(places) > 1) or (compare and places):
        extra = " (--compare shows every rule)" if compare else ""
        raise InvalidArgument(
            f"alpha, beta and gamma come from one place, got {' and '.join(places)}{extra}: leave the others out"
        )
    if compare:
        return {name: each.coefficients for name, each in RULES.items()}
    if rule is not None:
        check_flag("--rule", rule, rule in RULES, f"one of {', '.join(RULES)}")
        return {rule: RULES[rule].coefficients}
    if isinstance(coefficients, str | Path):
        coefficients = read_coefficients(Path(coefficients))
    return {"own": coefficients or Coefficients(**chosen)}


def _check(flags: Mapping[str, Any], phis: Sequence[float], rules: Mapping[str, Coefficients]) -> None:
    if len(rules) > 1 and len(phis) > 1:
        raise InvalidArgument(f"--compare takes one phi, got {len(phis)}: --phi {phis[0]:g}")
    count = max(len(rules), len(phis))
    for flag in ("--out", "--onnx", "--inherit", "--weights", "--epochs", "--minutes"):
        if flags[flag] and count > 1:
            raise InvalidArgument(f"{flag} writes one network, got {count}: give one --phi and no --compare with it")
    for one, other, what in (
        ("--inherit", "--weights", "a network starts from one file or from published weights"),
        ("--epochs", "--minutes", "a training has one length"),
    ):
        if flags[one] is not None and flags[other] is not None:
            raise InvalidArgument(f"{what}, got {one} and {other}: leave one of them out")
    if flags["--ema"] is not None and flags["--weights"] is None and flags["--inherit"] is None:
        raise InvalidArgument("--ema chooses among the weights of a file, got no --weights: give both or none")
    trains = flags["--epochs"] is not None or flags["--minutes"] is not None
    for flag in ("--data", "--proxy-resolution", "--augment", "--class-weights"):
        if flags[flag] is not None and not trains:
            raise InvalidArgument(f"{flag} belongs to training, got no --epochs and no --minutes: give both or none")
    if flags["--seed"] is not None and not trains and flags["--weights"] is None and flags["--inherit"] is None:
        raise InvalidArgument(
            f"--seed belongs to weights and their training, got --seed {flags['--seed']} and no --inherit, --weights, "
            "--epochs or --minutes: give one of them, or leave --seed out"
        )
    checked(flags["--augment"] or AUTO)
    check_class_weights(flags["--class-weights"] or NONE)
    if flags["--minutes"] is not None and flags["--proxy-resolution"] is not None:
        raise InvalidArgument(
            "--proxy-resolution belongs to --epochs, got --minutes, which are for the network's pixels: leave one out"
        )
    check_minutes("--minutes", flags["--minutes"])
    for flag, unit in (("--epochs", ""), ("--proxy-resolution", " px"), ("--resolution-step", " px")):
        check_flag(flag, flags[flag], flags[flag] is None or flags[flag] >= 1, f"at least 1{unit}")
