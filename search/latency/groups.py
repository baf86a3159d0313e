"""Groups: how many subjects are timed in turn, so that the machine treats them as it treats one network by itself."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from search.latency.interleave import Reading, Timer
from search.latency.kernels import PlacedBlock
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, Signature, lower
from searchspace.spec import NetworkSpec

GROUP_BYTES = 5 << 28  # weights held at once; more are measured group by group
# oneDNN keeps 1,024 primitives ready. With more kernels in turn it makes each anew at every call, half a ms that a
# network by itself does not have: of 2,231 kernels in one group those of 3x3 depthwise convolutions scattered by 52 %,
# and half of 102 networks measured 10 % above their table. Some 150 more are of the reference and the probe networks.
GROUP_KERNELS = 500
# A group is over in some two minutes, in which the session effect may be one and the same: once the 60 random networks
# of a check came out 10 % slow beside the reference, and the 42 published ones behind them did not.
TURNS = 2

Subject = NetworkSpec | tuple[PlacedBlock, ...]


class Readings:
    """The readings of subjects and probe networks, by place, one a round."""

    def __init__(self) -> None:
        self.readings: dict[int, list[Reading]] = {}

    def add(self, places: Sequence[int], readings: Sequence[Reading]) -> None:
        """Add a round."""
        for place, reading in zip(places, readings, strict=True):
            self.readings.setdefault(place, []).append(reading)

    def rounds(self, places: Sequence[int]) -> int:
        """The rounds that every one of the places has."""
        return min(len(self.readings.get(place, ())) for place in places)


class Group(NamedTuple):
    """Subjects, by place, that are timed in the same rounds, and the names of the probe networks timed with them.

    The places of the probe networks' readings begin at `first_probe`, behind those of all subjects.
    """

    places: list[int]
    probes: tuple[str, ...]
    first_probe: int

    @property
    def all_places(self) -> list[int]:
        """The places of every reading of a round."""
        return [*self.places, *range(self.first_probe, self.first_probe + len(self.probes))]

    def own(self, found: Readings) -> list[list[Reading]]:
        """The readings of its subjects."""
        return [found.readings[place] for place in self.places]

    def probe_readings(self, found: Readings) -> dict[str, list[Reading]]:
        """The readings of its probe networks, by name."""
        return {name: found.readings[self.first_probe + at] for at, name in enumerate(self.probes)}


def layers_of(subject: Subject) -> Sequence[Layer]:
    """The layers that a timer of the subject runs."""
    if isinstance(subject, NetworkSpec):
        return lower(subject).layers
    return [layer for block in subject for layer in block.layers]


def bytes_of(subject: Subject) -> int:
    """The bytes of its weights in float32."""
    return 4 * sum(layer_params_macs(layer)[0] for layer in layers_of(subject))


class Timers:
    """The timers of groups, kept from one turn to the next while their weights fit in `most_bytes`.

    Making the timers of a table takes as long as the measurement. `make(index)` makes that of a subject.
    """

    def __init__(
        self, subjects: Sequence[Subject], make: Callable[[int], Timer], *, most_bytes: int = GROUP_BYTES
    ) -> None:
        self._make, self._most_bytes = make, most_bytes
        self._bytes = [bytes_of(subject) for subject in subjects]
        self._made: dict[tuple[int, ...], list[Timer]] = {}

    def of(self, group: Sequence[int], progress: Callable[[float, str], None] = lambda *_: None) -> list[Timer]:
        """The timers of a group, made if they are not there."""
        key = tuple(group)
        if key not in self._made:
            while self._made and self._bytes_with(key) > self._most_bytes:
                self._made.popitem()  # the latest is needed last
            timers = []
            for done, index in enumerate(group):
                progress(done / len(group), "preparing to measure this machine")
                timers.append(self._make(index))
            self._made[key] = timers
        return self._made[key]

    def _bytes_with(self, more: Sequence[int]) -> int:
        return sum(self._bytes[index] for group in (*self._made, more) for index in group)


def groups(
    subjects: Sequence[Subject],
    probes: Sequence[NetworkSpec] = (),
    *,
    apart: int | None = None,
    most_kernels: int = GROUP_KERNELS,
) -> list[Group]:
    """The subjects, in order, in groups of at most GROUP_BYTES of weights and `most_kernels` kernels.

    A larger subject is a group by itself. Subjects from place `apart` on are in groups of their own. `probes` are timed
    with each group.
    """
    places: list[list[int]] = [[]]
    size, kernels = 0, set[Signature]()
    for index, subject in enumerate(subjects):
        own_size, own = bytes_of(subject), {layer.signature for layer in layers_of(subject)}
        full = size + own_size > GROUP_BYTES or len(kernels | own) > most_kernels
        if places[-1] and (full or index == apart):
            places.append([])
            size, kernels = 0, set()
        places[-1].append(index)
        size += own_size
        kernels |= own
    names = tuple(spec.name for spec in probes)
    return [Group(each, names, len(subjects) + number * len(names)) for number, each in enumerate(places)]


def turns_of(parts: Sequence[Group]) -> list[tuple[Group, float]]:
    """The groups in the order in which they are timed, with the share of its rounds that each has after its turn.

    Several groups take TURNS turns, so that the turns of one lie apart; a single group takes one.
    """
    turns = TURNS if len(parts) > 1 else 1
    return [(part, (turn + 1) / turns) for turn in range(turns) for part in parts]
