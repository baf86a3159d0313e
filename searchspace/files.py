"""Files written whole or not at all: a temporary file in the same folder, fsync, one rename over the target."""

import errno
import fcntl
import json
import os
import re
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from searchspace.errors import StorageError, StudyMismatch
from searchspace.strict_json import ChangedContent, dumps, loads

_TEMPORARY = re.compile(r"\.(\d+)-[0-9a-f]{8}\.tmp[^/]*$")  # as atomic_path names them
_LONGEST_HEADER = 100_000_000  # of safetensors
_IS_FOLDER = 0x10  # of a zip file's member, by MS-DOS
_NEXT_STEP = {
    errno.ENOSPC: "free some space on that disk, or choose another folder",
    errno.EDQUOT: "your disk quota is used up: delete something, or choose another folder",
    errno.EROFS: "the disk is read-only: choose a folder that can be written",
    errno.EACCES: "you may not write there: choose another folder, or change its permissions",
    errno.EPERM: "you may not write there: choose another folder, or change its permissions",
    errno.ENOTDIR: "a part of that path is a file: choose another folder",
    errno.EEXIST: "a part of that path is a file: choose another folder",
    errno.EISDIR: "that path is a folder: choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a symbolic link there leads to itself: choose another path",
    errno.ENOENT: "look whether the path is spelt right",
}


def storage_error(action: str, path: Path, error: OSError) -> StorageError:
    """The StorageError that names the path, the system's reason and the next step."""
    reason = error.strerror or str(error) or type(error).__name__
    step = _NEXT_STEP.get(error.errno or 0, "look at the disk, or choose another folder")
    shown = str(path) if len(str(path)) <= 300 else f"{str(path)[:200]}..."
    return StorageError(f"cannot {action} {shown}: {reason}; {step}")


def full_path(path: Path) -> Path:
    """The absolute path, through symbolic links; up to one that leads to itself, at which Path.resolve raises."""
    return Path(os.path.realpath(path))


def system_error(error: OSError) -> StorageError | None:
    """The StorageError for what the system refuses and no code can foresee; None for any other OSError."""
    foreseen = (errno.ENOENT, errno.EEXIST)
    if error.filename is None or error.errno in foreseen or error.errno not in _NEXT_STEP:
        return None
    return storage_error("use", Path(os.fsdecode(error.filename)), error)


@contextmanager
def locked_file(path: Path, refusal: str) -> Iterator[None]:
    """Only one process is in the context of a file that is there; the lock goes with the process, however it ends.

    Raises StudyMismatch with the words of `refusal` where another process holds it.
    """
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyMismatch(refusal) from None
        yield


def check_writable(path: Path) -> None:
    """Whether a later `write_atomic` can write `path`, asked before hours of work; missing folders are made.

    Raises StorageError.
    """
    with suppress(_Untouched), atomic_path(path):
        raise _Untouched


class _Untouched(Exception):
    pass


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """An empty temporary file beside `path`, of the same suffix, that replaces `path` on success.

    For writers that want a name or an open file: np.save, torch.save. Missing folders are made. Whatever goes
    wrong, `path` is as it was and the temporary file is gone. OSError becomes StorageError; a writer that does
    its own I/O may raise a type of its own on a full disk, so prefer
    `write_atomic(path, safetensors.torch.save(tensors))`.
    """
    path = Path(path)
    try:
        target = full_path(path)  # through a symbolic link: its target is replaced, the link stays
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_replaceable(target)
        unique = f"{os.getpid()}-{secrets.token_hex(4)}"
        temp = target.with_name(f".{target.stem[:100]}.{unique}.tmp{target.suffix}")
        os.close(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise storage_error("write", path, error) from error
    try:
        yield temp
        with open(temp, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temp, target)
    except OSError as error:
        raise storage_error("write", path, error) from error
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def remove_left_over(folder: Path) -> None:
    """Remove what `atomic_path` left in a folder, and below it, in processes that were killed while they wrote."""
    for path in folder.rglob(".*.tmp*"):
        found = _TEMPORARY.search(path.name)
        if found and not _is_alive(int(found[1])):
            with suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` (text as UTF-8, a path in it as it is) to `path`, whole or not at all; missing folders are made.

    Raises StorageError (read-only or full disk, a folder or a device of that name).
    """
    content = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    with atomic_path(path) as temp:
        temp.write_bytes(content)


def copy_files(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Copy those of the files that are in `source` to `folder`, each whole or not at all. Raises StorageError."""
    for name in names:
        if (source / name).exists():
            try:
                content = (source / name).read_bytes()
            except OSError as error:
                raise storage_error("read", source / name, error) from error
            write_atomic(folder / name, content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as JSON with its checksum, whole or not at all. Raises StorageError."""
    write_atomic(path, dumps(content))


def read_json(path: Path) -> Any:
    """The value of a JSON file; StorageError if it cannot be read or is damaged (the file stays as it is)."""
    try:
        return loads(Path(path).read_bytes())
    except OSError as error:
        raise storage_error("read", path, error) from error
    except ChangedContent as error:
        raise StorageError(f"{path} is damaged, {error}") from error
    except ValueError as error:
        raise StorageError(
            f"{path} must hold JSON and does not ({error}): restore it from a copy, or delete it and run the"
            " command that writes it again"
        ) from error


@contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Whoever reads the content of this file within meets a field that is missing or of another type: StorageError.

    For files that the program writes and a checksum does not guard, as of before or changed by hand.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise StorageError(
            f"{path} must hold what this program wrote there and does not ({type(error).__name__}: {error!s:.200}): "
            "restore it from a copy, or delete it and run the command that writes it again"
        ) from error


def is_cut_short(path: Path) -> bool:
    """Whether a safetensors or zip file (torch's .pth) ends too early, as after a broken download; False for others."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(9)
            if start[:4] == b"PK\3\4":
                return not zipfile.is_zipfile(path)
            length = int.from_bytes(start[:8], "little")
            if start[8:] != b"{" or length > _LONGEST_HEADER:
                return False
            if 8 + length > size:
                return True
            file.seek(8)
            tensors = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
            return bool(8 + length + max(ends, default=0) > size)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return False


def wrong_member(path: Path) -> str | None:
    """What of a zip file (torch's .pth) its checksums do not fit, which torch does not look at: a member, by its name.

    None where all fit, in a file that is no zip, and in one that was written without checksums. A file that begins as
    a zip and cannot be gone through is damaged: torch may read on, and take other weights from it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            fits = {each.filename: _fits(archive, each) for each in archive.infolist() if each.file_size}
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, struct.error):
        return "its directory" if _begins_as_zip(path) else None
    return next((name for name, sound in fits.items() if not sound), None) if any(fits.values()) else None


def _begins_as_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


def _fits(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    if member.external_attr & _IS_FOLDER:  # torch reads nothing of it, whatever it holds
        return False
    try:
        with archive.open(member) as file:
            while file.read(1 << 20):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error):
        return False
    return True


def _check_replaceable(target: Path) -> None:
    """Renaming over a device such as /dev/null would destroy it; only plain files are replaced."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a plain file")
