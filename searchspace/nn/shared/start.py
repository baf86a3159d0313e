"""What a shared network starts from: a published network, its best channels first, or random weights."""

from collections import Counter

import torch

from searchspace.channels.coupling import coupling
from searchspace.channels.maps import best, unit_maps
from searchspace.channels.steps import Step
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn.build import Network, build
from searchspace.nn.shared.network import SharedNetwork
from searchspace.nn.weights.importance import scores
from searchspace.nn.weights.prune import prune_network
from searchspace.nn.weights.transfer import CRITERION, transfer
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

NEAR = {"relu6": "relu"}  # what a space without the parent's activation is started with


def shared_network(space: SearchSpace, parent: Network | None, *, generator: torch.Generator) -> SharedNetwork:
    """The shared network of a space with the weights of `parent` (None: random ones).

    The largest network computes what `transfer` makes of the parent: channels stand in another order, the most
    important first, so that narrow networks have the best ones. Raises InvalidArgument for a space that cannot share.
    """
    check_space(space)
    spec = largest_spec(space, None if parent is None else parent.spec)
    if parent is None:
        return SharedNetwork(build(spec, generator=generator))
    SharedNetwork(build(spec, generator=torch.Generator()))  # what cannot be shared is told first
    return SharedNetwork(transfer(best_first(parent), spec, generator=generator).network)


def check_space(space: SearchSpace) -> None:
    """Raises InvalidArgument for a space with networks that are no parts of its largest one, naming what differs.

    Those are networks with another kind of block, with further layers of their own, or without a hidden layer.
    """
    hidden = isinstance(space.hidden_width, tuple) and 0 in space.hidden_width
    found = [f"{stage.name}.block" for stage in space.stages if len(stage.blocks) > 1]
    found += [f"further layers {stage.name}" for stage in space.stages if stage.after]
    found += ["classifier.hidden_width"] if hidden else []
    if found:
        raise InvalidArgument(
            f"networks share weights where each is a part of the largest one, and the space {space.name!r} has "
            f"{found[0]} as a choice: judge by another --accuracy, or take a space with one kind of block a stage"
        )


def largest_spec(space: SearchSpace, parent: NetworkSpec | None) -> NetworkSpec:
    """The largest network of a space, with the parent's activation in each stage that has it as a choice."""
    choices = space.corner("largest")
    if parent is not None:
        found = Counter(getattr(block, "activation", "") for block in parent.blocks).most_common(1)[0][0]
        for name, values in space.parameters().items():
            if name.endswith(".activation") and name in choices:
                choices[name] = next((each for each in (found, NEAR.get(found)) if each in values), choices[name])
    return space.spec(choices, name=space.name)


def best_first(network: Network) -> Network:
    """The same function with its channels in the order of their importance; where order counts, as it is."""
    spec, graph = network.spec, lower(network.spec)
    origins = {}
    for group in coupling(spec):
        units = range(len(group.cells))
        movable = not group.fixed and len(set(group.cells)) == 1
        origins[group.name] = best(units, scores(network, group, CRITERION)) if movable else list(units)
    maps = unit_maps(spec, spec, origins=origins)
    if maps is None:
        return network
    return prune_network(network, Step(spec, graph, tuple(range(len(graph.layers))), maps))
