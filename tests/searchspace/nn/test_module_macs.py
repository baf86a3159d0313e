"""MACs of a user's module by fvcore: those of the graph where there is one, and what is not counted has a name."""

import pytest
import torch
from torch import Tensor, nn

from searchspace import costs, lower, zoo
from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.nn import build, module_macs

pytestmark = pytest.mark.usefixtures("one_thread")


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 8, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x).flatten(2)
        return nn.functional.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v1", "shufflenet_v2", "squeezenet1_1"])
def test_macs_of_a_published_network_are_those_of_its_graph(name: str) -> None:
    spec = zoo.get(name, width=0.25, depth=0.5, resolution=64)
    found = module_macs(build(spec), resolution=64)
    assert found.macs == sum(found.by_operator.values()) == costs(lower(spec)).macs
    assert found.unsupported == {}
    assert str(found) == f"{found.macs:,} MACs by fvcore"


def test_an_operator_without_a_rule_is_named() -> None:
    found = module_macs(Attention(), resolution=4)
    assert found.macs == found.by_operator["conv"] == 3 * 8 * 16
    assert found.unsupported == {"aten::scaled_dot_product_attention": 1}
    expected = "384 MACs by fvcore; not counted, for want of a rule: aten::scaled_dot_product_attention (1 call)"
    assert str(found) == expected


def test_counting_leaves_the_module_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module_macs(module, resolution=8)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_module_that_does_not_run_and_wrong_sizes_are_refused() -> None:
    with pytest.raises(UnsupportedModule, match=r"Conv2d must run on one image of 3 x 8 x 8 .*: Given groups=1"):
        module_macs(nn.Conv2d(4, 4, 1), resolution=8)
    with pytest.raises(InvalidArgument, match="resolution must be an integer of at least 1, got 0"):
        module_macs(nn.Conv2d(3, 4, 1), resolution=0)
