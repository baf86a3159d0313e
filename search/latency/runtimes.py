"""The runtimes by name. A new one is one file with a class like those here (search.latency.interleave.Runtime) and a
line in `runtime`; tests/search/test_runtimes.py says what it must do."""

from search.latency.interleave import Runtime
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.latency import Identity

DEVICES = ("cpu", "cuda", "mps")  # --device
RUNTIMES = {
    "eager": "eager torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}  # --runtime: what a table's identity calls it


def runtime(name: str = "eager", *, threads: int | None = None, device: str = "cpu") -> Runtime:
    """The runtime `name` on `device` with `threads` threads (None: as many as torch uses in this process).

    eager changes torch's own number of threads, for the whole process. Raises InvalidArgument for an unknown name, a
    number of threads below 1, a device that is not here or that the runtime does not use, and a runtime that is not
    installed.
    """
    if threads is not None and threads < 1:
        raise InvalidArgument(f"threads must be at least 1, got {threads}")
    if name not in RUNTIMES:
        raise InvalidArgument(f"the runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    import torch

    _check_device(name, device)
    if name == "onnxruntime":
        from search.latency.onnx_runtime import OnnxRuntime

        return OnnxRuntime(threads or torch.get_num_threads())
    if name == "openvino":
        from search.latency.openvino_runtime import OpenVino

        return OpenVino(threads or torch.get_num_threads())
    from search.latency.eager import Eager

    if threads is not None:
        torch.set_num_threads(threads)
    return Eager(device)


def _check_device(name: str, device: str) -> None:
    import torch

    if name != "eager" and device != "cpu":
        raise InvalidArgument(
            f"the runtime {name} is measured on the cpu, got device {device!r}: choose --runtime eager"
        )
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(device):
        here = ", ".join(one for one in DEVICES if found[one])
        raise InvalidArgument(
            f"the device must be one that torch {torch.__version__} finds here ({here}), got {device!r}: install a "
            "torch that was built for it, or choose --device cpu"
        )


def name_and_device(identity: Identity) -> tuple[str, str]:
    """The runtime that a table was measured with, and the device. Raises InvalidTable for what is not known here."""
    runs, _, device = identity["runtime"].partition(" on ")
    for name, title in RUNTIMES.items():
        if title == runs:
            return name, device or "cpu"
    raise InvalidTable(
        f"networks can be measured with {', '.join(RUNTIMES.values())}, the table is of {identity['runtime']!r}: "
        "measure one of those with python -m search.latency build"
    )


def runtime_of(identity: Identity) -> Runtime:
    """The runtime of a table of this identity, as this process has it (with its own threads). Raises InvalidTable."""
    name, device = name_and_device(identity)
    return runtime(name, device=device)
