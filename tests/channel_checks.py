"""Checks of channel groups on paper (the spec) and on real tensors, for the laws and for every kind of block."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from searchspace.channels.coupling import coupling, narrow
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.maps import unit_maps
from searchspace.errors import InvalidArgument
from searchspace.graph import Layer, lower
from searchspace.nn import build
from searchspace.nn.layers import Branches
from searchspace.spec import NetworkSpec

Groups = dict[str, ChannelGroup]


def by_name(spec: NetworkSpec) -> Groups:
    return {group.name: group for group in coupling(spec)}


def is_squeezed(group: ChannelGroup, layers: tuple[Layer, ...]) -> bool:
    return any(layers[place.layer].op == "se" for place in group.producers)


def fitting(spec: NetworkSpec, group: ChannelGroup, rng: random.Random) -> tuple[int, NetworkSpec]:
    """A count of a free group that can be kept, and the network with it."""
    for count in rng.sample(group.counts, len(group.counts)):
        try:
            return count, narrow(spec, group, count)
        except InvalidArgument as refusal:
            next_smaller = re.search(r"can be kept: (\d+)", str(refusal))
        if next_smaller:
            return int(next_smaller[1]), narrow(spec, group, int(next_smaller[1]))
    raise AssertionError(f"{group.name} is called free, but no count fits")


def check_cover(spec: NetworkSpec) -> None:
    layers, groups = lower(spec).layers, coupling(spec)
    outputs: dict[int, list[int]] = defaultdict(list)
    squeezed = Counter()
    for group in groups:
        if is_squeezed(group, layers):
            squeezed[group.name] += group.channels
        else:
            for place in group.outputs:
                outputs[place.layer] += place.positions
    assert [sorted(outputs[index]) for index in range(len(layers))] == [
        list(range(layer.out_shape[0])) for layer in layers
    ]
    assert squeezed == {layer.name: layer.squeeze_channels for layer in layers if layer.op == "se"}
    assert len({group.name for group in groups}) == len(groups)


def check_narrow(spec: NetworkSpec, group: ChannelGroup, rng: random.Random) -> tuple[int, NetworkSpec]:
    count, narrower = fitting(spec, group, rng)
    before, after = lower(spec).layers, lower(narrower).layers
    changed = {index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert changed == {place.layer for place in (*group.outputs, *group.consumers)}
    return count, narrower


def filled(spec: NetworkSpec, seed: int, *, scale: float = 1.0) -> nn.Module:
    """The network in double precision, its weights times `scale`, every batch norm and bias away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, like: Tensor) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator, dtype=torch.double)

    network = build(spec, generator=generator).double().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data = uniform(0.5, 1.5, part.weight)
            part.bias.data = uniform(0.5, 1.5, part.bias)
            part.running_mean = uniform(-0.1, 0.1, part.bias)
            part.running_var = uniform(0.5, 1.5, part.bias)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            part.weight.data *= scale
            if part.bias is not None:
                part.bias.data = uniform(0.5, 1.5, part.bias)
            else:
                _enliven(part)
    return network


def _enliven(part: nn.Module) -> None:
    """A linear layer without a bias would be silent where its activation lets no negative values pass."""
    if isinstance(part, nn.Linear):
        part.weight.data = part.weight.data.abs()


def images(spec: NetworkSpec) -> Tensor:
    shape = (2, spec.in_channels, spec.resolution, spec.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def rows_of(network: nn.Module, layer: Layer, *, squeezed: bool) -> list[Tensor]:
    """What makes a layer's output channels (an SE block's squeezed ones): the first axis of each goes over them."""
    module = network.get_submodule(layer.name)
    if layer.op == "se":
        return [module.reduce.weight, module.reduce.bias] if squeezed else []
    if layer.op == "linear":
        return list(module.parameters())
    if isinstance(module, Branches):
        parts = [(part.conv.weight, *part.norm.parameters()) for part in module.convs]
        return [values for part in (*parts, module.identity.parameters() if module.identity else ()) for values in part]
    if layer.op != "conv":
        return []
    return [module.conv.weight, *([module.norm.weight, module.norm.bias] if layer.norm else [module.conv.bias])]


@torch.no_grad()
def zero(network: nn.Module, layers: tuple[Layer, ...], group: ChannelGroup, units: set[int]) -> None:
    """Removes what the producers and the depthwise pass_through put out for `units`."""
    for place in group.outputs:
        at = [position for unit, position in zip(*place[1:], strict=True) if unit in units]
        for values in rows_of(network, layers[place.layer], squeezed=place in group.producers):
            values[at] = 0.0


def run(network: nn.Module, spec: NetworkSpec) -> tuple[dict[str, Tensor], Tensor]:
    """({layer: what it puts out; squeezed channels under the name of the layer's activation}, the logits)."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _, __, out: seen.__setitem__(name, out.clone())

    hooked = [
        name for layer in lower(spec).layers for name in (layer.name, layer.name + ".act")[: 1 + (layer.op == "se")]
    ]
    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in hooked]
    with torch.no_grad():
        logits = network(images(spec))
    for handle in handles:
        handle.remove()
    return seen, logits


def check_zero(spec: NetworkSpec, seed: int) -> None:
    layers = lower(spec).layers
    network = filled(spec, seed, scale=1e-3)
    chosen = {group: random.Random(seed).randrange(len(group.cells)) for group in coupling(spec) if not group.fixed}
    before, _ = run(network, spec)
    for group, unit in chosen.items():
        zero(network, layers, group, {unit})
    after, _ = run(network, spec)
    for group, unit in chosen.items():
        for place in group.outputs:
            name = layers[place.layer].name + ".act" * is_squeezed(group, layers)
            at = [position for member, position in zip(*place[1:], strict=True) if member == unit]
            assert not at or before[name][:, at].any(), (group.name, name)
            assert not after[name][:, at].any(), (group.name, name)


def kept_units(wide: ChannelGroup, narrower: ChannelGroup, rng: random.Random) -> list[int]:
    """For each unit of the narrower group, one of the wider in the same cell."""
    if len(wide.cells) == len(narrower.cells):
        return list(range(len(wide.cells)))
    pools: dict[object, list[int]] = defaultdict(list)
    for unit in rng.sample(range(len(wide.cells)), len(wide.cells)):
        pools[wide.cells[unit]].append(unit)
    return [pools[cell].pop() for cell in narrower.cells]


def columns(weight: Tensor, outs: Tensor, ins: Tensor, groups: tuple[int, int]) -> Tensor:
    """Rows `outs` and columns `ins` of a grouped convolution's weight as one of other groups."""
    before, after = groups
    if before == 1:
        return weight[outs][:, ins]
    rows, share = len(weight) // before, weight.shape[1]
    spread = weight.new_zeros(len(weight), share * before, *weight.shape[2:])
    for part in range(before):
        spread[part * rows :][:rows, part * share :][:, :share] = weight[part * rows :][:rows]
    parts = zip(outs.chunk(after), ins.chunk(after), strict=True)
    return torch.cat([spread[part_outs][:, part_ins] for part_outs, part_ins in parts])


@torch.no_grad()
def copy_layer(
    old: nn.Module, new: nn.Module, layer: Layer, outs: Tensor, ins: Tensor | None, inside: Tensor | None
) -> None:
    if isinstance(old, Branches):
        for part, other in zip(old.convs, new.convs, strict=True):
            copy_layer(part, other, layer, outs, ins, inside)
        if old.identity is not None:
            for name, values in new.identity.state_dict().items():
                values.copy_(old.identity.state_dict()[name][outs] if values.ndim else values)
    elif layer.op == "se":
        assert inside is not None
        new.reduce.weight.copy_(old.reduce.weight[inside][:, outs])
        new.reduce.bias.copy_(old.reduce.bias[inside])
        new.expand.weight.copy_(old.expand.weight[outs][:, inside])
        new.expand.bias.copy_(old.expand.bias[outs])
    elif layer.op == "linear":
        new.weight.copy_(old.weight[outs][:, ins])
        if old.bias is not None:
            new.bias.copy_(old.bias[outs])
    elif layer.op == "norm" and layer.scalars:
        new.load_state_dict(old.state_dict())
    elif layer.op == "conv":
        weight = old.conv.weight
        new.conv.weight.copy_(
            weight[outs] if ins is None else columns(weight, outs, ins, (old.conv.groups, new.conv.groups))
        )
        if layer.norm:
            for name, values in new.norm.state_dict().items():
                values.copy_(old.norm.state_dict()[name][outs] if values.ndim else values)
        else:
            new.conv.bias.copy_(old.conv.bias[outs])


def check_cut(spec: NetworkSpec, seed: int) -> None:
    rng, wide, layers = random.Random(seed), by_name(spec), lower(spec).layers
    narrower_spec, free = spec, [name for name, group in wide.items() if not group.fixed]
    for name in rng.sample(free, min(4, len(free))):
        group = by_name(narrower_spec)[name]
        if not group.fixed:
            _, narrower_spec = fitting(narrower_spec, group, rng)
    narrower = by_name(narrower_spec)
    kept = {name: kept_units(wide[name], narrower[name], rng) for name in wide}
    maps = unit_maps(spec, narrower_spec, origins=kept)
    assert maps is not None
    network, cut = filled(spec, seed, scale=0.3), build(narrower_spec).double().eval()
    for name, group in wide.items():
        zero(network, layers, group, set(range(len(group.cells))) - set(kept[name]))
    for index, layer in enumerate(layers):
        found = (maps.get((index, "out")), maps.get((index, "in")), maps.get((index, "inside")))
        at = [None if one is None else torch.tensor(one) for one in found]
        copy_layer(network.get_submodule(layer.name), cut.get_submodule(layer.name), layer, *at)
    (_, expected), (_, logits) = run(network, spec), run(cut, narrower_spec)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
