"""EfficientDet: detectors as values, on any backbone.

    from scaling import efficientdet
    spec = efficientdet.get("d0", classes=90)
    module = efficientdet.build(spec)  # forward gives (class outputs, box outputs), raw, P3 to P7
    trained = efficientdet.find(data="photos/", phi=0, resolution=320, minutes=20)
    efficientdet.predict(["new.jpg"], trained.folder)  # [Found(boxes, scores, labels)]

The names are imported when they are used: this package alone imports no torch.
"""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.efficientdet.api import find
    from scaling.efficientdet.graph import lower
    from scaling.efficientdet.module import Detector, build
    from scaling.efficientdet.predicting import predict
    from scaling.efficientdet.presets import get, scaled
    from scaling.efficientdet.spec import DetectorSpec, read_detector, write_detector
    from scaling.efficientdet.weights import load_published, to_published

__all__ = [
    "Detector",
    "DetectorSpec",
    "build",
    "find",
    "get",
    "load_published",
    "lower",
    "predict",
    "read_detector",
    "scaled",
    "to_published",
    "write_detector",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Detector": "scaling.efficientdet.module",
        "DetectorSpec": "scaling.efficientdet.spec",
        "build": "scaling.efficientdet.module",
        "find": "scaling.efficientdet.api",
        "get": "scaling.efficientdet.presets",
        "load_published": "scaling.efficientdet.weights",
        "lower": "scaling.efficientdet.graph",
        "predict": "scaling.efficientdet.predicting",
        "read_detector": "scaling.efficientdet.spec",
        "scaled": "scaling.efficientdet.presets",
        "to_published": "scaling.efficientdet.weights",
        "write_detector": "scaling.efficientdet.spec",
    },
)
