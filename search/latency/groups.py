"""What is timed in turn: so much at a time that the machine treats it as it treats one network by itself."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, Signature, lower
from searchspace.spec import NetworkSpec

GROUP_BYTES = 5 << 28  # weights held at once; more are measured group by group
# oneDNN keeps 1,024 primitives ready; with more kernels in turn it makes each anew at every call, half a ms that a
# network by itself does not have: of 2,231 kernels measured in one group those of 3x3 depthwise scattered by 52 %, and
# of 102 networks half measured 10 % above their table, small ones twice it. Some 150 more are of the reference and the
# anchors.
GROUP_KERNELS = 500

# A group is over in some two minutes, which may be a mood of the machine: once the 60 random networks of a check came
# out 10 % slow beside the reference, and the 42 published ones behind them did not.
TURNS = 2

Subject = NetworkSpec | tuple[PlacedBlock, ...]
Part = TypeVar("Part")


def layers_of(subject: Subject) -> Sequence[Layer]:
    """The layers that a timer of the subject runs."""
    if isinstance(subject, NetworkSpec):
        return lower(subject).layers
    return [layer for block in subject for layer in block.layers]


def bytes_of(subject: Subject) -> int:
    """Those of its weights."""
    return 4 * sum(layer_params_macs(layer)[0] for layer in layers_of(subject))


class Timers:
    """The timers of groups. They stay from one turn to the next where all that are there hold no more than GROUP_BYTES
    of weights: making those of a table's subjects takes as long as all that is measured."""

    def __init__(self, subjects: Sequence[Subject], make: Callable[[int], Timer]) -> None:
        """make(index): the timer of a subject."""
        self._make = make
        self._bytes = [bytes_of(subject) for subject in subjects]
        self._made: dict[tuple[int, ...], list[Timer]] = {}

    def of(self, group: Sequence[int], progress: Callable[[float], None] = lambda share: None) -> list[Timer]:
        """Those of a group, made where they are not there."""
        key = tuple(group)
        if key not in self._made:
            while self._made and self._held(key) > GROUP_BYTES:
                self._made.popitem()  # the latest is needed last
            timers = []
            for done, index in enumerate(group):
                progress(done / len(group))
                timers.append(self._make(index))
            self._made[key] = timers
        return self._made[key]

    def _held(self, more: Sequence[int]) -> int:
        return sum(self._bytes[index] for group in (*self._made, more) for index in group)


def groups(subjects: Sequence[Subject], apart: int | None = None) -> list[list[int]]:
    """Subjects (by place, in order) of no more than GROUP_BYTES of weights and GROUP_KERNELS kernels together, or one
    of more by itself; those from place `apart` on are in groups of their own."""
    found: list[list[int]] = [[]]
    held, kernels = 0, set[Signature]()
    for index, subject in enumerate(subjects):
        size, own = bytes_of(subject), {layer.signature for layer in layers_of(subject)}
        full = held + size > GROUP_BYTES or len(kernels | own) > GROUP_KERNELS
        if found[-1] and (full or index == apart):
            found.append([])
            held, kernels = 0, set()
        found[-1].append(index)
        held += size
        kernels |= own
    return found


def turns_of(parts: Sequence[Part]) -> list[tuple[Part, float]]:
    """What is timed after what: each group, and the share of its rounds that it has then. Groups take TURNS turns, so
    that those of one lie apart; a group by itself takes one."""
    turns = TURNS if len(parts) > 1 else 1
    return [(part, (turn + 1) / turns) for turn in range(turns) for part in parts]
