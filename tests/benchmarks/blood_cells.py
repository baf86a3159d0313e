"""python -m tests.benchmarks.blood_cells OUT: cells cut from photographs, as class folders for other benchmarks.

BCCD's 364 photographs (MIT licence) have a box and a name for each cell: red, white, platelet. Each box, made square
and a tenth wider, becomes an image in the folder of its split (BCCD's own) and class; of red cells, which are nine of
ten, every eighth.
"""

import io
import sys
import tarfile
from argparse import Namespace
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from tests.benchmarks.harness import BenchmarkParser, benchmark, needed

BCCD = Path("../shared/data/bccd.tar")
SPLITS = {"train": "train", "val": "validation", "test": "test"}
EVERY = {"RBC": 8}
WIDER = 1.1


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("blood_cells", __doc__)
    cli.add_argument("out", type=Path, help="folder for the images; it is made")
    cli.flag("--data", str(BCCD), "BCCD as a tar file")
    return cli


def run(args: Namespace) -> str:
    """Write the images; says how many. Raises Skipped, PhinasError."""
    counts: dict[str, int] = {}
    with tarfile.open(needed(args.data)) as tar:
        read = {member.name: member for member in tar.getmembers() if member.isfile()}

        def content(name: str) -> bytes:
            file = tar.extractfile(read[name])
            assert file is not None
            return file.read()

        for theirs, split in SPLITS.items():
            for name in content(f"BCCD/ImageSets/Main/{theirs}.txt").decode().split():
                photograph = Image.open(io.BytesIO(content(f"BCCD/JPEGImages/{name}.jpg"))).convert("RGB")
                for box in ElementTree.fromstring(content(f"BCCD/Annotations/{name}.xml")).iter("object"):
                    label = box.findtext("name") or ""
                    counts[label] = counts.get(label, 0) + 1
                    if counts[label] % EVERY.get(label, 1) == 0:
                        path = args.out / split / label / f"{name}-{counts[label]}.png"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        photograph.crop(_square(box)).save(path)
    kept = {label: count // EVERY.get(label, 1) for label, count in counts.items()}
    return f"{args.out}: " + ", ".join(f"{count} of {label}" for label, count in sorted(kept.items()))


def _square(box: ElementTree.Element) -> tuple[int, int, int, int]:
    left, top, right, bottom = (int(box.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax"))
    half = WIDER * max(right - left, bottom - top, 1) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return int(x - half), int(y - half), int(x + half), int(y + half)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
