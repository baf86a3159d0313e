"""OpenVINO on the CPU: its latency hint, one stream, batch 1; in less than float32 only where asked for."""

from collections.abc import Callable
from typing import Any

from search.latency.onnx_models import Feeds, OnnxModels, Run, timed
from search.latency.runtimes import RuntimeInfo
from searchspace.errors import InvalidArgument

WARM_RUNS = 2
PROFILED_RUNS = 12
KEPT_RUNS = 9  # the fastest
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVino(OnnxModels):
    """The runtime `openvino` (see search.latency.interleave.Runtime)."""

    title = "openvino"
    extra = "openvino"

    def __init__(self, device: str, dtype: str, threads: int) -> None:
        """Raises InvalidArgument where openvino is not installed or the processor does not have the dtype."""
        super().__init__(device, dtype, threads)
        self._core = self._package.Core()
        has = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if _PRECISIONS[dtype] != "f32" and {"bfloat16": "BF16", "float16": "FP16"}[dtype] not in has:
            raise InvalidArgument(f"OpenVINO has no {dtype} on this processor, only {', '.join(has)}: choose fp32")

    def load(self, model: bytes) -> Callable[[Feeds], object]:
        """See OnnxModels."""
        request = self._request(model)
        return lambda feeds: request.infer(feeds)

    def profile(self, model: bytes, feeds: Feeds) -> list[Run]:
        """See OnnxModels; in microseconds, one run: the sum of the fastest.

        OpenVINO tells each node's mean over all runs so far, in whole microseconds.
        """
        request = self._request(model, PERF_COUNT=True)
        executed = self._package.ProfilingInfo.Status.EXECUTED
        runs: list[tuple[int, list[int]]] = []
        before: list[int] = []
        for count in range(1, WARM_RUNS + PROFILED_RUNS + 1):
            ns = timed(request.infer, feeds)
            nodes = request.get_profiling_info()
            totals = [count * round(node.real_time.total_seconds() * 1e6) for node in nodes]
            if count > WARM_RUNS:
                runs.append((ns, [after - ago for after, ago in zip(totals, before, strict=True)]))
            before = totals
        fastest = [times for _, times in sorted(runs)[:KEPT_RUNS]]
        sums = [max(0, sum(times)) for times in zip(*fastest, strict=True)]
        return [
            [
                (f"Reorder {node.node_name}" if node.node_type == "Reorder" else node.node_name, us)
                for node, us in zip(nodes, sums, strict=True)
                if node.status == executed
            ]
        ]

    def _request(self, model: bytes, **more: bool) -> Any:
        setting = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._dtype],
            **more,
        }
        return self._core.compile_model(self._core.read_model(model), "CPU", setting).create_infer_request()


RUNTIME = RuntimeInfo(OpenVino.title, ("fp32", "bf16", "fp16"), OpenVino, uses_onnx=True)
