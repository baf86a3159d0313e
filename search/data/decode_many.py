"""Many images decoded in parallel, into the rows of a pixel file."""

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NoReturn

from search.cores import available_cores
from search.data.cache import PixelFile
from search.data.decode import Remark, decode_square, shorter_side, why_corrupt, why_unsupported
from search.data.depth import Extent, Kind, Scale
from search.data.source import Content

_BATCH_IMAGES = 64
_BATCH_BYTES = 16 * 2**20
_MAX_WORKERS = 16


@dataclass
class Decoded:
    """What is known of images by name, once they are decoded.

    `digests` are of good images' content. `corrupt` and `unsupported` say why others cannot be used; the latter may be
    whole. `deep` images have more than 8 bits and were left for a second round. `remarks` are of what images lose.
    """

    digests: dict[str, str] = field(default_factory=dict)
    corrupt: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    deep: dict[str, Extent] = field(default_factory=dict)
    remarks: dict[Remark, list[str]] = field(default_factory=lambda: {remark: [] for remark in Remark})

    @property
    def unusable(self) -> dict[str, str]:
        """Why, by name, for all that cannot be used."""
        return {**self.corrupt, **self.unsupported}

    def add(self, other: "Decoded") -> None:
        """Take in what a second round found."""
        self.digests |= other.digests
        self.corrupt |= other.corrupt
        self.unsupported |= other.unsupported
        for remark, names in other.remarks.items():
            self.remarks[remark] += names

    def refuse(self, name: str, error: Exception, data: bytes | Exception) -> None:
        """Keep why an image cannot be used."""
        unsupported = why_unsupported(error, data)
        if unsupported:
            self.unsupported[name] = unsupported
        else:
            self.corrupt[name] = why_corrupt(error, data)


class _Deep(Exception):
    """An image of more than 8 bits, met before the scale of all is known."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent


def decode_all(
    contents: Iterable[Content],
    rows: Mapping[str, int],
    pixels: PixelFile,
    *,
    scales: Mapping[Kind, Scale] | None = None,
    stop_above: int,
    progress: Callable[[int], None],
) -> Decoded:
    """Decode every image into its row of `pixels`, on all cores; stops early above `stop_above` unusable ones.

    Without `scales`, deep images are measured and not decoded.
    """
    found = Decoded()

    def scaling(extent: Extent) -> Scale:
        return scales[extent.kind] if scales is not None else _put_off(extent)

    def decode(content: Content) -> None:
        item, data = content
        remarks: list[Remark] = []
        try:
            square = decode_square(checked(data), pixels.resolution, scaling=scaling, remark=remarks.append)
        except _Deep as deep:
            found.deep[item.name] = deep.extent
        except Exception as error:  # Pillow's readers raise almost any type on a corrupt file
            found.refuse(item.name, error, data)
        else:
            pixels.put(rows[item.name], square)
            found.digests[item.name] = content_digest(checked(data))
            for remark in remarks:
                found.remarks[remark].append(item.name)

    def done(count: int) -> bool:
        progress(count)
        return len(found.corrupt) + len(found.unsupported) > stop_above

    each(contents, decode, done=done)
    return found


def each(contents: Iterable[Content], work: Callable[[Content], None], *, done: Callable[[int], bool]) -> None:
    """Call `work` with every content, on all cores; `done(count)` is called now and then, and ends it if it is true."""
    workers = min(_MAX_WORKERS, available_cores())
    shorter_side(b"")  # Pillow finds its formats once, before threads could do it at the same time
    finished = 0

    def run(batch: list[Content]) -> int:
        for content in batch:
            work(content)
        return len(batch)

    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, one for each image
        waiting: deque[Future[int]] = deque()
        for batch in _batches(contents):
            waiting.append(pool.submit(run, batch))
            if len(waiting) > 2 * workers:
                finished += waiting.popleft().result()
                if done(finished):
                    break
        while waiting:
            finished += waiting.popleft().result()
            done(finished)


def checked(data: bytes | Exception) -> bytes:
    """The bytes of a content. Raises why there are none."""
    if isinstance(data, Exception):
        raise data
    if not data:
        raise OSError("an empty file")
    return data


def content_digest(data: bytes) -> str:
    """What byte-identical images share."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _put_off(extent: Extent) -> NoReturn:
    raise _Deep(extent)


def _batches(contents: Iterable[Content]) -> Iterator[list[Content]]:
    batch: list[Content] = []
    size_bytes = 0
    for item, data in contents:
        batch.append((item, data))
        size_bytes += len(data) if isinstance(data, bytes) else 0
        if len(batch) >= _BATCH_IMAGES or size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
