"""What `--augment` and `--class-weights` take: ways to vary training images, and to weigh classes. No torch."""

from typing import Any, NamedTuple

from searchspace.arguments import check_flag
from searchspace.errors import InvalidArgument

AUTO, NONE = "auto", "none"
BALANCED = "balanced"
CLASS_WEIGHTS = (NONE, BALANCED)


class Way(NamedTuple):
    """One way: what it does, and the fields of a `Recipe` that say so."""

    about: str
    fields: dict[str, Any]


WAYS = {
    "shift": Way("by up to 6 % of the side", {"shift": 0.06}),
    "flip": Way("left for right", {"flip": True}),
    "rotate": Way("by 0, 90, 180 or 270 degrees", {"rotate": True}),
    "tilt": Way("by up to 10 degrees", {"tilt": 10.0}),
    "crop": Way("75 to 100 % of the side, enlarged", {"crop": 0.25}),
    "colour": Way("brightness, contrast, colours", {"brightness": 0.15, "contrast": 0.15, "colour": 0.1}),
    "cutout": Way("a grey square", {"cutout": 0.25}),
}
FIELDS = ("flip", "rotate", "shift", "tilt", "crop", "brightness", "contrast", "colour", "cutout")
SHIFTED, MIRRORED = "shift", "shift,flip"


def checked(given: str, *, or_auto: bool = True) -> str:
    """The names in their order here, "none", or "auto". Raises InvalidArgument for what is neither.

    or_auto: whether "auto" may stand.
    """
    names = [name.strip() for name in given.split(",")]
    if names == [NONE] or (or_auto and names == [AUTO]):
        return names[0]
    wrong = next((name for name in names if name not in WAYS), None)
    if wrong is not None:
        why = "stands alone, leave the others out" if wrong in (AUTO, NONE) else "is none of them, leave it out"
        raise InvalidArgument(
            f"--augment must be {'auto, ' * or_auto}none, or of {', '.join(WAYS)} with commas between, got "
            f"{given!r:.80}: {wrong!r:.80} {why}"
        )
    return ",".join(name for name in WAYS if name in names)


def fields_of(augment: str) -> dict[str, Any]:
    """The fields of a recipe for names with commas between, or "none"."""
    names = [] if augment == NONE else augment.split(",")
    still = dict.fromkeys(FIELDS, 0.0) | {"flip": False, "rotate": False}
    return still | {field: value for name in names for field, value in WAYS[name].fields.items()}


def before(data: str | None) -> str:
    """What studies did that are older than `--augment`: all but the embedded task was mirrored."""
    from search.data import is_digits

    return SHIFTED if is_digits(data) else MIRRORED


_EACH = "; ".join(f"{name} ({way.about})" for name, way in WAYS.items()).replace("%", "%%")
HELP = f"""how training images are varied: auto (shifted; mirrored unless a quick look at your images shows that
this confuses classes; turned where it confuses none), none, or names with commas between: {_EACH}"""
WEIGHTS_HELP = """none: every training image counts alike; balanced: every class counts alike, whatever its size.
Networks are compared by plain accuracy either way"""


def check_class_weights(given: str) -> None:
    """Raises InvalidArgument for a value that `--class-weights` does not take."""
    check_flag("--class-weights", given, given in CLASS_WEIGHTS, " or ".join(CLASS_WEIGHTS))
