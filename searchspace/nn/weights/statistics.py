"""Batch-norm statistics taken again: what a network needs whose weights came from elsewhere."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def renew_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the statistics of every batch norm by plain means over `batches` (batch, channels, height, width).

    The batches are normalised as the module's input is; some hundred images are enough. Each layer sees what the
    layers before it make of the batch's own statistics, as in training. The module is in eval mode afterwards; its
    parameters stay. Without a batch nothing changes but the mode.
    """
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for number, batch in enumerate(batches):
            if not number:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a plain mean over the batches
                    norm.train()
            module(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
