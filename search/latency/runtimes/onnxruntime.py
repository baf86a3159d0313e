"""ONNX Runtime on the CPU: all its graph optimisations, float32 or int8, batch 1."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.latency.onnx_models import Feeds, OnnxModels, Run
from search.latency.runtimes import RuntimeInfo

PROFILED_RUNS = 12


class OnnxRuntime(OnnxModels):
    """The runtime `onnxruntime` (see search.latency.interleave.Runtime).

    Every session has `threads` threads of its own, which stop spinning when its call returns: those of idle sessions
    would spin beside the timed one.
    """

    title = "onnxruntime"
    extra = "onnx"

    def prepared(self, model: bytes) -> bytes:
        """See OnnxModels."""
        return quantised(model) if self._dtype == "int8" else model

    def load(self, model: bytes) -> Callable[[Feeds], object]:
        """See OnnxModels."""
        session = self._session(model)
        return lambda feeds: session.run(None, feeds)

    def profile(self, model: bytes, feeds: Feeds) -> list[Run]:
        """See OnnxModels; in microseconds."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._session(model, enable_profiling=True, profile_file_prefix=str(Path(folder) / "profile"))
            for _ in range(PROFILED_RUNS + 2):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        runs: list[Run] = [[]]
        for event in events:
            if event["name"] == "model_run":  # stands behind its nodes
                runs.append([])
            elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                name = event["name"]
                if name.startswith("Transpose"):  # ours are named by their layer; these are of int8
                    name = f"Reorder {name}"
                runs[-1].append((name, event["dur"]))
        return runs[2:-1]

    def _session(self, model: bytes, **more: object) -> Any:
        options = self._package.SessionOptions()
        options.add_session_config_entry("session.force_spinning_stop", "1")
        for name, value in {"intra_op_num_threads": self._threads, "log_severity_level": 3, **more}.items():
            setattr(options, name, value)
        return self._package.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantised(model: bytes) -> bytes:
    """The model with int8 weights and activations, calibrated on one image of noise.

    Ranges move accuracy, not latency: a network that is to be used is calibrated on images of its task.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, feeds: dict[str, Any]) -> None:
            self._images = iter([feeds])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._images, None)

    whole = onnx.load_from_string(model)
    add_pre_process_metadata(whole)  # its batch norms are folded already
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(whole, path, Noise(_noise(whole)), quant_format=QuantFormat.QDQ)
        return path.read_bytes()


def _noise(model: Any) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in model.graph.input}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


RUNTIME = RuntimeInfo(OnnxRuntime.title, ("fp32", "int8"), OnnxRuntime, uses_onnx=True)
