"""python -m tests.benchmarks.teacher: does a teacher help at equal minutes?

A narrowed published network is fine-tuned on images, alone and with a larger published network as its teacher. The
minutes are CPU minutes of one thread, so that other work on the machine does not count, and all that the teacher costs
is in them: its new classifier, fitted to 2,000 images, and one forward pass for each image drawn. A third arm has a
teacher that costs nothing: as many steps as without one. It says what a better budget for the teacher could bring.
"""

import math
import statistics
import sys
import time
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING, Any

from searchspace.report import percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, Row, Skipped, benchmark, needed, spread_text

if TYPE_CHECKING:
    from search.data import Dataset
    from searchspace.nn.weights.sources import Parent

ARMS = ("alone", "taught", "taught for nothing")
BATCH = 32


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("teacher", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    cli.flag("--student", "efficientnet_lite0", "published weights that the student starts from", metavar="NAME")
    cli.number("--width", 0.5, "of the student")
    cli.flag("--teacher", "efficientnet_lite2", "published weights of the teacher", metavar="NAME")
    cli.number("--minutes", 4.0, "CPU minutes of each training, the teacher's included")
    cli.count("--pixels", 64, "that images are resized to", metavar="PX")
    cli.count("--seeds", 1, "batches and augmentation")
    cli.count("--test-images", 3000, "of the test split, at most")
    cli.json()
    return cli


def trained(data: "Dataset", student: "Parent", teacher: "Parent | None", args: Namespace, seed: int) -> Row:
    """Test accuracy and images seen of one training; `args.steps` instead of the minutes where that is given."""
    import torch
    from torch import Tensor

    from search.training.augmentation import augmented, normalise, preprocessing_of, resized
    from search.training.evaluate import evaluate
    from search.training.recipe import Recipe
    from search.training.ridge import pooled_features, ridge, set_classifier
    from searchspace import zoo
    from searchspace.nn.weights.calibrate import calibrate
    from searchspace.nn.weights.statistics import renew_batch_norm
    from searchspace.nn.weights.transfer import transfer
    from tests.benchmarks.distill import Teacher

    began, classes = time.process_time(), len(data.classes)
    generator = torch.Generator().manual_seed(seed)
    spec = zoo.get(student.network.spec.name, width=args.width, classes=classes)
    found = transfer(student.network, spec.with_conventions(student.network.spec.conventions), generator=generator)
    module = found.network
    images, labels, how = torch.tensor(data.train.pixels), torch.tensor(data.train.labels), preprocessing_of(module)

    def first(count: int) -> Tensor:
        return normalise(resized(images[:count], args.pixels, how.interpolation), how)

    calibrate(module, student.network, found.origins, first(128))
    features = pooled_features(module, data.train, pixels=args.pixels, images=1000)
    set_classifier(module, ridge(features, labels[:1000], classes=classes))
    taught = teacher and Teacher.of(teacher, data.train, classes=classes, pixels=args.pixels)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0, momentum=0.9, nesterov=True, weight_decay=1e-5)
    recipe, step = Recipe(flip=True), 0
    module.train()

    def share() -> float:
        spent = (time.process_time() - began) / (60 * args.minutes)
        return step / int(args.steps) if args.steps else float(spent)

    while (done := share()) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * min(1.0, 20 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        chosen = torch.randint(len(labels), (BATCH,), generator=generator)
        batch = augmented(images, chosen, recipe, generator=generator, preprocessing=how, pixels=args.pixels)
        logits = module(batch)
        if taught is not None:
            loss = taught.loss(logits, labels[chosen], chosen, label_smoothing=0.1)
        else:
            loss = torch.nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        step += 1
    renew_batch_norm(module, first(512).chunk(4))  # running ones are behind after so few steps
    accuracy = evaluate(module, data.open_test(), images=args.test_images, pixels=args.pixels, device="cpu")
    row: Row = {"accuracy": accuracy, "steps": step}
    if taught is not None:
        test = data.open_test()
        row["teacher"] = evaluate(taught.network, test, images=1000, pixels=args.pixels, device="cpu")
    return row


def run(args: Namespace) -> str:
    """A table of the arms."""
    import torch

    from search.data import load
    from searchspace.nn.weights.sources import resolve

    torch.set_num_threads(1)
    data = load(needed(args.data), resolution=32)
    student, teacher = (resolve(name, note=print) for name in (args.student, args.teacher))
    if student is None or teacher is None:
        raise Skipped("no published weights are here")
    about = {key: value for key, value in vars(args).items() if key not in ("json", "seeds")}
    kept = Kept(args.json, about)
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        for arm in ARMS:
            steps = rows["alone"][-1]["steps"] if arm == "taught for nothing" else None
            own = Namespace(**vars(args), steps=steps)
            make = partial(trained, data, student[0], None if arm == "alone" else teacher[0], own, seed)
            rows[arm].append(kept.once(f"{arm}, seed {seed}", make))
            print(f"{arm}, seed {seed}: {rows[arm][-1]}", file=sys.stderr, flush=True)
    text = [
        (
            arm,
            spread_text([row["accuracy"] for row in own]),
            f"{BATCH * statistics.mean(row['steps'] for row in own):.0f}",
        )
        for arm, own in rows.items()
    ]
    alone = percent_text(statistics.mean(row["teacher"] for row in rows["taught"]))
    return f"{table(('student', 'test accuracy', 'images seen'), text)}\n\nthe teacher itself: {alone}"


main = benchmark(parser, run)

if __name__ == "__main__":
    sys.exit(main())
