"""The embedded task `digits` as a source: drawn, not read."""

from pathlib import Path

from search.data import digits
from search.data.cache import new_pixels
from search.data.source import PARTS, Part, Progress, Record, Request, digest_of
from searchspace.errors import InvalidData

# Stands for what the generator draws, also in the fingerprints that studies keep. Change it with any change of a pixel.
_SIGNATURE = "bbcb74faa850ec80"
_FEWEST = 20
NATIVE_PX = 48


def is_digits(text: str | None) -> bool:
    """Whether a source of `search.data.load` is the embedded task: None, "digits" or "digits:N"."""
    return text is None or text.partition(":")[0] == "digits"


class DigitsSource:
    """The embedded task with `images` training images (None: 5,000), and others in proportion."""

    name = "digits"

    def __init__(self, images: int | None = None) -> None:
        self.key = "embedded:digits" + (f":{images}" if images else "")
        train = images or digits.DEFAULT_COUNTS["train"]
        most = digits.DEFAULT_COUNTS
        self.counts = {part: count * train // most["train"] for part, count in most.items()}

    @classmethod
    def of(cls, text: str | None) -> "DigitsSource":
        """From None, "digits" or "digits:N". Raises InvalidData."""
        _, colon, number = (text or "").partition(":")
        if not colon:
            return cls()
        if not number.isdecimal() or int(number) < _FEWEST:
            raise InvalidData(
                f"digits:N draws N training images, a whole number of at least {_FEWEST}, got {text!r}: "
                "for example --data digits:500"
            )
        return cls(int(number))

    def signature(self) -> str:
        """A constant: what is drawn depends on the request alone."""
        return _SIGNATURE

    def native_resolution(self) -> int:
        """What trainings of digits use: they can be drawn at any size, and larger ones show nothing more."""
        return NATIVE_PX

    def prepare(self, path: Path, request: Request, progress: Progress) -> Record:
        """Draw the digits into a pixel file. Raises InvalidArgument, StorageError."""
        counts = {**self.counts, "train": request.images or self.counts["train"]}
        starts: dict[Part, int] = {}
        labels: dict[Part, list[int]] = {}
        total, done = sum(counts.values()), 0
        progress(0, total)
        with new_pixels(path, rows=total, resolution=request.resolution) as pixels:
            for part in PARTS:
                drawn, drawn_labels = digits.generate(
                    split=part, count=counts[part], resolution=request.resolution, seed=request.seed
                )
                pixels.put(done, drawn)
                starts[part], labels[part] = done, drawn_labels.tolist()
                done += len(drawn_labels)
                progress(done, total)
        fingerprint = digest_of("embedded:digits", digest_of(1, _SIGNATURE), list(request), counts)
        notes = ("real handwriting in clutter; each split draws on writing of its own",)
        return Record(digits.CLASSES, starts, labels, fingerprint, notes=notes)
