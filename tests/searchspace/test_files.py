"""Files are written whole or not at all."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from searchspace.errors import StorageError
from searchspace.files import atomic_path, read_json, remove_left_over, write_atomic, wrong_member


def test_text_and_bytes_arrive_whole_and_folders_are_made(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "folder" / "a.json", '{"ä": 1}')
    write_atomic(tmp_path / "b.bin", b"\x00\xff")
    assert read_json(tmp_path / "new" / "folder" / "a.json") == {"ä": 1}
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "permissions")],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, advice: str
) -> None:
    path = tmp_path / "best.json"
    write_atomic(path, "old")

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=advice) as caught:
        write_atomic(path, "new")
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["best.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="free some space"), atomic_path(tmp_path / "x.npy"):
        Path("/dev/full").write_bytes(b"x")
    assert os.listdir(tmp_path) == []


def test_any_error_of_the_writer_leaves_nothing_and_stays_itself(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_path(tmp_path / "x.npy") as temp:
            temp.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert os.listdir(tmp_path) == []


def test_the_temporary_keeps_the_suffix_so_numpy_adds_none(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.npy") as temp:
        assert temp.suffix == ".npy"
        assert temp.parent == tmp_path
        temp.write_bytes(b"1")
    assert (tmp_path / "x.npy").read_bytes() == b"1"


def test_a_file_where_a_folder_should_be_a_folder_and_a_device_are_storage_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="part of that path is a file"):
        write_atomic(tmp_path / "file" / "x.json", "")
    with pytest.raises(StorageError, match="is a folder"):
        write_atomic(tmp_path, "")
    with pytest.raises(StorageError, match="device"):
        write_atomic(Path(os.devnull), "")


def test_a_link_keeps_pointing_at_its_replaced_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    write_atomic(tmp_path / "loop", "new")  # it led nowhere
    assert (tmp_path / "loop").read_text() == "new"


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}trailing', b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_json_names_the_file_and_the_next_step_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"summary\.json must hold JSON.*delete it"):
        read_json(path)
    assert path.read_bytes() == content


def test_missing_json_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        read_json(tmp_path / "none.json")


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    writer = (
        "import os, signal, sys; from pathlib import Path; from searchspace.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("below/a.safetensors", "b.json", "c"):
        subprocess.run([sys.executable, "-c", writer, str(tmp_path / name)], check=False)
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(left) == 3
    (tmp_path / ".mine.tmp.txt").touch()
    with atomic_path(tmp_path / "d") as living:
        remove_left_over(tmp_path)
        assert living.exists()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {".mine.tmp.txt", "d"}


def test_a_zip_that_python_cannot_go_through_is_damaged_whatever_torch_reads_of_it(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a", "b"):
            archive.writestr(name, name * 100)
    content = path.read_bytes()
    assert wrong_member(path) is None
    path.write_bytes(content.replace(b"a" * 100, b"a" * 99 + b"c"))
    assert wrong_member(path) == "a"
    path.write_bytes(content.replace(b"PK\1\2", b"PK\1\3"))
    assert wrong_member(path) == "its directory"
    folder = bytearray(content)
    folder[content.index(b"PK\1\2") + 38] ^= 0x10  # says that the member is a folder
    path.write_bytes(folder)
    assert wrong_member(path) == "a"
    path.write_bytes(b"no zip")
    assert wrong_member(path) is None
