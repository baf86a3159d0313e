"""The published networks of the zoo, as tables are built with them and checked by them."""

from collections.abc import Sequence

from searchspace import zoo
from searchspace.errors import MissingLatency
from searchspace.graph import lower
from searchspace.latency.table import UNCORRECTED, LatencyTable
from searchspace.spec import NetworkSpec

# Multiples of width and resolution at which published networks are measured beside 1.0. In eager torch one of the
# narrower forms of each is enough. In runtimes of ONNX models a kernel's time jumps from size to size (layouts,
# Winograd's blocks), so that networks at 256 px came out 16 % slow.
NARROW = ((0.65, 0.79), (0.45, 0.65))
ALL_SIZES = (*NARROW, (1.0, 1.29))


def published_networks(resolution: int, classes: int, *, uses_onnx: bool = False) -> list[NetworkSpec]:
    """The zoo at `resolution` pixels, and at other widths and resolutions; EfficientNet-B1 to B7 have their own."""
    names = [name for name in zoo.names() if not zoo.is_grown(name)]
    return [
        zoo.get(name, width=width, resolution=max(32, round(resolution * pixels / 16) * 16), classes=classes)
        for place, name in enumerate(names)
        for width, pixels in ((1.0, 1.0), *(ALL_SIZES if uses_onnx else (NARROW[place % len(NARROW)],)))
    ]


def lacks_networks(table: LatencyTable | None, networks: Sequence[NetworkSpec]) -> bool:
    """Whether a table has few of the networks' kernels, so that it is better fitted to them than extended."""
    if table is None or not networks:
        return False
    needed = {layer.signature for spec in networks for layer in lower(spec).layers}
    return table.kernel_correction == UNCORRECTED or 2 * len(needed & table.kernels.keys()) < len(needed)


def published_variants(table: LatencyTable, resolution: int, classes: int) -> tuple[list[NetworkSpec], list[str]]:
    """The zoo as tables are not built with it, and the names left out for kinds of kernels that `table` has none of.

    Each network is taken at more pixels, and narrower at fewer.
    """
    found: list[NetworkSpec] = []
    left_out: list[str] = []
    for name in zoo.names():
        if zoo.is_grown(name):
            continue
        sizes = (
            (1.0, resolution // 32 + 1),
            (0.75, round(resolution * 0.86 / 32)),
            (0.5, round(resolution * 0.72 / 32)),
        )
        specs = [zoo.get(name, width=width, resolution=32 * max(1, count), classes=classes) for width, count in sizes]
        priced = [spec for spec in specs if is_priced(table, spec)]
        found += priced
        left_out += [name] if len(priced) < len(specs) else []
    return found, sorted(left_out)


def is_priced(table: LatencyTable, spec: NetworkSpec) -> bool:
    """Whether the table has, or can estimate, every kernel of a network."""
    try:
        table.predict(spec)
    except MissingLatency:
        return False
    return True
