"""Archives are read member by member; one that is cut short, damaged or reaches outside is refused as a whole."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from search.data.prepare import EncodedSource
from search.data.readers.archives import TarSource, ZipSource
from search.data.readers.files import MAX_IMAGE_BYTES
from search.data.readers.folders import FolderSource
from searchspace.errors import InvalidData

Corpus = Callable[..., Path]


def _pack_tar(root: Path, path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(root, arcname=".")
    return path


def _pack_zip(root: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(root))
    return path


def _contents(source: EncodedSource) -> dict[str, tuple[str, bytes | Exception]]:
    return {item.name: (item.label, data) for item, data in source.read(source.listing().items)}


def _tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> TarSource:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return TarSource(path)


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "zip"])
def test_an_archive_holds_the_same_images_as_its_folder(suffix: str, corpus: Corpus, tmp_path: Path) -> None:
    root = corpus({"cats": 4, "dogs": 5})
    archive: EncodedSource
    if suffix == "zip":
        archive = ZipSource(_pack_zip(root, tmp_path / "x.zip"))
    else:
        archive = TarSource(_pack_tar(root, tmp_path / f"x.{suffix}", "w:gz" if "gz" in suffix else "w"))
    assert _contents(archive) == _contents(FolderSource(root))
    assert [item.name for item in archive.listing().items] == [item.name for item in FolderSource(root).listing().items]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_tar_cut_short_anywhere_is_refused(compressed: bool, corpus: Corpus, tmp_path: Path) -> None:
    path = _pack_tar(corpus({"cats": 3, "dogs": 3}), tmp_path / "x.tar")
    with tarfile.open(path) as archive:
        end = max(member.offset_data + 512 * -(-member.size // 512) for member in archive)
    whole = gzip.compress(path.read_bytes()) if compressed else path.read_bytes()
    cuts = range(0, len(whole), 97) if compressed else [*range(0, end + 1, 512), *range(1, end, 397)]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidData, match=r"truncated or damaged.*copy or download it again"):
            TarSource(path).listing()


def test_a_tar_damaged_between_two_members_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = _pack_tar(corpus({"cats": 3, "dogs": 3}), tmp_path / "x.tar")
    with tarfile.open(path) as archive:
        header = archive.getmembers()[5].offset
    damaged = bytearray(path.read_bytes())
    damaged[header : header + 100] = b"?" * 100
    path.write_bytes(damaged)
    with pytest.raises(InvalidData, match="truncated or damaged"):
        TarSource(path).listing()


def test_a_zip_cut_short_anywhere_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = _pack_zip(corpus({"cats": 3, "dogs": 3}), tmp_path / "x.zip")
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 61):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidData, match="truncated or damaged"):
            ZipSource(path).listing()


def test_a_zip_member_with_a_wrong_checksum_is_corrupt_alone(corpus: Corpus, tmp_path: Path) -> None:
    root = corpus({"cats": 3, "dogs": 3})
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(root))
        offset = archive.getinfo("dogs/0001.png").header_offset
    damaged = bytearray(path.read_bytes())
    damaged[offset + 100] ^= 255
    path.write_bytes(damaged)
    bad = [name for name, (_, data) in _contents(ZipSource(path)).items() if isinstance(data, Exception)]
    assert bad == ["dogs/0001.png"]


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png", "..", "C:/x.png", "./../x.png"])
def test_a_path_that_leaves_the_archive_is_refused(name: str, tmp_path: Path, encoded: Callable[..., bytes]) -> None:
    members = [(_member("a/1.png"), encoded(1)), (_member("b/1.png"), encoded(2)), (_member(name), encoded(3))]
    with pytest.raises(InvalidData, match=r"must stay inside.*got .*nothing was read"):
        _tar_of(tmp_path / "x.tar", *members).listing()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for member, data in members:
            archive.writestr(member.name, data)
    with pytest.raises(InvalidData, match="must stay inside"):
        ZipSource(tmp_path / "x.zip").listing()


def test_a_zip_path_that_leaves_by_backslashes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a\\..\\..\\x.png", b"")
    with pytest.raises(InvalidData, match="must stay inside"):
        ZipSource(tmp_path / "x.zip").listing()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret.png"])
def test_a_link_that_leaves_the_archive_is_refused(kind: bytes, target: str, tmp_path: Path) -> None:
    source = _tar_of(tmp_path / "x.tar", (_member("a/1.png", kind, target), b""))
    with pytest.raises(InvalidData, match="must stay inside"):
        source.listing()


def test_a_zip_link_that_leaves_the_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "../../etc/passwd")
    with pytest.raises(InvalidData, match="must stay inside"):
        ZipSource(tmp_path / "x.zip").listing()


def test_links_inside_a_tar_are_other_names_of_the_same_image(tmp_path: Path, encoded: Callable[..., bytes]) -> None:
    source = _tar_of(
        tmp_path / "x.tar",
        (_member("a/1.png"), encoded(1)),
        (_member("b/1.png", tarfile.SYMTYPE, "../a/1.png"), b""),
        (_member("b/2.png", tarfile.LNKTYPE, "b/1.png"), b""),
        (_member("b/3.png", tarfile.SYMTYPE, "nowhere.png"), b""),
    )
    contents = _contents(source)
    assert contents["b/1.png"] == contents["b/2.png"] == ("b", encoded(1))
    assert isinstance(contents["b/3.png"][1], OSError)


def test_a_link_that_leads_to_itself_is_corrupt(tmp_path: Path, encoded: Callable[..., bytes]) -> None:
    source = _tar_of(
        tmp_path / "x.tar", (_member("a/1.png"), encoded(1)), (_member("b/1.png", tarfile.SYMTYPE, "1.png"), b"")
    )
    assert isinstance(_contents(source)["b/1.png"][1], OSError)


def test_an_encrypted_zip_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    path = _pack_zip(corpus({"a": 1, "b": 1}), tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidData, match="must not be encrypted"):
        ZipSource(path).listing()


def test_a_member_that_unpacks_to_far_more_than_a_photograph_is_never_unpacked(tmp_path: Path, corpus: Corpus) -> None:
    path = _pack_zip(corpus({"a": 2, "b": 2}), tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/bomb.png", bytes(3 << 20))
    source = ZipSource(path)
    bomb = next(item for item in source.listing().items if item.name == "a/bomb.png")
    assert bomb.size_bytes == 3 << 20  # as it unpacks, not as it is packed
    ((_, data),) = source.read([replace(bomb, size_bytes=MAX_IMAGE_BYTES + 1)])
    assert isinstance(data, OSError)
    assert "larger than 256 MiB" in str(data)


def test_nothing_is_written_beside_the_archive(tmp_path: Path, corpus: Corpus) -> None:
    path = _pack_tar(corpus({"a": 3, "b": 3}), tmp_path / "x.tar")
    before = sorted(tmp_path.rglob("*"))
    _contents(TarSource(path))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"PK\x03\x04rubbish", b"\x1f\x8brubbish"])
def test_a_file_that_is_no_archive_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    for source in (TarSource(tmp_path / "x"), ZipSource(tmp_path / "x")):
        with pytest.raises(InvalidData, match=r"truncated or damaged|is empty"):
            source.listing()


def test_split_folders_of_an_archive_are_recognised_as_those_of_a_folder(corpus: Corpus, tmp_path: Path) -> None:
    root = corpus({f"set/{top}/{label}": 3 for top in ("Training", "Testing") for label in ("cat", "dog")})
    archives = (TarSource(_pack_tar(root, tmp_path / "x.tar")), ZipSource(_pack_zip(root, tmp_path / "x.zip")))
    for source in (FolderSource(root), *archives):
        listing = source.listing()
        assert listing.classes == ("cat", "dog")
        assert {item.part for item in listing.items} == {"train", "test"}
        assert any(note.startswith("splits by folders: train is Training; test is Testing") for note in listing.notes)
