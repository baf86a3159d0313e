"""`encode`: the choices of a space that mean a given network, the inverse of `SearchSpace.spec`."""

from itertools import product

from searchspace.blocks.protocol import ROWS, Block
from searchspace.errors import InvalidChoice
from searchspace.spaces.space import RESOLUTION, Choices, SearchSpace, StageChoices
from searchspace.spec import NetworkSpec

Blocks = tuple[Block, ...]


def encode(space: SearchSpace, spec: NetworkSpec) -> Choices:
    """The canonical choices whose network has the layers of `spec`, layer for layer.

    Resolution, classes, dropout and conventions are the space's own business and do not count: of several input sizes
    the nearest to the network's is given. Where several choice sets mean one network, the one with the most layers in
    the earliest stages and multipliers nearest 1 is given. Raises InvalidChoice that says how far the space follows the
    network.
    """
    *body, last = spec.blocks
    given = space.decode(space.corner("smallest")).expand().blocks
    ends = [_shape(block) for block in (given[0], given[-2], given[-1])]
    if len(body) < 3 or [_shape(block) for block in (body[0], body[-1], last)] != ends:
        raise InvalidChoice(
            f"{spec.name} is no point of the space {space.name!r}: its ends differ from the space's stem "
            f"({space.stem_width} channels, 3x3, stride 2), head ({space.head_width} channels, 1x1) and linear "
            "classifier; train it as a baseline instead"
        )
    found, reached = _match(space, space.stages, tuple(body[1:-1]), space.stem_width)
    if found is not None:
        if space.smaller_resolutions:
            found[RESOLUTION] = min(space.resolutions, key=lambda px: abs(px - spec.resolution))
        choices = space.canonical(found)
        if [b.identity() for b in space.spec(choices).blocks[:-1]] == [b.identity() for b in body]:
            return choices
    where = [name for name, _, _ in spec.walk()][1 + reached]
    raise InvalidChoice(
        f"{spec.name} is no point of the space {space.name!r}: the space follows it up to {where}, "
        f"{_words(spec.blocks[1 + reached])}; widen the choices (with_choices, --space), or train it as a baseline"
    )


def _shape(block: Block) -> tuple[str, dict[str, object]]:
    """An end's identity without what the stages (its activation) or the space decide."""
    kind, given = block.identity()
    free = ("activation", "classes", "dropout_percent")
    return kind, {name: value for name, value in given.items() if name not in free}


def _match(
    space: SearchSpace, stages: tuple[StageChoices, ...], blocks: Blocks, channels: int
) -> tuple[Choices | None, int]:
    """(choices of `stages` that give exactly `blocks` behind `channels`, or None; how many blocks could be followed).

    Depth first, the most layers first; a stage has a handful of layer counts, so this ends soon.
    """
    if not stages:
        return ({}, 0) if not blocks else (None, 0)
    stage, furthest = stages[0], 0
    for layers in sorted(stage.layers, reverse=True):
        run = blocks[:layers]
        own = _stage_choices(space, stage, run, channels) if len(run) == layers else None
        if own is None:
            continue
        behind = run[-1].channels_after(channels) if run else channels
        rest, further = _match(space, stages[1:], blocks[layers:], behind)
        furthest = max(furthest, layers + further)
        if rest is not None:
            return {**own, **rest}, furthest
    return None, furthest


def _stage_choices(space: SearchSpace, stage: StageChoices, run: Blocks, channels: int) -> Choices | None:
    """The choices of one stage that give `run` behind `channels` channels, or None."""
    if not run:
        return {f"{stage.name}.layers": 0}
    if ROWS.get(type(run[0])) is not stage.row:
        return None
    known = {**stage.row.choices_of(run[0]), "layers": len(run)}
    if any(value not in stage.values(kind) for kind, value in known.items()):
        return None
    unknown = [kind for kind in stage.kinds if kind not in known and kind != "width_mult"]
    for width_mult in sorted(stage.width_mult, key=lambda mult: abs(mult - 1)):  # 0.75 x 16 rounds to 16 too
        for values in product(*map(stage.values, unknown)):
            chosen = {**known, **dict(zip(unknown, values, strict=True)), "width_mult": width_mult}
            choices: Choices = {f"{stage.name}.{kind}": value for kind, value in chosen.items()}
            blocks = space.row(stage, choices).blocks(channels, 1.0, len(run))
            if [b.identity() for b in blocks] == [b.identity() for b in run]:
                return choices
    return None


def _words(block: Block) -> str:
    kind, given = block.identity()
    return f"a {kind} with " + ", ".join(f"{name} {value}" for name, value in given.items())
