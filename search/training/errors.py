"""What can go wrong with one training, while others may go on."""

from searchspace.errors import PhinasError


class TrainingFailed(PhinasError):
    """This network could not be trained."""


class TrainingDiverged(TrainingFailed):
    """The loss became NaN or infinite."""


class OutOfMemory(TrainingFailed):
    """Memory ran out, on the CPU or the GPU."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch says that memory ran out."""
    text = str(error).lower()  # torch.OutOfMemoryError says it too
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
