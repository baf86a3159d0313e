"""Copies of a user's module leave it alone, whatever it computes its weights by; what cannot be copied is named."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from searchspace.errors import UnsupportedModule
from searchspace.nn.copies import copied, with_plain_weights
from tests.searchspace.nn.computed import COMPUTED

pytestmark = pytest.mark.usefixtures("one_thread")


def image() -> torch.Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
@torch.no_grad()
def test_a_copy_and_plain_weights_give_the_same_outputs_and_the_module_stays(
    compute: Callable[[nn.Module], object],
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    compute(module[0])
    module.eval()
    before, expected = {name: value.clone() for name, value in module.state_dict().items()}, module(image())
    copy = copied(module)
    torch.testing.assert_close(copy(image()), expected)
    plain = with_plain_weights(copy)
    torch.testing.assert_close(plain(image()), expected)
    assert [*plain.state_dict()] == ["0.bias", "0.weight", "2.weight", "2.bias"] or len(plain.state_dict()) == 4
    assert all(isinstance(plain[0].get_parameter(name), nn.Parameter) for name in ("weight", "bias"))
    torch.testing.assert_close(module(image()), expected)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())


def test_what_is_tied_stays_tied_and_what_is_frozen_stays_frozen() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    module[1].weight = module[0].weight
    module[0].weight.requires_grad_(False)
    copy = copied(module)
    assert copy[0].weight is copy[1].weight is not module[0].weight
    assert not copy[0].weight.requires_grad
    parametrizations.weight_norm(module[0].requires_grad_(False))
    assert not with_plain_weights(copied(module))[0].weight.requires_grad


def test_a_kept_output_is_copied_as_a_value() -> None:
    module = nn.Conv2d(3, 4, 3)
    module.kept = [{"output": module(image())}]  # type: ignore[assignment]
    copy = copied(module)
    assert torch.equal(copy.kept[0]["output"], module.kept[0]["output"])  # type: ignore[index]


def test_a_module_that_cannot_be_copied_is_refused_by_the_attribute_in_the_way() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    module[0].lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(
        UnsupportedModule, match=r"the Sequential must be one that can be copied, 0\.lock stands in the way"
    ):
        copied(module)
    with pytest.raises(UnsupportedModule, match="Sequential is compiled already: give the module that"):
        copied(torch.compile(nn.Sequential(nn.Conv2d(3, 4, 3))))  # type: ignore[arg-type]


def test_masks_of_several_prunings_become_zeros() -> None:
    layer = nn.Conv2d(3, 4, 3)
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)
    zeros = int((layer.weight == 0).sum())
    assert int((with_plain_weights(copied(layer)).weight == 0).sum()) == zeros > 54
