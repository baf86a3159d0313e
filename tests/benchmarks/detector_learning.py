"""python -m tests.benchmarks.detector_learning: what lets a detector learn scenes of digits from few of them?

D0's neck and heads are trained for some steps, with one part of the recipe changed at a time. AP50 of validation scenes
is told twice: with all classes taken as one, and as it is. Objects are found long before their classes are known.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from searchspace.report import percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Kept, Row, benchmark

if TYPE_CHECKING:
    from scaling.efficientdet.examples import Example
    from scaling.efficientdet.postprocess import Detections

ARMS = ("as it is", "random kernels", "sizes 0.5 to 1.5", "batches half as large")
VALIDATION = 100  # scenes


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("detector_learning", __doc__)
    cli.json()
    cli.flag("--data", "digits", "digits, or digits:N for N training scenes")
    cli.flag("--weights", "auto", "where the backbone starts from")
    cli.flag("--backbone", None, "a spec file or a name of the zoo; the default is that of training")
    cli.count("--steps", 200, "of each training")
    cli.count("--batch-size", 8, "images of a step", least=4)
    cli.count("--resolution", 128, "pixels", metavar="PX")
    cli.flag("--arms", ",".join(ARMS), "what is trained")
    return cli


def run(args: Namespace) -> str:
    """The table. Raises PhinasError."""
    names = ("data", "weights", "backbone", "steps", "batch_size", "resolution")
    kept = Kept(args.json, {name: getattr(args, name) for name in names})
    rows = {arm: kept.once(arm, partial(trained, args, arm)) for arm in args.arms.split(",")}
    lines = [
        [arm, percent_text(row["merged"]), percent_text(row["ap50"]), f"{row['cpu_s']:.0f}"]
        for arm, row in rows.items()
    ]
    return table(["arm", "AP50, classes as one", "AP50", "CPU seconds"], lines, text_columns=(0,))


def trained(args: Namespace, arm: str) -> Row:
    """One training and its validation."""
    import time

    import torch

    from scaling.efficientdet import fitting
    from scaling.efficientdet.anchor_choice import choose_scale, with_scale
    from scaling.efficientdet.augment_boxes import Augmentation
    from scaling.efficientdet.detection_data import load
    from scaling.efficientdet.evaluating import detect
    from scaling.efficientdet.feeding import TrainingFeed
    from scaling.efficientdet.module import SeparableConv
    from scaling.efficientdet.starting import start
    from scaling.efficientdet.training import DetectionRecipe, DetectorTraining

    data = load(args.data, resolution=args.resolution)
    wanted = fitting.detector(0, backbone=args.backbone, classes=len(data.classes), resolution=args.resolution)
    wanted = with_scale(wanted, choose_scale(wanted, data.train).scale)
    asked = args.backbone is not None
    started = start(wanted, backbone=args.backbone, is_asked_for=asked, weights=args.weights, images=data.train)
    if arm == "random kernels":  # He's, as for all other convolutions
        generator = torch.Generator().manual_seed(0)
        for part in started.detector.modules():
            if isinstance(part, SeparableConv):
                torch.nn.init.normal_(part.depthwise.get_parameter("conv.weight"), 0, (2 / 9) ** 0.5, generator)
    halves = 2 if arm == "batches half as large" else 1
    batch, steps = args.batch_size // halves, args.steps * halves
    sizes = (0.5, 1.5) if arm == "sizes 0.5 to 1.5" else data.sizes
    how = Augmentation(scale=sizes, flip=0.0)
    feed = TrainingFeed(spec=started.detector.spec, examples=data.train, how=how, batch_size=batch, seed=0)
    began = time.process_time()
    training = DetectorTraining(
        detector=started.detector,
        batches=feed,
        recipe=DetectionRecipe(batch_size=batch),
        published=started.parent is not None,
    )
    training.fit(steps=steps)
    cpu_s = time.process_time() - began
    examples = data.validation[:VALIDATION]
    return {**_scores(detect(started.detector, examples), examples, data.classes), "cpu_s": cpu_s}


def _scores(found: "Sequence[Detections]", examples: "Sequence[Example]", classes: Sequence[str]) -> Row:
    from scaling.efficientdet.coco_map import coco_map
    from scaling.efficientdet.feeding import objects
    from scaling.efficientdet.postprocess import nms

    truth = [objects(each) for each in examples]
    merged = []
    for one in found:
        labels = one.labels * 0
        kept = nms(one.boxes, one.scores, labels)
        merged.append(one._replace(boxes=one.boxes[kept], scores=one.scores[kept], labels=labels[kept]))
    whole = [each._replace(labels=each.labels * 0) for each in truth]
    return {"ap50": coco_map(found, truth, classes).ap50, "merged": coco_map(merged, whole, ["any"]).ap50}


main = benchmark(parser, run, stopped="stopped; finished trainings are kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
