"""The runtimes by name: each file of this folder is one.

A new runtime is one file here: a class with the methods of search.latency.interleave.Runtime, and `RUNTIME`, a
RuntimeInfo. Its file's name is what --runtime takes. What it must do stands in tests/contracts/test_runtimes.py.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

from search.cores import default_threads
from search.latency.interleave import Runtime
from searchspace.arguments import check_threads
from searchspace.errors import InvalidArgument, InvalidTable, PhinasError
from searchspace.latency.table import Identity

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}  # --dtype: in a table's identity
DEVICES = ("cpu", "cuda", "mps")
DEFAULT = "eager"


class RuntimeInfo(NamedTuple):
    """What is known of a runtime before it is made.

    `title`: its name in a table's identity. `make(device, dtype, threads)`, with a dtype of the values of DTYPES,
    raises InvalidArgument if the runtime is not installed. `uses_onnx`: it runs ONNX models, in which a kernel's time
    jumps from size to size. `profiles_layers`: it can time single layers, so that tables can be built with it.
    """

    title: str
    dtypes: tuple[str, ...]
    make: Callable[[str, str, int], Runtime]
    devices: tuple[str, ...] = ("cpu",)
    uses_onnx: bool = False
    profiles_layers: bool = True


class Setting(NamedTuple):
    """What a table was measured with, in the words of the flags."""

    runtime: str = DEFAULT
    device: str = "cpu"
    dtype: str = "fp32"


def names() -> list[str]:
    """Every value of --runtime, the default first."""
    return sorted((module.name for module in iter_modules(__path__)), key=lambda name: (name != DEFAULT, name))


@cache
def runtime_info(name: str) -> RuntimeInfo:
    """What is known of one of `names`. Imports torch, but nothing that only the runtime itself needs."""
    found: RuntimeInfo = import_module(f"{__name__}.{name}").RUNTIME
    return found


def check_profiles_layers(name: str) -> None:
    """Raises InvalidArgument for a runtime that cannot time single layers."""
    if name in names() and not runtime_info(name).profiles_layers:
        raise InvalidArgument(
            f"{runtime_info(name).title} does not say what a layer takes, so a table for it is made from whole "
            "networks: python -m search.latency build --out eager.json, then python -m search.latency adapt --latency "
            f"eager.json --runtime {name} --out {name}.json, and --latency {name}.json uses it"
        )


def runtime(name: str = DEFAULT, *, threads: int | None = None, device: str = "cpu", dtype: str = "fp32") -> Runtime:
    """The runtime `name` on `device`, computing in `dtype` with `threads` threads (None: as many as torch uses now).

    Raises InvalidArgument for an unknown name, fewer than 1 thread, a device or dtype that is not available, and a
    runtime that is not installed.
    """
    check_threads(threads, "threads")
    if name not in names():
        raise InvalidArgument(f"the runtime must be one of {', '.join(names())}, got {name!r}: choose one of them")
    info = runtime_info(name)
    if dtype not in info.dtypes:
        raise InvalidArgument(
            f"the dtypes of the runtime {name} are {', '.join(info.dtypes)}, got {dtype!r}: choose one of them"
        )
    import torch

    if device in DEVICES and device not in info.devices:
        others = " or ".join(other for other in names() if device in runtime_info(other).devices)
        raise InvalidArgument(
            f"the runtime {name} is measured on the {' or '.join(info.devices)}, got device {device!r}: choose "
            f"--runtime {others}"
        )
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device):
        raise InvalidArgument(
            f"the device must be one that torch {torch.__version__} finds here "
            f"({', '.join(one for one in DEVICES if available[one])}), got {device!r}: install a torch that was built "
            "for it, or choose --device cpu"
        )
    return info.make(device, DTYPES[dtype], threads or default_threads())


def setting_of(identity: Identity) -> Setting:
    """The setting of a table. Raises InvalidTable for one that no runtime here has."""
    title, _, device = identity["runtime"].partition(" on ")
    named = [name for name in names() if runtime_info(name).title == title]
    dtypes = [dtype for dtype, value in DTYPES.items() if value == identity["dtype"]]
    if not named or not dtypes:
        titles = ", ".join(runtime_info(name).title for name in names())
        raise InvalidTable(
            f"networks can be measured with {titles} in {', '.join(DTYPES.values())}, the table is of "
            f"{identity['runtime']!r} in {identity['dtype']}: measure one of those with python -m search.latency build"
        )
    return Setting(named[0], device or "cpu", dtypes[0])


def runtime_of(identity: Identity) -> Runtime:
    """The runtime of a table. Raises InvalidTable."""
    name, device, dtype = setting_of(identity)
    return runtime(name, threads=identity["threads"], device=device, dtype=dtype)


def is_this_machine(identity: Identity) -> bool:
    """Whether this process can measure what a table predicts: the same machine and setting."""
    try:
        return runtime_of(identity).identity(identity["resolution"]) == identity
    except PhinasError:
        return False
