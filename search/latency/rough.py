"""A first idea of how fast this machine is, in a second, before there is a table."""

import time

import torch

from searchspace import zoo
from searchspace.nn import build, fold_batch_norm

_RUNS = 15


def rough_ms(pixels: int, *, threads: int | None = None) -> float:
    """Milliseconds of one image of `pixels` through a small useful network, MobileNetV3-Small, in eager torch.

    The shortest of some runs: on a busy machine the usual one took four times as long, and the deployed size that
    follows from it stays for the whole study.
    """
    module = fold_batch_norm(
        build(zoo.get("mobilenet_v3_small", resolution=pixels), generator=torch.Generator())
    ).eval()
    image = torch.zeros(1, 3, pixels, pixels).to(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        took = []
        with torch.inference_mode():
            for _ in range(2 + _RUNS):
                began = time.perf_counter()
                module(image)
                took.append(1000 * (time.perf_counter() - began))
    finally:
        torch.set_num_threads(before)
    return min(took[2:])
