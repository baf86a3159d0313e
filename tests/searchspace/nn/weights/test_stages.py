"""LCNet, TinyNet and HardCoRe-NAS stage by stage against timm's blocks written plainly from their tensors.

Under filled weights the logits of these networks hardly depend on the image, so that their parity says little.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from searchspace import zoo
from searchspace.nn import load_published
from tests.searchspace.nn.weights.states import State, filled, image

Act = Callable[[Tensor], Tensor]
# By network: the stride, the activation and (SE's inner activation, gate) of each of timm's stacks.
HS, HARD = F.hardswish, (F.relu, F.hardsigmoid)
STACKS: dict[str, list[tuple[int, Act, tuple[Act, Act]]]] = {
    "lcnet": [(stride, HS, HARD) for stride in (1, 2, 2, 2, 1, 2)],
    "tinynet": [(stride, F.silu, (F.silu, torch.sigmoid)) for stride in (1, 2, 2, 2, 1, 2, 1)],
    "hardcorenas": [
        (stride, act, HARD) for stride, act in zip((1, 2, 2, 2, 1, 2), [F.relu] * 3 + [HS] * 3, strict=True)
    ],
}


def plain(state: State, family: str, x: Tensor) -> Iterator[Tensor]:
    """The maps behind stem and stacks, from nothing but the tensors and their names."""

    def conv(x: Tensor, name: str, norm: str, *, stride: int = 1, act: Act | None = None) -> Tensor:
        weight = state[f"{name}.weight"]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, groups)
        of = [state[f"{norm}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *of)
        return x if act is None else act(x)

    def squeezed(x: Tensor, at: str, acts: tuple[Act, Act]) -> Tensor:
        if f"{at}.se.conv_reduce.weight" not in state:
            return x
        scale = x.mean((2, 3), keepdim=True)
        for part, act in zip(("conv_reduce", "conv_expand"), acts, strict=True):
            scale = act(F.conv2d(scale, state[f"{at}.se.{part}.weight"], state[f"{at}.se.{part}.bias"]))
        return x * scale

    x = conv(x, "conv_stem", "bn1", stride=2, act=F.silu if family == "tinynet" else HS)
    yield x
    for number, (stride, act, gates) in enumerate(STACKS[family]):
        index = 0
        while f"blocks.{number}.{index}.conv_dw.weight" in state:
            at, start, stride = f"blocks.{number}.{index}", x, 1 if index else stride
            if f"{at}.conv_pwl.weight" in state:
                x = conv(x, f"{at}.conv_pw", f"{at}.bn1", act=act)
                x = squeezed(conv(x, f"{at}.conv_dw", f"{at}.bn2", stride=stride, act=act), at, gates)
                x = conv(x, f"{at}.conv_pwl", f"{at}.bn3")
            else:
                x = squeezed(conv(x, f"{at}.conv_dw", f"{at}.bn1", stride=stride, act=act), at, gates)
                x = conv(x, f"{at}.conv_pw", f"{at}.bn2", act=act if family == "lcnet" else None)
            if x.shape == start.shape and family != "lcnet":
                x = x + start
            index += 1
        yield x


@pytest.mark.parametrize("name", ["lcnet_100", "lcnet_050", "tinynet_a", "tinynet_e", "hardcorenas_a", "hardcorenas_f"])
@pytest.mark.usefixtures("one_thread")
def test_every_stage_computes_what_timms_blocks_do(name: str) -> None:
    spec = zoo.get(name, resolution=64)
    state = filled(spec, "timm")
    network = load_published(spec, state, "timm")
    x = y = image(64)
    with torch.inference_mode():
        expected = list(plain(state, name.partition("_")[0], y))
        for stage, theirs in zip(network, expected, strict=False):
            x = stage(x)
            assert float(theirs.std()) > 0.01
            torch.testing.assert_close(x, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    assert len(expected) == sum(stage.name.startswith("stage") for stage in spec.stages) + 1
