"""The networks of a reference set: known and published ones within the band, then random ones spread over it."""

import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from search.budget import CostModel
from search.candidates import PricedSpace
from search.samplers.moves import Moves
from search.validation.settings import BAND
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, InvalidChoice
from searchspace.graph import NETWORK_INPUT, lower
from searchspace.nn.weights.sources import Parents
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import KNOWN
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spec import NetworkSpec

DRAWS = 300  # random networks, of which each place of the band takes the nearest; most spaces reach all of it so
TOLERANCE = 0.02  # of the budget, between a place of the band and the network that is taken for it
TRIES = 20  # networks that are brought to a place which no draw came near, of which the nearest is taken


class Member(NamedTuple):
    """One network of the set.

    Attributes:
        name: For people.
        kind: "published" (with weights of its own), "known" (a point of the space by a paper's table) or "random".
        choices: The point of the search space; None for a network outside it.
        spec: At the pixels that it is trained at, with the classes of the images.
        price: In the unit of the budget.
    """

    name: str
    kind: str
    choices: Choices | None
    spec: NetworkSpec
    price: float

    @property
    def fingerprint(self) -> str:
        """Of the spec."""
        return self.spec.fingerprint()


def members(
    space: SearchSpace, cost_model: CostModel, budget: float, *, count: int, seed: int, parents: Parents | None
) -> list[Member]:
    """The first `count` networks of the set of a budget; a larger set begins with the networks of a smaller one.

    Prices lie from BAND[0] to BAND[1] times the budget. Random networks are taken at places that halve the widest gap
    in turn (the van der Corput sequence), so that every beginning of the set is spread over the band. Raises
    InfeasibleBudget where the band holds no network of the space.
    """
    priced = PricedSpace(space, cost_model)
    found = list(_known(priced, cost_model, budget, parents))
    taken = {one.fingerprint for one in found}
    more = _random(priced, budget, seed=seed, taken=taken)
    return [*found[:count], *islice(more, max(0, count - len(found)))]


def _known(priced: PricedSpace, cost_model: CostModel, budget: float, parents: Parents | None) -> Iterator[Member]:
    """Published networks with weights at hand, as they are, and known points of the space, within the band."""
    space, low, high = priced.space, BAND[0] * budget, BAND[1] * budget
    for parent in parents or ():
        spec = parent.network.spec.with_classes(space.classes).with_resolution(space.resolution)
        price = cost_model.cost(lower(spec))
        if low <= price <= high:
            yield Member(parent.name, "published", None, spec, price)
    seen = set[str]()
    for name, choices in known_points(space):
        candidate = priced.price(choices)
        if low <= candidate.latency_ms <= high and candidate.fingerprint not in seen:
            seen.add(candidate.fingerprint)
            yield Member(name, "known", candidate.choices, candidate.spec, candidate.latency_ms)


def known_points(space: SearchSpace) -> Iterator[tuple[str, Choices]]:
    """The networks of papers that are points of the space, by name."""
    parameters = space.parameters()
    for name, choices in KNOWN.items():
        if all(value in parameters.get(key, ()) for key, value in choices.items()):
            yield name, choices
    for name in zoo.names():
        with suppress(InvalidChoice):
            yield name, encode(space, zoo.get(name))


def _random(priced: PricedSpace, budget: float, *, seed: int, taken: set[str]) -> Iterator[Member]:
    """Random networks without end, each at the next place of the band."""
    low, high = BAND[0] * budget, BAND[1] * budget
    fastest = priced.fastest()
    if fastest.latency_ms > high:
        raise InfeasibleBudget(
            f"the reference set takes networks of {low:.4g} to {high:.4g}, and the cheapest of the space is at "
            f"{fastest.latency_ms:.4g}: raise the budget, or lower --resolution"
        )
    low = max(low, fastest.latency_ms)
    rng = random.Random(seed)
    pool = [priced.price(priced.space.sample(rng)) for _ in range(DRAWS)]
    number = 0
    while True:
        number += 1
        place = low + van_der_corput(number) * (high - low)
        free = [each for each in pool if each.fingerprint not in taken and low <= each.latency_ms <= high]
        nearest = min(free, key=lambda each: abs(each.latency_ms - place), default=None)
        if nearest is None or abs(nearest.latency_ms - place) > TOLERANCE * budget:
            own = random.Random(f"{seed} {number}")
            moves = Moves(priced=priced, limit_ms=place, fastest=fastest, rng=own, taken=taken, rejected=_Ignored())
            tried = [priced.price(moves.within_budget(moves.draw(), floor_ms=0.99 * place)) for _ in range(TRIES)]
            new = [each for each in tried if each.fingerprint not in taken and each.latency_ms >= low]
            nearest = min(new, key=lambda each: abs(each.latency_ms - place), default=nearest)
        if nearest is None:
            return  # the space is exhausted there
        taken.add(nearest.fingerprint)
        yield Member(f"random-{number}", "random", nearest.choices, nearest.spec, nearest.latency_ms)


class _Ignored(dict[str, int]):
    """Counts that nobody reads."""

    def __missing__(self, key: str) -> int:
        return 0


def van_der_corput(number: int) -> float:
    """The number's binary digits mirrored at the point, from 0 to 1: 1/2, 1/4, 3/4, 1/8, 5/8, ..."""
    mirrored, share = 0.0, 0.5
    while number:
        number, digit = divmod(number, 2)
        mirrored += share * digit
        share /= 2
    return mirrored


def depth(spec: NetworkSpec) -> int:
    """Convolutions and linear layers on the longest way from the input to the output; those of an SE block left out."""
    longest: list[int] = []
    for layer in lower(spec).layers:
        before = max((longest[source] for source in layer.inputs if source != NETWORK_INPUT), default=0)
        longest.append(before + (layer.op in ("conv", "linear")))
    return max(longest)


def sizes(spec: NetworkSpec) -> dict[str, int]:
    """What a network's size is told by: MACs, parameters, depth. An estimator is worth nothing that is not better."""
    cost = costs(lower(spec))
    return {"macs": cost.macs, "params": cost.params, "depth": depth(spec)}
