"""A user's own module goes down to a budget, or it is said what stands in the way."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search.data import Dataset, load
from search.netadapt.costing import Costing
from search.netadapt.own import prune_module
from searchspace.errors import InfeasibleBudget, InvalidArgument, UnsupportedModule
from searchspace.nn.trace import trace

pytestmark = pytest.mark.usefixtures("one_thread")
MACS = Costing("macs")


class Own(nn.Module):
    """A residual network as a user writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(12, 20, 3, 1, 1, bias=False), nn.BatchNorm2d(20), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(20, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.two(self.one(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(None, resolution=16, images=200, cache_dir=tmp_path_factory.mktemp("cache"))


def test_a_users_module_comes_down_to_the_budget_and_stays_as_it_was(images: Dataset) -> None:
    torch.manual_seed(0)
    module = Own()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    cost = MACS.of(trace(module.eval(), resolution=32).graph)
    found = prune_module(
        module, train=images.train, validation=images.validation, costing=MACS, budget=0.7 * cost, resolution=32,
        step=0.15, shortlist=2, short_steps=2, validation_images=100,
    )  # fmt: skip
    after = MACS.of(trace(found.module, resolution=32).graph)
    assert 0.5 * cost < after <= 0.7 * cost
    assert after == pytest.approx(found.steps[-1].cost)
    assert found.module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_budget_out_of_reach_and_a_module_that_cannot_be_read_are_refused(images: Dataset, tmp_path: Path) -> None:
    class Odd(Own):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(super().forward(x)).real

    given = {"train": images.train, "validation": images.validation, "costing": MACS, "resolution": 32}
    quick = {"short_steps": 0, "shortlist": 1, "validation_images": 50, "step": 0.9}
    with pytest.raises(InfeasibleBudget, match="no channel group of the module can be cut further"):
        prune_module(Own(), budget=1.0, **given, **quick)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModule, match="fft"):
        prune_module(Odd(), budget=1e4, **given, **quick)  # type: ignore[arg-type]
    few = Own()
    few.head = nn.Linear(12, 5)
    with pytest.raises(InvalidArgument, match="10 classes and the module tells 5 apart"):
        prune_module(few, budget=1e4, **given, **quick)  # type: ignore[arg-type]
