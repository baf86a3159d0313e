"""A step that no CUDA graph can hold is taken as it is (what a graph does is tested with training, on a GPU)."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from search.training.cuda_graph import GraphedStep


class Stream:
    def wait_stream(self, other: object) -> None:
        pass


def test_a_step_that_cannot_be_captured_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: GraphedStep, images: Tensor, target: Tensor) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(GraphedStep, "_capture", refuse)
    step = GraphedStep(lambda images, target: images.sum() + target.sum())
    values = [torch.full((2,), float(number)) for number in range(6)]
    with pytest.warns(UserWarning, match="kernel by kernel, which is slower: operation not permitted") as told:
        losses = [float(step(value, value)) for value in values]
    assert losses == [4.0 * number for number in range(6)]
    assert len(told) == 1
