"""python -m tests.benchmarks.shared_step: is a training step of a shared network faster than plain slicing?

Both take the largest network of the default space, the smallest and random ones through the same images, in turns in
one process: views of the shared weights in channels-last memory (search.weight_sharing), and every weight sliced by
autograd in torch's usual memory format (tests/naive_slicing.py). Both end with the same SGD step; making batches is in
neither. A step of one stand-alone network, that of the middle of 21 random ones by MACs, takes its turn too: so many
stand-alone trainings with as many images does the shared network cost. Target: 1.3 times the images a second, by the
median.
"""

import random
import statistics
import sys
from argparse import Namespace
from itertools import cycle
from pathlib import Path

from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, turns

TARGET = 1.3


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("shared_step", __doc__)
    cli.flag("--space", None, "a TOML file that changes the default space", type=Path, metavar="FILE")
    cli.count("--pixels", 48, "of the images", metavar="PX", least=32)
    cli.count("--batch", 32, "images of a step", least=2)
    cli.count("--randoms", 2, "random networks of a step")
    cli.count("--rounds", 12, "of all in turns")
    cli.number("--target", TARGET, "least ratio of images a second")
    return cli


def run(args: Namespace) -> Verdict:
    """All three steps in turns."""
    import torch
    from torch import nn

    from search.weight_sharing.training import sandwich, training_mode
    from searchspace.cost import macs
    from searchspace.nn import build
    from searchspace.nn.shared.start import shared_network
    from searchspace.spaces.mnasnet import mnasnet_space
    from searchspace.spaces.toml import space_from_toml
    from tests.naive_slicing import naive_logits

    space = mnasnet_space(classes=10) if args.space is None else space_from_toml(args.space, classes=10, resolution=224)
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    images = torch.randn(args.batch, 3, args.pixels, args.pixels, generator=generator)
    last, labels = images.contiguous(memory_format=torch.channels_last), torch.arange(args.batch) % 10
    shared = shared_network(space, None, generator=generator)
    smallest = space.spec(space.corner("smallest"))
    plain = {name: each.detach().clone().contiguous() for name, each in shared.network.named_parameters()}
    for each in plain.values():
        each.requires_grad_()
    every = plain | dict(shared.network.named_buffers())
    drawn = [space.spec(space.sample(rng)) for _ in range(21)]
    middle = sorted(drawn, key=macs)[10]
    alone = training_mode(build(middle, generator=generator))
    own, theirs, single = (
        torch.optim.SGD(weights, lr=1e-4, momentum=0.9, nesterov=True, fused=True)
        for weights in (shared.network.parameters(), plain.values(), alone.parameters())
    )
    kept, largest = training_mode(shared.view(smallest)), training_mode(shared.network)
    turn = cycle([drawn[at : at + args.randoms] for at in range(0, len(drawn) - args.randoms + 1, args.randoms)])
    networks = list(drawn[: args.randoms])

    def ours() -> None:
        networks[:] = next(turn)
        own.zero_grad()
        views = ((training_mode(shared.view(spec)), last) for spec in networks)
        sandwich(shared, (pair for group in ([(largest, last), (kept, last)], views) for pair in group), labels)
        own.step()

    def naive() -> None:
        theirs.zero_grad()
        soft = None
        for spec in (shared.spec, smallest, *networks):
            logits = naive_logits(every, spec, images, training=True)
            torch.autograd.backward(nn.functional.cross_entropy(logits, labels if soft is None else soft))
            soft = logits.detach().softmax(1) if soft is None else soft
        theirs.step()

    def stand_alone() -> None:
        single.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(alone(last), labels))
        single.step()

    calls = (ours, naive, stand_alone)
    for warm in calls:
        warm()
    found = turns(calls, fewest=args.rounds)
    faster = statistics.median(second / first for first, second, _ in found)
    cost = statistics.median(first / third for first, _, third in found)
    speeds = [1e3 * args.batch / statistics.median(each) for each in zip(*found, strict=True)]
    text = (
        f"batches of {args.batch} at {args.pixels} px, largest, smallest and {args.randoms} random networks a step: "
        f"views {speeds[0]:.1f}, plain slicing {speeds[1]:.1f} images a second; median ratio {faster:.2f} (at least "
        f"{args.target:g})\na step costs {cost:.1f} of one stand-alone network of {macs(middle) / 1e6:.0f} M MACs at "
        f"{space.resolution} px ({speeds[2]:.1f} images a second)"
    )
    return Verdict(text, faster >= args.target)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
