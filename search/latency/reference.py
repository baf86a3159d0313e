"""The network beside which everything is timed. It never changes: a table's ms are ms at its quiet speed."""

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.spec import NetworkSpec, Stage

RESOLUTION = 224


def _block(
    expand: int, out: int, kernel: int, stride: int, activation: str, squeeze: int = 0, *, skip: bool = False
) -> MBConv:
    return MBConv(
        expand_channels=expand,
        out_channels=out,
        kernel=kernel,
        stride=stride,
        activation=activation,
        squeeze_channels=squeeze,
        skip=skip,
    )


# Every kind of kernel of the space at every resolution, in about half the time of MnasNet-A1 and 1.3 million
# parameters. Beside it, ratios spread as little as beside MnasNet-A1 itself and less than beside MobileNetV2 at 128 px.
REFERENCE = NetworkSpec(
    "reference",
    RESOLUTION,
    (
        Stage("stem", (ConvBN(out_channels=16, kernel=3, stride=2, activation="h_swish"),)),
        Stage(
            "body",
            (
                SeparableConv(out_channels=16, kernel=3, activation="relu", skip=True),
                _block(64, 24, 3, 2, "relu"),
                _block(96, 24, 3, 1, "relu", skip=True),
                _block(96, 40, 5, 2, "relu", 10),
                _block(160, 40, 5, 1, "swish", skip=True),
                _block(240, 80, 3, 2, "h_swish"),
                _block(240, 80, 5, 1, "h_swish", 20, skip=True),
                _block(320, 112, 3, 1, "swish"),
                _block(480, 160, 5, 2, "swish", 28),
                _block(640, 160, 3, 1, "relu", skip=True),
            ),
        ),
        Stage("head", (ConvBN(out_channels=640, activation="h_swish"),)),
        Stage("classifier", (Classifier(classes=1000),)),
    ),
)
