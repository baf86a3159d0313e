"""Folded batch norms: the same function with fewer layers."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from searchspace.nn import Network, build, fold_batch_norm
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spec import NetworkSpec
from tests.searchspace.nn.computed import COMPUTED

pytestmark = pytest.mark.usefixtures("one_thread")


Trained = Callable[[NetworkSpec, int], Network]


@torch.no_grad()
def check_same_outputs(trained: Trained, spec: NetworkSpec, seed: int) -> None:
    network = trained(spec, seed).double()  # float32 alone errs by 1e-5 in deep networks
    shape = (2, spec.in_channels, spec.resolution, spec.resolution)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = network(x)
    found = fold_batch_norm(network)(x)
    scale = expected.abs().max().clamp(min=1)
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-12)


@given(spec=..., seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_a_folded_network_gives_the_eval_outputs(trained: Trained, spec: NetworkSpec, seed: int) -> None:
    check_same_outputs(trained, spec, seed)


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks_fold(trained: Trained, name: str) -> None:
    check_same_outputs(trained, mnasnet_space().spec(KNOWN[name]).with_resolution(32), seed=0)


def test_folding_leaves_the_original_alone_and_no_batch_norm_behind(trained: Trained) -> None:
    network = trained(mnasnet_space(classes=4).spec(KNOWN["mnasnet_a1"]), seed=0).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not folded.training
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_folded_network_stays_channels_last_and_keeps_its_names() -> None:
    spec = mnasnet_space(classes=4).spec(KNOWN["mnasnet_a1"])
    folded = fold_batch_norm(build(spec))
    for name, parameter in folded.named_parameters():
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last), name
    names = {name for name, _ in build(spec).named_parameters() if ".norm." not in name}
    assert names < {name for name, _ in folded.named_parameters()}


@torch.no_grad()
def test_a_folded_network_put_back_into_training_mode_gives_the_same_outputs(trained: Trained) -> None:
    # No dropout and no batch norm are left, but the shortcuts of training are.
    spec = NetworkSpec.from_json(mnasnet_space(classes=4).spec(KNOWN["mobilenet_v2"]).to_json()).with_resolution(32)
    folded = fold_batch_norm(trained(spec, seed=0))
    folded.get_submodule("classifier.0.dropout").p = 0.0
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(folded.train()(x), folded.eval()(x), rtol=1e-4, atol=1e-4)


# Modules of users


class Block(nn.Module):
    """A residual block, as users write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Own(nn.Module):
    """Any function of a stem and a block."""

    def __init__(self, forward: Callable[["Own", Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.block = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), Block(6)
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor, scale: bool = False) -> Tensor:
        out = self.run(self, x)
        return out * 2 if scale else out


def branches_on_values(module: Own, x: Tensor) -> Tensor:
    if x.abs().sum() > 0:
        return module.block(module.bn(module.conv(x)))  # type: ignore[no-any-return]
    return module.block(module.conv(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("forward", "left"),
    [
        (lambda m, x: m.block(m.bn(m.conv(x))), 0),
        (lambda m, x: m.fc(m.block(m.bn(m.conv(x))).flatten(1)), 0),
        (lambda m, x: m.up(m.block(m.bn(m.conv(x)))), 0),
        (branches_on_values, 1),  # those of the block are folded
        (lambda m, x: m.block((y := m.conv(x)) + m.bn(y)), 1),  # something else reads what the convolution gives
        (lambda m, x: m.block(m.conv(x * 2) + m.bn(m.conv(x))), 1),  # used more than once
        (lambda m, x: m.block(m.bn(m.conv(x))) + m.conv.weight.mean(), 1),
        (lambda m, x: m.block(m.bn(torch.relu(m.conv(x)))), 1),
        (lambda m, x: m.block(m.bn(m.block(m.bn(m.conv(x))))), 3),
    ],
)
@torch.no_grad()
def test_a_users_module_is_folded_where_nothing_else_reads_what_a_batch_norm_does(
    forward: Callable[[Own, Tensor], Tensor], left: int
) -> None:
    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {"fc": nn.Sequential(nn.Linear(216, 4), nn.BatchNorm1d(4))}
    parts["up"] = nn.Sequential(nn.ConvTranspose2d(6, 4, 2, 2), nn.BatchNorm2d(4))
    module = Own(forward, **parts).double()
    norms = [part for part in module.modules() if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d))]
    for norm in norms:
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.data.uniform_(0.5, 1.5)
    folded, image = fold_batch_norm(module), torch.randn(2, 3, 8, 8, dtype=torch.double)
    torch.testing.assert_close(folded(image), module.eval()(image))
    used: set[nn.Module] = set()
    for part in folded.modules():
        part.register_forward_hook(lambda own, *_: used.add(own))
    folded(image)
    assert sum(isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d)) for part in used) == left
    assert len(norms) == 5


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
@torch.no_grad()
def test_computed_weights_are_plain_where_they_are_deployed(compute: Callable[[nn.Module], object]) -> None:
    module = Own(lambda m, x: m.block(m.bn(m.conv(x)))).eval()
    compute(module.conv)
    folded, image = fold_batch_norm(module), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(image), module(image))
    assert "weight" in dict(folded.conv.named_parameters())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
