"""Published detectors' weights in and out: effdet's names (its EfficientDet class) for the same modules."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from scaling.efficientdet.module import Detector
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.spec import TAPPED, DetectorSpec
from searchspace.errors import InvalidArgument
from searchspace.nn.build import channels_last
from searchspace.nn.weights.files import check_finite
from searchspace.nn.weights.published import published_conventions, published_names

IMPLEMENTATIONS = {"effdet": "timm"}  # and whose names its backbones have
_COUNTER = "num_batches_tracked"
_NORM = ("weight", "bias", "running_mean", "running_var", _COUNTER)
_NAMED = 3


def load_published(spec: DetectorSpec, state_dict: Mapping[str, Tensor], implementation: str = "effdet") -> Detector:
    """The detector with the weights of a state dict of `implementation`, in eval mode, float32, channels-last.

    Its backbone has the implementation's batch norm. num_batches_tracked may be missing: it is then 0. Raises
    InvalidArgument naming the entries that are missing, left over, of another shape or no tensors, and for a backbone
    that the implementation does not have.
    """
    spec = _with_published_conventions(spec, implementation)
    with torch.device("meta"):
        detector = Detector(spec)
    names, shapes = _names(spec, implementation), {key: each.shape for key, each in detector.state_dict().items()}
    _check(spec, state_dict, names, shapes)
    detector.to_empty(device="cpu")
    detector.load_state_dict({ours: state_dict.get(theirs, torch.tensor(0)) for theirs, ours in names.items()})
    check_finite(detector.state_dict(), f"the weights of {spec.name}")
    return channels_last(detector).eval()


def to_published(detector: Detector, implementation: str = "effdet") -> dict[str, Tensor]:
    """The detector's weights as `implementation`'s state dict: its keys in its order, contiguous copies."""
    state = detector.state_dict()
    return OrderedDict(
        (theirs, state[ours].detach().clone(memory_format=torch.contiguous_format))
        for theirs, ours in _names(detector.spec, implementation).items()
    )


def _with_published_conventions(spec: DetectorSpec, implementation: str) -> DetectorSpec:
    """Effdet gives timm's backbones its own batch norm wherever padding is TensorFlow's."""
    backbone = spec.backbone.with_conventions(published_conventions(spec.backbone, _backbones_of(implementation)))
    return replace(spec, backbone=backbone, conventions=replace(spec.conventions, norm_eps=1e-3, norm_momentum=0.01))


def _backbones_of(implementation: str) -> str:
    if implementation not in IMPLEMENTATIONS:
        raise InvalidArgument(f"the implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}")
    return IMPLEMENTATIONS[implementation]


def _names(spec: DetectorSpec, implementation: str) -> dict[str, str]:
    """Our key of each tensor by the implementation's, in its order."""
    kept = tuple(f"{where}." for where, _, _ in spec.body)
    backbone = published_names(spec.backbone, _backbones_of(implementation))
    found = {f"backbone.{key}": f"backbone.{ours}" for key, ours in backbone.items() if ours.startswith(kept)}
    found |= _pairs(_neck(spec))
    for theirs, ours in (("class_net", "class_head"), ("box_net", "box_head")):
        found |= _pairs(_head(spec, theirs, ours))
    return found


def _pairs(rows: Iterator[tuple[str, str, tuple[str, ...]]]) -> dict[str, str]:
    """Rows are modules with the names of their tensors ("" for the module's own)."""
    return {
        f"{theirs}.{name}".rstrip("."): f"{ours}.{name}".rstrip(".") for theirs, ours, names in rows for name in names
    }


def _neck(spec: DetectorSpec) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    channels, wide = list(spec.tap_channels), spec.neck.channels
    for place in range(len(LEVELS) - len(TAPPED)):
        if channels[-1] != wide:
            yield from _resample(f"fpn.resample.{len(TAPPED) + place}", f"neck.coarse.{place}")
        channels.append(wide)
    for cell in range(spec.neck.cells):
        for place, node in enumerate(spec.neck.nodes):
            theirs, ours = f"fpn.cell.{cell}.fnode.{place}", f"neck.cells.{cell}.{place}"
            if node.fusion != "sum":
                yield f"{theirs}.combine.edge_weights", f"{ours}.fuse.weight", ("",)
            for at, index in enumerate(node.inputs):
                if index < len(LEVELS) and channels[index] != wide:
                    yield from _resample(f"{theirs}.combine.resample.{index}", f"{ours}.resample.{at}")
            yield from _separable(f"{theirs}.after_combine.conv", f"{ours}.conv")
            yield f"{theirs}.after_combine.conv.bn", f"{ours}.conv.pointwise.norm", _NORM
        channels = [wide] * len(LEVELS)


def _resample(theirs: str, ours: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    yield f"{theirs}.conv.conv", f"{ours}.conv.conv", ("weight", "bias")
    yield f"{theirs}.conv.bn", f"{ours}.conv.norm", _NORM


def _separable(theirs: str, ours: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    yield f"{theirs}.conv_dw", f"{ours}.depthwise.conv", ("weight",)
    yield f"{theirs}.conv_pw", f"{ours}.pointwise.conv", ("weight", "bias")


def _head(spec: DetectorSpec, theirs: str, ours: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for depth in range(spec.head_depth):
        yield from _separable(f"{theirs}.conv_rep.{depth}", f"{ours}.convs.{depth}.conv")
    for depth in range(spec.head_depth):
        for level in range(len(LEVELS)):
            yield f"{theirs}.bn_rep.{depth}.{level}.bn", f"{ours}.convs.{depth}.norms.{level}", _NORM
    yield from _separable(f"{theirs}.predict", f"{ours}.predict")


def _check(
    spec: DetectorSpec, state: Mapping[str, Tensor], names: Mapping[str, str], shapes: Mapping[str, torch.Size]
) -> None:
    """Raises InvalidArgument that names what of the state dict does not fit."""
    if not isinstance(state, Mapping):
        raise InvalidArgument(f"a state dict must map names to tensors, got {type(state).__name__}")
    problems = {
        "missing": [key for key in names if key not in state and not key.endswith(_COUNTER)],
        "left over": [key for key in state if key not in names],
        "wrong": [
            f"{key} is {_shape(state[key])}, the detector needs {_shape(shapes[ours])}"
            for key, ours in names.items()
            if key in state and tuple(getattr(state[key], "shape", ())) != tuple(shapes[ours])
        ],
    }
    told = [f"{what}: {_first(rows)}" for what, rows in problems.items() if rows]
    if told:
        raise InvalidArgument(
            f"these are not weights of {spec.name!r} with {spec.classes} classes: {'; '.join(told)}. Give the very "
            "detector that was saved (phi, classes)"
        )


def _shape(value: object) -> str:
    shape = value if isinstance(value, torch.Size) else getattr(value, "shape", None)
    return type(value).__name__ if shape is None else " x ".join(map(str, shape)) or "a single number"


def _first(rows: list[str]) -> str:
    return ", ".join(rows[:_NAMED]) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
