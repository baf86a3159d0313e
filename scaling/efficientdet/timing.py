"""The latency of a detector on this device: measured whole and by part, or predicted for any backbone.

A latency table knows backbones, block by block. What stands behind them (neck, heads, decoding and non-maximum
suppression) is the same for every backbone with as many channels at its taps: it is measured once. The prediction is
their sum, and their errors are independent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scaling.efficientdet.deploy import NeckAndHeads, deployed
from scaling.efficientdet.graph import backbone_graph
from scaling.efficientdet.module import Detector, Outputs, build
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.onnx_detector import to_onnx
from scaling.efficientdet.postprocess import detections
from scaling.efficientdet.spec import TAPPED, DetectorSpec
from search.latency.measurement import Measurement, Progress, measure_without_table
from search.latency.reference import images_of
from search.latency.runtimes import DEFAULT, runtime_info
from search.latency.runtimes import runtime as named_runtime
from searchspace.errors import InvalidTable
from searchspace.latency.table import LatencyTable, Prediction, describe

PARTS = ("backbone", "neck and heads", "boxes")


@dataclass(frozen=True)
class DetectorLatency:
    """Of one image, post-processing included; each of `parts` by itself."""

    whole: Measurement
    parts: dict[str, Measurement]

    @property
    def rest(self) -> Measurement:
        """All behind the backbone."""
        return self.parts["rest"]


if TYPE_CHECKING:
    import onnx


class OnnxWhole(nn.Module):
    """What a runtime of ONNX models runs: decoding and non-maximum suppression are in the model."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def to_onnx(self) -> "onnx.ModelProto":
        """See `scaling.efficientdet.onnx_detector`."""
        return to_onnx(self.detector)


class Whole(nn.Module):
    """An image -> boxes, scores and labels."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> list[Tensor]:
        """(1, channels, resolution, resolution) -> what `detections` finds."""
        return _found(self.detector(x), self.detector.spec)


class Rest(nn.Module):
    """All behind the backbone, from maps of noise; the image is not looked at."""

    def __init__(self, detector: Detector, *, boxes: bool = True) -> None:
        super().__init__()
        self.spec, self._boxes = detector.spec, boxes
        self.behind = NeckAndHeads(detector)
        draw = torch.Generator().manual_seed(0)
        for level, channels in zip(TAPPED, detector.spec.tap_channels, strict=True):
            size = detector.spec.level_px(level)
            noise = torch.randn(1, channels, size, size, generator=draw).to(memory_format=torch.channels_last)
            self.register_buffer(f"p{level}", noise)

    def forward(self, x: Tensor) -> object:
        """Any image -> raw outputs, or what `detections` finds."""
        raw = self.behind([self.get_buffer(f"p{level}") for level in TAPPED])
        return _found(raw, self.spec) if self._boxes else raw


class Boxes(nn.Module):
    """Decoding and non-maximum suppression of raw outputs that lie ready; the image is not looked at."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.spec = detector.spec
        with torch.no_grad():
            raw = Rest(detector, boxes=False)(torch.empty(0))
        assert isinstance(raw, tuple)
        for kind, outputs in zip(("classes", "boxes"), raw, strict=True):
            for level, output in zip(LEVELS, outputs, strict=True):
                self.register_buffer(f"{kind}{level}", output)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Any image -> what `detections` finds."""
        classes, boxes = ([self.get_buffer(f"{kind}{level}") for level in LEVELS] for kind in ("classes", "boxes"))
        return _found((classes, boxes), self.spec)


def measure(
    detectors: Sequence[Detector],
    *,
    by_part: bool = False,
    runtime: str = DEFAULT,
    threads: int | None = None,
    seconds: float = 3.0,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[DetectorLatency]:
    """Time detectors side by side, as deployed.

    In eager torch all behind the backbone is timed as well and, `by_part`, each of PARTS, in the same rounds; a runtime
    of ONNX models runs whole detectors alone. Raises InvalidArgument for a runtime that is not installed.
    """
    modules, images = list[nn.Module](), []
    for one in detectors:
        own = _subjects(one, by_part=by_part, runtime=runtime)
        modules += own
        images += [images_of(one.spec.resolution, one.spec.backbone.in_channels)] * len(own)
    ready = named_runtime(runtime, threads=threads)
    rows, _ = measure_without_table(
        images, modules=modules, seconds=seconds, progress=progress, runtime=ready, note=note
    )
    each = len(rows) // len(detectors)
    found = []
    for start in range(0, len(rows), each):
        whole, *parts = rows[start : start + each]
        found.append(DetectorLatency(whole, dict(zip(("rest", *PARTS), parts, strict=False))))
    return found


def _subjects(detector: Detector, *, by_part: bool, runtime: str) -> list[nn.Module]:
    if runtime_info(runtime).uses_onnx:
        return [OnnxWhole(detector)]
    ready = deployed(detector)
    parts = [ready.backbone, Rest(ready, boxes=False), Boxes(ready)] if by_part else []
    return [Whole(ready), Rest(ready), *parts]


def predict(spec: DetectorSpec, table: LatencyTable, rest: Measurement, *, confidence: float = 0.9) -> Prediction:
    """Backbone by the table, all behind it as measured. Raises MissingLatency, InvalidTable for another device's."""
    backbone = table.predict(backbone_graph(spec), confidence)
    shares = rest.high_ms - rest.latency_ms, backbone.high_ms - backbone.latency_ms
    whole, reach = backbone.latency_ms + rest.latency_ms, math.hypot(*shares)
    low = math.hypot(rest.latency_ms - rest.low_ms, backbone.latency_ms - backbone.low_ms)
    return Prediction(whole, whole - low, whole + reach, backbone.estimated)


def check_device(table: LatencyTable, *, threads: int | None = None) -> None:
    """Raises InvalidTable for a table of another device or setting than what is measured here."""
    own = named_runtime(threads=threads).identity(table.identity["resolution"])
    if own != table.identity:
        raise InvalidTable(
            f"the table is of {describe(table.identity)}; neck and heads are measured here, on {describe(own)}: run "
            "this on the table's device, or make a table of this one with python -m search.latency build --out FILE"
        )


def untrained(spec: DetectorSpec) -> Detector:
    """A detector of random weights in eval mode, the same ones each time: to be timed."""
    return build(spec, generator=torch.Generator().manual_seed(0)).eval()


def _found(raw: Outputs, spec: DetectorSpec) -> list[Tensor]:
    (found,) = detections(raw, spec, score_threshold=0.0)
    return [found.boxes, found.scores, found.labels]
