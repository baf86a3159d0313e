"""What can go wrong with one training, while others may go on."""

from collections.abc import Iterator
from contextlib import contextmanager

from searchspace.errors import PhinasError


class TrainingFailed(PhinasError):
    """This network could not be trained."""


class TrainingDiverged(TrainingFailed):
    """The loss became NaN or infinite."""


class OutOfMemory(TrainingFailed):
    """Memory ran out, on the CPU or the GPU."""


@contextmanager
def translated_out_of_memory() -> Iterator[None]:
    """Turns Python's and torch's errors of memory that ran out into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        signs = ("out of memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in signs):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise OutOfMemory(
            f"a training must fit into memory, and it ran out ({reason}): take fewer pixels (--proxy-resolution), or "
            "end other programs"
        ) from error
