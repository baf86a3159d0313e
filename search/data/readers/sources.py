"""From what a person typed after --data to a source of images."""

from pathlib import Path

from search.data.readers.listing import Source
from searchspace.errors import InvalidData

_TAR = (".tar", ".tar.gz", ".tgz")
_KNOWN = (*_TAR, ".zip", ".parquet")
_NEXT = "give a folder, .tar, .tar.gz, .tgz, .zip or .parquet that exists, or a dataset's name on the Hugging Face hub"


def open_source(given: str) -> Source:
    """The source that `given` names: a path that exists, else a dataset of the hub.

    Raises InvalidData for a missing path, an unknown extension, or a text that can be neither path nor name.
    """
    from search.data.readers.archives import TarSource, ZipSource
    from search.data.readers.folders import FolderSource
    from search.data.readers.tables import HUB_NAME, HubSource, ParquetSource

    path = Path(given).expanduser()
    lower = path.name.lower()
    if _exists(path, given):
        if path.is_dir():
            return FolderSource(path)
        if path.is_file() and lower.endswith(_KNOWN):
            kind = TarSource if lower.endswith(_TAR) else ZipSource if lower.endswith(".zip") else ParquetSource
            return kind(path)
        raise InvalidData(f"images come from a folder, {', '.join(_KNOWN)} or the hub, got the file {given}: {_NEXT}")
    if lower.endswith(_KNOWN) or not HUB_NAME.fullmatch(given):
        raise InvalidData(f"there is no file or folder {given!r}: {_NEXT}")
    return HubSource(given)


def _exists(path: Path, given: str) -> bool:
    if not given.strip():
        raise InvalidData(f"the source of images must have a name, got {given!r}: {_NEXT}")
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        raise InvalidData(f"the path {given[:200]!r} cannot be looked at ({error}): {_NEXT}") from error
