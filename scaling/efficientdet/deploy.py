"""A detector as it is deployed: batch norms folded, those of the shared heads level by level, weights of sums fixed."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from scaling.efficientdet.module import Detector, Fuse, Head, HeadConv, Outputs
from scaling.efficientdet.neck import LEVELS
from searchspace.nn.fold import fold_batch_norm


class LevelHead(nn.Module):
    """A head whose convolutions have a batch norm each, so that it can be folded: one copy for each level."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(*(_of_level(conv, level) for conv in head.convs), head.predict)  # type: ignore[arg-type]
            for level in range(len(LEVELS))
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """As Head."""
        return [part(x) for part, x in zip(self.levels, maps, strict=True)]


class NeckAndHeads(nn.Module):
    """All behind the backbone."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.neck, self.class_head, self.box_head = detector.neck, detector.class_head, detector.box_head

    def forward(self, taps: Sequence[Tensor]) -> Outputs:
        """P3, P4 and P5 of the backbone -> the raw outputs."""
        maps = self.neck(taps)
        return self.class_head(maps), self.box_head(maps)


def deployed(detector: Detector) -> Detector:
    """A copy in eval mode with the same outputs up to float rounding, in the form that is timed and exported."""
    found = copy.deepcopy(detector).eval()
    for name in ("class_head", "box_head"):
        setattr(found, name, LevelHead(getattr(found, name)))
    for part in found.modules():
        if isinstance(part, Fuse):
            part.fix()
    return fold_batch_norm(found)


def _of_level(conv: HeadConv, level: int) -> nn.Sequential:
    own = copy.deepcopy(conv.conv)
    own.pointwise.norm = conv.norms[level]
    return nn.Sequential(own, conv.act)
