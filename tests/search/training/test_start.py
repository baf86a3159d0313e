"""Where a training starts: the parent's weights as they are, or fitted to its maps."""

import numpy as np
import pytest
import torch

from search.data import Split
from search.training.start import CALIBRATION_PX, Calibration, start, transferred
from searchspace.nn import Network, build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.zoo import get

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def images() -> Split:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 40, 40, 3), dtype=np.uint8)
    return Split(pixels, np.arange(20) % 10)


@pytest.fixture
def parent() -> Network:
    return build(get("mobilenet_v2", width=0.35, resolution=32), generator=torch.Generator().manual_seed(0)).eval()


def test_a_network_with_its_parents_layers_has_its_weights_to_the_bit(images: Split, parent: Network) -> None:
    spec = parent.spec.with_classes(10).with_resolution(64)
    found = transferred(parent, spec, images=images, generator=torch.Generator(), pixels=64).network.state_dict()
    theirs = parent.state_dict()
    kept = [name for name, value in found.items() if value.shape == theirs[name].shape]
    assert len(kept) == len(theirs) - 2  # but the classifier's weight and bias
    assert all(torch.equal(found[name], theirs[name]) for name in kept)


def test_a_network_with_other_layers_is_fitted_to_its_parent_at_a_bounded_size(images: Split, parent: Network) -> None:
    spec = get("mobilenet_v2", width=0.25, classes=10, resolution=224)

    def weights(pixels: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        found = transferred(parent, spec, images=images, generator=generator, pixels=pixels).network
        return torch.cat([value.flatten() for value in found.state_dict().values()])

    assert torch.equal(weights(224), weights(CALIBRATION_PX))
    assert not torch.equal(weights(48), weights(CALIBRATION_PX))


def test_maps_that_are_kept_give_the_weights_that_new_ones_give(images: Split, parent: Network) -> None:
    runs = list[int]()
    parent.register_forward_hook(lambda *_: runs.append(1))
    parents, calibration = Parents([Parent("parent", parent, "a test", None, None, "0")]), Calibration(images)
    narrow = get("mobilenet_v2", width=0.25, classes=10)
    for pixels in (32, 40, 32):
        kept = start(narrow, parents, images=images, seed=0, pixels=pixels, calibration=calibration).network
        count = len(runs)
        fresh = start(narrow, parents, images=images, seed=0, pixels=pixels).network
        runs.pop()
        for one, other in zip(kept.state_dict().values(), fresh.state_dict().values(), strict=True):
            assert torch.equal(one, other)
    assert count == 2
