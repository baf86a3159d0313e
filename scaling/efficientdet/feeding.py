"""From examples to what a detector sees: normalised images, objects as tensors."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scaling.efficientdet.augment_boxes import Augmentation, Colour, Placed
from scaling.efficientdet.batches import Batch, training_batches
from scaling.efficientdet.examples import Example
from scaling.efficientdet.matching import Objects
from scaling.efficientdet.spec import DetectorSpec
from search.training.augmentation import normalise
from searchspace.errors import InvalidArgument
from searchspace.preprocessing import OWN, Preprocessing


def check_channels(spec: DetectorSpec) -> None:
    """Raises InvalidArgument for a backbone that takes other images than RGB."""
    channels = spec.backbone.in_channels
    if channels != 3:
        raise InvalidArgument(
            f"a detector that looks at images must take 3 channels (RGB), {spec.backbone.name} takes {channels}: give "
            "another backbone"
        )


def preprocessing_of(spec: DetectorSpec) -> Preprocessing:
    """How pixels become the input that the backbone's weights want."""
    return spec.backbone.preprocessing or OWN


def fill_of(spec: DetectorSpec) -> Colour:
    """The colour that becomes zero."""
    red, green, blue = (round(each) for each in preprocessing_of(spec).centre)
    return red, green, blue


@dataclass(frozen=True, kw_only=True)
class TrainingFeed:
    """Batches for a training, from any step on; they are a function of the seed and the step alone."""

    spec: DetectorSpec
    examples: Sequence[Example]
    how: Augmentation
    batch_size: int
    seed: int

    def since(self, step: int) -> Generator[tuple[Tensor, list[Objects]], None, None]:
        """Images float32 (batch, 3, resolution, resolution) and what is on each, without end."""
        epoch, skip = divmod(step, max(1, len(self.examples) // self.batch_size))
        while True:
            found = training_batches(
                self.examples,
                self.how,
                resolution=self.spec.resolution,
                batch=self.batch_size,
                seed=self.seed,
                epoch=epoch,
                fill=fill_of(self.spec),
                skip=skip,
            )
            yield from (tensors(each, self.spec) for each in found)
            epoch, skip = epoch + 1, 0


def tensors(batch: Batch, spec: DetectorSpec) -> tuple[Tensor, list[Objects]]:
    """A batch as the detector's input and as the loss takes it."""
    return normalise(torch.from_numpy(batch.images), preprocessing_of(spec)), [objects(each) for each in batch.placed]


def objects(one: Placed | Example) -> Objects:
    """Boxes, labels, and which of them do not count."""
    ignored = torch.from_numpy(one.difficult | one.crowd)
    return Objects(torch.from_numpy(one.boxes), torch.from_numpy(one.labels), ignored)
