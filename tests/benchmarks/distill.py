"""Knowledge distillation (arXiv:1503.02531): a network learns from a teacher's logits beside the labels.

The teacher looks at each image once, as it is stored; moves, mirroring and colours leave its answer as it was. So it
costs one forward pass for each image that is drawn, however often it is drawn.
"""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from search.data import Split
from search.training.augmentation import prepared
from search.training.errors import translated_out_of_memory
from search.training.evaluate import autocast, device_for
from search.training.ridge import pooled_features, ridge, set_classifier
from searchspace.errors import InvalidArgument
from searchspace.nn import Network
from searchspace.nn.weights.sources import Parent
from searchspace.nn.weights.transfer import transfer

IMAGENET_CLASSES = 1000
RIDGE_IMAGES = 2000  # that a published teacher's new classifier is fitted to
UNLABELLED = -1  # the label of an image without one


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network with the images' classes, and what it has said about `images` at `pixels` so far.

    temperature: of both softmaxes. weight: of what the teacher says; the labels have the rest.
    """

    name: str
    network: Network
    images: Split
    pixels: int
    device: str | None = None
    temperature: float = 2.0
    weight: float = 0.5
    _said: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, parent: Parent, images: Split, *, classes: int, pixels: int, seed: int = 0, device: str | None = None
    ) -> Self:
        """A teacher for images (those without a label have -1) from a network with weights.

        One with their classes is taken as it is. One with the classes of ImageNet gets a classifier in closed form,
        fitted to the first of the images that have labels. Raises InvalidArgument for other classes.
        """
        network, own = parent.network, parent.network.spec.classes
        if own != classes:
            if own != IMAGENET_CLASSES:
                raise InvalidArgument(
                    f"a teacher must have the classes of the images ({classes}) or those of ImageNet "
                    f"({IMAGENET_CLASSES}), {parent.name} has {own}: fine-tune it on these images first "
                    f"(python -m search.finetune --network {parent.name})"
                )
            generator = torch.Generator().manual_seed(seed)
            network = transfer(network, network.spec.with_classes(classes), generator=generator).network
            at = (images.labels != UNLABELLED).nonzero()[0][:RIDGE_IMAGES]
            known = Split(images.pixels[at], images.labels[at])
            features = pooled_features(network, known, pixels=pixels, device=device)
            set_classifier(network, ridge(features, torch.tensor(known.labels), classes=classes))
        return cls(name=parent.name, network=network.eval(), images=images, pixels=pixels, device=device)

    @translated_out_of_memory()
    def logits(self, chosen: Tensor) -> Tensor:
        """What the teacher says of the `chosen` images (batch,): (batch, classes) on the device of `chosen`."""
        wanted = chosen.tolist()
        new = sorted(set(wanted) - self._said.keys())
        if new:
            self._said.update(zip(new, self._say(new), strict=True))
        return torch.stack([self._said[at] for at in wanted]).to(chosen.device)

    def _say(self, new: list[int]) -> Tensor:
        where = device_for(self.device)
        self.network.to(where)
        batch = torch.tensor(self.images.pixels[new]).to(where)
        with torch.no_grad(), autocast(where):
            logits: Tensor = self.network(prepared(batch, self.network, self.pixels))
        return logits.float()

    def loss(self, logits: Tensor, labels: Tensor, chosen: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The loss of logits (batch, classes) for labels (batch,) of the `chosen` images; see `distillation_loss`."""
        return distillation_loss(
            logits,
            labels,
            self.logits(chosen),
            temperature=self.temperature,
            weight=self.weight,
            label_smoothing=label_smoothing,
        )


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    weight: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """(1 - weight) cross-entropy with the labels + weight T^2 KL(teacher || student), both softened by T.

    A mean over the batch. Where the label is -1 only the teacher counts, with its own weight.
    """
    soft = nn.functional.kl_div(
        (logits / temperature).log_softmax(1),
        (teacher_logits / temperature).log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
    hard = nn.functional.cross_entropy(
        logits, labels, ignore_index=UNLABELLED, label_smoothing=label_smoothing, reduction="sum"
    )
    return (1 - weight) * hard / len(labels) + weight * temperature**2 * soft
