"""The deployed size: the pixels that a network is timed, tested and handed over at, chosen from images and budget."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from searchspace.errors import InvalidArgument

STEP = 32  # the total stride of nearly every published network
LARGEST = 224  # what they were trained at; more costs time in its square, and few tasks of own images need it
WORTH = 3  # times the images' own size: up to there a network for larger images still gains by enlarging them


class Deployed(NamedTuple):
    """The deployed size in pixels, one sentence that says why, and smaller sizes to choose from, if any."""

    px: int
    reason: str
    smaller: tuple[int, ...] = ()

    @property
    def resolution(self) -> int | tuple[int, ...]:
        """As a setting of a search: the size, or all of them, the smallest first."""
        return (*self.smaller, self.px) if self.smaller else self.px


def auto_resolution(
    native: int, *, budget_ms: float | None = None, latency_of: Callable[[int], float] | None = None
) -> Deployed:
    """The deployed size for images whose shorter side is `native` pixels (see `search.data.native_resolution`).

    The rule: 3 times the images' own size, rounded up to a multiple of 32, at most 224 (CIFAR's 32 px: 96; photographs:
    224). Enlarging adds no detail, yet published weights know objects as large as in 224 px, and maps behind five
    strides need some pixels: EfficientNet-Lite0, fine-tuned on CIFAR-10, reached 71 % at 64 px and 80 % at 96 px.
    Where `latency_of(px)`, the ms of a reference network that is small and still useful, is over `budget_ms` there, the
    largest multiple of 32 at which it is not; 32 where there is none.

    Raises InvalidArgument if `native` is not above 0.
    """
    if native < 1:
        raise InvalidArgument(f"the images' own size must be at least 1 pixel, got {native}")
    wanted = min(LARGEST, -(-WORTH * native // STEP) * STEP)
    if wanted == LARGEST:
        worth = f"the images' own {native} px are worth {LARGEST} px, what published networks were trained at"
    else:
        worth = f"the images' own {native} px are worth {wanted} px, {WORTH} times as many in steps of {STEP}"
    if budget_ms is None or latency_of is None:
        return Deployed(wanted, worth)
    px, first_ms = wanted, latency_of(wanted)
    ms = first_ms
    while ms > budget_ms and px > STEP:
        px -= STEP
        ms = latency_of(px)
    if px == wanted:
        return Deployed(px, worth)
    over = f"a small network takes {first_ms:.3g} ms there, and the budget is {budget_ms:g} ms"
    least = " (it is over the budget at any size)" if ms > budget_ms else ""
    return Deployed(px, f"{worth}, but {over}: {px} px{least}")


def from_scratch(trained_px: int) -> Deployed:
    """The deployed size of networks that are trained from random weights at `trained_px` pixels: the same.

    A network that learnt at 48 px and is shown the same images at 224 px tells few of them right (digits: 87 % at
    48 px, 7 % at 224 px as it is, 51 % after a minute of adapting), and minutes are too short to learn at 224 px.
    """
    return Deployed(
        trained_px, f"networks from random weights are trained at {trained_px} px and tell best at that size"
    )


def judged_resolution(native: int, proxy: int, resolutions: Sequence[int]) -> int:
    """Pixels of images that networks from published weights are judged by: their own, `proxy` to the deployed size."""
    return max(proxy, min(native, max(resolutions)))


def final_resolution(native: int, judged: int, deployed: int) -> int:
    """Pixels of images that the winner is tested on: no fewer than it was judged by, as far as it is deployed there."""
    return min(deployed, max(native, judged))
