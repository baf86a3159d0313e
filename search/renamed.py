"""A study is named after its images. Where those were renamed since, it goes on under the name that it has."""

from collections.abc import Iterator

from search.data.contents import CONTENTS, Contents, is_there, kept_contents, kept_source
from search.data.decode_many import content_digest
from search.data.prepare import EncodedSource
from search.data.readers.registry import open_source
from searchspace.errors import PhinasError
from studies.storage import root

_COMPARED = 64  # files of a source by content; a search compares all of them before it goes on


def begun_on(data: str | None) -> Iterator[str]:
    """Names of studies that were begun on the images of a file or folder, which stood elsewhere then and not now."""
    if data is None or not is_there(data):
        return
    source: EncodedSource | None = None
    for path in sorted(root().glob(f"*/{CONTENTS}")):
        before = kept_source(path.parent)
        if before is None or is_there(before):
            continue
        if source is None:
            try:
                opened = open_source(data)
            except PhinasError:
                return  # told by whoever reads the images
            if not isinstance(opened, EncodedSource):
                return
            source = opened
        if _holds(source, kept_contents(path.parent)):
            yield path.parent.name


def _holds(source: EncodedSource, contents: Contents) -> bool:
    """Whether a source has the files of a listing; of many, some are compared by content."""
    try:
        items = [item for item in source.listing().items if item.name in contents]
        if not items or len(items) != len(contents):
            return False
        some_items = items[:: -(-len(items) // _COMPARED)]
        return all(
            isinstance(data, bytes) and content_digest(data) == contents[item.name]
            for item, data in source.read(some_items)
        )
    except PhinasError:
        return False
