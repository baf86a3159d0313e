"""`transfer`: a network of any spec that starts from the weights of any other one.

Blocks are matched by their place (`searchspace.channels.matching`), channels by whole coupling groups
(`searchspace.channels.correspondence`). New channels have fresh weights, and the weights that read them are 0; new
blocks with a skip start with a branch that adds nothing, as in Net2Net (arXiv:1511.05641).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from searchspace.channels.correspondence import Correspondence
from searchspace.channels.maps import Side
from searchspace.channels.matching import layer_origins, match_blocks
from searchspace.errors import InvalidArgument
from searchspace.graph import Layer, lower
from searchspace.nn.blocks import residual_norms
from searchspace.nn.blocks.mbconv import InvertedResidual
from searchspace.nn.build import Network, build
from searchspace.nn.layers import BatchNorm2d, Branches, Conv2d, ConvBNAct, SqueezeExcite
from searchspace.nn.weights.calibrate import Origins
from searchspace.nn.weights.importance import likely_gates, scores
from searchspace.nn.weights.slices import fill, weighted_parts
from searchspace.spec import DEFAULT_CONVENTIONS, NetworkSpec

EXACT = 1e-4  # of the largest logit
CRITERION = "l2"
SIDES: tuple[Side, ...] = ("out", "in", "inside")
_OPEN = 2.0  # the bias of a new SE block's gate: what it takes away, the weights behind it give back


class Transferred(NamedTuple):
    """A network in eval mode with another one's weights.

    Attributes:
        network: The new network.
        difference: Of its logits from the parent's on noise, as a share of the largest; None for other classes.
        reasons: What could not be kept.
        origins: Where the channels of each layer with a batch norm come from, for `calibrate`.
    """

    network: Network
    difference: float | None
    reasons: tuple[str, ...]
    origins: Origins = MappingProxyType({})

    @property
    def exact(self) -> bool:
        """Whether it computes what the parent does."""
        return self.difference is not None and self.difference <= EXACT


@torch.no_grad()
def transfer(
    parent: Network, spec: NetworkSpec, *, generator: torch.Generator, criterion: str = CRITERION
) -> Transferred:
    """A network of `spec` with the weights of `parent`, which stays as it is.

    The network has the parent's preprocessing, and the parent's conventions (padding, eps of batch norm) unless the
    spec sets other than the default ones: at 64 px EfficientNet-Lite0 loses 9 of 59 points with another padding. So
    `network.spec`, which belongs to the weights, may have another fingerprint than `spec`, which a study prices: its
    layers, parameters and MACs are the same. Where the spec sets an eps, batch norm's scales make it good.

    Where blocks, kernels, channels, SE or strides differ, the batch-norm statistics are no longer those of the maps:
    `calibrate` sets them, and fits the 1x1 convolutions, by a hundred images. Fresh weights are drawn from `generator`;
    `criterion` says which channels stay (`importance.scores`). Raises InvalidArgument for another number of input
    channels.
    """
    if spec.in_channels != parent.spec.in_channels:
        raise InvalidArgument(
            f"the parent {parent.spec.name} reads {parent.spec.in_channels} channels, the network {spec.in_channels}: "
            "give images of as many channels, or weights of such a network"
        )
    if spec.conventions == DEFAULT_CONVENTIONS:
        spec = spec.with_conventions(parent.spec.conventions)
    network = build(spec.with_preprocessing(parent.spec.preprocessing), generator=generator)
    move = _Move(parent, network, criterion)
    move.fill_layers()
    _keep_scale(network, parent.spec.conventions.norm_eps - spec.conventions.norm_eps)
    move.start_added_blocks()
    move.open_new_gates()
    reasons = tuple(move.reasons())
    difference = None
    if spec.classes == parent.spec.classes:
        was_training = parent.training
        difference = difference_of(parent.eval(), network.eval())
        parent.train(was_training)
    return Transferred(network.eval(), difference, reasons, move.carried)


class _Move:
    """One transfer at work."""

    def __init__(self, parent: Network, network: Network, criterion: str) -> None:
        self.parent, self.network = parent, network
        self.theirs, self.layers = lower(parent.spec).layers, lower(network.spec).layers
        self.blocks = match_blocks(parent.spec, network.spec)
        self.origins = layer_origins(self.theirs, self.layers, self.blocks)
        if parent.spec.classes != network.spec.classes:
            self.origins[max(index for index, layer in enumerate(self.layers) if layer.weights)] = None
        self.index = {layer.name: index for index, layer in enumerate(self.layers)}
        self.channels = Correspondence(
            parent.spec, network.spec, self.origins, lambda group: scores(parent, group, criterion)
        )
        self.bare: Counter[str] = Counter()
        self.carried: dict[str, tuple[str, Tensor]] = {}

    def fill_layers(self) -> None:
        """Every layer that has an origin takes over its weights, and of an SE block before it that is gone the gate."""
        for index, (layer, origin) in enumerate(zip(self.layers, self.origins, strict=True)):
            if not layer.weights or origin is None:
                continue
            outs, ins, inside = (self._map(index, side) for side in SIDES)
            if layer.groups == layer.in_shape[0] > 1:
                ins = None
            module, other = (net.get_submodule(each.name) for net, each in self._both(index, origin))
            scale = self._gate_behind(index, origin)
            if _forms(module) != _forms(other):
                if index not in self.channels.unread:
                    _fill_merged(module, other, outs, ins, scale)
                continue
            targets = weighted_parts(module, outs, ins, inside)
            for (target, rows, columns), (source, _, _) in zip(
                targets, weighted_parts(other, None, None, None), strict=True
            ):
                if index in self.channels.unread and not isinstance(target, nn.BatchNorm2d):
                    continue  # it reads what its origin knows nothing of: fresh weights
                fill(source, target, rows, columns, scale if isinstance(target, (nn.Conv2d, nn.Linear)) else None)
                if isinstance(target, nn.BatchNorm2d):
                    channels = torch.arange(target.num_features) if rows is None else rows
                    self.carried[layer.name] = (self.theirs[origin].name, channels)

    def _both(self, index: int, origin: int) -> tuple[tuple[Network, Layer], tuple[Network, Layer]]:
        return (self.network, self.layers[index]), (self.parent, self.theirs[origin])

    def _map(self, index: int, side: Side) -> Tensor | None:
        found = self.channels.maps.get((index, side))
        return None if found is None else torch.tensor(found)

    def _gate_behind(self, index: int, origin: int) -> Tensor | None:
        """The likely gates of the SE block that the parent's layer reads and the new one does not."""
        before = self.theirs[origin].inputs[0]
        return likely_gates(self.parent, before) if self._lost_gate(index, origin) else None

    def _lost_gate(self, index: int, origin: int) -> bool:
        before, now = self.theirs[origin].inputs[0], self.layers[index].inputs[0]
        return before >= 0 and self.theirs[before].op == "se" and (now < 0 or self.layers[now].op != "se")

    def open_new_gates(self) -> None:
        """A new SE block lets everything through: what it takes away, the weights behind it give back."""
        for layer in self.layers:
            source = layer.inputs[0]
            if layer.weights and source >= 0 and self.layers[source].op == "se" and self.origins[source] is None:
                block = self.network.get_submodule(self.layers[source].name)
                assert isinstance(block, SqueezeExcite)
                (conv, *_), *_ = weighted_parts(self.network.get_submodule(layer.name), None, None, None)
                conv.get_parameter("weight").div_(_open(block))

    def start_added_blocks(self) -> None:
        """Blocks that the parent has not change nothing, as far as their layers allow."""
        for match in self.blocks:
            module = self.network.get_submodule(match.name)
            norm = next(residual_norms(module), None)
            if not match.added:
                start = self.index.get(f"{match.name}.start")
                if start is not None and self.origins[start] is None:
                    _as_identity(self.network.get_submodule(f"{match.name}.start"))
                expand = self.index.get(f"{match.name}.expand")
                if expand is not None and self.origins[expand] is None:
                    self._route(expand, expand, signs=(1,))
            elif norm is not None:
                norm.weight.zero_()
                norm.bias.zero_()
            elif match is not self.blocks[-1]:
                self._pass_on(match.name, module)
                self.bare[match.name.partition(".")[0]] += 1

    def _pass_on(self, name: str, module: nn.Module) -> None:
        """A block without a skip hands on its input, as far as activations, groups and strides allow."""
        sums = [part for part in module.modules() if isinstance(part, Branches)]
        inside = {conv for part in sums for conv in part.convs}
        for part in module.modules():
            if isinstance(part, ConvBNAct) and part not in inside:
                _as_identity(part)
        for part in sums:
            weight = nn.init.dirac_(torch.empty_like(part.weight), groups=part.groups)
            part.hold(weight, weight.new_zeros(len(weight)))
        project, expand = self.index.get(f"{name}.project"), self.index.get(f"{name}.expand")
        if not isinstance(module, InvertedResidual) or project is None:
            return
        width = self.layers[project].in_shape[0]
        if expand is None:
            self._route(project, self.index[f"{name}.depthwise"], signs=(1,))
            return
        # act(x) - act(-x) is x for every activation here, so each channel goes through twice where there is room.
        channels = self.layers[expand].in_shape[0]
        signs = (1, -1) if width >= 2 * channels else (1,)
        weight = self.network.get_submodule(f"{name}.expand.conv").get_parameter("weight")
        for at, sign in enumerate(signs):
            rows = weight[at * channels : (at + 1) * channels]
            rows.zero_()
            rows[:, :, 0, 0].diagonal().fill_(sign)
        self._route(project, expand, signs=signs)

    def _route(self, layer: int, reads: int, *, signs: Sequence[int]) -> None:
        """A 1x1 convolution hands on the channels that go into layer `reads`, to where the parent has them.

        They stand there once for each sign, one run behind the other.
        """
        part = self.network.get_submodule(self.layers[layer].name)
        assert isinstance(part, ConvBNAct)
        _as_identity(part)
        weight = part.conv.get_parameter("weight")[:, :, 0, 0]
        channels = self.layers[reads].in_shape[0]
        side: Side = "out" if self.layers[reads].groups > 1 else "in"
        routes = self.channels.routes((layer, "out"), (reads, side))
        for row, at in enumerate(range(len(weight)) if routes is None else routes):
            if 0 <= at < min(channels, weight.shape[1]):
                weight[row] = 0.0
                for run, sign in enumerate(signs):
                    weight[row, run * channels + at] = sign

    def reasons(self) -> Iterator[str]:
        """What could not be kept, in words."""
        if all(match.origin is None for match in self.blocks[:-1]):
            yield f"no block of {self.parent.spec.name} has a counterpart: fresh weights"
            return
        for name, count in self.bare.items():
            blocks = f"{count} new block{'s' * (count > 1)}"
            yield f"stage {name}: {blocks} without a skip, set as near to the identity as it goes"
        if self.channels.by_position:
            yield (
                "its channels cannot keep their groups (it has other layers, or groups and shuffles that order "
                "channels in another way)"
            )
        for index in sorted(self.channels.unread):
            yield f"{self.layers[index].name} reads another stage than in the parent: fresh weights"
        yield from self._losses()
        if self.parent.spec.classes != self.network.spec.classes:
            yield f"a new head: {self.network.spec.classes} classes for {self.parent.spec.classes}"

    def _losses(self) -> Iterator[str]:
        used = {match.origin for match in self.blocks if not match.added}
        gone = [name for name, _, _ in self.parent.spec.walk() if name not in used]
        own = {match.name for match in self.blocks if not match.added}
        kept = [
            (index, at)
            for index, at in enumerate(self.origins)
            if at is not None and self.layers[index].weights and _block_of(self.layers[index]) in own
        ]
        pairs = [(self.layers[index], self.theirs[at]) for index, at in kept]
        gates = sum(self._lost_gate(index, at) for index, at in kept)
        taken = {at for _, at in kept}
        of_used = [at for at, layer in enumerate(self.theirs) if layer.op == "conv" and _block_of(layer) in used]
        counts = {
            "block left out": len(gone),
            "layer left out": sum(at not in taken for at in of_used),
            "layer with fewer channels": sum(one.out_shape[0] < other.out_shape[0] for one, other in pairs),
            "kernel cut to its middle": sum(one.kernel < other.kernel for one, other in pairs),
            "SE block left out": gates,
            "activation exchanged": sum(one.activation != other.activation for one, other in pairs),
            "stride moved": sum(one.stride != other.stride for one, other in pairs),
        }
        for what, count in counts.items():
            if count:
                first, _, rest = what.partition(" ")
                noun = what if count == 1 else {"SE": "SE blocks left out"}.get(first, f"{first}s {rest}")
                yield f"{count} {noun}"


def _block_of(layer: Layer) -> str:
    return ".".join(layer.name.split(".")[:2])


def _forms(module: nn.Module) -> tuple[int, bool] | None:
    """The numbers of branches; None where there are none."""
    return (len(module.convs), module.identity is not None) if isinstance(module, Branches) else None


def _fill_merged(
    module: nn.Module, other: nn.Module, outs: Tensor | None, ins: Tensor | None, scale: Tensor | None
) -> None:
    """Weights of parallel branches for other ones, or for the one convolution of the deployed form, or back."""
    target, source = (part.merged() if isinstance(part, Branches) else part for part in (module, other))
    assert isinstance(target, ConvBNAct)
    assert isinstance(source, ConvBNAct)
    fill(source.conv, target.conv, outs, ins, scale)
    if isinstance(module, Branches):
        module.hold(target.conv.get_parameter("weight"), target.conv.get_parameter("bias"))


def _as_identity(part: nn.Module) -> None:
    """Channel i becomes channel i, as far as groups allow; batch norm changes nothing in eval mode."""
    assert isinstance(part, ConvBNAct)
    conv = part.conv
    assert isinstance(conv, Conv2d)
    fresh = conv.weight[conv.in_channels :].clone() if conv.groups == 1 else conv.weight[:0]
    nn.init.dirac_(conv.weight, groups=conv.groups)
    if len(fresh):
        conv.weight[conv.in_channels :] = fresh
    if conv.bias is not None:
        conv.bias.zero_()
    if hasattr(part, "norm"):
        assert isinstance(part.norm, BatchNorm2d)
        part.norm.reset_running_stats()
        part.norm.bias.zero_()
        part.norm.weight.fill_((1.0 + part.norm.eps) ** 0.5)


def _open(block: SqueezeExcite) -> float:
    """Make an SE block's gates the same for every image, and say what they are."""
    nn.init.zeros_(block.expand.weight)
    assert block.expand.bias is not None
    nn.init.constant_(block.expand.bias, _OPEN)
    gate: Tensor = block.gate(torch.tensor(_OPEN))
    return float(gate)


def _keep_scale(network: Network, eps: float) -> None:
    """Batch norm with its own eps scales as with `eps` more."""
    for part in network.modules():
        if eps and isinstance(part, BatchNorm2d):
            assert part.running_var is not None
            own = part.running_var + part.eps
            part.weight.mul_((own / (own + eps)).sqrt())


@torch.no_grad()
def difference_of(parent: Network, network: Network) -> float:
    """The largest difference of logits on noise, as a share of the largest logit; inf for no numbers."""
    spec = parent.spec
    pixels = max(spec.resolution, network.spec.total_stride)
    shape = (2, spec.in_channels, pixels, pixels)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected, found = parent(images), network(images)
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    return difference if difference == difference else float("inf")
