"""Weights of one network for another."""

from dataclasses import replace

import pytest
import torch

from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.nn import build
from searchspace.nn.weights.transfer import transfer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_same_network_has_the_same_logits_and_another_number_of_classes_a_new_head() -> None:
    spec = zoo.get("mobilenet_v2", width=0.25, resolution=32, classes=5)
    parent = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(2, 3, 32, 32)
    same = transfer(parent, spec, generator=torch.Generator().manual_seed(1))
    assert (same.difference, same.reasons) == (0.0, ())
    assert torch.equal(same.network(images), parent(images))
    other = transfer(parent, spec.with_classes(7), generator=torch.Generator().manual_seed(1))
    assert other.difference is None
    assert "new head: 7 classes for 5" in other.reasons[0]


def test_another_number_of_input_channels_is_refused() -> None:
    parent = build(zoo.get("mobilenet_v2", width=0.25, resolution=32))
    with pytest.raises(InvalidArgument, match="reads 3 channels, the network 1"):
        transfer(parent, replace(parent.spec, in_channels=1), generator=torch.Generator())
