"""The least time that a search makes sense in here, so that a limit below it is told before work begins."""

from collections.abc import Callable

from search.data import Dataset
from search.device import Device
from search.latency.runtimes import runtime
from search.plan import CLOSING_S
from search.session import StudyClock
from search.settings import Settings
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument

TESTED = 0.5  # of the time of one image alone: what it takes to tell one of many; to learn from one takes a whole one
LEAST_TESTED = 1000


def check_time(
    settings: Settings,
    clock: StudyClock,
    images: Dataset | None,
    recipe: Recipe | None,
    device: Device,
    rough_ms: Callable[[int], float],
) -> None:
    """Raises InvalidArgument for a time limit that is too short for any search.

    Counted are a latency table and, for each budget, one candidate, as long a training of the winner, its measurement
    and its test, all of a small network.

    Args:
        settings: Of the search.
        clock: What is left of the limit.
        images: None while they are not known, which a limit may be too short for already.
        recipe: Of a candidate's training; None where candidates are not trained.
        device: What the table is of.
        rough_ms: About how long a small network takes for one image of so many pixels.
    """
    left_s, limit_s = clock.left_s(), clock.limit_s
    if left_s is None or limit_s is None:
        return
    table_s = training_s = test_s = 0.0
    if settings.latency is None:
        machine = runtime(settings.runtime, threads=settings.threads)
        table_s = device.table_s(runtime=machine, pixels=max(settings.resolutions))
    if images is not None:
        test_s = TESTED * min(len(images.open_test()), LEAST_TESTED) * rough_ms(min(settings.resolutions)) / 1000
        if recipe is not None:
            learnt = recipe.epochs * min(len(images.train), recipe.epoch_images)
            training_s = learnt * rough_ms(settings.proxy_resolution) / 1000
    training_s, test_s = settings.winners * training_s, settings.winners * (test_s + CLOSING_S)
    needed_s = table_s + 2 * training_s + test_s
    if left_s >= needed_s:
        return
    parts = [f"a latency table takes {table_s:.0f} s"] if table_s else []
    one, winner, it = "one network", "the winner", "it"
    if settings.winners > 1:
        one, winner, it = f"one network for each of {settings.winners} budgets", "their winners", "them"
    parts += [f"judging {one} {training_s:.0f} s, training {winner} as long again"] if training_s else []
    parts += [f"measuring, testing and writing {it} {test_s:.0f} s"]
    spent_s = limit_s - left_s
    spent = f", of which {spent_s / 60:.1f} are spent" if spent_s >= 6 else ""
    raise InvalidArgument(
        f"--minutes must be at least about {(spent_s + needed_s) / 60 + 0.05:.1f} on this machine, got "
        f"{limit_s / 60:.2g}{spent}: {', '.join(parts)}; give more --minutes, or --trials in their place for no limit"
    )
