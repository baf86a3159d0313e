"""Batch norm folded into the convolution before it, as every inference runtime does."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from searchspace.nn.layers import ConvBNAct

Module = TypeVar("Module", bound=nn.Module)


def fold_batch_norm(module: Module) -> Module:
    """A copy of `module` in eval mode whose batch norms are folded into their convolutions.

    Its outputs equal those of `module.eval()` up to float rounding. This is the form that latency is measured in
    and that a network is deployed in.
    """
    folded = copy.deepcopy(module).eval()
    for part in folded.modules():
        norm = getattr(part, "norm", None)
        if isinstance(part, ConvBNAct) and isinstance(part.conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            part.conv = fuse_conv_bn_eval(part.conv, norm)
            del part.norm
    return folded
