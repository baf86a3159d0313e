"""Every zoo network as a module: copies, files, export, folding, other resolutions and memory formats, training.

Small on purpose: a quarter of the width, 57 px or less, and of the EfficientNets, which are one table, three.
"""

import copy
import io
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search.data.digits import generate
from search.training.augmentation import normalise
from searchspace import zoo
from searchspace.cost import costs
from searchspace.graph import lower
from searchspace.nn import Network, build, fold_batch_norm
from searchspace.spec import NetworkSpec

# One network for each kind of block and of activation; the others are slow tests.
FAMILIES = ("mobilenet_v1", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v1", "shufflenet_v2", "squeezenet1_1")
NAMES = tuple(name for name in zoo.names() if not zoo.is_grown(name) or name in ("efficientnet_b1", "efficientnet_b7"))
KINDS = ("mobilenet_v3_small", "shufflenet_v1", "squeezenet1_1")
# Beside every name once, variants whose layers are of another make.
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    *((name, {"depth": 0.3} if name == "efficientnet_b7" else {}) for name in NAMES),
    ("shufflenet_v1", {"groups": 1}),
    ("shufflenet_v1", {"groups": 8, "width": 0.5}),
    ("efficientnet_b0", {"padding": "same"}),
    ("mobilenet_v3_small", {"padding": "same", "rounding": "torchvision"}),
)


def case(name: str, options: dict[str, Any], families: tuple[str, ...] = FAMILIES) -> Any:
    is_slow = name not in families or (options and "padding" not in options)
    marks = [pytest.mark.slow] if is_slow else []
    return pytest.param(name, options, marks=marks, id=" ".join([name, *map(str, options.values())]))


PIXELS = 48
every_network = pytest.mark.parametrize(("name", "options"), [case(*each) for each in CASES])


pytestmark = pytest.mark.usefixtures("one_thread")


def spec_of(name: str, options: dict[str, Any]) -> NetworkSpec:
    return zoo.get(name, **{"width": 0.25, "resolution": PIXELS, "classes": 10, **options})


def image(pixels: int = PIXELS, *, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed))


@cache
def _trained(spec: NetworkSpec) -> Network:
    """As after training: no batch norm is at the identity, and the classes differ."""
    generator = torch.Generator().manual_seed(1)
    network = build(spec, generator=generator).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -0.2, 0.2),
                (part.running_var, 0.5, 1.5),
                (part.weight, 0.5, 1.5),
                (part.bias, -0.2, 0.2),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
        elif isinstance(part, nn.Linear):
            part.weight.data.mul_(30)
    return network


def trained(name: str, options: dict[str, Any]) -> Network:
    return _trained(spec_of(name, options))


@torch.inference_mode()
def outputs(network: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = network(x)
    assert y.shape == (len(x), 10)
    assert y.std() > 1e-3, "outputs that are all alike would agree with anything"
    return y


@pytest.mark.parametrize("name", NAMES)
def test_a_built_network_has_the_parameters_of_its_graph(name: str) -> None:
    spec = zoo.get(name)
    with torch.device("meta"):
        network = Network(spec)
    for layer in costs(lower(spec)).layers:
        assert sum(p.numel() for p in network.get_submodule(layer.name).parameters()) == layer.params
    assert sum(p.numel() for p in network.parameters()) == costs(lower(spec)).params


@every_network
def test_a_copy_and_a_file_of_its_weights_give_the_same_outputs(name: str, options: dict[str, Any]) -> None:
    network, x = trained(name, options), image()
    twin = copy.deepcopy(network)
    assert twin.spec == network.spec
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = build(network.spec).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    expected = outputs(network, x)
    assert torch.equal(outputs(twin, x), expected)
    assert torch.equal(outputs(other, x), expected)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert torch.equal(outputs(network, x), expected), "a copy's weights are its own"


@every_network
def test_folding_batch_norm_keeps_the_outputs_and_leaves_none_behind(name: str, options: dict[str, Any]) -> None:
    network, x = trained(name, options), image()
    folded = fold_batch_norm(network)
    expected = outputs(network, x)
    torch.testing.assert_close(outputs(folded, x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


@every_network
def test_memory_format_and_resolution_are_free(name: str, options: dict[str, Any]) -> None:
    network = trained(name, options)
    # 57 px: odd, and no multiple of any stride.
    for x in (image(), image(57, batch=1), image(network.spec.total_stride + 5)):
        plain = outputs(network, x)
        last = outputs(network, x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


@every_network
def test_a_network_stays_channels_last_from_stem_to_head(name: str, options: dict[str, Any]) -> None:
    x = image().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for stage in list(trained(name, options))[:-1]:
            for block in stage:
                x = block(x)
                assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("name", "options"), [case(*each, families=KINDS) for each in CASES])
def test_the_exported_program_gives_the_same_outputs(name: str, options: dict[str, Any]) -> None:
    # Export's time is by the operator: a network of fewer layers has all of its kinds.
    network, x = trained(name, {"depth": 0.2, **options}), image()
    program = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(outputs(program, x), outputs(network, x), rtol=1e-4, atol=1e-5)
    assert torch.equal(outputs(program, x), outputs(program, x)), "no dropout is left in it"


# Without batch norm and with a ReLU over its classes, SqueezeNet takes smaller steps and more of them.
FAST = {"learning_rate": 0.05, "steps": 20}
SLOW = {"learning_rate": 0.002, "steps": 45}


@pytest.mark.parametrize(
    ("name", "options"), [case(name, {}, families=KINDS) for name in NAMES if name != "efficientnet_b7"]
)
def test_the_loss_falls_on_digits(name: str, options: dict[str, Any]) -> None:
    slow = name.startswith("squeezenet")
    spec = spec_of(name, {"width": 0.5, "depth": 1.0 if slow else 0.3, "resolution": 32})
    losses = train(spec, *digits(), **(SLOW if slow else FAST))  # type: ignore[arg-type]
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < first - (0.1 if slow else 0.3)


@cache
def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = generate(split="train", count=20, resolution=32, seed=0)
    return normalise(torch.from_numpy(pixels)), torch.from_numpy(labels)


def train(spec: NetworkSpec, x: Tensor, y: Tensor, *, learning_rate: float, steps: int) -> list[float]:
    """The losses of plain SGD on one batch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # dropout
        network = build(spec, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.9, nesterov=True)
        losses = []
        for _ in range(steps):
            loss = nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_fresh_weights_without_batch_norm_keep_the_signals_size(name: str) -> None:
    # He's rule: the second moment behind a ReLU is that before the layer. Pooling by maxima raises it, three times.
    with torch.inference_mode():
        network = build(zoo.get(name, classes=10), generator=torch.Generator().manual_seed(0)).eval()
        features = nn.Sequential(*list(network)[:-1])(image(224))
        logits = network(image(224))
    assert 0.3 < float(features.square().mean()) < 30
    assert float(logits.std()) < 2
    assert float((logits > 0).float().mean()) > 0.5, "a ReLU over the classes must not begin dead"
