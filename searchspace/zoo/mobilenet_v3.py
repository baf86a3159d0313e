"""MobileNetV3-Large and -Small (arXiv:1905.02244): SE of the expanded channels, h-swish, a slim head.

The rows are Tables 1 and 2. They agree for every implementation at width 1; at other widths they do not:

* `rounding="paper"`, the released code's rule (and timm's): an expansion is a ratio of the scaled input, rounded to a
  multiple of 8; stem and the head's hidden layer keep their widths (the stem from width 0.75 on follows).
* `rounding="torchvision"`: the table's expansion is scaled like every other width, stem and hidden layer too, and the
  last convolution has 6 x its input's channels.
"""

from searchspace.errors import InvalidArgument
from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published, mobile

ROUNDINGS = ("paper", "torchvision")
# (kernel, expansion size, its ratio, output channels, SE, activation, stride) as the tables print them, by stage; the
# ratio is the released code's.
Rows = tuple[tuple[int, int, float, int, bool, str, int], ...]
RE, HS = "relu", "h_swish"
LARGE: tuple[Rows, ...] = (
    ((3, 16, 1, 16, False, RE, 1),),
    ((3, 64, 4, 24, False, RE, 2), (3, 72, 3, 24, False, RE, 1)),
    ((5, 72, 3, 40, True, RE, 2), (5, 120, 3, 40, True, RE, 1), (5, 120, 3, 40, True, RE, 1)),
    (
        (3, 240, 6, 80, False, HS, 2),
        (3, 200, 2.5, 80, False, HS, 1),
        (3, 184, 2.3, 80, False, HS, 1),
        (3, 184, 2.3, 80, False, HS, 1),
    ),
    ((3, 480, 6, 112, True, HS, 1), (3, 672, 6, 112, True, HS, 1)),
    ((5, 672, 6, 160, True, HS, 2), (5, 960, 6, 160, True, HS, 1), (5, 960, 6, 160, True, HS, 1)),
)
SMALL: tuple[Rows, ...] = (
    ((3, 16, 1, 16, True, RE, 2),),
    ((3, 72, 4.5, 24, False, RE, 2), (3, 88, 3.67, 24, False, RE, 1)),
    ((5, 96, 4, 40, True, HS, 2), (5, 240, 6, 40, True, HS, 1), (5, 240, 6, 40, True, HS, 1)),
    ((5, 120, 3, 48, True, HS, 1), (5, 144, 3, 48, True, HS, 1)),
    ((5, 288, 6, 96, True, HS, 2), (5, 576, 6, 96, True, HS, 1), (5, 576, 6, 96, True, HS, 1)),
)


def _table(name: str, stages: tuple[Rows, ...], *, last: int, hidden: int, width: float, rounding: str) -> Template:
    """A table and its head: the last 1x1 convolution to `last` channels, the hidden layer of `hidden` features."""
    if rounding not in ROUNDINGS:
        raise InvalidArgument(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    own = rounding == "torchvision"
    rows = [
        [
            MBConvRow(
                kernel=k,
                expand_ratio=ratio,
                expand_width=exp if own else 0,
                expand_divisor=8,
                width=out,
                stride=s,
                se_ratio=0.25 if se else 0,
                se_of_expanded=True,
                se_divisor=8,
                activation=nl,
                gate="hard_sigmoid",
            )
            for k, exp, ratio, out, se, nl, s in stage
        ]
        for stage in stages
    ]
    stem_scaling = "width" if own or width >= 0.75 else "fixed"
    stem = ConvRow(width=16, kernel=3, stride=2, activation=HS, scaling=stem_scaling)
    head = ConvRow(width=last, activation=HS, input_ratio=6.0 if own else 0.0)
    classifier = ClassifierRow(
        hidden_width=hidden, hidden_activation=HS, hidden_scaling="width" if own else "fixed", dropout_percent=20
    )
    return Template(
        name,
        (
            StageTemplate("stem", (stem,)),
            *(mobile(f"stage{number}", *each) for number, each in enumerate(rows, 1)),
            StageTemplate("head", (head,)),
            StageTemplate("classifier", (classifier,)),
        ),
    )


def large(*, width: float = 1.0, rounding: str = "paper") -> Template:
    """Table 1."""
    return _table("mobilenet_v3_large", LARGE, last=960, hidden=1280, width=width, rounding=rounding)


def small(*, width: float = 1.0, rounding: str = "paper") -> Template:
    """Table 2 (its hidden layer has 1024 features, as in all released code; the first edition printed 1280)."""
    return _table("mobilenet_v3_small", SMALL, last=576, hidden=1024, width=width, rounding=rounding)


_NOTE = "At widths other than 1, rounding=\"torchvision\" gives torchvision's channels instead of the released code's."
ENTRIES = (
    Entry(
        name="mobilenet_v3_large",
        title="MobileNetV3-Large",
        source="arXiv:1905.02244, Table 1",
        template=large,
        options=("rounding",),
        reads_width=True,
        published=(Published({}, 75.2, "Table 3"), Published({"width": 0.75}, 73.3, "Table 3")),
        note=_NOTE,
    ),
    Entry(
        name="mobilenet_v3_small",
        title="MobileNetV3-Small",
        source="arXiv:1905.02244, Table 2",
        template=small,
        options=("rounding",),
        reads_width=True,
        published=(Published({}, 67.4, "Table 3"), Published({"width": 0.75}, 65.4, "Table 3")),
        note=_NOTE,
    ),
)
