"""`load`: images with boxes from anywhere, checked and split. It is all that a detector knows of their source."""

from scaling.efficientdet.examples import DetectionData
from scaling.efficientdet.readers.examples_of import load_annotated
from scaling.efficientdet.readers.scenes import DEFAULT_RESOLUTION, load_scenes
from search.data.readers.embedded import is_digits
from search.data.source import Progress
from searchspace.errors import InvalidArgument


def load(
    source: str | None = None, *, seed: int = 0, resolution: int = DEFAULT_RESOLUTION, progress: Progress | None = None
) -> DetectionData:
    """The examples of `source`; splits that it lacks are carved from its training images by `seed`.

    Args:
        source: None or "digits" (the embedded task; "digits:N" draws N training scenes); a folder, .tar, .tar.gz or
            .zip with annotations of COCO, Pascal VOC or YOLO; the path of one data.yaml or COCO .json.
        seed: of the splits, and of what the embedded task draws.
        resolution: of drawn scenes; photographs keep their own size.
        progress: called with the images done and the images in all.

    Raises:
        InvalidArgument: a number is out of range.
        InvalidData: images or boxes cannot be used; the message says what to do.
    """
    if seed < 0:
        raise InvalidArgument(f"seed must be an integer of at least 0, got {seed}")
    if is_digits(source):
        return load_scenes(source, seed=seed, resolution=resolution)
    return load_annotated(source or "", seed=seed, progress=progress or (lambda done, total: None))
