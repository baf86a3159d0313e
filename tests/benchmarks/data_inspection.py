"""python -m tests.benchmarks.data_inspection: how long `python -m search.data` takes for 50,000 images.

The images are made here, each another, as JPEG files of 10 classes in one .tar; --data names others in their place. The
limit is held against the seconds on the clock; beside them stand the CPU seconds, which a busy machine leaves alone.
"""

import argparse
import io
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from search.data import inspect
from searchspace.command import show_progress
from searchspace.report import fields
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, needed

CLASSES = 10


def parser() -> BenchmarkParser:
    """The flags."""
    cli = BenchmarkParser("data_inspection", __doc__)
    cli.flag("--data", None, "images in place of those made here", metavar="SOURCE")
    cli.count("--images", 50_000, "so many are made", least=3 * CLASSES)
    cli.count("--side", 64, "their width and height in pixels", metavar="PX")
    cli.number("--limit-s", 60.0, "the most seconds that are a success", metavar="S")
    return cli


def made(path: Path, *, images: int, side: int) -> Path:
    """A .tar of so many different JPEG files in class folders."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for number in range(images):
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            buffer = io.BytesIO()
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            member = tarfile.TarInfo(f"class{number % CLASSES}/{number:06d}.jpg")
            member.size = buffer.tell()
            archive.addfile(member, io.BytesIO(buffer.getvalue()))
            if number % 1000 == 0:
                show_progress(number / images, "making images")
    return path


def run(args: argparse.Namespace) -> Verdict:
    """Make the images, look at them, and hold the seconds against the limit."""
    with tempfile.TemporaryDirectory() as folder:
        source = (
            needed(args.data) if args.data else str(made(Path(folder, "x.tar"), images=args.images, side=args.side))
        )
        began, began_cpu = time.perf_counter(), time.process_time()
        found = inspect(
            source,
            picture=Path(folder, "sheet.png"),
            progress=lambda done, total: show_progress(done / max(1, total), "looking at images"),
        )
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    reached = seconds <= args.limit_s
    rows = [
        ("images", f"{found.images:,}, {found.size_bytes / 1e6:,.1f} MB, pixels of {found.decoded:,} read"),
        ("seconds", f"{seconds:.1f} on the clock, {cpu:.1f} of CPU, with the picture of examples"),
        ("limit", f"{args.limit_s:g} s: {'kept' if reached else 'missed'}"),
    ]
    return Verdict(fields(rows), reached)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
