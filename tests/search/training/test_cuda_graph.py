"""A step that no CUDA graph can hold is taken as it is (what a graph does is tested with training, on a GPU)."""

import pytest
import torch
from torch import Tensor

from search.training.cuda_graph import CudaStream, GraphedStep, Step


class NoGraphs(CudaStream):
    """A GPU that runs steps and captures none."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, step: Step, images: Tensor, target: Tensor) -> Tensor:
        return step(images, target)

    def capture(self, step: Step, images: Tensor, target: Tensor) -> Step:
        raise self.error


def losses(error: Exception) -> list[float]:
    step = GraphedStep(lambda images, target: images.sum() + target.sum(), NoGraphs(error))
    values = [torch.full((2,), float(number)) for number in range(6)]
    return [float(step(value, value)) for value in values]


def test_a_step_that_cannot_be_captured_goes_on_as_it_is() -> None:
    with pytest.warns(UserWarning, match="kernel by kernel, which is slower: operation not permitted") as warned:
        found = losses(RuntimeError("operation not permitted when stream is capturing\nmore"))
    assert found == [4.0 * number for number in range(6)]
    assert len(warned) == 1


def test_memory_that_runs_out_while_capturing_is_no_warning() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        losses(torch.OutOfMemoryError("CUDA out of memory"))
