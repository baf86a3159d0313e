"""python -m tests.fuzz --inputs 5000: damage every kind of file that the program reads, and see what becomes of it.

The same seed gives the same inputs. Exit code 0 where the law (`tests.fuzz.law`) holds for all, else 1.
"""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from searchspace.command import positive_integer
from tests.fuzz.every import subjects as every_kind
from tests.fuzz.law import Subject, check, fresh


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    cli = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    cli.add_argument(
        "--inputs", type=positive_integer, default=5000, help="damaged files in all (default: %(default)s)"
    )
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--kind", metavar="WORDS", default="", help="only kinds of files with these words in their name")
    cli.add_argument("--no-torch", action="store_true", help="leave kinds out whose readers need torch")
    args = cli.parse_args(argv)
    subjects = [one for one in every_kind(torch=not args.no_torch) if args.kind in one.name]
    if not subjects:
        cli.error(f"--kind must be part of the name of a kind of files, got {args.kind!r}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for at, subject in enumerate(subjects):
            share = args.inputs * (at + 1) // len(subjects) - args.inputs * at // len(subjects)
            if not _holds(subject, fresh(Path(folder) / "files"), max(1, share), args.seed):
                failed.append(subject.name)
    print(f"{len(subjects) - len(failed)} of {len(subjects)} kinds of files keep the law, of {args.inputs} inputs")
    for name in failed:
        print(f"broken by: {name}")
    return 1 if failed else 0


def _holds(subject: Subject, folder: Path, inputs: int, seed: int) -> bool:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\r\x1b[K{subject.name}: {done} of {inputs}", end="", file=sys.stderr, flush=True)

    try:
        check(subject, folder, inputs, start=seed, tick=tick)
    except Exception:
        print(f"\n{subject.name}: the law is broken\n{traceback.format_exc()}", file=sys.stderr)
        return False
    print(f"{subject.name}: {done} damaged files", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
