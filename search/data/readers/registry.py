"""From what a person typed after --data to a source of images. A new kind of file is one reader, named in READERS."""

from pathlib import Path

from search.data.readers.archives import TarSource, ZipSource
from search.data.readers.choice import parse_choice
from search.data.readers.embedded import DigitsSource, is_digits
from search.data.readers.files import FileSource
from search.data.readers.folders import FolderSource
from search.data.readers.layout import EXTENSIONS
from search.data.readers.lists import ListSource
from search.data.readers.tables import HUB_NAME, HubSource, ParquetSource
from search.data.source import Source
from search.sources import SourceText, parse_source
from searchspace.errors import InvalidArgument, InvalidData

READERS: tuple[type[FileSource], ...] = (TarSource, ZipSource, ParquetSource, ListSource)
_SUFFIXES = tuple(suffix for reader in READERS for suffix in reader.suffixes)
_NEXT = (
    f"give a folder, {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} that exists, or a dataset's name on the Hugging "
    "Face hub"
)
# By the ending of a file that is not read: what to give in its place.
_HINTS = {
    (".xlsx", ".xls", ".ods", ".numbers"): "save the table as .csv and give that",
    (".json", ".xml", ".yaml", ".txt"): "write a .csv with the path and the label of each image and give that",
    (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"): "unpack it and give the folder, or pack that as .tar or .zip",
    (".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt"): "give the images as files, a folder per class",
    (".arrow", ".feather", ".orc", ".tfrecord"): "write it as .parquet and give that",
    tuple(EXTENSIONS): "give the folder that holds a folder of images for each class",
}


def open_source(text: str | None) -> Source:
    """The source that `text` names: the embedded digits, a path that exists, or a dataset of the hub.

    Raises InvalidData for a missing path, an unknown suffix, or a text that can be neither path nor name.
    """
    how = parse_source("digits" if text is None else text)
    text = how.place
    if is_digits(text):
        _check_no_options(how, "digits", split_folders=True)
        return DigitsSource.of(text)
    parse_choice(how.split_folders)  # a mistake in it is told before one in the place
    if not text.strip():
        raise InvalidData(f"the source of images must have a name, got {text!r}: {_NEXT}")
    path = Path(text).expanduser()
    readers = [reader for reader in READERS if path.name.lower().endswith(reader.suffixes)]
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise InvalidData(f"the path {text[:200]!r} cannot be looked at ({error}): {_NEXT}") from error
    if exists:
        if path.is_dir():
            folder = FolderSource(path, how)
            if tables := folder.tables():
                return ParquetSource(path, how, files=tables)
            if table := folder.metadata():
                return ListSource(path / table, how)
            _check_no_options(how, f"the folder {text}")
            return folder
        if path.is_file() and readers:
            if readers[0] in (TarSource, ZipSource):
                _check_no_options(how, f"the archive {text}")
            return readers[0](path, how)
        hint = next((hint for endings, hint in _HINTS.items() if path.name.lower().endswith(endings)), _NEXT)
        raise InvalidData(f"images come from a folder, {', '.join(_SUFFIXES)} or the hub, got the file {text}: {hint}")
    if readers or not HUB_NAME.fullmatch(text):
        raise InvalidData(f"there is no file or folder {text!r}: {_NEXT}")
    return HubSource(text, how)


def _check_no_options(how: SourceText, what: str, *, split_folders: bool = False) -> None:
    """Raises InvalidArgument for a decision about what the source has not."""
    for flag, value in (
        ("--label-column", how.label_column),
        ("--split-folders", how.split_folders if split_folders else None),
    ):
        if value is not None:
            has = "columns" if flag == "--label-column" else "folders"
            raise InvalidArgument(f"{flag} is for a source that has {has}, got {value!r:.80} for {what}: leave it out")
