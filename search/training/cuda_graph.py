"""A training step on a GPU as one CUDA graph: its several hundred kernels are launched at once."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

FEWEST_STEPS = 100  # of a training: of fewer, capturing takes what it saves
_AS_IT_IS = 3  # steps before: the optimizer has its buffers then, and libraries have their workspaces

Step = Callable[[Tensor, Tensor], Tensor]


class GraphedStep:
    """Calls `step(images, target)`, which gives its loss, as it is a few times; then what these calls launched again.

    All batches have one shape. The loss is overwritten by the next call. Whatever the step reads that changes (a
    learning rate, say) must be a tensor on the GPU. A step that cannot be captured (a module that asks the GPU for a
    number, say) is called as it is, after a warning.
    """

    def __init__(self, step: Step) -> None:
        self._step, self._calls = step, 0
        self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """The loss of one step."""
        if self._calls == _AS_IT_IS:
            try:
                self._capture(images, target)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = str(error).partition("\n")[0]
                warnings.warn(f"training steps are launched kernel by kernel, which is slower: {reason}", stacklevel=2)
        self._calls += 1
        if self._graph is None:
            return self._eager(images, target)
        self._images.copy_(images)
        self._target.copy_(target)
        self._graph.replay()
        return self._loss

    def _eager(self, images: Tensor, target: Tensor) -> Tensor:
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            loss = self._step(images, target)
        torch.cuda.current_stream().wait_stream(self._aside)
        return loss

    def _capture(self, images: Tensor, target: Tensor) -> None:
        self._images, self._target, graph = images.clone(), target.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._aside):
            self._loss = self._step(self._images, self._target)
        self._graph = graph
