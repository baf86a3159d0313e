"""The largest detector within a latency budget: phi by phi, neck, heads and backbone grow together."""

from collections.abc import Callable, Iterator

from scaling.base import Base, base_template, zoo_name
from scaling.efficientdet.presets import CLASSES, MAX_PHI, ROWS, get, scaled
from scaling.efficientdet.spec import DetectorSpec
from scaling.formula import Coefficients
from searchspace.arguments import check_flag
from searchspace.errors import InfeasibleBudget

FEWEST_PX, STEP_PX = 128, 64  # of detectors smaller than D0
Price = Callable[[DetectorSpec], float]


def detector(
    phi: int, *, backbone: Base = None, classes: int = CLASSES, resolution: int | None = None, grown: bool = False
) -> DetectorSpec:
    """D`phi`, or its neck and heads on another backbone (a spec, a spec file or a name of the zoo).

    grown: The backbone grows with phi in depth and width by EfficientNet's coefficients, as B0 does to B`phi`; without,
    it stays as it is. Raises InvalidArgument, InvalidSpec, StorageError.
    """
    check_flag("--phi", phi, 0 <= phi <= MAX_PHI, f"an integer from 0 to {MAX_PHI}")
    if backbone is None:
        found = get(f"d{phi}", classes=classes)
        return found if resolution is None else found.with_resolution(resolution)
    template, rule = base_template(backbone), Coefficients()
    depth, width = (rule.alpha**phi, rule.beta**phi) if grown else (1.0, 1.0)
    spec = template.expand(width=width, depth=depth, name=zoo_name(backbone) or template.name)
    return scaled(spec, phi=phi, classes=classes, resolution=resolution)


def sizes(*, backbone: Base = None, classes: int = CLASSES) -> Iterator[DetectorSpec]:
    """Detectors from the cheapest: D0 at fewer pixels than its own, then D0 to D7."""
    for resolution in range(FEWEST_PX, ROWS["d0"].resolution, STEP_PX):
        yield detector(0, backbone=backbone, classes=classes, resolution=resolution)
    for phi in range(MAX_PHI + 1):
        yield detector(phi, backbone=backbone, classes=classes, grown=True)


def within(
    budget_ms: float,
    price: Price,
    *,
    backbone: Base = None,
    classes: int = CLASSES,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[DetectorSpec, float]:
    """The largest of `sizes` whose `price`, in ms, is within the budget, and that price.

    They are priced one after the other, until one is over. Raises InfeasibleBudget naming the price of the smallest.
    """
    best: tuple[DetectorSpec, float] | None = None
    for spec in sizes(backbone=backbone, classes=classes):
        cost_ms = price(spec)
        verdict = "within" if cost_ms <= budget_ms else "over"
        note(f"{spec.name} at {spec.resolution} px: {cost_ms:.1f} ms, {verdict} the budget of {budget_ms:g} ms")
        if cost_ms > budget_ms:
            break
        best = spec, cost_ms
    if best is None:
        raise InfeasibleBudget(
            f"--budget-ms must be one that a detector can meet, got {budget_ms:g}: the smallest, {spec.name} at "
            f"{spec.resolution} px, takes {cost_ms:.1f} ms; raise it, or give a faster --backbone"
        )
    return best
