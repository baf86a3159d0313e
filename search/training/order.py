"""What a training's seed decides: the order of its images and all else that is random. Splits on their device."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from search.data import Split

_ON_GPU: WeakKeyDictionary[Split, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def resident(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels and labels on the device, to be read only.

    On a CPU pixels stay where they are: photographs in a memory map, larger than memory, are read batch by batch. On a
    GPU they stay as long as the split: many short trainings copy them once.
    """
    labels = torch.tensor(split.labels)
    if device.type == "cpu":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(split.pixels), labels
    found = _ON_GPU.get(split)
    if found is None:
        found = torch.tensor(split.pixels).to(device), labels.to(device)
        if device.type == "cuda":
            _ON_GPU[split] = found
    return found


def seed_of(*parts: object) -> int:
    """A seed below 2**63 for one purpose of one training."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def global_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global state: seed it here, and leave it outside as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def batch_of(images: int, size: int, step: int, seed: int) -> Tensor:
    """The images of a step: every image once in a random order, then again in another one; a rest is left out."""
    per_order = images // size
    at = step % per_order * size
    return _order(images, seed, step // per_order)[at : at + size]


@lru_cache(maxsize=1)
def _order(images: int, seed: int, number: int) -> Tensor:
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed_of(seed, "order", number)))
