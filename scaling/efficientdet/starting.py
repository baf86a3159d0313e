"""A detector before its training: its backbone, and the published weights that it starts from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from scaling.base import Base, is_file
from scaling.efficientdet.augment_boxes import letterbox
from scaling.efficientdet.examples import Example
from scaling.efficientdet.fitting import detector as detector_spec
from scaling.efficientdet.module import Detector, build
from scaling.efficientdet.presets import scaled
from scaling.efficientdet.spec import DetectorSpec, taps_of
from search.data import Split
from search.training.start import CALIBRATION_IMAGES, CALIBRATION_PX, transferred
from searchspace.cost import macs
from searchspace.errors import InvalidSpec
from searchspace.nn.weights.sources import Parent, Parents, resolve

AUTO, NONE = "auto", "none"
Note = Callable[[str], None]


class Started(NamedTuple):
    """A detector, and the name of the network whose weights its backbone has (None: random ones)."""

    detector: Detector
    parent: str | None


def start(
    phi: int,
    *,
    classes: int,
    backbone: Base = None,
    resolution: int | None = None,
    weights: str = AUTO,
    seed: int = 0,
    images: Sequence[Example] = (),
    note: Note = lambda _: None,
) -> Started:
    """D`phi` for these classes, its backbone with published weights where there are any.

    Args:
        phi: 0 to 7.
        classes: Of the data.
        backbone: A spec, a spec file or a name of the zoo. None: EfficientNet-B`phi` where its weights are at hand,
            else of the networks with weights the one that is the nearest to it in MACs.
        resolution: None for the phi's own.
        weights: As in `searchspace.nn.weights.sources.resolve`; "auto" takes those beside a spec file first.
        seed: Of what is random.
        images: What a backbone is calibrated with that differs from its parent.
        note: Takes lines that a user should read.

    Raises PhinasError.
    """
    spec = detector_spec(phi, backbone=backbone, classes=classes, resolution=resolution)
    parents = resolve(_beside(backbone, weights), note=note)
    generator = torch.Generator().manual_seed(seed)
    if parents is None:
        note(f"{spec.name} starts from random weights")
        return Started(build(spec, generator=generator), None)
    if backbone is None:
        parent = _nearest(parents, spec)
        if not parent.network.spec.has_layers_of(spec.backbone):
            spec = scaled(parent.network.spec, phi=phi, classes=classes, resolution=spec.resolution)
    else:
        parent = parents.nearest(spec.backbone)
    if parent.network.spec.has_layers_of(spec.backbone):
        theirs = parent.network.spec
        own = replace(spec.backbone, conventions=theirs.conventions, preprocessing=theirs.preprocessing)
    else:
        own = spec.backbone.with_preprocessing(parent.network.spec.preprocessing)
    spec = replace(spec, backbone=own)
    network = transferred(
        parent.network, own, images=_split(images), generator=generator, pixels=CALIBRATION_PX
    ).network
    note(f"the backbone {own.name} starts from the weights of {parent.name} ({parent.source})")
    found = build(spec, generator=generator)
    body = found.backbone.state_dict()
    found.backbone.load_state_dict({key: network.state_dict()[key] for key in body})
    return Started(found, parent.name)


def _beside(backbone: Base, weights: str) -> str:
    """What "auto" means: the weights beside a spec file, where there are any."""
    if weights == AUTO and isinstance(backbone, str | Path) and is_file(backbone):
        own = Path(backbone).with_suffix(".safetensors")
        return str(own) if own.is_file() else weights
    return weights


def _nearest(parents: Parents, spec: DetectorSpec) -> Parent:
    """The parent of the published backbone, else the one that costs about as much; one that can be a backbone."""
    fitting = [one for one in parents if _is_backbone(one)] or list(parents)
    same = [one for one in fitting if one.network.spec.has_layers_of(spec.backbone)]
    own = macs(spec.backbone.with_resolution(224))
    return min(same or fitting, key=lambda one: abs(math.log(macs(one.network.spec.with_resolution(224)) / own)))


def _is_backbone(parent: Parent) -> bool:
    try:
        taps_of(parent.network.spec)
    except InvalidSpec:
        return False
    return True


def _split(images: Sequence[Example]) -> Split:
    """Some images as a classifier's, for calibration; noise where there are none."""
    size = CALIBRATION_PX
    shown = [letterbox(each.pixels(size), size)[0] for each in images[:CALIBRATION_IMAGES]]
    if not shown:
        shown = list(np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8))
    return Split(np.stack(shown), np.zeros(len(shown), np.int64))
