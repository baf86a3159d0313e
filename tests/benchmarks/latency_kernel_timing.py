"""python -m tests.benchmarks.latency_kernel_timing: how should kernels be timed, so that their sum is the network?

Five designs on a few networks, beside the reference, in one run, as the sum of kernels over the whole network: each
layer in a loop of its own; each block in one; each once, in the network's order, behind the one before it; in batches
of blocks of all networks, fed by what was just written (as tables are measured); and these fitted to other networks (as
tables are). Kernels are timed within their blocks in all but the first.
"""

import random
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from searchspace.report import percent_text, table
from tests.benchmarks.harness import BenchmarkParser, benchmark, in_reference_units

if TYPE_CHECKING:
    from search.latency.interleave import Runtime, Timer
    from search.latency.kernels import PlacedBlock
    from searchspace.graph import Signature
    from searchspace.spec import NetworkSpec

LOOP = 5  # calls of a block or layer in its loop, the last of which counts
DESIGNS = ("layers in loops", "blocks in loops", "in order", "in block batches", "block batches, fitted")
Kernels = dict["Signature", float]


def parser() -> BenchmarkParser:
    """The command line."""
    from search.latency.adapt import FEWEST

    note = "about 2 minutes on a quiet machine; eager torch, which times kernels in place"
    cli = BenchmarkParser("latency_kernel_timing", __doc__, note=note)
    cli.count("--networks", 7, "networks whose latency the designs predict")
    cli.count("--fitted", 10, "others, to fit to", least=FEWEST)
    cli.count("--resolution", 224, "of the images", metavar="PX")
    cli.count("--threads", None, "default: as torch has here")
    cli.number("--seconds", 60.0, "of timing", metavar="S")
    cli.count("--seed", 0, "which networks", least=0)
    return cli


def layers_in_loops(placed: "PlacedBlock") -> "Timer":
    """A timer of a block's layers as benchmarks of operators time them: each alone, its input and weights hot."""
    import torch

    from search.latency.machine import isolated_block
    from searchspace.nn.build import channels_last

    block = channels_last(isolated_block(placed))
    image = torch.randn(1, placed.in_channels, placed.resolution, placed.resolution)
    seen: list[tuple[Any, tuple[Any, ...]]] = []
    with torch.inference_mode():
        hooks = [
            block.get_submodule(layer.name).register_forward_pre_hook(lambda own, given: seen.append((own, given)))
            for layer in placed.layers
        ]
        block(image.to(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()

    def call() -> Sequence[int]:
        return [_last_of_a_loop(module, given) for module, given in seen]

    return call


def measured(
    args: Namespace, device: "Runtime", layers_alone: "Callable[[PlacedBlock], Timer]" = layers_in_loops
) -> dict[str, list[float]]:
    """Sum of kernels over the network, of each design, for each network that was not fitted to."""
    from search.latency.build import BLOCKS_A_BATCH
    from search.latency.fit import fit
    from search.latency.kernels import block_batches, blocks_of, cover, signatures
    from searchspace.graph import lower
    from searchspace.spaces.mnasnet import mnasnet_space

    space, rng = mnasnet_space(resolution=args.resolution), random.Random(args.seed)
    specs = [space.spec(space.sample(rng)) for _ in range(args.networks + args.fitted)]
    placed = {block: None for spec in specs for block in blocks_of(spec)}
    needed = cover(list(placed), signatures(placed))
    together = block_batches(needed, size=BLOCKS_A_BATCH, seed=args.seed)
    loops = [_in_a_loop(device.kernels([block])) for block in needed]
    in_order = [device.kernels(blocks_of(spec)) for spec in specs]
    alone = [layers_alone(block) for block in needed]
    timers = [*map(device.network, specs), *in_order, *map(device.kernels, together), *loops, *alone]
    found = in_reference_units(timers, device, args.seconds)
    whole, rest = [parts[0] for parts in found[: len(specs)]], found[len(specs) :]
    order, rest = rest[: len(specs)], rest[len(specs) :]
    batched = _kernels(together, rest[: len(together)])
    single, rest = [(block,) for block in needed], rest[len(together) :]
    loop, layer_loop = _kernels(single, rest[: len(needed)]), _kernels(single, rest[len(needed) :])
    fitted = fit(batched, specs[args.networks :], whole[args.networks :])

    def of(kernels: Kernels, spec: "NetworkSpec") -> float:
        return sum(kernels[layer.signature] for layer in lower(spec).layers)

    shares: dict[str, list[float]] = {design: [] for design in DESIGNS}
    for place, spec in enumerate(specs[: args.networks]):
        own = _kernels([blocks_of(spec)], [order[place]])
        constant = fitted.correction.network_ms + fitted.correction.scale * of(fitted.kernels, spec)
        sums = (of(layer_loop, spec), of(loop, spec), of(own, spec), of(batched, spec), constant)
        for design, total in zip(DESIGNS, sums, strict=True):
            shares[design].append(total / whole[place])
    return shares


def _in_a_loop(timer: "Timer") -> "Timer":
    def call() -> Sequence[int]:
        for _ in range(LOOP - 1):
            timer()
        return timer()

    return call


def _last_of_a_loop(module: Any, given: tuple[Any, ...]) -> int:
    began = 0
    for _ in range(LOOP):
        began = time.perf_counter_ns()
        module(*given)
    return time.perf_counter_ns() - began


def _kernels(subjects: Sequence[Sequence[Any]], times: Sequence[Sequence[float]]) -> Kernels:
    """The mean of a kernel's times, by its signature."""
    seen: dict[Signature, list[float]] = {}
    for blocks, parts in zip(subjects, times, strict=True):
        layers = [layer.signature for block in blocks for layer in block.layers]
        for signature, part in zip(layers, parts, strict=True):
            seen.setdefault(signature, []).append(part)
    return {signature: statistics.fmean(parts) for signature, parts in seen.items()}


def report(found: dict[str, list[float]]) -> str:
    """The figures."""
    rows = [
        [
            design,
            *(f"{value:.2f}" for value in (min(shares), statistics.median(shares), max(shares))),
            percent_text(_about_the_median(shares)),
        ]
        for design, shares in found.items()
    ]
    headers = ["sum of kernels / network", "least", "median", "most", "error about the median"]
    return f"{table(headers, rows, text_columns=(0,))}\n{_winner(found)}"


def _about_the_median(shares: Sequence[float]) -> float:
    """The mean error that remains where one factor for all networks is known."""
    middle = statistics.median(shares)
    return statistics.fmean(abs(share / middle - 1) for share in shares)


def _winner(found: dict[str, list[float]]) -> str:
    """The design with the least mean error, as it is and where one factor for all networks is allowed."""
    as_they_are = {design: statistics.fmean(abs(share - 1) for share in shares) for design, shares in found.items()}
    scaled = {design: _about_the_median(shares) for design, shares in found.items()}
    return f"winner: {_least(as_they_are)}; up to one factor for all networks: {_least(scaled)}"


def _least(errors: dict[str, float]) -> str:
    (best, error), *rest = sorted(errors.items(), key=lambda item: item[1])
    second = f", before {rest[0][0]} by {100 * (rest[0][1] - error):.1f} points" if rest else ""
    return f"{best}, off by {percent_text(error)}{second}"


def run(args: Namespace) -> str:
    """Time on eager torch, which times kernels in place."""
    from search.latency.runtimes import runtime

    return report(measured(args, runtime("eager", threads=args.threads)))


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
