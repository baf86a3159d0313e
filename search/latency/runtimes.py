"""The runtimes by name. A new one is one file with a class like those here (search.latency.interleave.Runtime) and a
line in `runtime`; tests/search/test_runtimes.py says what it must do."""

from typing import NamedTuple

from search.latency.interleave import Runtime
from searchspace.errors import InvalidArgument, InvalidTable, PhinasError
from searchspace.latency import Identity

# --runtime, --device and --dtype: what a table's identity calls them
RUNTIMES = {"eager": "eager torch", "compile": "torch.compile", "onnxruntime": "onnxruntime", "openvino": "openvino"}
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
DEVICES = ("cpu", "cuda", "mps")
DTYPES_OF = {
    "eager": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "fp16"),
}


def check_kernels(name: str) -> None:
    """Raises InvalidArgument for a runtime that cannot say what a layer takes."""
    if name == "compile":
        raise InvalidArgument(
            "torch.compile does not say what a layer takes, so a table for it is made from whole networks: python -m "
            "search.latency build --out eager.json, then python -m search.latency adapt --latency eager.json --runtime "
            "compile --out compiled.json, and --latency compiled.json uses it"
        )


class Setting(NamedTuple):
    """What a table was measured with, in the words of the flags."""

    name: str = "eager"
    device: str = "cpu"
    dtype: str = "fp32"


def runtime(name: str = "eager", *, threads: int | None = None, device: str = "cpu", dtype: str = "fp32") -> Runtime:
    """The runtime `name` on `device` with `threads` threads (None: as many as torch uses in this process), computing
    in `dtype`.

    Raises InvalidArgument for an unknown name, a number of threads below 1, a device or dtype that is not here or that
    the runtime does not have, and a runtime that is not installed.
    """
    if threads is not None and threads < 1:
        raise InvalidArgument(f"threads must be at least 1, got {threads}")
    if name not in RUNTIMES:
        raise InvalidArgument(f"the runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    if dtype not in DTYPES_OF[name]:
        raise InvalidArgument(f"the dtypes of the runtime {name} are {', '.join(DTYPES_OF[name])}, got {dtype!r}")
    _check_device(name, device)
    import torch

    if name == "onnxruntime":
        from search.latency.onnx_runtime import OnnxRuntime

        return OnnxRuntime(threads or torch.get_num_threads(), DTYPES[dtype])
    if name == "openvino":
        from search.latency.openvino_runtime import OpenVino

        return OpenVino(threads or torch.get_num_threads(), DTYPES[dtype])
    if name == "compile":
        from search.latency.compiled import Compiled

        return Compiled(device, DTYPES[dtype], threads)
    from search.latency.eager import Eager

    return Eager(device, DTYPES[dtype], threads)


def _check_device(name: str, device: str) -> None:
    import torch

    if name not in ("eager", "compile") and device != "cpu":
        raise InvalidArgument(
            f"the runtime {name} is measured on the cpu, got device {device!r}: choose --runtime eager or compile"
        )
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(device):
        here = ", ".join(one for one in DEVICES if found[one])
        raise InvalidArgument(
            f"the device must be one that torch {torch.__version__} finds here ({here}), got {device!r}: install a "
            "torch that was built for it, or choose --device cpu"
        )


def setting_of(identity: Identity) -> Setting:
    """What a table was measured with. Raises InvalidTable for what is not known here."""
    title, _, device = identity["runtime"].partition(" on ")
    names = [name for name, known in RUNTIMES.items() if known == title]
    dtypes = [dtype for dtype, known in DTYPES.items() if known == identity["dtype"]]
    if not names or not dtypes:
        raise InvalidTable(
            f"networks can be measured with {', '.join(RUNTIMES.values())} in {', '.join(DTYPES.values())}, the table "
            f"is of {identity['runtime']!r} in {identity['dtype']}: measure one of those with "
            "python -m search.latency build"
        )
    return Setting(names[0], device or "cpu", dtypes[0])


def is_here(identity: Identity) -> bool:
    """Whether this process can measure what a table of this identity predicts: the same machine and setting."""
    try:
        return runtime_of(identity).identity(identity["resolution"]) == identity
    except PhinasError:
        return False


def runtime_of(identity: Identity) -> Runtime:
    """The runtime of a table of this identity. Raises InvalidTable."""
    name, device, dtype = setting_of(identity)
    return runtime(name, threads=identity["threads"], device=device, dtype=dtype)
