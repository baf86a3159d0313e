"""What `auto` in the settings comes to on this machine, for these data: weights, estimator, deployed size, threads."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from search import data
from search.deployed import Deployed, auto_resolution, from_scratch
from search.machinery import Machinery
from search.settings import AUTO, NO_WEIGHTS, Settings, px_text
from searchspace.nn.weights.sources import Parents

Note = Callable[[str], None]


def decided(settings: Settings, machinery: Machinery, *, is_new: bool, note: Note) -> tuple[Settings, Parents | None]:
    """The settings without any `auto` left, and the published weights to start from; each decision told in a line.

    is_new: whether they begin a study. Raises PhinasError for weights that cannot be had.
    """
    settings = _with_threads(settings, machinery, note) if is_new else settings
    parents = _parents(settings, machinery, note)
    if settings.weights == AUTO:
        names = NO_WEIGHTS if parents is None else ",".join(parent.name for parent in parents)
        settings = replace(settings, weights=names)
    if settings.accuracy == AUTO:
        settings = replace(settings, accuracy="training" if parents is None else "frozen")
    if settings.auto_resolution:
        found = _deployed_size(settings, parents, machinery)
        settings = replace(settings, resolution=found.resolution, auto_resolution=False)
        note(f"deployed size: {px_text(settings.resolutions)} px: {found.reason}")
    return settings, parents


def _with_threads(settings: Settings, machinery: Machinery, note: Note) -> Settings:
    """With one thread to time networks with where others hold the cores.

    The threads of an operation wait for each other: there a network of 3 ms took 600.
    """
    if settings.threads is not None or settings.latency is not None or not machinery.are_cores_held():
        return settings
    note(
        "other processes hold the cores: networks are timed with 1 thread, which is what the budget is for "
        "(--threads N for more)"
    )
    return replace(settings, threads=1)


def _parents(settings: Settings, machinery: Machinery, note: Note) -> Parents | None:
    """What `--weights` comes to."""
    if settings.weights == AUTO and data.is_digits(settings.data):
        note("weights: none, the embedded task is learnt faster from random ones (--weights NAME: published ones)")
        return None
    parents = machinery.weights(settings.weights, ema=settings.ema, note=note)
    if parents is not None:
        note(f"weights: {parents.describe()}")
    elif settings.weights != AUTO:  # else it is told why there are none
        note("weights: none, networks start from random ones")
    return parents


def _deployed_size(settings: Settings, parents: Parents | None, machinery: Machinery) -> Deployed:
    """What `--resolution auto` comes to; where the smallest of several budgets has another size, both are choices."""
    if parents is None:
        return from_scratch(settings.proxy_resolution)
    native = data.native_resolution(settings.data)
    latency_of = partial(machinery.rough_ms, threads=settings.threads)
    largest, *others = [
        auto_resolution(native, budget_ms=ms, latency_of=latency_of)
        for ms in (settings.budget_ms, *(settings.budgets_ms or ())[:1])
    ]
    smaller = tuple(one for one in others if one.px < largest.px)
    if not smaller:
        return largest
    reason = f"{largest.reason}; for the smallest budget: {smaller[0].reason}"
    return Deployed(largest.px, reason, (smaller[0].px,))
