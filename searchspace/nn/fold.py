"""Batch norm folded into the convolution before it, as every inference runtime does."""

import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from searchspace.nn.copies import copied, in_eval_mode, with_plain_weights
from searchspace.nn.layers import Branches, ConvBNAct

Module = TypeVar("Module", bound=nn.Module)
_NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
    nn.Linear: nn.BatchNorm1d,
}


def fold_batch_norm(module: Module) -> Module:
    """A copy of `module` in eval mode whose batch norms are folded into their convolutions, parallel branches into one.

    Its outputs equal those of `module.eval()` up to float rounding. This is the form that latency is measured in
    and that a network is deployed in. In a module of your own, batch norms are folded that torch.fx finds behind a
    convolution or linear layer whose output nothing else reads, and an identity takes their place; weights that are
    computed in each call (masks of torch.nn.utils.prune, weight_norm, parametrizations) become plain. TorchScript is
    frozen. Raises UnsupportedModule for a module that cannot be copied.
    """
    folded = in_eval_mode(copied(module))
    if isinstance(folded, torch.jit.ScriptModule):
        return torch.jit.freeze(folded)  # type: ignore[no-any-return]
    with_plain_weights(folded)
    merge_branches(folded)
    for part in folded.modules():
        norm = getattr(part, "norm", None)
        if isinstance(part, ConvBNAct) and isinstance(part.conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            part.conv = fuse_conv_bn_eval(part.conv, norm)
            del part.norm
    fused: dict[nn.Module, nn.Module] = {}
    for weighted, norm in list(_pairs(folded)):
        fused[weighted], fused[norm] = _fused(weighted, norm), nn.Identity()
    for part in list(folded.modules()) if fused else ():
        for name, child in list(part._modules.items()):
            if child in fused:
                setattr(part, name, fused[child])
    return folded


def merge_branches(module: nn.Module) -> None:
    """Put one convolution in the place of parallel branches of this project's networks."""
    for part in list(module.modules()):
        for name, child in part.named_children():
            if isinstance(child, Branches):
                setattr(part, name, child.merged())


def _fused(weighted: Any, norm: Any) -> nn.Module:
    if isinstance(weighted, nn.Linear):
        return fuse_linear_bn_eval(weighted, norm)
    transposed = isinstance(weighted, nn.modules.conv._ConvTransposeNd)
    fused: nn.Module = fuse_conv_bn_eval(weighted, norm, transpose=transposed)
    return fused


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Convolutions and linear layers, each with the batch norm that alone reads its output."""
    graph, opaque = _calls(module)
    names = Counter(id(part) for _, part in module.named_modules(remove_duplicate=False))
    for child in opaque:
        yield from ((one, norm) for one, norm in _pairs(child) if names[id(one)] == names[id(norm)] == 1)
    nodes = list(graph.nodes) if graph else []
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    stored = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}
    for node in nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1:
            first, second = (module.get_submodule(str(each.target)) for each in (source, node))
            once = all(calls[str(each.target)] == 1 and each.target not in stored for each in (source, node))
            if once and _folds(first, second):
                yield first, second


def _folds(weighted: nn.Module, norm: nn.Module) -> bool:
    kind = next(
        (kind for kind in _NORMS if isinstance(weighted, kind) and type(weighted).forward is kind.forward), None
    )
    return (
        kind is not None
        and isinstance(norm, _NORMS[kind])
        and type(norm).forward is nn.modules.batchnorm._BatchNorm.forward
        and norm.running_mean is not None
        and not any((each._forward_hooks or each._forward_pre_hooks) for each in (weighted, norm))
    )


def _calls(module: nn.Module) -> tuple[fx.Graph | None, list[nn.Module]]:
    """The calls of a module, those of its parts that torch.fx cannot look into, and None where it is the module."""
    opaque: dict[str, nn.Module] = {}
    while True:
        tracer = FoldingTracer(opaque)
        try:
            return tracer.trace(module, concrete_args=defaults(module)), list(opaque.values())
        except Exception:  # whatever its code does with a stand-in for a tensor
            name, part = next(reversed(tracer.inside), ("", module))
            if part is module:
                return None, [child for child in module.children() if not isinstance(child, torch.jit.ScriptModule)]
            opaque[name] = part


def defaults(module: nn.Module) -> dict[str, Any] | None:
    """What the arguments of its forward beside the first are where they are not given; for torch.fx."""
    _, *others = inspect.signature(type(module).forward).parameters.values()
    return {each.name: each.default for each in others[1:] if each.default is not each.empty} or None


class FoldingTracer(fx.Tracer):
    """Looks into modules, but not into `opaque` ones, convolutions and batch norms."""

    def __init__(self, opaque: dict[str, nn.Module]) -> None:
        super().__init__()
        self._opaque = opaque
        self.inside: list[tuple[str, nn.Module]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """See fx.Tracer."""
        known = isinstance(m, (torch.jit.ScriptModule, ConvBNAct, *_NORMS))
        return known or module_qualified_name in self._opaque or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """See fx.Tracer; `inside` are the modules that are being looked into, and stays where one fails."""
        self.inside.append((self.path_of_module(m), m))
        found = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return found
