"""PP-HGNetV2 stage by stage against its blocks written plainly from timm's tensors.

Under filled weights its logits hardly depend on the image, so that their parity says little.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from searchspace import zoo
from searchspace.nn import load_published
from tests.searchspace.nn.weights.states import State, filled, image

pytestmark = pytest.mark.usefixtures("one_thread")


def plain(state: State, x: Tensor) -> Iterator[Tensor]:
    """The maps behind the stem and each stage, from nothing but the tensors and their names."""

    def unit(x: Tensor, name: str, *, stride: int = 1, pad: int | None = None, act: bool = True) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2 if pad is None else pad, 1, groups)
        x = F.batch_norm(x, *[state[f"{name}.bn.{each}"] for each in ("running_mean", "running_var", "weight", "bias")])
        assert (f"{name}.lab.scale" in state) == act
        return F.relu(x) * state[f"{name}.lab.scale"] + state[f"{name}.lab.bias"] if act else x

    x = F.pad(unit(x, "stem.stem1", stride=2), (0, 1, 0, 1))
    side = unit(F.pad(unit(x, "stem.stem2a", pad=0), (0, 1, 0, 1)), "stem.stem2b", pad=0)
    x = torch.cat((F.max_pool2d(x, 2, 1), side), 1)
    x = unit(unit(x, "stem.stem3", stride=2), "stem.stem4")
    yield x
    for number in range(4):
        if f"stages.{number}.downsample.conv.weight" in state:
            x = unit(x, f"stages.{number}.downsample", stride=2, act=False)
        block = 0
        while f"stages.{number}.blocks.{block}.aggregation.0.conv.weight" in state:
            at, start, maps, layer = f"stages.{number}.blocks.{block}", x, [x], 0
            while any(key.startswith(f"{at}.layers.{layer}.") for key in state):
                if f"{at}.layers.{layer}.conv1.conv.weight" in state:
                    x = unit(unit(x, f"{at}.layers.{layer}.conv1", act=False), f"{at}.layers.{layer}.conv2")
                else:
                    x = unit(x, f"{at}.layers.{layer}")
                maps.append(x)
                layer += 1
            x = unit(unit(torch.cat(maps, 1), f"{at}.aggregation.0"), f"{at}.aggregation.1")
            x = x + start if block else x
            block += 1
        yield x


@pytest.mark.parametrize("name", ["hgnetv2_b0", "hgnetv2_b1", "hgnetv2_b2"])
@pytest.mark.parametrize("pixels", [64, 75])
@torch.no_grad()
def test_every_stage_gives_timms_maps(name: str, pixels: int) -> None:
    state = filled(zoo.get(name), "timm")
    x = image(pixels)
    network = load_published(zoo.get(name), state, "timm")
    *stages, _ = network.children()
    for stage, expected in zip(stages, plain(state, x), strict=True):
        x = stage(x)
        torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
