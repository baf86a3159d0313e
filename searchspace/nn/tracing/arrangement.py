"""Where the values of a layer's output are in a tensor that was made of them by views, permutations and slices.

An arrangement is a tensor of numbers: at each place the index, in the layer's output (batch, channels, height, width),
of the value that is there. None is the output as it is. Whatever moves values is run on the numbers themselves.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from searchspace.graph import Shape

BATCH = 2  # images of the run that tells the shapes: the batch is no axis of 1


class Move(NamedTuple):
    """An op of a Graph that moves channels or pixels: its output's shape, and the fields of its Layer."""

    op: str
    out_shape: Shape
    start: int = 0
    groups: int = 1


def numbers(shape: Shape) -> Tensor:
    """The arrangement of a layer's output as it is: (BATCH, channels, height, width)."""
    return torch.arange(BATCH * prod(shape)).view(BATCH, *shape)


def as_seen(shape: Shape, result: Tensor) -> Tensor | None:
    """Where a layer's values are in a tensor that has them in their order, such as one without pixels."""
    as_is = tuple(result.shape) == (BATCH, *shape)
    return None if as_is else numbers(shape).reshape(result.shape)


def with_channels_at(shape: Shape, dim: int, seen: torch.Size) -> Tensor | None:
    """The arrangement in a tensor of the shape `seen` whose channels are at `dim`, all else being the pixels."""
    if tuple(seen) == (BATCH, *shape) and dim == 1:
        return None
    pixels = [size for place, size in enumerate(seen) if place not in (0, dim)]
    return numbers(shape).reshape(BATCH, shape[0], *pixels).movedim(1, dim)


def is_whole(found: Tensor | None, shape: Shape) -> bool:
    """Whether each value of the layer is there once."""
    return found is None or (
        found.numel() == BATCH * prod(shape)
        and keeps_batch(found, shape)
        and torch.equal(found[0].flatten().sort().values, torch.arange(prod(shape)))
    )


def keeps_batch(found: Tensor, shape: Shape) -> bool:
    """Whether the first axis is that of the images."""
    return found.ndim > 0 and len(found) == BATCH and bool((found[1] - found[0] == prod(shape)).all())


def is_flat(found: Tensor | None, shape: Shape) -> bool:
    """Whether it is (batch, values), the pixels of a channel one after the other."""
    flat = found is not None and found.ndim == 2 and found.shape[1] == prod(shape) and keeps_batch(found, shape)
    return flat and torch.equal(found[0], torch.arange(prod(shape)))  # type: ignore[index]


def channel_and_pixel(found: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """For each place, the channel and the pixel of the value there."""
    pixels = shape[1] * shape[2]
    within = found % prod(shape)
    return within // pixels, within % pixels


def find_moves(found: Tensor, shape: Shape) -> tuple[int, list[Move]] | None:
    """(the axis of the channels, what turns the layer's output into such a map); None where a Graph has no op for it.

    The axis is 1, or the last or another one if channels are whole there.
    """
    if found.ndim < 2 or not keeps_batch(found, shape):
        return None
    axes = [1, *range(found.ndim - 1, 1, -1)]
    for axis in axes:
        channel, pixel, pixels = _of_axis(found, shape, axis)
        if bool((channel == channel[:, :1]).all()):
            moves = _of_whole_channels(channel[:, 0], pixel, shape, pixels)
            return None if moves is None else (axis, moves)
    channel, _, pixels = _of_axis(found, shape, 1)
    joined, rest = divmod(shape[0], len(channel))
    runs = channel // max(1, joined) == torch.arange(len(channel))[:, None]
    if rest == 0 and channel.numel() == prod(shape) and bool(runs.all()):
        return 1, [Move("merge", (len(channel), *pixels), groups=joined)]
    return None


def _of_axis(found: Tensor, shape: Shape, axis: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Channels and pixels of the first image as (places on the axis, all others), and the size of such a map."""
    sizes = [size for place, size in enumerate(found.shape) if place not in (0, axis)]
    own = found[0].movedim(axis - 1, 0).flatten(1) if sizes else found[0][:, None]
    channel, pixel = channel_and_pixel(own, shape)
    if len(sizes) == 2:
        return channel, pixel, (sizes[0], sizes[1])
    count = prod(sizes)
    return channel, pixel, (shape[1], shape[2]) if count == shape[1] * shape[2] else (count, 1)


def _of_whole_channels(first: Tensor, pixel: Tensor, shape: Shape, pixels: tuple[int, int]) -> list[Move] | None:
    """Moves where each place on the axis of the channels has values of one channel, `first`."""
    count = len(first)
    if not bool((pixel == pixel[:1]).all()):
        times, rest = divmod(count, shape[0])
        spread = rest == 0 and torch.equal(first, torch.arange(count) // max(1, times))
        return [Move("spread", (count, *pixels), groups=times)] if spread and times > 1 else None
    moves = []
    if not torch.equal(first, torch.arange(shape[0])):
        move = next(_channel_moves(first.tolist(), shape), None)
        if move is None:
            return None
        moves.append(move)
    whole = pixel.shape[1] == shape[1] * shape[2] and torch.equal(pixel[0], torch.arange(pixel.shape[1]))
    return moves if whole else [*moves, Move("resample", (count, *pixels))]


def _channel_moves(first: list[int], shape: Shape) -> Iterator[Move]:
    count = len(first)
    if first == list(range(first[0], first[0] + count)):
        yield Move("slice", (count, *shape[1:]), start=first[0])
    part = first[1] - first[0] if count > 1 else 0
    shuffled = [channel for start in range(part) for channel in range(start, count, max(1, part))]
    if part > 1 and count == shape[0] and count % part == 0 and first == shuffled:
        yield Move("shuffle", shape, groups=count // part)
    times, rest = divmod(count, shape[0])
    if rest == 0 and times > 1 and first == [channel for channel in range(shape[0]) for _ in range(times)]:
        yield Move("spread", (count, *shape[1:]), groups=times)
