"""Several processes that train one network (torchrun), as if they were one with the whole batch.

Without a process group all of this does nothing.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from searchspace.nn.build import Network
from searchspace.nn.layers import BatchNorm2d


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the other processes of torchrun, if there are any; whether this one is the first."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def processes() -> tuple[int, int]:
    """(this process's number from 0, how many there are)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def first_then_others() -> Iterator[None]:
    """What is within is done by the first process alone, then by the others: they find what it left in a cache."""
    number, count = processes()
    if number:
        dist.barrier()
    yield
    if count > 1 and not number:
        dist.barrier()


def from_first(value: float) -> float:
    """The first process's value, in all: what a clock says must be the same for all."""
    if processes()[1] == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    held = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(held, src=0)
    return float(held)


def same_start(module: nn.Module) -> None:
    """Give all processes the first one's parameters and statistics."""
    if processes()[1] > 1:
        for values in module.state_dict().values():
            dist.broadcast(values, src=0)


def mean_over_processes(values: Iterable[Tensor]) -> None:
    """Replace tensors by their means over all processes, in one exchange."""
    every = list(values)
    count = processes()[1]
    if count == 1:
        return
    flat = torch.cat([each.reshape(-1) for each in every])
    dist.all_reduce(flat)
    for each, mean in zip(every, torch.split(flat.div_(count), [each.numel() for each in every]), strict=True):
        each.copy_(mean.view(each.shape))


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes; so is its gradient, as each process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _SumOfAll.forward(ctx, gradients[0])


class JointBatchNorm(BatchNorm2d):
    """Batch norm by the mean and variance of all processes' images; equally many in each."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        if not self.training:
            return super().forward(x)
        count = x[:, 0].numel() * processes()[1]
        wide = x.float()
        mean = _SumOfAll.apply(wide.sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        centred = wide - mean[:, None, None]
        variance = _SumOfAll.apply(centred.square().sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        out: Tensor = (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
        return out


def joined(network: Network) -> Network:
    """The network, whose batch norms take the statistics of all processes' images; alone it stays as it is."""
    if processes()[1] > 1:
        for part in network.modules():
            if type(part) is BatchNorm2d:
                part.__class__ = JointBatchNorm
    return network
