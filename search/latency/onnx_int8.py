"""ONNX models in int8, by ONNX Runtime's own static quantisation."""

import tempfile
from pathlib import Path
from typing import Any


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
    """An image of noise for every input, by name."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in model.graph.input}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
