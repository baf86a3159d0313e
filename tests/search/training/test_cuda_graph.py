"""Steps as one graph, and one by one where no graph can hold them; on a GPU, test_trainer compares the weights."""

import pytest
import torch
from torch import Tensor

from search.training.cuda_graph import CudaStream, GraphedStep, Step


class Doubling(CudaStream):
    """A GPU whose graphs give twice the loss, so that they are told from steps."""

    def __init__(self) -> None:
        pass

    def run(self, step: Step, images: Tensor, target: Tensor) -> Tensor:
        return step(images, target)

    def capture(self, step: Step, images: Tensor, target: Tensor) -> Step:
        return lambda images, target: 2 * step(images, target)


class NoGraphs(Doubling):
    """A GPU that runs steps and captures none."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def capture(self, step: Step, images: Tensor, target: Tensor) -> Step:
        raise self.error


def losses(stream: CudaStream) -> list[float]:
    step = GraphedStep(lambda images, target: images.sum() + target.sum(), stream)
    values = [torch.full((2,), float(number)) for number in range(6)]
    return [float(step(value, value)) for value in values]


def test_a_few_steps_are_taken_as_they_are_and_the_others_as_one_graph() -> None:
    assert losses(Doubling()) == [0.0, 4.0, 8.0, 24.0, 32.0, 40.0]


def test_a_step_that_cannot_be_captured_goes_on_as_it_is() -> None:
    with pytest.warns(UserWarning, match="kernel by kernel, which is slower: operation not permitted") as warned:
        found = losses(NoGraphs(RuntimeError("operation not permitted when stream is capturing\nmore")))
    assert found == [4.0 * number for number in range(6)]
    assert len(warned) == 1


def test_memory_that_runs_out_while_capturing_is_no_warning() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        losses(NoGraphs(torch.OutOfMemoryError("CUDA out of memory")))
