"""Every image of a source looked at once: its size, its content, whether it is whole, how deep it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scaling.efficientdet.examples import Image, Reader
from scaling.efficientdet.readers.tree import Tree
from search.data.decode import Remark, decode_whole, sizes_of
from search.data.decode_many import Decoded, checked, content_digest, each
from search.data.depth import Extent, Kind, Scale, own_scale
from search.data.prepare import most_unusable
from search.data.readers.files import DAMAGE
from search.data.source import Content, Item, Progress, one_line, printable
from searchspace.errors import InvalidData

Size = tuple[int, int]


@dataclass
class Scanned:
    """What was found. `sizes`: by path, height and width as stored and upright by EXIF, of all good images."""

    found: Decoded = field(default_factory=Decoded)
    sizes: dict[str, tuple[Size, Size]] = field(default_factory=dict)


def scan(tree: Tree, paths: Sequence[str], progress: Progress) -> Scanned:
    """Look at images on all cores; JPEGs are decoded at an eighth of their size. Ends early where many are unusable."""
    scanned = Scanned()
    found = scanned.found
    limit = most_unusable(len(paths))

    def look(content: Content) -> None:
        item, data = content
        remarks: list[Remark] = []

        def scaling(extent: Extent) -> Scale:
            found.deep[item.name] = extent
            return own_scale(extent)

        try:
            encoded = checked(data)
            sizes = sizes_of(encoded)
            decode_whole(encoded, longer=1, scaling=scaling, remark=remarks.append)
        except Exception as error:  # Pillow's readers raise almost any type on a corrupt file
            found.refuse(item.name, error, data)
            found.deep.pop(item.name, None)
            return
        scanned.sizes[item.name] = sizes
        found.digests[item.name] = content_digest(encoded)
        for remark in remarks:
            found.remarks[remark].append(item.name)

    def done(count: int) -> bool:
        progress(count, len(paths))
        return len(found.corrupt) + len(found.unsupported) > limit

    progress(0, len(paths))
    each(_contents(tree, paths), look, done=done)
    return scanned


def _contents(tree: Tree, paths: Sequence[str]) -> Iterator[Content]:
    for path in sorted(paths, key=lambda path: (tree.files[path].at, path)):
        data: bytes | Exception
        try:
            data = tree.read(path)
        except DAMAGE as error:
            data = error
        yield Item(path, "", None, tree.files[path].size_bytes, tree.files[path].at), data


def reader_of(tree: Tree, path: str, *, upright: bool, scales: Mapping[Kind, Scale]) -> Reader:
    """What reads one image; it raises InvalidData where the file is no longer as it was looked at."""

    def scaling(extent: Extent) -> Scale:
        return scales.get(extent.kind) or own_scale(extent)

    def read(longer: int) -> Image:
        try:
            return decode_whole(tree.read(path), longer=longer, upright=upright, scaling=scaling)
        except Exception as error:  # as above
            raise InvalidData(
                f"{printable(path)} of {tree} was whole when it was looked at and cannot be read now "
                f"({one_line(error)}): put it back and start again"
            ) from error

    return read
