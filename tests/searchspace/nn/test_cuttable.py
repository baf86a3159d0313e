"""A user's module becomes one whose channels can be cut, or it is named what stands in the way and what to do."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn.utils import parametrize

from searchspace.errors import UnsupportedModule
from searchspace.nn import trace
from searchspace.nn.cuttable import cuttable
from tests.searchspace.nn.computed import COMPUTED

pytestmark = pytest.mark.usefixtures("one_thread")


class Scaled(nn.Module):
    """Its tensors are plain attributes, one of them computed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)
        self.mean, self.kept = torch.full((3, 1, 1), 0.5), self.conv.weight * 2

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x - self.mean).relu())


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))


def changed(change: Callable[[nn.Sequential], object]) -> nn.Sequential:
    module = plain()
    change(module)
    return module


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
@torch.no_grad()
def test_weights_that_are_computed_are_plain_in_the_copy_and_can_be_cut(
    compute: Callable[[nn.Module], object],
) -> None:
    module, notes = changed(lambda module: compute(module[0])).eval(), list[str]()
    before, image = {name: value.clone() for name, value in module.state_dict().items()}, torch.rand(1, 3, 8, 8)
    copy = cuttable(module, notes.append)
    torch.testing.assert_close(copy(image), module(image))
    assert len(notes) == 1
    assert notes[0].endswith("those that a mask holds at 0 too: 0")
    narrower = trace(copy, resolution=8).cut("0", [0, 2]).module
    assert narrower(image).shape == (1, 4, 4, 4)
    narrower.load_state_dict(narrower.state_dict())
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_plain_tensors_are_constants_and_no_part_of_the_weights() -> None:
    module, notes = Scaled().eval(), list[str]()
    copy = cuttable(module, notes.append)
    assert not notes
    assert copy.state_dict().keys() == module.state_dict().keys()
    traced = trace(copy, resolution=8)
    assert traced.cut("conv", range(5)).module(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
    assert traced.graph.layers == trace(module, resolution=8).graph.layers
    assert isinstance(vars(module)["mean"], Tensor)


class Failing(nn.Module):
    """A parametrization that works no more."""

    def forward(self, weight: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return weight
        raise ValueError("no more")


def quantised() -> nn.Module:
    return quantization.quantize_dynamic(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), {nn.Linear}, torch.qint8)


def with_lock(module: nn.Sequential) -> None:
    module[2].lock = threading.Lock()  # type: ignore[assignment]


class Integers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "script": (lambda: torch.jit.script(plain()), "the RecursiveScriptModule is TorchScript.*scripted or traced from"),
    "traced": (lambda: torch.jit.trace(plain(), torch.zeros(1, 3, 8, 8)), "is TorchScript, whose channels cannot"),
    "script inside": (
        lambda: changed(lambda module: module.insert(1, torch.jit.script(nn.Conv2d(6, 6, 1)))),
        "1 of the Sequential is TorchScript",
    ),
    "compiled": (lambda: torch.compile(plain()), "is compiled already: give the module that torch.compile was given"),
    "wrapped": (lambda: nn.DataParallel(plain()), r"the DataParallel is a DataParallel: give its \.module"),
    "quantised": (quantised, r"1 of the Sequential is for quantised networks.*as it was before the quantisation"),
    "meta": (lambda: plain().to("meta"), "0.weight of the Sequential must have values, and is on the meta device"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 1)), "layers without a shape: run it on an image"),
    "complex": (lambda: plain().to(torch.complex64), "0.weight.*dense tensor of real numbers, and is complex"),
    "integers": (
        lambda: changed(lambda module: module.insert(1, Integers())),
        "1.weight of the Sequential.*dense tensor of real numbers, and is torch.int8",
    ),
    "NaN": (
        lambda: changed(lambda module: module[2].weight.data[0].fill_(float("nan"))),
        "finite in 32 bits, 2.weight of the Sequential has NaN or infinite ones: load",
    ),
    "too large": (
        lambda: changed(lambda module: module.double()[0].bias.data.fill_(1e300)),
        "finite in 32 bits, 0.bias of the Sequential",
    ),
    "not copied": (lambda: changed(with_lock), r"2\.lock stands in the way: TypeError"),
    "parametrization that fails": (
        lambda: changed(
            lambda module: parametrize.register_parametrization(module[0], "weight", Failing(), unsafe=True)
        ),
        "0 must have weights that can be made plain, which fails: ValueError: no more; .*remove_parametrizations",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_cut_is_refused_by_its_layer_with_what_to_do(
    make: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(UnsupportedModule, match=message) as caught:
        cuttable(make())
    assert "\n" not in str(caught.value)


def test_a_trace_refuses_torchscript_and_names_the_shapes_of_what_does_not_run() -> None:
    with pytest.raises(UnsupportedModule, match="is TorchScript"):
        trace(torch.jit.script(plain()), resolution=8)
    fixed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UnsupportedModule, match=r"2 \(Linear\).*does not run on \(2, 144\): .*the pixels") as caught:
        trace(fixed, resolution=8)
    assert "\n" not in str(caught.value)


class Own(nn.Module):
    """As users write them: `train` hands nothing back, an attribute of the class is a tensor of the module."""

    mean: Tensor | None = None

    def __init__(self, forward: Callable[["Own", Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.last, self.run = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), forward
        self.mean = torch.full((3, 1, 1), 0.5)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.conv.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(self.run(self, x)))


def test_a_module_whose_train_hands_nothing_back_and_a_tensor_named_as_its_class_has_it_are_cut() -> None:
    module = Own(lambda own, x: x - own.mean)  # type: ignore[operator]
    small = trace(cuttable(module), resolution=8).cut("conv", [1, 2]).module
    assert not small.training
    assert small(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x.relu()


class Starred(nn.Module):
    """Takes any number of inputs."""

    def forward(self, *x: Tensor) -> Tensor:
        return x[0].relu()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Own(lambda own, x: scripted(x)), "call the plain function, not one of torch.jit"),
        (Starred(), r"take images by a name, not by \*args"),
    ],
    ids=["scripted", "starred"],
)
def test_what_a_trace_cannot_follow_is_refused_with_what_to_do(module: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedModule, match=message):
        trace(module, resolution=8)
