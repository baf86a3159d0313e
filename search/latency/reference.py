"""The network beside which everything is timed. It never changes: a table's ms are ms at its quiet speed."""

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.spec import NetworkSpec, Stage

RESOLUTION = 224

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
                MBConv(expand_channels=64, out_channels=24, kernel=3, stride=2, activation="relu"),
                MBConv(expand_channels=96, out_channels=24, kernel=3, activation="relu", skip=True),
                MBConv(expand_channels=96, out_channels=40, kernel=5, stride=2, activation="relu", squeeze_channels=10),
                MBConv(expand_channels=160, out_channels=40, kernel=5, activation="swish", skip=True),
                MBConv(expand_channels=240, out_channels=80, kernel=3, stride=2, activation="h_swish"),
                MBConv(
                    expand_channels=240, out_channels=80, kernel=5, activation="h_swish", squeeze_channels=20, skip=True
                ),
                MBConv(expand_channels=320, out_channels=112, kernel=3, activation="swish"),
                MBConv(
                    expand_channels=480, out_channels=160, kernel=5, stride=2, activation="swish", squeeze_channels=28
                ),
                MBConv(expand_channels=640, out_channels=160, kernel=3, activation="relu", skip=True),
            ),
        ),
        Stage("head", (ConvBN(out_channels=640, activation="h_swish"),)),
        Stage("classifier", (Classifier(classes=1000),)),
    ),
)


def images_of(resolution: int, in_channels: int = 3) -> NetworkSpec:
    """A spec that only says which images a module of a user's own takes: square, of any number of pixels."""
    stages = Stage("stem", (ConvBN(out_channels=16),)), Stage("classifier", (Classifier(classes=1000),))
    return NetworkSpec("images", resolution, stages, in_channels=in_channels)
