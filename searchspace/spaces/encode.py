"""`encode`: the choices of a space that mean a given network, the inverse of `SearchSpace.spec`."""

from collections.abc import Iterator
from itertools import product

from searchspace.blocks.protocol import Block, Value
from searchspace.errors import InvalidChoice
from searchspace.spaces.space import RESOLUTION, Choices, SearchSpace
from searchspace.spaces.stage import BLOCK, StageChoices, row_of
from searchspace.spec import NetworkSpec

Blocks = tuple[Block, ...]


def encode(space: SearchSpace, spec: NetworkSpec) -> Choices:
    """The canonical choices whose network has the layers of `spec`, layer for layer.

    Resolution, classes, dropout and conventions are the space's own business and do not count: of several input sizes
    the nearest to the network's is given. Where several choice sets mean one network, the one with the most layers in
    the earliest stages and multipliers nearest 1 is given. Raises InvalidChoice that says how far the space follows the
    network.
    """
    body = spec.blocks[:-1]
    ends = _ends(space, spec) if len(body) > 2 else None
    if ends is None:
        raise InvalidChoice(
            f"{spec.name} is no point of the space {space.name!r}: its ends differ from the space's stem "
            f"({space.stem_width} channels, 3x3, stride 2), head ({_words_of(space.head_width)} channels, 1x1) and "
            f"linear classifier{_hidden(space)}; train it as a baseline instead"
        )
    found, reached = _match(space, space.stages, body[1:-1], space.stem_width, ends)
    if found is not None:
        if space.smaller_resolutions:
            found[RESOLUTION] = min(space.resolutions, key=lambda px: abs(px - spec.resolution))
        choices = space.canonical(found)
        own = space.spec(choices)
        if [b.identity() for b in own.blocks[:-1]] == [b.identity() for b in body] and _head(own) == _head(spec):
            return choices
    where = [name for name, _, _ in spec.walk()][1 + reached]
    raise InvalidChoice(
        f"{spec.name} is no point of the space {space.name!r}: the space follows it up to {where}, "
        f"{_words(spec.blocks[1 + reached])}; widen the choices (with_choices, --space), or train it as a baseline"
    )


def _ends(space: SearchSpace, spec: NetworkSpec) -> Choices | None:
    """The choices of the last layers' widths where the network begins and ends as those of the space, or None."""
    stem = space.spec(space.corner("smallest")).blocks[0]
    given = [_shape(spec.blocks[at]) for at in (0, -2, -1)]
    for choices, (head, classifier) in space.ends("relu"):
        behind = [template.expand(1, 1.0, 1.0).blocks[0] for template in (head, classifier)]
        if given == [_shape(block) for block in (stem, *behind)]:
            return choices
    return None


def _shape(block: Block) -> tuple[str, dict[str, object]]:
    """An end's identity without what the stages (its activation) or the space decide."""
    kind, given = block.identity()
    free = ("activation", "hidden_activation", "classes", "dropout_percent")
    return kind, {name: value for name, value in given.items() if name not in free}


def _head(spec: NetworkSpec) -> tuple[tuple[str, dict[str, object]], object]:
    """The classifier without what the space decides."""
    return _shape(spec.head), spec.head.identity()[1].get("hidden_activation")


def _match(
    space: SearchSpace, stages: tuple[StageChoices, ...], blocks: Blocks, channels: int, before: Choices
) -> tuple[Choices | None, int]:
    """(`before` and choices of `stages` that give exactly `blocks` behind `channels`, or None; how many were followed).

    Depth first, the most layers first; a stage has a handful of layer counts, so this ends soon.
    """
    if not stages:
        return (before, 0) if not blocks else (None, 0)
    stage, furthest = stages[0], 0
    if stage.after and not before[f"{stage.after}.layers"]:
        return _match(space, stages[1:], blocks, channels, before)
    for layers in sorted(stage.layers, reverse=True):
        run = blocks[:layers]
        if len(run) < layers:
            continue
        for own in _stage_choices(space, stage, run, channels, before):
            behind = run[-1].channels_after(channels) if run else channels
            found, further = _match(space, stages[1:], blocks[layers:], behind, {**before, **own})
            furthest = max(furthest, layers + further)
            if found is not None:
                return found, furthest
    return None, furthest


def _stage_choices(
    space: SearchSpace, stage: StageChoices, run: Blocks, channels: int, before: Choices
) -> Iterator[Choices]:
    """The choices of one stage that give `run` behind `channels` channels and `before`, for each kind of block."""
    if not run:
        yield {stage.choice("layers"): 0}
        return
    for block in stage.blocks:
        names, row = space.choice_names(stage, block), row_of(block)
        if before.get(names.get(BLOCK, ""), block) != block or not row.may_give(run[0]):
            continue
        known: dict[str, Value] = {**row.choices_of(run[0]), "layers": len(run)}
        values = {k: (before[name],) if (name := names[k]) in before else stage.values(k) for k in stage.all_of(block)}
        if any(value not in values[kind] for kind, value in known.items()):
            continue
        values |= {kind: (value,) for kind, value in known.items()}
        values["width_mult"] = tuple(sorted(values["width_mult"], key=lambda mult: abs(float(mult) - 1)))
        for chosen in product(*values.values()):  # 0.75 x 16 rounds to 16 too
            choices = dict(zip(map(names.__getitem__, values), chosen, strict=True))
            choices |= {names[BLOCK]: block} if BLOCK in names else {}
            blocks = space.row(stage, choices).blocks(channels, 1.0, len(run))
            if [b.identity() for b in blocks] == [b.identity() for b in run]:
                yield choices
                break


def _words_of(width: int | tuple[int, ...]) -> str:
    return " or ".join(map(str, width if isinstance(width, tuple) else (width,)))


def _hidden(space: SearchSpace) -> str:
    return f" with {_words_of(space.hidden_width)} hidden features" if space.hidden_width else ""


def _words(block: Block) -> str:
    kind, given = block.identity()
    return f"a {kind} with " + ", ".join(f"{name} {value}" for name, value in given.items())
