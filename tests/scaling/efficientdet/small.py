"""Detectors of few channels."""

from dataclasses import replace
from typing import Any

from scaling.efficientdet.neck import Neck, bifpn
from scaling.efficientdet.presets import scaled
from scaling.efficientdet.spec import DetectorSpec
from searchspace import zoo
from searchspace.spec import NetworkSpec


def small_backbone() -> NetworkSpec:
    """MobileNetV2, narrow."""
    return zoo.get("mobilenet_v2", width=0.35)


def small(neck: Neck | None = None, *, classes: int = 2, head_depth: int = 1, **values: Any) -> DetectorSpec:
    """For 128 px."""
    found = scaled(small_backbone(), phi=0, classes=classes, resolution=128)
    return replace(found, neck=neck or bifpn(8, 1), head_depth=head_depth, **values)
