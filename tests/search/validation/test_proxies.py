"""Zero-cost proxies: each has a property that its paper, or its formula, says it has."""

import math

import pytest
import torch
from torch import Tensor

from search.validation.proxies import PROXIES, jacob_cov, jacobian_score, movement, naswot, proxy, synflow, zen_score
from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN
from searchspace.nn import Network, build
from searchspace.spec import NetworkSpec, Stage
from tests.scripted import two_halves

pytestmark = pytest.mark.usefixtures("one_thread")


def chain(*widths: int) -> Network:
    """3x3 convolutions with ReLU, one behind the other, and a classifier."""
    rows = tuple(ConvBN(out_channels=width, kernel=3, stride=2, activation="relu") for width in widths)
    spec = NetworkSpec("chain", 16, (Stage("body", rows), Stage("classifier", (Classifier(classes=3),))))
    return build(spec, generator=torch.Generator().manual_seed(0))


def random_images(count: int, pixels: int = 16) -> Tensor:
    return torch.randn(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


def test_synflow_conserves_synaptic_saliency_each_layer_holds_the_same_flow() -> None:
    # arXiv:2006.05467, Theorem 1: of a homogeneous network, every layer's sum is the output R itself.
    network = chain(5, 7)
    convolutions = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    image = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        x = image
        for layer in convolutions[:-1]:
            x = torch.nn.functional.conv2d(x, layer.weight.double().abs(), stride=2, padding=1)
        flow = float((convolutions[-1].weight.double().abs() @ x.mean((2, 3)).T).sum())
    assert synflow(network) == pytest.approx(math.log(3 * flow), abs=1e-6)


def test_synflow_grows_by_the_logarithm_that_one_layers_weights_are_multiplied_with() -> None:
    before, larger = chain(5, 7), chain(5, 7)
    with torch.no_grad():
        next(larger.parameters()).mul_(10)
    assert synflow(larger) - synflow(before) == pytest.approx(math.log(10), abs=1e-6)


def test_naswot_is_bounded_by_hadamards_inequality_and_sees_no_difference_in_equal_images() -> None:
    images, units = random_images(6), 5 * 8 * 8 + 7 * 4 * 4
    score = naswot(chain(5, 7), images)
    assert 0 < score <= 6 * math.log(units)
    images[3] = images[2]
    assert naswot(chain(5, 7), images) < score - 10


def test_naswot_of_two_images_is_that_of_their_hamming_distance() -> None:
    network, images = chain(4), random_images(2)
    inputs: list[Tensor] = []
    part = next(each for each in network.modules() if isinstance(each, torch.nn.ReLU))
    hook = part.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach().clone()))
    found = naswot(network, images)
    hook.remove()
    bits = (inputs[0] > 0).flatten(1)
    units, distance = bits.shape[1], int((bits[0] != bits[1]).sum())
    assert found == pytest.approx(math.log(units**2 - (units - distance) ** 2))


def test_the_score_of_jacobians_is_highest_for_uncorrelated_ones() -> None:
    orthogonal = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    assert jacobian_score(orthogonal) == pytest.approx(-3, abs=1e-4)
    alike = orthogonal.clone()
    alike[1] = 2 * alike[0]
    assert jacobian_score(alike) == pytest.approx(-(1e5 + math.log(1e-5) + math.log(2) + 0.5 + 1), rel=1e-3)
    turned = orthogonal + 0.3 * orthogonal.roll(1, 0)
    assert jacobian_score(alike) < jacobian_score(turned) < jacobian_score(orthogonal)


def test_jacob_cov_falls_where_two_images_are_the_same() -> None:
    images = random_images(6)
    score = jacob_cov(chain(5, 7), images)
    assert score <= -6 * (1 - 1e-3)
    images[3] = images[2]
    assert jacob_cov(chain(5, 7), images) < score - 1000


def test_the_zen_score_keeps_the_scale_that_batch_norm_takes_away() -> None:
    # arXiv:2102.01063, section 3.2: without batch norm, weights c times as large move the maps c times as far; batch
    # norm takes that away, and the sum over its deviations gives it back.
    images = random_images(4)
    network, moved = chain(6, 6), images + 0.01 * images.flip(0)
    before = movement(network, images, moved)
    with torch.no_grad():
        next(network.parameters()).mul_(3)
    assert movement(network, images, moved) - before == pytest.approx(math.log(3), abs=1e-3)


def test_the_zen_score_grows_with_width_and_depth() -> None:
    def zen(*widths: int) -> float:
        return zen_score(chain(*widths), generator=torch.Generator().manual_seed(0))

    assert zen(12, 12) > zen(6, 6)
    assert zen(6, 6, 6) > zen(6, 6)
    assert zen(6, 6) == zen(6, 6)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_gives_the_same_finite_score_each_time(name: str) -> None:
    spec, train = zoo.get("mobilenet_v3_small", width=0.35, resolution=32, classes=2), two_halves(40, pixels=32)
    score = proxy(name, spec, train, seed=0)
    assert math.isfinite(score)
    assert proxy(name, spec, train, seed=0) == pytest.approx(score, rel=1e-4)
    assert proxy(name, spec, train, seed=1) != score
