"""python -m tests.benchmarks.finetune_step: is a step of the fine-tuner as fast as that of a plain loop?

Both take the same batches through copies of one network, in turns in one process: the fine-tuner's step (AdamW, batch
norms that keep their statistics, moving average of the weights) and zero_grad, forward, backward, step with torch's
SGD and batch norms in training mode. Making the batches is in neither. Target: the median ratio is at most 1.05.
"""

import copy
import statistics
import sys
from argparse import Namespace

from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, turns

TARGET = 1.05


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("finetune_step", __doc__)
    cli.flag("--network", "efficientnet_lite0", "name of the zoo; its weights are random")
    cli.count("--pixels", 96, "of the images", metavar="PX", least=32)
    cli.count("--batch", 32, "images of a step")
    cli.count("--rounds", 12, "of both in turns")
    cli.number("--target", TARGET, "largest ratio")
    return cli


def run(args: Namespace) -> Verdict:
    """Both steps in turns."""
    import torch
    from torch import nn

    from search.training.finetune_state import FineTuningState
    from search.training.recipe import FineTuning
    from searchspace import zoo
    from searchspace.nn import build
    from searchspace.nn.weights.statistics import renew_batch_norm

    generator = torch.Generator().manual_seed(0)
    module = build(zoo.get(args.network, classes=10), generator=generator)
    images = torch.randn(args.batch, 3, args.pixels, args.pixels, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch) % 10
    renew_batch_norm(module, [images])
    plain = copy.deepcopy(module).train()
    optimizer = torch.optim.SGD(plain.parameters(), lr=1e-4, momentum=0.9)
    state = FineTuningState(module, FineTuning())
    state.prepare()
    state.set_rate(1e-6)

    def ours() -> None:
        state.step(images, labels)
        state.update_average(0.9)

    def theirs() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(plain(images), labels, label_smoothing=0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for warm in (ours, theirs):
        warm()
    found = turns([ours, theirs], fewest=args.rounds)
    ratio = statistics.median(first / second for first, second in found)
    speeds = [1e3 * args.batch / min(each) for each in zip(*found, strict=True)]
    text = (
        f"{args.network} at {args.pixels} px, batches of {args.batch}: fine-tuner {speeds[0]:.0f}, plain loop "
        f"{speeds[1]:.0f} images a second at best; median ratio of times {ratio:.2f} (at most {args.target:g})"
    )
    return Verdict(text, ratio <= args.target)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
