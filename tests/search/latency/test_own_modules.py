"""Users' own modules are timed as they are deployed, or it is said in one sentence why they cannot be."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import search.latency
from search.latency.reference import images_of
from search.latency.runtimes.eager import Eager
from searchspace.errors import InvalidArgument, PhinasError

pytestmark = pytest.mark.usefixtures("one_thread")

SEEN: list[tuple[bool, int, torch.dtype]] = []


class Own(nn.Module):
    """Batch norms in a block, behind a depthwise convolution and behind a linear layer; `forward` is any function."""

    def __init__(self, forward: Callable[["Own", Tensor], object] | None = None, features: int = 8) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU())
        self.fc, self.last_bn = nn.Linear(features, 5), nn.BatchNorm1d(5)
        self.run = forward

    def features(self, x: Tensor) -> Tensor:
        SEEN.append((x.is_contiguous(), sum("BatchNorm" in repr(type(part)) for part in self.modules()), x.dtype))
        out: Tensor = self.block(torch.relu(self.bn(self.conv(x))))
        return out

    def forward(self, x: Tensor) -> object:
        return self.run(self, x) if self.run else self.last_bn(self.fc(self.features(x).mean((2, 3))))


def timed(module: nn.Module, pixels: int = 16) -> int:
    """ns of one call."""
    runtime = Eager(threads=1)
    SEEN.clear()
    with runtime.quiet():
        (ns,) = runtime.module(module, images_of(pixels))()
    return ns


def test_a_users_module_is_timed_without_batch_norms_and_stays_as_it_is() -> None:
    module = Own().train()
    assert timed(module) > 0
    assert [(contiguous, norms) for contiguous, norms, _ in SEEN[-2:]] == [(False, 0)] * 2  # channels-last
    assert module.training
    assert sum("BatchNorm" in repr(type(part)) for part in module.modules()) == 3


def flattened(module: Own, x: Tensor) -> Tensor:
    out: Tensor = module.fc(module.features(x).view(x.size(0), -1))
    return out


def test_a_view_behind_a_feature_map_is_timed_contiguous_without_batch_norms() -> None:
    assert timed(Own(flattened, features=512)) > 0
    assert [(contiguous, norms) for contiguous, norms, _ in SEEN[-1:]] == [(True, 1)]  # nothing reads that one


@pytest.mark.parametrize(
    "forward",
    [
        lambda module, x: (module.features(x), x),
        lambda module, x: {"maps": module.features(x), "none": None},
        lambda module, x: [],
    ],
)
def test_what_a_module_gives_does_not_matter(forward: Callable[[Own, Tensor], object]) -> None:
    assert timed(Own(forward)) > 0


def test_torchscript_is_frozen_and_timed() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
    for script in (torch.jit.script(plain), torch.jit.trace(plain.eval(), torch.zeros(1, 3, 16, 16))):
        assert timed(script) > 0
    assert timed(nn.Sequential(torch.jit.script(plain[0]), plain[1])) > 0


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double])
def test_the_runtimes_dtype_is_that_of_the_measurement_and_said(dtype: torch.dtype, tmp_path: Path) -> None:
    notes: list[str] = []
    found = search.latency.measure(Own().to(dtype), resolution=16, seconds=0.01, cache_dir=tmp_path, note=notes.append)
    assert found.latency_ms > 0
    assert notes[0].startswith(f"the Own is in {dtype} and is measured in float32".replace("torch.", ""))
    assert SEEN[-1][2] == torch.float32


def test_quantised_layers_are_timed_as_they_are() -> None:
    dynamic = torch.ao.quantization.quantize_dynamic(Own().eval(), {nn.Linear}, torch.qint8)
    assert timed(dynamic) > 0


def raises(module: Own, x: Tensor) -> Tensor:
    if x.shape[-1] != 24:
        raise ValueError("24 pixels, please")
    return x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Own(raises), "cannot run the Own on one image of 3 x 16 x 16: ValueError: 24 pixels, please"),
        (Own(features=9), r"cannot run layer fc of the Own on .*mat1 and mat2.*; give the pixels and the dtype"),
        (Own(lambda m, x: F.relu(x.missing)), "AttributeError: 'Tensor' object has no attribute 'missing'"),
        (Own().to("meta"), "the Own must have weights to run, and is on the meta device"),
        (torch.compile(Own()), "the Own is compiled already: give the module that torch.compile was given"),
    ],
)
def test_a_module_that_cannot_run_is_refused_in_one_sentence(module: nn.Module, message: str) -> None:
    with pytest.raises(PhinasError, match=message) as caught:
        timed(module)
    assert "\n" not in str(caught.value)


def test_pixels_that_the_module_does_not_take_are_refused(tmp_path: Path) -> None:
    module = Own(flattened, features=512)
    with pytest.raises(InvalidArgument, match="cannot run layer fc of the Own on one image of 3 x 32 x 32"):
        search.latency.measure(module, resolution=32, seconds=0.01, cache_dir=tmp_path)
