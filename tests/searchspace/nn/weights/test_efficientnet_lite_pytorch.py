"""The packaged weights of EfficientNet-Lite0 to Lite2 give the logits of the package's own model, at any size."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from searchspace import zoo
from searchspace.nn import load_published, read_weights, to_published
from searchspace.zoo.places import installed
from searchspace.zoo.published import find
from tests.searchspace.nn.weights.states import equal, image

pytestmark = pytest.mark.usefixtures("one_thread")
package: Any = pytest.importorskip("efficientnet_lite_pytorch")
IMPLEMENTATION = "efficientnet_lite_pytorch"


def packaged(name: str) -> dict[str, Tensor]:
    """The weights in the package of "lite0", "lite1" or "lite2"."""
    row = find(f"efficientnet_{name}")
    place = installed(row)
    if place is None:
        pytest.skip(f"{row.package} is not installed")
    return read_weights(place.path)


def theirs(name: str, pixels: int, state: dict[str, Tensor]) -> nn.Module:
    """The package's own model, which pads for images of `pixels`."""
    model: nn.Module = package.EfficientNet.from_name(f"efficientnet-{name}", image_size=pixels)
    model.load_state_dict(state)
    return model.eval()


#                                                 its own size, an odd one and the pixels of a training
@pytest.mark.parametrize(
    ("name", "sizes"), [("lite0", (224, 161, 96)), ("lite1", (240, 161, 96)), ("lite2", (260, 161, 96))]
)
def test_packaged_weights_give_the_logits_of_the_packages_own_model(name: str, sizes: tuple[int, ...]) -> None:
    state = packaged(name)
    ours = load_published(zoo.get(f"efficientnet_{name}"), state, IMPLEMENTATION)
    assert equal(to_published(ours, IMPLEMENTATION), state)
    for pixels in sizes:
        with torch.inference_mode():
            expected, logits = theirs(name, pixels, state)(image(pixels)), ours(image(pixels))
        assert expected.abs().max() > 2
        assert (logits - expected).abs().max() <= 1e-5


def test_what_is_written_for_the_package_is_what_its_own_model_loads() -> None:
    state = packaged("lite0")
    ours = load_published(zoo.get("efficientnet_lite0"), state, IMPLEMENTATION).train()
    ours(image(64))
    ours.eval()
    back = to_published(ours, IMPLEMENTATION)
    assert not equal(back, state)
    with torch.inference_mode():
        assert (theirs("lite0", 64, back)(image(64)) - ours(image(64))).abs().max() <= 1e-5
    norm = theirs("lite0", 64, back).get_submodule("_bn0")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.eps == ours.spec.conventions.norm_eps
    assert norm.momentum == pytest.approx(ours.spec.conventions.norm_momentum)
