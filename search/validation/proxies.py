"""Zero-cost proxies: scores of a network with random weights, from one batch. They are here to be compared with only.

No search uses them: on this project's spaces MACs and depth say as much, which `search.validate` shows.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from search.data import Split
from search.training.augmentation import prepared
from searchspace.nn import Network, build
from searchspace.nn.activations import TORCH
from searchspace.nn.build import block_modules
from searchspace.spec import NetworkSpec

BATCH = 32  # images; NASWOT's paper takes 128, the codes of 32 order networks alike and fit into a second
ZEN_BATCH = 16
ZEN_STEP = 0.01  # arXiv:2102.01063, Algorithm 1: alpha
_JACOB_EPSILON = 1e-5
_TINY = 1e-30
_GATES = ("sigmoid", "hard_sigmoid")
_ACTIVATIONS = tuple({entry.module for name, entry in TORCH.items() if name not in _GATES})


def synflow(network: Network) -> float:
    """The logarithm of the synaptic flow: the sum over weights of |weight x gradient| where all weights are positive.

    The gradient is of the sum of the logits of an image of ones, with every weight replaced by its magnitude and batch
    norms left out, in float64 (arXiv:2006.05467, equation 1; summed to a score of the network by arXiv:2101.08134).
    Differs: biases and batch norms count for nothing, and the logarithm is taken, which keeps the order. With ReLU each
    layer of a chain has the same sum, R ("conservation of synaptic saliency"), so layers x R is what is measured; swish
    and the gates of SE blocks are no such functions, and are taken as they are.
    """
    network = network.double().eval()
    weights = [part.weight for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    pixels = network.spec.resolution
    image = torch.ones(1, network.spec.in_channels, pixels, pixels, dtype=torch.float64)
    with _without_norms(network):
        gradients = torch.autograd.grad(network(image).sum(), weights)
    flow = sum(
        (weight.detach() * gradient).abs().sum().item() for weight, gradient in zip(weights, gradients, strict=True)
    )
    return math.log(flow) if flow > 0 else -math.inf


@contextmanager
def _without_norms(network: nn.Module) -> Iterator[None]:
    hooks = [
        part.register_forward_hook(lambda _, inputs, output: inputs[0])
        for part in network.modules()
        if isinstance(part, nn.BatchNorm2d)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def naswot(network: Network, images: Tensor) -> float:
    """The log-determinant of the kernel of activation patterns: how differently a network sees different images.

    Each image has one bit for each unit of an activation, whether its input is above 0. The kernel counts the bits that
    two images share: number of units - Hamming distance (arXiv:2006.04647, equation 2). `images` (n, 3, height, width);
    batch norms take the batch's statistics. Differs: the paper has ReLU alone, here the bits are of every activation.
    -inf where two images have the same bits.
    """
    network = _training_mode(network)
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal kernel
        bits = (inputs[0] > 0).flatten(1).float()
        # float32 holds the counts exactly up to 2^24 units of a layer
        kernel += (bits @ bits.T + (1 - bits) @ (1 - bits).T).double()

    hooks = [part.register_forward_pre_hook(count) for part in network.modules() if isinstance(part, _ACTIVATIONS)]
    network(images)
    for hook in hooks:
        hook.remove()
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacob_cov(network: Network, images: Tensor) -> float:
    """How little the gradients at different images agree (arXiv:2006.04647v1; as in arXiv:2101.08134).

    See `jacobian_score`; the gradients are of the sum of the logits by the pixels. `images` (n, 3, height, width);
    batch norms take the batch's statistics.
    """
    network, images = _training_mode(network), images.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(network(images).sum(), images)
    return jacobian_score(gradients.flatten(1))


def jacobian_score(gradients: Tensor) -> float:
    """- sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of the rows' correlations, k = 1e-5.

    `gradients` (n, values). About -n where rows are uncorrelated, and far below that where they are alike.
    """
    values = torch.linalg.eigvalsh(torch.corrcoef(gradients.double())).clamp_min(0) + _JACOB_EPSILON
    return -float((values.log() + 1 / values).sum())


@torch.no_grad()
def zen_score(network: Network, *, generator: torch.Generator) -> float:
    """The Zen-score: how far a network's last maps move with its input, in Gaussian weights (arXiv:2102.01063).

    log of the mean over images of |f(x) - f(x + 0.01 e)|, summed over the maps before global pooling, plus the sum over
    batch norms of log sqrt(mean variance of a channel) (Algorithm 1; the sum of magnitudes for the norm as the authors'
    own program has it). x and e are normal, and so are all weights; batch norms take the batch's statistics. Differs:
    16 images for 64, once for 32 times, and skips stay, which the paper takes out.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.normal_(generator=generator)
            if part.bias is not None:
                part.bias.zero_()
    shape = (ZEN_BATCH, network.spec.in_channels, network.spec.resolution, network.spec.resolution)
    images, change = (torch.randn(shape, generator=generator) for _ in range(2))
    return movement(network, images, images + ZEN_STEP * change)


@torch.no_grad()
def movement(network: Network, images: Tensor, moved: Tensor) -> float:
    """The Zen-score of a network with the weights that it has, between two batches (n, 3, height, width)."""
    network = _training_mode(network)
    deviations: list[float] = []

    def scale(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variances = inputs[0].transpose(0, 1).flatten(1).var(1, correction=0)
        deviations.append(0.5 * math.log(float(variances.mean()) + _TINY))

    ends = _maps(network, moved)
    hooks = [part.register_forward_pre_hook(scale) for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    distance = (_maps(network, images) - ends).abs().flatten(1).sum(1).mean()
    for hook in hooks:
        hook.remove()
    return math.log(float(distance) + _TINY) + sum(deviations)


def _maps(network: Network, images: Tensor) -> Tensor:
    """What the last block before the classifier gives."""
    for block in block_modules(network)[:-1]:
        images = block(images)
    return images


def _training_mode(network: Network) -> Network:
    """Batch norms take the batch's statistics; nothing is dropped."""
    network.train()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    return network


PROXIES: Mapping[str, Callable[[Network, Tensor, torch.Generator], float]] = {
    "synflow": lambda network, images, generator: synflow(network),
    "naswot": lambda network, images, generator: naswot(network, images),
    "jacob_cov": lambda network, images, generator: jacob_cov(network, images),
    "zen_score": lambda network, images, generator: zen_score(network, generator=generator),
}


def proxy(name: str, spec: NetworkSpec, train: Split, *, seed: int) -> float:
    """What one of PROXIES says of a network with random weights, by the first training images at the spec's pixels."""
    generator = torch.Generator().manual_seed(seed)
    network = build(spec, generator=generator)
    images = prepared(torch.tensor(train.pixels[:BATCH]), network, spec.resolution)
    return PROXIES[name](network, images, generator)
