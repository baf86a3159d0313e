"""The runtimes by name: each file of this folder is one, and a new one is a file more.

It holds a class like those here (search.latency.interleave.Runtime) and a `RUNTIME` that says what is to be known of it
(Known); --runtime takes it by the name of the file. tests/search/test_runtimes.py says what it must do.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

from search.latency.interleave import Runtime
from searchspace.errors import InvalidArgument, InvalidTable, PhinasError
from searchspace.latency.table import Identity

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}  # --dtype: in a table's identity
DEVICES = ("cpu", "cuda", "mps")
DEFAULT = "eager"


class Known(NamedTuple):
    """A runtime: what a table's identity calls it, the dtypes and devices that it has, and `make` of (device, a dtype
    of the values of DTYPES, threads), which raises InvalidArgument where the runtime is not installed.

    `of_models`: it runs ONNX models, in which a kernel's time jumps from size to size. `tells_kernels`: it can say what
    a layer takes, so that tables can be built.
    """

    title: str
    dtypes: tuple[str, ...]
    make: Callable[[str, str, int], Runtime]
    devices: tuple[str, ...] = ("cpu",)
    of_models: bool = False
    tells_kernels: bool = True


def names() -> list[str]:
    """Every --runtime; the default first."""
    return sorted((module.name for module in iter_modules(__path__)), key=lambda name: (name != DEFAULT, name))


@cache
def known(name: str) -> Known:
    """One of `names`. Imports torch, and not what the runtime itself needs."""
    found: Known = import_module(f"{__name__}.{name}").RUNTIME
    return found


def check_kernels(name: str) -> None:
    """Raises InvalidArgument for a runtime that cannot say what a layer takes."""
    if name in names() and not known(name).tells_kernels:
        raise InvalidArgument(
            f"{known(name).title} does not say what a layer takes, so a table for it is made from whole networks: "
            "python -m search.latency build --out eager.json, then python -m search.latency adapt --latency eager.json "
            f"--runtime {name} --out {name}.json, and --latency {name}.json uses it"
        )


class Setting(NamedTuple):
    """What a table was measured with, in the words of the flags."""

    name: str = DEFAULT
    device: str = "cpu"
    dtype: str = "fp32"


def runtime(name: str = DEFAULT, *, threads: int | None = None, device: str = "cpu", dtype: str = "fp32") -> Runtime:
    """The runtime `name` on `device` with `threads` threads (None: as many as torch uses in this process), computing
    in `dtype`.

    Raises InvalidArgument for an unknown name, a number of threads below 1, a device or dtype that is not here or that
    the runtime does not have, and a runtime that is not installed.
    """
    if threads is not None and threads < 1:
        raise InvalidArgument(f"threads must be at least 1, got {threads}")
    if name not in names():
        raise InvalidArgument(f"the runtime must be one of {', '.join(names())}, got {name!r}")
    has = known(name)
    if dtype not in has.dtypes:
        raise InvalidArgument(f"the dtypes of the runtime {name} are {', '.join(has.dtypes)}, got {dtype!r}")
    _check_device(name, device)
    import torch

    return has.make(device, DTYPES[dtype], threads or torch.get_num_threads())


def _check_device(name: str, device: str) -> None:
    import torch

    if device in DEVICES and device not in known(name).devices:
        others = " or ".join(other for other in names() if device in known(other).devices)
        raise InvalidArgument(
            f"the runtime {name} is measured on the {' or '.join(known(name).devices)}, got device {device!r}: choose "
            f"--runtime {others}"
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
    named = [name for name in names() if known(name).title == title]
    dtypes = [dtype for dtype, value in DTYPES.items() if value == identity["dtype"]]
    if not named or not dtypes:
        titles = ", ".join(known(name).title for name in names())
        raise InvalidTable(
            f"networks can be measured with {titles} in {', '.join(DTYPES.values())}, the table is "
            f"of {identity['runtime']!r} in {identity['dtype']}: measure one of those with "
            "python -m search.latency build"
        )
    return Setting(named[0], device or "cpu", dtypes[0])


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
