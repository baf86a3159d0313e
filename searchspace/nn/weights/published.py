"""Weights of published implementations in and out: the same network under an implementation's names."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from itertools import chain, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from searchspace.deployed import deployed, other_forms
from searchspace.errors import InvalidArgument
from searchspace.nn.build import Network, build, channels_last
from searchspace.nn.reparametrise import reparametrise, with_branches
from searchspace.nn.weights import efficientnet_lite_pytorch, timm, timm_others, torchvision
from searchspace.nn.weights.files import check_finite
from searchspace.nn.weights.names import Family, Joined, Name, Rows, Sections, sections
from searchspace.spec import Conventions, NetworkSpec
from searchspace.zoo.variants import siblings

IMPLEMENTATIONS: dict[str, tuple[Family, ...]] = {
    "torchvision": (*torchvision.FAMILIES, timm_others.RESNET),
    "timm": (*timm.FAMILIES, *timm_others.FAMILIES),
    "efficientnet_lite_pytorch": efficientnet_lite_pytorch.FAMILIES,
}
_COUNTER = "num_batches_tracked"  # files older than torch 0.4.1 have none, and no output depends on it
_NAMED = 3
Note = Callable[[str], None]


class _Part(NamedTuple):
    """A run of rows of one of our tensors, and the rows of theirs that it is; None for all."""

    ours: str
    rows: slice | None = None
    theirs: slice | None = None


class _Entry(NamedTuple):
    """A tensor's shape in their state dict, and what it is made of here, the first rows first."""

    shape: tuple[int, ...]
    parts: tuple[_Part, ...]


Entries = dict[str, _Entry]


def published_conventions(spec: NetworkSpec, implementation: str) -> Conventions:
    """The batch norm that `implementation` gives this network, and the spec's padding where it has both.

    torchvision: eps 1e-5, momentum 0.1; MobileNetV3 and EfficientNet-B5 to B7 1e-3 and 0.01; MnasNet's momentum is
    3e-4. timm: eps 1e-5, or 1e-3 with SAME padding (its tf_ networks), momentum 0.1. efficientnet_lite_pytorch: SAME
    padding, eps 1e-3, momentum 0.01. Raises InvalidArgument for a network that the implementation has no family for.
    """
    family, net = _family(spec, implementation)
    padding = family.padding or spec.conventions.padding
    eps, momentum = family.norm(net, padding)
    return replace(spec.conventions, padding=padding, norm_eps=eps, norm_momentum=momentum)


def published_names(spec: NetworkSpec, implementation: str) -> dict[str, str]:
    """Our key of each tensor by `implementation`'s, in its order; the first of several that make one of theirs.

    Raises InvalidArgument as `load_published`.
    """
    return {theirs: entry.parts[0].ours for theirs, entry in _entries(_skeleton(spec), implementation).items()}


def load_published(
    spec: NetworkSpec,
    state_dict: Mapping[str, Tensor],
    implementation: str,
    *,
    norm_eps: float | None = None,
    note: Note = lambda text: None,
) -> Network:
    """The network with the weights of a state dict of one of `IMPLEMENTATIONS`, in eval mode, float32, channels-last.

    Its spec has the implementation's batch norm and padding (`published_conventions`; `norm_eps` instead where it is
    given). Where the weights do not fit a network of the zoo but fit it under another `rounding` or
    with `fixed_ends` (implementations differ in both), the returned network and its spec are that one. Weights of the
    deployed form of a network with parallel branches become weights of its training form that compute the same, and the
    other way round; `note` is told.
    Raises InvalidArgument naming the entries that are missing, left over, of another shape or no tensors, and for a
    network that the implementation has no family for. num_batches_tracked may be missing: it is then 0.
    """
    return _load(spec, state_dict, implementation, norm_eps=norm_eps, note=note)


def load_weights(spec: NetworkSpec, state_dict: Mapping[str, Tensor], *, note: Note = lambda text: None) -> Network:
    """The network with weights under our own names, as `Network.state_dict` gives them; otherwise `load_published`.

    The conventions are the spec's.
    """
    return _load(spec, state_dict, None, note=note)


def load_any(
    spec: NetworkSpec,
    state_dict: Mapping[str, Tensor],
    *,
    norm_eps: float | None = None,
    note: Note = lambda text: None,
) -> tuple[Network, str | None]:
    """The network with weights under whatever names, for as many classes as they tell apart, and whose names they are.

    None for our own names. norm_eps: see `load_published`. Raises InvalidArgument that names what differs, by the
    names that the most entries have.
    """
    found: dict[str | None, tuple[int, int | None]] = {}
    for form in (spec, *other_forms(spec)):
        skeleton = _skeleton(form)
        for implementation in (None, *IMPLEMENTATIONS):
            try:
                entries = _entries(skeleton, implementation)
            except InvalidArgument:  # the implementation has no such network
                continue
            known = len(entries.keys() & state_dict.keys()), _misfit(state_dict, entries).classes
            found[implementation] = max(found.get(implementation, (-1, None)), known, key=lambda each: each[0])
    implementation = max(found, key=lambda each: found[each][0])
    classes = found[implementation][1] or spec.classes
    return _load(spec.with_classes(classes), state_dict, implementation, norm_eps=norm_eps, note=note), implementation


def weights_classes(spec: NetworkSpec, state_dict: Mapping[str, Tensor]) -> int:
    """How many classes weights under our own names tell apart.

    The spec's number where they differ in more than that; `load_weights` then says in what.
    """
    for candidate in chain((spec,), siblings(spec)):
        if classes := _misfit(state_dict, _entries(_skeleton(candidate), None)).classes:
            return classes
    return spec.classes


def to_published(module: Network, implementation: str) -> dict[str, Tensor]:
    """The module's weights as `implementation`'s state dict: its keys in its order, contiguous copies.

    The numbers are ours: where the implementation's batch norm has another eps than `module.spec`, or it has another
    padding, its outputs differ (train with `published_conventions` to have them equal). Raises InvalidArgument for a
    network that the implementation has no family for, and for one whose batch norms are folded.
    """
    if not isinstance(module, Network):
        raise InvalidArgument(f"to_published takes a network that searchspace.nn built, got {type(module).__name__}")
    family, _ = _family(module.spec, implementation)
    state = module.state_dict()
    entries = _entries(_skeleton(module.spec), implementation)
    if state.keys() != {part.ours for entry in entries.values() for part in entry.parts}:
        raise InvalidArgument(
            f"the module of {module.spec.name!r} has other layers than its spec (batch norms folded, parts "
            "replaced): convert the network as searchspace.nn.build made it, then fold"
        )
    published = OrderedDict(
        (key, _as_theirs(state, entry).detach().clone(memory_format=torch.contiguous_format))
        for key, entry in entries.items()
    )
    if family.version is not None:
        published._metadata = OrderedDict({"": {"version": family.version}})  # type: ignore[attr-defined]
    return published


def _as_theirs(state: Mapping[str, Tensor], entry: _Entry) -> Tensor:
    pieces = [state[ours] if rows is None else state[ours][rows] for ours, rows, _ in entry.parts]
    whole = torch.cat(pieces) if len(pieces) > 1 and entry.shape else pieces[0]
    return whole.reshape(entry.shape)


def _family(spec: NetworkSpec, implementation: str) -> tuple[Family, Sections]:
    if implementation not in IMPLEMENTATIONS:
        raise InvalidArgument(f"the implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}")
    net = sections(spec)
    fitting = {name: family for name, all_of in IMPLEMENTATIONS.items() for family in all_of if family.fits(net)}
    if implementation in fitting:
        return fitting[implementation], net
    titles = "; ".join(family.title for family in IMPLEMENTATIONS[implementation])
    others = " and ".join(map(repr, fitting)) or "no implementation known here"
    raise InvalidArgument(
        f"{implementation} has no network with the structure of {spec.name!r}; its families are: {titles}. "
        f"The structure's implementation: {others}"
    )


def _skeleton(spec: NetworkSpec) -> Network:
    with torch.device("meta"):
        return Network(spec)


def _entries(network: Network, implementation: str | None) -> Entries:
    """Their key -> our key and their shape, in their order; ours where `implementation` is None."""
    state = network.state_dict()
    if implementation is None:
        return {key: _Entry(tuple(tensor.shape), (_Part(key),)) for key, tensor in state.items()}
    family, net = _family(network.spec, implementation)
    modules = groupby(state.items(), key=lambda item: item[0].rpartition(".")[0])
    entries: Entries = {}
    for theirs, (_, tensors) in zip(family.names(net), modules, strict=True):
        for key, tensor in tensors:
            _add(entries, theirs, key, tuple(tensor.shape))
    return entries


def _add(entries: Entries, theirs: Name, ours: str, shape: tuple[int, ...]) -> None:
    """The entries for one of our tensors."""
    leaf = ours.rpartition(".")[2]
    shape = shape or (() if leaf == _COUNTER else (1,))
    if isinstance(theirs, Joined):
        count = shape[0] // len(theirs.names)
        for index, name in enumerate(theirs.names):
            rows = slice(index * count, (index + 1) * count)
            entries[f"{name}.{leaf}"] = _Entry((count, *shape[1:]), (_Part(ours, rows),))
    elif isinstance(theirs, Rows):
        key = f"{theirs.name}.{leaf}"
        before = entries.pop(key, _Entry(shape, ()))  # and to the end: behind all convolutions that it norms
        part = _Part(ours, theirs=slice(theirs.start, theirs.stop) if shape else None)
        entries[key] = _Entry((theirs.stop,) if shape else (), (*before.parts, part))
    else:
        is_pointwise = theirs in ("conv_head", "head.last_conv.0") and len(shape) == 2
        entries[f"{theirs}.{leaf}"] = _Entry((*shape, *(1, 1) * is_pointwise), (_Part(ours),))


def _load(
    spec: NetworkSpec,
    state: Mapping[str, Tensor],
    implementation: str | None,
    *,
    norm_eps: float | None = None,
    note: Note,
) -> Network:
    """The spec, or else its sibling in the zoo, with the weights that fit it or its other form."""
    if not isinstance(state, Mapping):
        raise InvalidArgument(
            f"a state dict must map names to tensors, got {type(state).__name__}: "
            "take model.state_dict(), or read a file with searchspace.nn.read_weights"
        )
    reasons = []
    for candidate in chain((spec,), siblings(spec), other_forms(spec)):
        if implementation is not None:
            conventions = published_conventions(candidate, implementation)
            eps = conventions.norm_eps if norm_eps is None else norm_eps
            candidate = candidate.with_conventions(replace(conventions, norm_eps=eps))
        network = _skeleton(candidate)
        entries = _entries(network, implementation)
        misfit = _misfit(state, entries)
        if not any(misfit):
            return _in_form_of(spec, _filled(network, entries, state), note)
        reasons.append(str(misfit))
    source = f"{implementation}'s weights" if implementation else "weights"
    raise InvalidArgument(f"these are not {source} of {spec.name!r} with {spec.classes} classes: {reasons[0]}")


def _in_form_of(spec: NetworkSpec, network: Network, note: Note) -> Network:
    """The network with its parallel branches, or deployed, as the spec has them."""
    own = network.spec
    if own.has_layers_of(spec) or not deployed(own).has_layers_of(deployed(spec)):
        return network
    forms = ("deployed", "training") if deployed(own) == own else ("training", "deployed")
    note(f"the weights are of the {forms[0]} form of {own.name} and are converted to its {forms[1]} form, exactly")
    if forms[1] == "deployed":
        converted = reparametrise(network)
        assert isinstance(converted, Network)
        return channels_last(converted)
    larger = build(replace(spec, conventions=own.conventions), generator=torch.Generator().manual_seed(0))
    return with_branches(network, larger)


class _Misfit(NamedTuple):
    """What keeps a state dict from being a network's; `classes`: its own number where that is all that differs."""

    missing: list[str]
    wrong: list[str]
    left_over: list[str]
    classes: int | None

    def __str__(self) -> str:
        found = {"missing": self.missing, "wrong": self.wrong, "left over": self.left_over}
        if self.classes:
            step = f"Give the file's number of classes: spec.with_classes({self.classes}) (--classes {self.classes})"
        else:
            step = "Give the very network that was saved (name, width, depth, classes) and the implementation that "
            step += "saved it"
        return "; ".join(f"{what}: {_first(items)}" for what, items in found.items() if items) + f". {step}"


def _misfit(state: Mapping[str, Tensor], entries: Entries) -> _Misfit:
    missing = [key for key in entries if key not in state and not key.endswith(_COUNTER)]
    left_over = [key for key in state if key not in entries]
    mistakes = {key: _mistake(key, state[key], entry.shape) for key, entry in entries.items() if key in state}
    wrong = {key: mistake for key, mistake in mistakes.items() if mistake}
    classes = None if missing or left_over else _other_classes(state, entries, wrong.keys())
    return _Misfit(missing, list(wrong.values()), left_over, classes)


def _mistake(key: str, value: object, shape: tuple[int, ...]) -> str:
    """Why `value` cannot be the entry `key` of that shape; nothing if it can."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        return f"{key} is a {type(value).__name__} and no dense tensor"
    if value.shape != shape:
        sizes = (" x ".join(map(str, each)) or "a single number" for each in (value.shape, shape))
        return "{} is {}, the network needs {}".format(key, *sizes)
    if not (value.is_floating_point() or key.endswith(_COUNTER)):
        return f"{key} is {value.dtype}, not floating-point"
    return ""


def _first(items: list[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def _other_classes(state: Mapping[str, Tensor], entries: Entries, wrong: Set[str]) -> int | None:
    """The classes of `state` if nothing but their number is wrong; every implementation ends in its classifier."""
    *_, weight, bias = entries
    if wrong != {weight, bias} or not all(isinstance(state[key], Tensor) and state[key].ndim for key in wrong):
        return None
    return state[bias].shape[0] if state[weight].shape[1:] == entries[weight].shape[1:] else None


def _filled(network: Network, entries: Entries, state: Mapping[str, Tensor]) -> Network:
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    pieces: dict[str, list[Tensor]] = {}
    for key, entry in entries.items():
        value = state[key] if key in state else torch.tensor(0)
        for ours, _, theirs in entry.parts:
            pieces.setdefault(ours, []).append(value if theirs is None else value[theirs])
    tensors = {
        ours: (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(shapes[ours])
        for ours, parts in pieces.items()
    }
    network.to_empty(device="cpu")
    network.load_state_dict(tensors)
    check_finite(network.state_dict(), f"the weights of {network.spec.name}")
    return channels_last(network).eval()
