"""EfficientNet-Lite0 to Lite4: EfficientNet for devices where SE and swish are slow (TensorFlow's TPU repository).

`LITE0` is `_DEFAULT_BLOCKS_ARGS` of models/official/efficientnet/lite/efficientnet_lite_builder.py, with `use_se`
false and `relu_fn` ReLU6. `fix_head_stem` is true: stem and last convolution keep their widths, the first and last
stage their layers, while the rest grows. `PRESETS` are its `efficientnet_lite_params`. The accuracies are those of
the README beside it, of float32 weights.
"""

from functools import partial

from searchspace.blocks import ConvRow, MBConvRow
from searchspace.zoo.efficientnet import Preset
from searchspace.zoo.entry import Entry, Published, paper_table

_conv = partial(ConvRow, activation="relu6", scaling="fixed")
_row = partial(MBConvRow, activation="relu6")

LITE0 = paper_table(
    "efficientnet_lite0",
    stem=[_conv(width=32, kernel=3, stride=2)],
    stages=[
        [_row(expand_ratio=1, kernel=3, stride=1, width=16, repeats=1, grows_deeper=False)],
        [_row(expand_ratio=6, kernel=3, stride=2, width=24, repeats=2)],
        [_row(expand_ratio=6, kernel=5, stride=2, width=40, repeats=2)],
        [_row(expand_ratio=6, kernel=3, stride=2, width=80, repeats=3)],
        [_row(expand_ratio=6, kernel=5, stride=1, width=112, repeats=3)],
        [_row(expand_ratio=6, kernel=5, stride=2, width=192, repeats=4)],
        [_row(expand_ratio=6, kernel=3, stride=1, width=320, repeats=1, grows_deeper=False)],
    ],
    head=[_conv(width=1280)],
)

PRESETS = {
    "lite0": Preset(1.0, 1.0, 224, 20),
    "lite1": Preset(1.0, 1.1, 240, 20),
    "lite2": Preset(1.1, 1.2, 260, 30),
    "lite3": Preset(1.2, 1.4, 280, 30),
    "lite4": Preset(1.4, 1.8, 300, 30),
}


def _entry(name: str, row: Preset, top1: float) -> Entry:
    return Entry(
        f"efficientnet_{name}",
        f"EfficientNet-{name.capitalize()}",
        "tensorflow/tpu efficientnet/lite, table scaled as in arXiv:1905.11946",
        lambda: LITE0.with_dropout(row.dropout_percent),
        published=(Published({}, top1, "README"),),
        width=row.width,
        depth=row.depth,
        resolution=row.resolution,
    )


_TOP1 = (75.1, 76.7, 77.6, 79.8, 81.5)
ENTRIES = tuple(_entry(name, row, top1) for (name, row), top1 in zip(PRESETS.items(), _TOP1, strict=True))
