"""search.prune of modules as people have them: frozen, in 16 bits, tied, with `view`; or it is said what to do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as masks

import search
from search.data import Dataset
from search.netadapt.api import Pruned
from searchspace.cost import costs
from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.nn import trace
from searchspace.nn.cuttable import cuttable
from searchspace.nn.weights.files import read_weights

pytestmark = pytest.mark.usefixtures("one_thread", "place")
HOW: dict[str, Any] = {"step": 0.2, "shortlist": 1, "short_steps": 2, "validation_images": 20, "epochs": 1}
HOW |= {"epoch_images": 64, "resolution": 16, "proxy_resolution": 16, "quiet": True}


class Net(nn.Module):
    """A network of 10 classes that does with its parts what a test says."""

    def __init__(self, forward: Callable[["Net", Tensor], Any] | None = None, **parts: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.run = nn.Linear(8, 10), forward or plain
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def features(net: Net, x: Tensor) -> Tensor:
    return net.two(net.one(net.norm(net.conv(x)).relu()).relu()).relu()


def plain(net: Net, x: Tensor) -> Tensor:
    return net.last(features(net, x).mean((2, 3)))


def viewed(net: Net, x: Tensor) -> Tensor:
    return net.last(nn.functional.avg_pool2d(features(net, x), 4).view(x.shape[0], -1))


def pruned(module: nn.Module, images: Dataset, share: float = 0.8) -> Pruned:
    state = {name: value.clone() for name, value in module.state_dict().items()}
    budget = share * macs_of(module)
    found = search.prune(module, data=images, budget_macs=budget, **HOW)
    assert found.summary["winner"]["macs"] <= budget
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    return found


def macs_of(module: nn.Module) -> float:
    return costs(trace(cuttable(module), resolution=16).graph).macs


def test_a_view_behind_a_feature_map_is_pruned_on_contiguous_images(images: Dataset) -> None:
    net = Net(viewed, last=nn.Linear(32, 10), two=nn.Conv2d(8, 8, 1)).to(memory_format=torch.channels_last)
    found = pruned(net, images)
    assert found.module(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert not found.module._forward_pre_hooks


def test_a_module_of_one_channel_gets_the_mean_of_three_and_other_numbers_are_told(images: Dataset) -> None:
    net = Net(conv=nn.Conv2d(1, 8, 3, 2, 1))
    found = search.prune(
        net, data=images, budget_macs=0.8 * costs(trace(net, in_channels=1, resolution=16).graph).macs, **HOW
    )
    assert found.module(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    assert not found.module._forward_pre_hooks
    with pytest.raises(
        InvalidArgument, match=r"3 channels or their mean, .* of the Net takes 5: .*search\.prune_module"
    ):
        search.prune(Net(conv=nn.Conv2d(5, 8, 3)), data=images, budget_macs=1e4, **HOW)


def test_frozen_parameters_are_cut_and_not_trained(images: Dataset) -> None:
    net = Net()
    net.conv.requires_grad_(False)
    net.norm.requires_grad_(False)
    found = pruned(net, images).module
    assert not found.get_parameter("conv.weight").requires_grad
    rows = [
        row for row in net.conv.weight if any(torch.equal(row, left) for left in found.get_parameter("conv.weight"))
    ]
    assert len(rows) == len(found.get_parameter("conv.weight"))
    assert found.get_parameter("last.weight").requires_grad
    with pytest.raises(UnsupportedModule, match=r"requires_grad is False for all: call requires_grad_\(True\)"):
        search.prune(net.requires_grad_(False), data=images, budget_macs=1e4, **HOW)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, None])
def test_other_numbers_are_trained_in_float32(
    dtype: torch.dtype | None, images: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net()
    (net if dtype else net.last).to(dtype or torch.float64)
    found = search.prune(net, data=images, budget_macs=0.8 * macs_of(Net()), **(HOW | {"quiet": False}))
    assert {each.dtype for each in found.module.parameters()} == {torch.float32}
    assert str(dtype or torch.float64).removeprefix("torch.") in capsys.readouterr().err
    assert net.last.weight.dtype == (dtype or torch.float64)


def test_masks_are_zeros_and_tied_weights_stay_tied_and_are_written(images: Dataset, tmp_path: Any) -> None:
    net = Net()
    net.two.weight = net.one.weight
    masks.l1_unstructured(net.last, "weight", 0.3)  # type: ignore[no-untyped-call]
    found = pruned(net, images)
    assert found.module.one.weight is found.module.two.weight  # type: ignore[union-attr]
    state = read_weights(found.save(tmp_path) / "best.safetensors")
    assert torch.equal(state["one.weight"], state["two.weight"])
    assert "last.weight" in state
    assert masks.is_pruned(net.last)  # type: ignore[no-untyped-call]


def without_gradient(net: Net, x: Tensor) -> Tensor:
    return plain(net, x).detach()


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, x: {"logits": plain(net, x)}, r"must return one tensor \(batch, classes\).*got a dict: wrap it"),
        (lambda net, x: [plain(net, x)], "got a list: wrap it"),
        (lambda net, x: plain(net, x)[:, :, None, None], r"got a tensor \(2, 10, 1, 1\)"),
        (without_gradient, "must train on images of 16 x 16 px, and does not.*does not require grad"),
        (lambda net, x: net.last(features(net, x).mean((2, 3)).double()), "does not, at last or behind it: .*dtype"),
    ],
    ids=["dict", "list", "map", "no gradient", "casts"],
)
def test_a_module_that_does_not_train_is_refused_with_what_to_do(
    forward: Callable[[Net, Tensor], Any], message: str, images: Dataset
) -> None:
    with pytest.raises(UnsupportedModule, match=message):
        search.prune(Net(forward), data=images, budget_macs=1e4, **HOW)


def test_images_of_other_pixels_than_traced_are_told(images: Dataset) -> None:
    net = Net(lambda net, x: net.last(features(net, x).flatten(1)), last=nn.Linear(8 * 256, 10))
    with pytest.raises(UnsupportedModule, match="must train on images of 16 x 16 px, and does not, at last"):
        search.prune(net, data=images, budget_macs=1e4, **(HOW | {"resolution": 32}))


class Auxiliary(nn.Module):
    """Gives more than logits in training."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Any:
        found = self.net(x)
        return (found, found) if self.training else found


def test_a_module_that_gives_more_in_training_is_told_so(images: Dataset) -> None:
    with pytest.raises(UnsupportedModule, match="also in training mode, got a tuple"):
        search.prune(Auxiliary(), data=images, budget_macs=1e4, **HOW)
