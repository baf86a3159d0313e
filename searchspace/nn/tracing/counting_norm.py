"""Norms that take statistics over channels, once some of the channels are gone."""

import torch
from torch import Tensor, nn


class CountingNorm(nn.Module):
    """A LayerNorm, GroupNorm or RMSNorm that counts channels that are gone as zeros.

    So a network gives what it gave when these channels were 0. Statistics over the channels that are left alone would
    be others: with half of the channels nearly 0, all that stay would be scaled by about 0.7.

    Attributes:
        weight, bias: one for each channel (of a LayerNorm over whole maps, for each value), or None.
        counted: channels of one group as they were before any was removed.
    """

    def __init__(
        self,
        weight: nn.Parameter | None,
        bias: nn.Parameter | None,
        *,
        counted: int,
        groups: int = 1,
        dim: int = 1,
        over_pixels: bool = False,
        centred: bool = True,
        eps: float = 1e-5,
    ) -> None:
        """`dim`: where the channels are in the input. `over_pixels`: statistics are taken over pixels too.

        `centred`: the mean is subtracted (not so in RMSNorm).
        """
        super().__init__()
        self.weight, self.bias = weight, bias
        self.counted, self.groups, self.dim, self.eps = counted, groups, dim, eps
        self.over_pixels, self.centred = over_pixels, centred

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        moved = x.movedim(self.dim, 1)
        parts = moved.reshape(moved.shape[0], self.groups, moved.shape[1] // self.groups, -1)
        over = (2, 3) if self.over_pixels else (2,)
        values = parts.shape[3] if self.over_pixels else 1
        total, gone = self.counted * values, (self.counted - parts.shape[2]) * values
        mean = parts.sum(over, keepdim=True) / total if self.centred else torch.zeros_like(parts[:, :, :1, :1])
        squares = (parts - mean).square().sum(over, keepdim=True) + gone * mean.square()
        normed = ((parts - mean) * torch.rsqrt(squares / total + self.eps)).reshape(moved.shape)
        if self.weight is not None:
            normed = normed * self._spread(self.weight, normed)
        if self.bias is not None:
            normed = normed + self._spread(self.bias, normed)
        return normed.movedim(1, self.dim)

    def _spread(self, values: Tensor, x: Tensor) -> Tensor:
        """(channels,) or (channels, height, width) as it goes with (batch, channels, ...)."""
        return values if values.ndim > 1 else values.reshape(-1, *(1,) * (x.ndim - 2))
