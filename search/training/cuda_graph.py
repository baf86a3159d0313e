"""A training step on a GPU as one CUDA graph: its several hundred kernels are launched at once."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_STEPS = 3  # before the capture: the optimizer has its buffers then, and libraries have their workspaces

Step = Callable[[Tensor, Tensor], Tensor]


class CudaStream:
    """A side stream of the GPU: runs a step as it is, or captures it as a graph."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def run(self, step: Step, images: Tensor, target: Tensor) -> Tensor:
        """The loss of one step, kernel by kernel."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = step(images, target)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def capture(self, step: Step, images: Tensor, target: Tensor) -> Step:
        """The same step as one graph. Raises RuntimeError where that cannot be."""
        own_images, own_target, graph = images.clone(), target.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            loss = step(own_images, own_target)

        def replay(images: Tensor, target: Tensor) -> Tensor:
            own_images.copy_(images)
            own_target.copy_(target)
            graph.replay()
            return loss

        return replay


class GraphedStep:
    """Calls `step(images, target) -> loss` as it is a few times, then as one graph that was captured from it.

    All batches have one shape, and the loss is overwritten by the next call. What the step reads that changes (a
    learning rate, say) must be a tensor on the GPU. A step that cannot be captured (it asks the GPU for a number, say)
    is called as it is, after a warning.
    """

    def __init__(self, step: Step, stream: CudaStream | None = None) -> None:
        self._step, self._stream = step, stream or CudaStream()
        self._graph: Step | None = None
        self._calls = 0

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """The loss of one step."""
        if self._calls == EAGER_STEPS:
            try:
                self._graph = self._stream.capture(self._step, images, target)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = str(error).partition("\n")[0]
                warnings.warn(f"training steps are launched kernel by kernel, which is slower: {reason}", stacklevel=2)
        self._calls += 1
        if self._graph is None:
            return self._stream.run(self._step, images, target)
        return self._graph(images, target)
