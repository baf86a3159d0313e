"""What `python -m scaling.efficientdet` prints of a detector, part by part."""

from collections.abc import Mapping
from typing import Any

from scaling.efficientdet.graph import lower, part_of
from scaling.efficientdet.spec import DetectorSpec
from searchspace.cost import Costs, costs
from searchspace.report import count_text, fields, interval_text, ms_text, paragraphs, table

TITLES = {"backbone": "backbone", "neck": "neck", "class_head": "class head", "box_head": "box head"}


def part_costs(spec: DetectorSpec) -> tuple[dict[str, tuple[int, int]], Costs]:
    """(parameters, MACs) of each part, and the whole's costs, batch 1 and float32."""
    graph = lower(spec)
    whole = costs(graph)
    found = {part: [0, 0] for part in TITLES}
    seen = set[str]()
    for layer, cost in zip(graph.layers, whole.layers, strict=True):
        own = found[part_of(layer.name)]
        own[0] += layer.scalars if layer.weights in seen else cost.params
        own[1] += cost.macs
        if layer.weights:
            seen.add(layer.weights)
    return {part: (params, macs) for part, (params, macs) in found.items()}, whole


def as_text(spec: DetectorSpec, latency: Mapping[str, Any] | None = None) -> str:
    """The detector part by part, then its sizes; `latency` is what `as_dict` holds under that name."""
    parts, whole = part_costs(spec)
    rows = [[TITLES[part], _about(spec, part), f"{p:,}", count_text(macs)] for part, (p, macs) in parts.items()]
    head = table(
        ["part", "layers", "params", "MACs"],
        rows,
        text_columns=(0, 1),
        total=["total", "", f"{whole.params:,}", count_text(whole.macs)],
        title=f"{spec.name}: {spec.classes} classes at {spec.resolution} px",
    )
    about = [
        ("outputs", f"{spec.anchor_count:,} anchors at P3 to P7: {spec.classes} classes and 4 numbers each"),
        ("memory", f"{whole.peak_memory_bytes / 1e6:.0f} MB at most, float32, one image"),
        ("fingerprint", spec.fingerprint()),
    ]
    return paragraphs(head, fields(about), "" if latency is None else _latency_text(latency))


def as_dict(spec: DetectorSpec, latency: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same as JSON types."""
    parts, whole = part_costs(spec)
    return {
        "name": spec.name,
        "resolution": spec.resolution,
        "classes": spec.classes,
        "params": whole.params,
        "macs": whole.macs,
        "peak_memory_bytes": whole.peak_memory_bytes,
        "parts": {part: {"params": params, "macs": macs} for part, (params, macs) in parts.items()},
        "latency": latency,
        "fingerprint": spec.fingerprint(),
        "spec": spec.to_dict(),
    }


def _about(spec: DetectorSpec, part: str) -> str:
    if part == "backbone":
        channels = ", ".join(map(str, spec.tap_channels))
        return f"{spec.backbone.name} up to {spec.taps[-1]}; {channels} channels at strides 8, 16, 32"
    if part == "neck":
        fusion = spec.neck.nodes[0].fusion if spec.neck.nodes else "no"
        return f"{spec.neck.cells} x {len(spec.neck.nodes)} nodes, {spec.neck.channels} channels, {fusion} fusion"
    outputs = spec.anchors.count * (spec.classes if part == "class_head" else 4)
    return f"{spec.head_depth} separable convolutions and one to {outputs}, the same at each level"


def _latency_text(latency: Mapping[str, Any]) -> str:
    rows = [
        [name, ms_text(one["latency_ms"]), interval_text(one["low_ms"], one["high_ms"])]
        for name, one in latency["rows"].items()
    ]
    return table(["latency", "ms", "interval"], rows, text_columns=(0,), title=latency["about"])
