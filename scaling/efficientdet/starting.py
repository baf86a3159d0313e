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
from scaling.efficientdet.module import Detector, build
from scaling.efficientdet.spec import DetectorSpec, taps_of
from search.data import Split
from search.training.start import CALIBRATION_IMAGES, CALIBRATION_PX, transferred
from searchspace.cost import macs
from searchspace.errors import InvalidSpec
from searchspace.nn.weights.sources import Parent, Parents, resolve
from searchspace.spec import NetworkSpec

AUTO = "auto"
Note = Callable[[str], None]


class Started(NamedTuple):
    """A detector, and the name of the network whose weights its backbone has (None: random ones)."""

    detector: Detector
    parent: str | None


def start(
    spec: DetectorSpec,
    *,
    backbone: Base = None,
    is_asked_for: bool = True,
    weights: str = AUTO,
    seed: int = 0,
    images: Sequence[Example] = (),
    note: Note = lambda _: None,
) -> Started:
    """A detector for training, its backbone with published weights where there are any.

    Args:
        spec: The detector.
        backbone: The spec file or name of the zoo that the backbone was given by, if it was.
        is_asked_for: Whether it is to be this backbone. Else, where its weights are not at hand, that of the networks
            with weights takes its place which costs about as many MACs.
        weights: As in `searchspace.nn.weights.sources.resolve`; "auto" takes those beside a backbone's file first.
        seed: Of what is random.
        images: What a backbone is calibrated with that differs from its parent.
        note: Takes lines that a user should read.

    Raises PhinasError.
    """
    parents = resolve(weights_beside(backbone, weights), note=note)
    generator = torch.Generator().manual_seed(seed)
    if parents is None:
        note(f"{spec.name} starts from random weights")
        return Started(build(spec, generator=generator), None)
    parent = parents.nearest(spec.backbone) if is_asked_for else _nearest(parents, spec)
    spec = replace(spec, backbone=_as_parent(spec, parent))
    if not is_asked_for and not parent.network.spec.has_layers_of(spec.backbone):
        own = parent.network.spec.with_resolution(spec.resolution)
        spec = replace(spec, name=f"{own.name}_{spec.name.rpartition('_')[2]}", backbone=own, taps=taps_of(own))
    network = transferred(
        parent.network, spec.backbone, images=_split(images), generator=generator, pixels=CALIBRATION_PX
    ).network
    note(f"the backbone {spec.backbone.name} starts from the weights of {parent.name} ({parent.source})")
    found = build(spec, generator=generator)
    body = found.backbone.state_dict()
    found.backbone.load_state_dict({key: network.state_dict()[key] for key in body})
    return Started(found, parent.name)


def _as_parent(spec: DetectorSpec, parent: Parent) -> NetworkSpec:
    """The backbone with the preprocessing of the weights and, where it is their network, its batch norm and padding."""
    theirs = parent.network.spec
    own = spec.backbone.with_preprocessing(theirs.preprocessing)
    return own.with_conventions(theirs.conventions) if theirs.has_layers_of(own) else own


def weights_beside(backbone: Base, weights: str) -> str:
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
