"""The runtimes by name. A new one is one file with a class like those here (search.latency.interleave.Runtime) and a
line in `runtime`; tests/search/test_runtimes.py says what it must do."""

from search.latency.interleave import Runtime
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.latency import Identity

RUNTIMES = {"eager": "eager torch", "onnxruntime": "onnxruntime"}  # --runtime: what a table's identity calls it


def runtime(name: str = "eager", *, threads: int | None = None) -> Runtime:
    """The runtime `name` with `threads` threads (None: as many as torch uses in this process).

    eager changes torch's own number of threads, for the whole process. Raises InvalidArgument for an unknown name, a
    number of threads below 1, and a runtime that is not installed.
    """
    if threads is not None and threads < 1:
        raise InvalidArgument(f"threads must be at least 1, got {threads}")
    if name not in RUNTIMES:
        raise InvalidArgument(f"the runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    import torch

    if name == "onnxruntime":
        from search.latency.onnx_runtime import OnnxRuntime

        return OnnxRuntime(threads or torch.get_num_threads())
    from search.latency.eager import Eager

    if threads is not None:
        torch.set_num_threads(threads)
    return Eager()


def name_of(identity: Identity) -> str:
    """The name of the runtime that a table was measured with. Raises InvalidTable for one that is not known here."""
    for name, title in RUNTIMES.items():
        if title == identity["runtime"]:
            return name
    raise InvalidTable(
        f"networks can be measured with {', '.join(RUNTIMES.values())}, the table is of {identity['runtime']!r}: "
        "measure one of those with python -m search.latency build"
    )


def runtime_of(identity: Identity) -> Runtime:
    """The runtime of a table of this identity, as this process has it (with its own threads). Raises InvalidTable."""
    return runtime(name_of(identity))
