"""A classifier in closed form: ridge regression on what a network's classifier reads.

One eigendecomposition serves every penalty, and leaving one image out costs nothing more: the classifier, its
penalty, its honest accuracy and the temperature of its logits come in seconds, without a step of training.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from search.data import Split
from search.training.augmentation import prepared
from search.training.errors import TrainingFailed, translated_out_of_memory
from search.training.evaluate import autocast, binomial_deviation, device_for
from searchspace.errors import InvalidArgument
from searchspace.nn import Network
from searchspace.nn.blocks import HeadModule
from searchspace.nn.build import block_modules

PENALTIES = tuple(10 ** (power / 3) for power in range(-12, 10))  # of the features' mean eigenvalue
SCALES = tuple(2 ** (power / 4) for power in range(-4, 33))  # of logits, before softmax
_ROUNDING = 1e-12  # of the largest eigenvalue: below it a direction is none


class Ridge(NamedTuple):
    """A linear classifier and how good it is.

    `weight` (classes, features) and `bias` (classes,) predict 1 for an image's class and -1 for all others.
    `loo_accuracy` is the share of images that the classifier fitted to all others tells right, `deviation` its
    standard deviation. `scale` times its outputs makes logits: softmax of them has the lowest cross-entropy.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    loo_accuracy: float
    deviation: float
    scale: float

    def predict(self, features: Tensor) -> Tensor:
        """The logits (n, classes) of features (n, features)."""
        return self.scale * nn.functional.linear(features, self.weight, self.bias)


@translated_out_of_memory()
def pooled_features(
    module: Network,
    split: Split,
    *,
    pixels: int | None = None,
    images: int | None = None,
    batch_size: int = 50,
    device: str | None = None,
) -> Tensor:
    """What the classifier reads, for the first `images` of a split (None: all): float32 (n, features) on the CPU.

    Pictures are resized to `pixels` (None: as stored). The module is left in eval mode on `device` (None: CUDA if
    there is one).
    """
    where = device_for(device)
    module.to(where).eval()
    body, head = block_modules(module)[:-1], _head(module)
    found = []
    with torch.inference_mode():
        for start in range(0, len(split.labels[:images]), batch_size):
            batch = torch.tensor(split.pixels[:images][start : start + batch_size]).to(where)
            with autocast(where):
                x = prepared(batch, module, pixels)
                for block in body:
                    x = block(x)
                found.append(head.features(x).float().cpu())
    return torch.cat(found).clone()  # no tensor of inference mode: a training may use it


def _head(module: Network) -> HeadModule:
    head: Any = block_modules(module)[-1]
    found: HeadModule = head
    return found


@translated_out_of_memory()
def ridge(features: Tensor, labels: Tensor, *, classes: int, class_weights: Tensor | None = None) -> Ridge:
    """The ridge regression of `labels` int64 (n,) on `features` (n, features), its penalty by leaving one out.

    The penalty with the lowest squared error of the images left out is taken. Features are centred and not divided by
    their deviations, which brings nothing (EfficientNet-Lite0, CIFAR-10, 1,000 images: 68.6 % both ways).
    `class_weights` (classes,) are those of squared errors; None: all weigh alike. Raises InvalidArgument for fewer than
    two images or labels that are no classes, TrainingFailed for features that are not finite.
    """
    count = len(labels)
    if count < 2 or len(features) != count or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InvalidArgument(
            f"a ridge regression needs at least 2 images with labels from 0 to {classes - 1}, got {count} labels for "
            f"{len(features)} images" + (f", {int(labels.min())} to {int(labels.max())}" if count else "")
        )
    if not bool(features.isfinite().all()):
        raise TrainingFailed("the features of a network must be finite, got NaN or infinity: look at its weights")
    root = torch.ones(count, 1, dtype=torch.float64)
    if class_weights is not None:
        root = class_weights.to(torch.float64)[labels, None].sqrt()
        root = root / root.square().mean().sqrt()
    x = features.to(torch.float64)
    centre = (root.square() * x).mean(0)
    x = root * (x - centre)
    y = nn.functional.one_hot(labels, classes).to(torch.float64) * 2 - 1
    mean = (root.square() * y).mean(0)
    basis, eigenvalues = _eigen(x)
    target = basis.T @ (root * (y - mean))
    unit = float(eigenvalues.mean()) if len(eigenvalues) else 1.0
    fits = [(_left_out(basis, eigenvalues, unit * at, target, y, mean, root), unit * at) for at in PENALTIES]
    left_out, penalty = min(fits, key=lambda fit: float((root * (fit[0] - y)).square().sum()))
    weight = (x.T @ (basis @ (target / (eigenvalues + penalty)[:, None]))).T
    accuracy = float((left_out.argmax(1) == labels).double().mean())
    losses = [(float(nn.functional.cross_entropy(scale * left_out, labels)), scale) for scale in SCALES]
    return Ridge(
        weight.to(torch.float32),
        (mean - weight @ centre).to(torch.float32),
        penalty,
        accuracy,
        binomial_deviation(accuracy, count),
        min(losses)[1],
    )


def _eigen(x: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns (n, rank) that span the centred x (n, features), and their eigenvalues of x x^T."""
    count, width = x.shape
    by_images = count <= width
    eigenvalues, vectors = torch.linalg.eigh(x @ x.T if by_images else x.T @ x)
    kept = eigenvalues > _ROUNDING * max(count, width) * eigenvalues[-1].clamp(min=0)
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    return (vectors if by_images else x @ vectors / eigenvalues.sqrt()), eigenvalues


def _left_out(
    basis: Tensor, eigenvalues: Tensor, penalty: float, target: Tensor, y: Tensor, mean: Tensor, root: Tensor
) -> Tensor:
    """What each image (n, classes) gets from the regression that was fitted to all others (exact, without refits).

    root: (n, 1), square roots of what images weigh, 1 on average.
    """
    shrunk = eigenvalues / (eigenvalues + penalty)
    fitted = mean + basis @ (shrunk[:, None] * target) / root
    leverage = root[:, 0].square() / len(y) + basis.square() @ shrunk
    return y - (y - fitted) / (1 - leverage).clamp(min=1e-10)[:, None]


def set_classifier(module: Network, fitted: Ridge) -> None:
    """Give the network the ridge's classifier, scaled so that its logits are a start for training.

    Raises InvalidArgument where the network's classifier has another shape.
    """
    head = _head(module)
    layer, bias = head.logits_layer, head.logits_layer.bias
    shape = (layer.weight.shape[0], layer.weight[0].numel())
    if tuple(fitted.weight.shape) != shape:
        raise InvalidArgument(
            f"the classifier of {module.spec.name!r} is {shape[0]} classes x {shape[1]} features, the ridge's is "
            f"{fitted.weight.shape[0]} x {fitted.weight.shape[1]}: fit it to features of this network, and give the "
            f"spec its classes by spec.with_classes({fitted.weight.shape[0]})"
        )
    assert bias is not None  # every head has one
    with torch.no_grad():
        layer.weight.copy_((fitted.scale * fitted.weight).reshape(layer.weight.shape))
        bias.copy_(fitted.scale * fitted.bias + head.logits_shift)
