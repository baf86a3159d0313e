"""An inspection as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from search.data.inspection import UNSPLIT, Inspection, Range
from searchspace.report import fields, megabytes_text, next_steps, paragraphs, percent_text, shortened, table

_CLASSES_SHOWN = 40
_LABEL_CHARACTERS = 40
_SHOWN_KINDS = 6


def text(found: Inspection, *, source: str | None, picture: Path | None = None) -> str:
    """What `python -m search.data` prints; `source` as it was typed, `picture` where one was drawn."""
    size = f"{_range(found.width)} px wide, {_range(found.height)} px high"
    facts = [
        ("images", f"{found.images:,} of {len(found.counts)} classes, {megabytes_text(found.size_bytes)}"),
        ("size", f"{size}, median shorter side {found.shorter_side.median} px"),
        ("files", _kinds(found)),
        ("balance", _balance(found)),
        ("copies", _copies(found)),
        ("search", "refuses these images" if found.refused else "takes these images"),
    ]
    sentences = [*[("refused", each) for each in found.refused], *[("note", each) for each in found.notes]]
    return paragraphs(
        fields(facts, title=f"Images of {found.name}"),
        _table(found),
        fields(sentences) if sentences else "",
        f"Written to {picture}: training images of each class" if picture else "",
        next_steps(_steps(found, source, picture)),
    )


def _steps(found: Inspection, source: str | None, picture: Path | None) -> list[tuple[str, str]]:
    look = f"python -m search.data{f' {quote(source)}' if source else ''} --picture sheet.png"
    run = f"python -m search.run --budget-ms 20{f' --data {quote(source)}' if source else ''}"
    steps = [] if picture else [(look, "a picture with images of each class")]
    return steps if found.refused else [*steps, (run, "a search on these images")]


def _table(found: Inspection) -> str:
    totals = found.totals
    labels: Sequence[str] = list(totals)
    title = ""
    if len(labels) > _CLASSES_SHOWN:
        half = _CLASSES_SHOWN // 2
        ranked = sorted(totals, key=lambda label: -totals[label])
        labels = [*ranked[:half], *ranked[-half:]]
        title = f"The {half} largest and the {half} smallest of {len(totals)} classes; --json has all"
    parts = [part for part in next(iter(found.counts.values())) if part != UNSPLIT]
    every = sum(totals.values())

    def row(label: str, counts: Mapping[str, int], total: int) -> list[str]:
        numbers = [*(counts[part] for part in parts), total]
        return [shortened(label, _LABEL_CHARACTERS), *(f"{each:,}" for each in numbers), percent_text(total / every)]

    sums = {part: sum(counts[part] for counts in found.counts.values()) for part in parts}
    return table(
        ["class", *parts, "all", "share"],
        [row(label, found.counts[label], totals[label]) for label in labels],
        text_columns=(0,),
        total=row("", sums, every),
        title=title,
    )


def _range(found: Range) -> str:
    return str(found.least) if found.least == found.most else f"{found.least} to {found.most}"


def _kinds(found: Inspection) -> str:
    shown = [f"{count:,} {kind}" for kind, count in list(found.kinds.items())[:_SHOWN_KINDS]]
    more = f" and {len(found.kinds) - _SHOWN_KINDS} kinds more" if len(found.kinds) > _SHOWN_KINDS else ""
    read = "all" if found.decoded >= found.images else f"{found.decoded:,}"
    return f"{', '.join(shown)}{more}; the pixels of {read} were read, {len(found.unusable)} cannot be used"


def _balance(found: Inspection) -> str:
    totals = {label: count for label, count in found.totals.items() if count}
    largest, smallest = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
    share = percent_text(totals[largest] / sum(totals.values()))
    if totals[largest] == totals[smallest]:
        return f"every class has {totals[largest]:,} images; guessing is right in {share}"
    return (
        f"{largest} has {totals[largest] / totals[smallest]:.1f} times the images of {smallest}; who always says "
        f"{largest} is right in {share}"
    )


def _copies(found: Inspection) -> str:
    if not found.copies:
        return "no two images are byte for byte the same"
    return (
        f"{found.copies:,} images are byte for byte the same as another; {len(found.between_classes):,} stand in "
        f"several classes, {len(found.between_splits):,} in several of the given splits"
    )
