"""A detector as an ONNX model: boxes decoded, scores from 0 to 1, and non-maximum suppression by the standard operator.

Input "image" (1, channels, resolution, resolution) float32, normalised. Outputs: "boxes" (1, N, 4) as (y1, x1, y2, x2)
in pixels, clipped to the image; "scores" (1, N, classes); with `nms` also "selected" (n, 3): rows (0, class, anchor) of
what remains, as ONNX's NonMaxSuppression gives them, class by class with the highest score first; boxes without an area
inside the image are none of them.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scaling.efficientdet.anchors import LARGEST_LOG, anchor_boxes
from scaling.efficientdet.deploy import deployed
from scaling.efficientdet.graph import lower
from scaling.efficientdet.module import Detector, Fuse
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.postprocess import IOU_THRESHOLD
from scaling.efficientdet.spec import DetectorSpec
from searchspace.graph import NETWORK_INPUT, Layer
from searchspace.nn.onnx_model import INPUT, OnnxGraph

if TYPE_CHECKING:
    import onnx

HEADS = ("class_head", "box_head")
MOST_PER_CLASS = 100


def to_onnx(
    detector: Detector,
    *,
    nms: bool = True,
    score_threshold: float = 0.05,
    iou_threshold: float = IOU_THRESHOLD,
    max_per_class: int = MOST_PER_CLASS,
) -> "onnx.ModelProto":
    """The detector with its weights as it is deployed, in float32; `detector` stays as it is.

    Raises InvalidArgument where the extra `onnx` is not installed.
    """
    spec, model = detector.spec, OnnxGraph()
    ready = deployed(detector).float().cpu()
    tensors, graph = ready.state_dict(), lower(spec)
    values = {NETWORK_INPUT: model.input(INPUT, (1, *graph.in_shape))}
    sums = {name: part for name, part in ready.named_modules() if isinstance(part, Fuse)}
    ends: dict[str, list[str]] = {head: [] for head in HEADS}
    for index, layer in enumerate(graph.layers):
        inputs = [values[source] for source in layer.inputs]
        values[index] = _layer(model, layer, inputs, tensors, sums, spec.head_depth)
        if ".predict." in layer.name and layer.name.endswith(".pointwise"):
            ends[layer.name.partition(".")[0]].append(values[index])
    classes = _flat(model, "classes", ends["class_head"], spec.classes)
    scores = model.node("Sigmoid", [classes], "scores")
    boxes = _decoded(model, _flat(model, "deltas", ends["box_head"], 4), spec)
    count = spec.anchor_count
    model.output(boxes, (1, count, 4))
    model.output(scores, (1, count, spec.classes))
    if nms:
        seen = model.node("Mul", [scores, _with_area(model, boxes)], "scores_inside")
        by_class = model.node("Transpose", [seen], "scores_by_class", perm=[0, 2, 1])
        most = model.integers("max_per_class", [max_per_class])
        limits = [model.numbers(name, [value]) for name, value in (("iou", iou_threshold), ("score", score_threshold))]
        model.node("NonMaxSuppression", [boxes, by_class, most, *limits], "selected")
        model.output("selected", ("n", 3), kind="INT64")
    return model.proto(spec.name)


def _layer(
    model: OnnxGraph, layer: Layer, inputs: list[str], tensors: dict[str, Tensor], sums: dict[str, Fuse], depth: int
) -> str:
    if layer.op == "resample":
        return _enlarged(model, layer, inputs[0])
    if layer.name in sums:
        weights = sums[layer.name].fixed or []
        parts = [
            value if weight == 1 else model.scaled(value, weight, f"{layer.name}/{place}")
            for place, (value, weight) in enumerate(zip(inputs, weights, strict=True))
        ]
        return model.activation(layer.activation, model.node("Sum", parts, f"{layer.name}/sum"), layer.name)
    name = _deployed_name(layer.name, depth)
    return model.layer(layer._replace(name=name), inputs, tensors, layer.name)


def _enlarged(model: OnnxGraph, layer: Layer, source: str) -> str:
    """Nearest neighbours; of an odd size what the doubled map has too many is cut off."""
    _, height, width = layer.out_shape
    times = -(-height // layer.in_shape[1])
    scales = model.numbers(f"times_{times}", [1.0, 1.0, float(times), float(times)])
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    out = model.node("Resize", [source, "", scales], f"{layer.name}/resize", **how)
    if height == times * layer.in_shape[1]:
        return out
    ranges = {"from": [0, 0], f"to_{height}": [height, width], "height_width": [2, 3]}
    return model.node("Slice", [out, *(model.integers(*each) for each in ranges.items())], f"{layer.name}/cut")


def _deployed_name(name: str, depth: int) -> str:
    """The module of a head's layer in its deployed form, where each level has its own; other names stay.

    The convolution that predicts, behind `depth` others, is the same one for all levels.
    """
    head, *parts = name.split(".")
    if head not in HEADS:
        return name
    level = next(place for place, each in enumerate(LEVELS) if f"p{each}" in parts)
    if parts[0] == "convs":
        return f"{head}.levels.{level}.{parts[1]}.0.{parts[-1]}"
    return f"{head}.levels.0.{depth}.{parts[-1]}"


def _flat(model: OnnxGraph, name: str, levels: list[str], last: int) -> str:
    """Levels (1, anchors * last, height, width) -> (1, N, last)."""
    shape = model.integers(f"{name}_shape", [1, -1, last])
    rows = []
    for place, value in enumerate(levels):
        moved = model.node("Transpose", [value], f"{name}_{place}_last", perm=[0, 2, 3, 1])
        rows.append(model.node("Reshape", [moved, shape], f"{name}_{place}"))
    return model.node("Concat", rows, name, axis=1)


def _decoded(model: OnnxGraph, deltas: str, spec: DetectorSpec) -> str:
    """See `scaling.efficientdet.anchors.decode`; clipped to the image."""
    anchors = anchor_boxes(spec)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = model.weight("anchor_centres", ((anchors[:, 2:] + anchors[:, :2]) / 2)[None])
    own = model.weight("anchor_sizes", sizes[None])
    halves = model.weight("anchor_halves", (sizes / 2)[None])
    axis = model.integers("axis", [2])
    shift, log = (
        model.node("Slice", [deltas, *(model.integers(f"{name}_{at}", [at]) for at in span), axis], name)
        for name, span in (("shift", (0, 2)), ("log_size", (2, 4)))
    )
    centre = model.node("Add", [centres, model.node("Mul", [shift, own], "moved")], "centre")
    most = model.node("Min", [log, model.numbers("largest_log", [LARGEST_LOG])], "log_size_limited")
    half = model.node("Mul", [model.node("Exp", [most], "size"), halves], "half")
    corners = [model.node(op, [centre, half], name) for op, name in (("Sub", "low"), ("Add", "high"))]
    whole = model.node("Concat", corners, "boxes_unclipped", axis=2)
    ends = [model.scalar("zero", 0.0), model.scalar("pixels", float(spec.resolution))]
    return model.node("Clip", [whole, *ends], "boxes")


def _with_area(model: OnnxGraph, boxes: str) -> str:
    """(1, N, 1): 1 for a box that has an area, 0 for one that was clipped to nothing."""

    def part(source: str, name: str, first: int, last: int) -> str:
        span = [model.integers(f"{name}_{at}", [at]) for at in (first, last)]
        return model.node("Slice", [source, *span, model.integers("axis", [2])], name)

    sides = model.node("Sub", [part(boxes, "box_ends", 2, 4), part(boxes, "box_starts", 0, 2)], "sides")
    signs = model.node("Sign", [sides], "side_signs")
    return model.node("Mul", [part(signs, "is_high", 0, 1), part(signs, "is_wide", 1, 2)], "has_area")


def difference(detector: Detector, model: bytes) -> tuple[float, float]:
    """Largest difference of ONNX Runtime's boxes (in pixels) and scores from torch's on noise."""
    import onnxruntime

    from scaling.efficientdet.anchors import decode, flatten

    spec = detector.spec
    shape = (1, spec.backbone.in_channels, spec.resolution, spec.resolution)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        classes, boxes = detector.eval()(image)
        expected = decode(flatten(boxes, 4)[0], anchor_boxes(spec)).clamp(0, spec.resolution)
        scores = flatten(classes, spec.classes)[0].sigmoid()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = [torch.from_numpy(each) for each in session.run(["boxes", "scores"], {INPUT: image.numpy()})]
    return float((found[0][0] - expected).abs().max()), float((found[1][0] - scores).abs().max())
