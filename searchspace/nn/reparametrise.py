"""`reparametrise`: parallel branches as the one convolution that they are deployed as, in any network.

Convolutions of one input whose outputs are summed are one convolution: the smaller kernels stand in the middle of the
largest, a batch norm is folded, the input itself is a kernel of a single 1 (RepVGG, arXiv:2101.03697, section 3.3).
"""

import operator
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument

from searchspace.deployed import deployed
from searchspace.errors import UnsupportedModule
from searchspace.nn.build import Network
from searchspace.nn.copies import copied, first_line, in_eval_mode
from searchspace.nn.fold import FoldingTracer, defaults, fold_batch_norm, merge_branches
from searchspace.nn.layers import Branches, scale_and_shift

Module = TypeVar("Module", bound=nn.Module)
_ADDS = (operator.add, operator.iadd, torch.add, "add", "add_")


@torch.no_grad()
def reparametrise(module: nn.Module) -> nn.Module:
    """A copy in eval mode without parallel branches; its outputs equal those of `module.eval()` up to float rounding.

    A network of `searchspace.nn` stays one, of the spec `searchspace.deployed.deployed` gives. Any other module becomes
    what torch.fx traces of it, with every batch norm folded that stands behind a convolution; one without parallel
    branches is only folded. Sums count whose terms are Conv2d and BatchNorm2d modules (or chains of both) of one input
    and the input itself, of one stride and grouping, padded by (kernel - 1) / 2.
    Raises UnsupportedModule for a module that cannot be copied or traced.
    """
    if isinstance(module, Network):
        network: Network = in_eval_mode(copied(module))
        merge_branches(network)
        network.spec = deployed(network.spec)
        return network
    folded = fold_batch_norm(module)
    try:
        graph = FoldingTracer({}).trace(folded, concrete_args=defaults(folded))
    except Exception as error:  # whatever its code does with a stand-in for a tensor
        raise UnsupportedModule(
            f"the {type(module).__name__} cannot be traced by torch.fx ({first_line(error)}): reparametrise the parts "
            "of it that have branches"
        ) from error
    traced = fx.GraphModule(folded, graph, type(module).__name__)
    for node in list(graph.nodes):
        if isinstance(_module(traced, node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    if not sum([_merge(traced, node) for node in list(graph.nodes) if _is_whole_sum(node)]):
        return folded
    graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


@torch.no_grad()
def with_branches(network: Network, spec_network: Network) -> Network:
    """`spec_network`, whose deployed form has the layers of `network`, with weights that compute what `network` does.

    In each sum of branches the first convolution holds the weights and the others add nothing.
    """
    state = network.state_dict()
    for name, part in spec_network.named_modules():
        if isinstance(part, Branches):
            part.hold(state.pop(f"{name}.conv.weight"), state.pop(f"{name}.conv.bias"))
    spec_network.load_state_dict(state, strict=False)
    return spec_network.eval()


def _is_sum(node: fx.Node) -> bool:
    plain = node.op in ("call_function", "call_method") and len(node.args) == 2 and not node.kwargs
    return plain and node.target in _ADDS


def _is_whole_sum(node: fx.Node) -> bool:
    """Whether it is a sum that is no term of another one."""
    users = list(node.users)
    return _is_sum(node) and not (len(users) == 1 and _is_sum(users[0]))


def _terms(node: fx.Node) -> Iterator[Argument]:
    for term in node.args:
        inside = isinstance(term, fx.Node) and _is_sum(term) and len(term.users) == 1
        if inside:
            yield from _terms(term)  # type: ignore[arg-type]
        elif term != 0:
            yield term


def _merge(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Put one convolution in the place of the terms of a sum that can be one; whether there are such."""
    terms = list(_terms(node))
    convs = [term for term in terms if isinstance(term, fx.Node) and isinstance(_module(traced, term), nn.Conv2d)]
    for first in sorted(convs, key=lambda term: -_conv(traced, term).kernel_size[0]):
        whole = _conv(traced, first)
        alike = [term for term in terms if isinstance(term, fx.Node) and _joins(traced, term, first)]
        if len(alike) < 2 or not _is_centred(whole):
            continue
        parts = [None if term is first.args[0] else _module(traced, term) for term in alike]
        merged = _sum_of([_kernel(part, whole) for part in parts], whole)
        traced.set_submodule(str(first.target), merged)
        with node.graph.inserting_before(node):
            out: fx.Node = node.graph.call_module(str(first.target), (first.args[0],))
            for term in terms:
                if term not in alike:
                    out = node.graph.call_function(operator.add, (out, term))
        node.replace_all_uses_with(out)
        node.graph.erase_node(node)
        return True
    return False


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node alone calls, and calls nowhere else."""
    if node.op != "call_module":
        return None
    calls = sum(other.op == "call_module" and other.target == node.target for other in node.graph.nodes)
    return traced.get_submodule(str(node.target)) if calls == 1 else None


def _conv(traced: fx.GraphModule, node: fx.Node) -> nn.Conv2d:
    found = _module(traced, node)
    assert isinstance(found, nn.Conv2d)
    return found


def _is_centred(conv: nn.Conv2d) -> bool:
    (kernel, width), padding = conv.kernel_size, conv.padding
    square = kernel == width and kernel % 2 == 1 and conv.stride[0] == conv.stride[1]
    return square and padding == ((kernel - 1) // 2,) * 2 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"


def _joins(traced: fx.GraphModule, term: fx.Node, first: fx.Node) -> bool:
    """Whether a term of a sum can be part of the convolution of another one."""
    whole, source = _conv(traced, first), first.args[0]
    keeps_shape = whole.stride == (1, 1) and whole.in_channels == whole.out_channels
    if term is source:
        return keeps_shape
    part = _module(traced, term)
    if part is None or len(term.users) > 1 or term.args[0] is not source:
        return False
    if isinstance(part, nn.Conv2d):
        same = (part.stride, part.groups, part.out_channels) == (whole.stride, whole.groups, whole.out_channels)
        return same and _is_centred(part) and type(part).forward is nn.Conv2d.forward
    return keeps_shape and isinstance(part, nn.BatchNorm2d) and part.running_mean is not None


def _kernel(part: nn.Module | None, whole: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """What a term adds to the weight and the bias of the convolution; None is the input itself."""
    weight = torch.zeros_like(whole.weight)
    bias = weight.new_zeros(whole.out_channels)
    middle = weight.shape[2] // 2
    if isinstance(part, nn.Conv2d):
        edge = middle - part.kernel_size[0] // 2
        return nn.functional.pad(part.weight, (edge,) * 4), bias if part.bias is None else part.bias
    scale = torch.ones_like(bias)
    if isinstance(part, nn.BatchNorm2d):
        scale, bias = scale_and_shift(part)
    channels = torch.arange(whole.out_channels, device=weight.device)
    weight[channels, channels % weight.shape[1], middle, middle] = scale
    return weight, bias


def _sum_of(kernels: list[tuple[Tensor, Tensor]], whole: nn.Conv2d) -> nn.Conv2d:
    merged = nn.Conv2d(
        whole.in_channels,
        whole.out_channels,
        whole.kernel_size,  # type: ignore[arg-type]
        whole.stride,  # type: ignore[arg-type]
        whole.padding,  # type: ignore[arg-type]
        groups=whole.groups,
        device=whole.weight.device,
        dtype=whole.weight.dtype,
    )
    weights, biases = zip(*kernels, strict=True)
    assert merged.bias is not None
    merged.weight.copy_(torch.stack(weights).sum(0))
    merged.bias.copy_(torch.stack(biases).sum(0))
    return merged.eval()
