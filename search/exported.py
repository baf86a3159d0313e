"""A finished network as an ONNX model beside its spec, where the extra for it is installed."""

from importlib.util import find_spec
from pathlib import Path

from searchspace.errors import PhinasError

MISSING = "no ONNX models: pip install 'phinas[onnx]', then python -m searchspace.export FOLDER/best.json writes one"


def export_onnx(spec: Path) -> str | None:
    """Write best.onnx beside best.json, checked by ONNX Runtime; None, or one sentence that says why there is none."""
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        return MISSING
    from searchspace.export import export

    try:
        export(str(spec))
    except PhinasError as error:
        return f"no ONNX model of {spec}: {error}"
    return None
