"""python -m tests.benchmarks.deployed_pixels: are weights as good at the deployed size as where they were trained?

A network is trained at --trained-at px on each data set, tested there and at --pixels, and made good at --pixels by
`search.training.deploy` within --seconds; every stage is looked at. The target: test accuracy at the deployed size at
most 1 point below that at the size of the training.
"""

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from searchspace.command import number
from searchspace.report import percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, Verdict, benchmark

TARGET = 0.01


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("deployed_pixels", __doc__)
    cli.flag("--data", f"digits,{CIFAR}", "data sets, by commas; a file that is not there is left out")
    cli.flag("--network", "mobilenet_v3_small", "a name of the zoo", metavar="NAME")
    cli.flag("--width", 0.5, "its width", type=number)
    cli.count("--trained-at", 48, "of the training", metavar="PX")
    cli.count("--pixels", 224, "deployed size", metavar="PX")
    cli.count("--epochs", 40, "of the training")
    cli.number("--seconds", 600.0, "for making the weights good at the deployed size")
    cli.count("--images", None, "the most training images (default: all)")
    cli.count("--seed", 0, "of all", least=0)
    cli.json()
    return cli


def one(data: str, args: Namespace) -> dict[str, Any]:
    """Test accuracy at the size of the training, at the deployed size before and after, and all stages."""
    import torch

    from search.data import load, native_resolution
    from search.training.deploy import adapt_to_deployed
    from search.training.evaluate import Accuracy
    from search.training.recipe import Recipe
    from search.training.trainer import Trainer
    from searchspace.nn import build
    from searchspace.zoo import get

    images = load(data, resolution=min(native_resolution(data), args.pixels), seed=args.seed, images=args.images)
    recipe = Recipe.for_data(data, epochs=args.epochs)
    spec = get(args.network, width=args.width, classes=len(images.classes), resolution=args.pixels)
    network = build(spec, generator=torch.Generator().manual_seed(args.seed))
    trainer = Trainer.on(images, recipe=recipe, seed=args.seed)
    trained = trainer.fit(network, pixels=args.trained_at)
    test = images.open_test()
    small = Accuracy.of(network, test, pixels=args.trained_at)
    before = Accuracy.of(network, test, pixels=args.pixels)
    adapted = adapt_to_deployed(
        network,
        images,
        pixels=args.pixels,
        seconds=args.seconds,
        trained_at=args.trained_at,
        recipe=recipe,
        seed=args.seed,
        on_line=lambda line: print(f"{data}: {line}", file=sys.stderr, flush=True),
    )
    after = Accuracy.of(network, test, pixels=args.pixels)
    return {
        "training_s": trained.seconds,
        "adapting_s": adapted.seconds,
        "kept": adapted.kept,
        "stages": [stage._asdict() for stage in adapted.stages],
        "at_training_size": small.value,
        "before": before.value,
        "after": after.value,
        "test_images": after.images,
    }


def run(args: Namespace) -> Verdict:
    """What the benchmark prints."""
    about = {name: value for name, value in vars(args).items() if name not in ("json", "data")}
    kept, rows = Kept(args.json, about), {}
    for data in args.data.split(","):
        if data == "digits" or data.startswith("digits:") or Path(data).exists():
            rows[data] = kept.once(data, partial(one, data, args))
    shown = [
        [
            Path(data).name,
            percent_text(row["at_training_size"], 1),
            percent_text(row["before"], 1),
            percent_text(row["after"], 1),
            row["kept"],
            f"{row['training_s']:.0f}",
            f"{row['adapting_s']:.0f}",
        ]
        for data, row in rows.items()
    ]
    heads = ["data", f"test at {args.trained_at} px", f"at {args.pixels} px", "adapted", "kept", "training s", "s"]
    stages = [
        f"{Path(data).name}, validation at {args.pixels} px: "
        + ", ".join(f"{each['name']} {each['accuracy']:.1%} ({each['seconds']:.0f} s)" for each in row["stages"])
        for data, row in rows.items()
    ]
    reached = all(row["after"] >= row["at_training_size"] - TARGET for row in rows.values())
    return Verdict("\n".join([table(heads, shown), "", *stages]), reached)


main = benchmark(parser, run, stopped="stopped; what is done is kept where --json says")


if __name__ == "__main__":
    sys.exit(main())
