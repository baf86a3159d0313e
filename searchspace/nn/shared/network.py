"""`SharedNetwork`: the weights of a search space's largest network, and every other network of the space in them.

A network of the space has the first channels of each layer, the middle of each kernel and the first blocks of each
stage (Once-for-all, arXiv:1908.09791; BigNAS, arXiv:2003.11142). It is an ordinary `Network` whose parameters are
views of the shared ones: it runs by the same fast code in channels-last memory, nothing is copied, and no gradient of
the full size is made for a slice.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from searchspace.errors import InvalidArgument, InvalidChoice
from searchspace.graph import lower
from searchspace.nn.build import Network, channels_last
from searchspace.spec import DEFAULT_CONVENTIONS, NetworkSpec

SLICED = ("conv", "se", "add", "pool", "linear", "maxpool", "avgpool")  # ops whose first channels are a smaller layer


class SharedNetwork:
    """The largest network, and all others in its weights.

    Raises InvalidArgument for kinds of blocks whose first channels are no smaller block of that kind: those that
    concatenate, slice, shuffle or have grouped convolutions that are not depthwise.
    """

    def __init__(self, largest: Network) -> None:
        self.network = largest
        self._modules = dict(largest.named_modules())
        self._blocks = {where: block for where, _, block in largest.spec.walk()}
        for layer in lower(largest.spec).layers:
            grouped = layer.op == "conv" and layer.groups not in (1, layer.in_shape[0])
            if layer.op not in SLICED or grouped:
                where = ".".join(layer.name.split(".")[:2])
                raise InvalidArgument(
                    f"a shared network is made of blocks whose first channels are a smaller block, and {where} is a "
                    f"{type(self._blocks[where]).__name__}: leave such stages out of the space, or judge by another "
                    "--accuracy"
                )

    @property
    def spec(self) -> NetworkSpec:
        """Of the largest network."""
        return self.network.spec

    def view(self, spec: NetworkSpec) -> Network:
        """The network of `spec` on the shared weights: its parameters change with them, its statistics are its own.

        In eval mode, with the statistics of the largest network's first channels. It has the largest network's
        conventions and preprocessing, and any activations. Raises InvalidChoice for a spec outside the shared network.
        """
        with torch.device("cpu"):
            network = Network(self._inside(spec))
        for where, module in network.named_modules():
            for name, value in module._parameters.items():  # setattr asks many questions, some hundred times a step
                if value is not None:
                    module._parameters[name] = nn.Parameter(self._part(spec, where, name, value))
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = self._part(spec, where, name, value).clone()
        return network.eval()

    def extract(self, spec: NetworkSpec) -> Network:
        """The network of `spec` with a copy of its weights, on the CPU in eval mode; see `view`."""
        return channels_last(copy.deepcopy(self.view(spec)).to("cpu"))

    def add_gradients(self, view: Network) -> None:
        """Add the gradients of a view's parameters to those of the shared ones, and take them off the view."""
        for where, module in view.named_modules():
            for name, part in module._parameters.items():
                if part is None or part.grad is None:
                    continue
                whole = self._modules[where].get_parameter(name)
                if whole.grad is None:
                    whole.grad = torch.zeros_like(whole)
                first_and_middle(whole.grad, part.shape).add_(part.grad)
                part.grad = None

    def _inside(self, spec: NetworkSpec) -> NetworkSpec:
        """The spec under the shared network's conventions."""
        largest = self.spec
        if spec.conventions not in (DEFAULT_CONVENTIONS, largest.conventions):
            raise self._outside(spec, f"it has {spec.conventions}, the shared network {largest.conventions}")
        for what in ("in_channels", "classes"):
            if getattr(spec, what) != getattr(largest, what):
                raise self._outside(spec, f"{what} must be {getattr(largest, what)}, got {getattr(spec, what)}")
        for where, _, block in spec.walk():
            own = self._blocks.get(where)
            if own is None:
                raise self._outside(spec, f"it has a block {where}, and the shared network none of that name")
            if own.reduction != block.reduction:
                raise self._outside(spec, f"{where} must have stride {own.reduction}, got {block.reduction}")
        return spec.with_conventions(largest.conventions).with_preprocessing(largest.preprocessing)

    def _part(self, spec: NetworkSpec, where: str, name: str, value: Tensor) -> Tensor:
        """The part of a shared tensor that has the shape of `value`: a view."""
        module = self._modules.get(where)
        whole: Tensor | None = getattr(module, name, None)
        if whole is None:
            raise self._outside(spec, f"it has {where}.{name}, and the shared network does not")
        if whole.ndim != value.ndim or any(one < other for one, other in zip(whole.shape, value.shape, strict=True)):
            raise self._outside(spec, f"{where}.{name} must be at most {(*whole.shape,)}, got {(*value.shape,)}")
        return first_and_middle(whole.detach(), value.shape)

    def _outside(self, spec: NetworkSpec, why: str) -> InvalidChoice:
        return InvalidChoice(
            f"the network {spec.name} is outside the shared network of {self.spec.name}: {why}; take networks of the "
            "space, or a wider space (--space)"
        )


def first_and_middle(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A view: the first channels of the first two dimensions, the middle of the others (a kernel's)."""
    for dim, size in enumerate(shape):
        values = values.narrow(dim, (values.shape[dim] - size) // 2 if dim > 1 else 0, size)
    return values
