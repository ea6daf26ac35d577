"""Archives: the same bytes for the same content, and nothing unsafe is unpacked."""

from __future__ import annotations

import os
import stat
import tarfile
import time
import warnings
import zipfile
from pathlib import Path

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.lab.verification.bundles import archive
from fptkit.lab.verification.bundles.archive import unpacked, write_archive

BOTH = pytest.mark.parametrize("suffix", [".zip", ".tar.xz"])


@BOTH
def test_the_bytes_depend_on_names_and_contents_alone(tmp_path: Path, suffix: str) -> None:
    one, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    (tmp_path / "one").write_bytes(b"1" * 1000)
    write_archive(one, {"x/one": tmp_path / "one", "two": b"2", "x/": b""})
    os.utime(tmp_path / "one", (time.time(), 10**9))
    (tmp_path / "one").chmod(0o600)
    write_archive(other, {"x/": b"", "two": b"2", "x/one": b"1" * 1000})
    assert one.read_bytes() == other.read_bytes()


@BOTH
def test_what_was_packed_is_unpacked_and_then_removed(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_bytes(b"\0" * 100)
    content = {"a/b/c.json": b"{}", "d.safetensors": tmp_path / "file", "a/": b"", "a/b/": b""}
    write_archive(tmp_path / f"a{suffix}", content)
    with unpacked(tmp_path / f"a{suffix}") as folder:
        assert {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        } == {"a/b/c.json": b"{}", "d.safetensors": b"\0" * 100}
    assert not folder.exists()


def test_tensors_are_stored_in_a_zip_file(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", {"d.safetensors": b"\0" * 100})
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.getinfo("d.safetensors").compress_type == zipfile.ZIP_STORED
        assert opened.testzip() is None


def test_other_tools_read_a_tar_archive(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar.xz", {"b/c.json": b"{}", "b/": b"", "d": b"4"})
    with tarfile.open(tmp_path / "a.tar.xz") as opened:
        assert opened.getnames() == ["b/c.json", "d"]
        assert {(member.uid, member.uname, member.mtime, oct(member.mode)) for member in opened} == {
            (0, "", 0, "0o644")
        }


def test_files_that_are_alike_take_less_space_in_a_tar_archive(tmp_path: Path) -> None:
    words = " ".join(map(str, range(1000)))
    content = {f"runs/{number}/summary.json": f"{number} {words}".encode() for number in range(20)}
    write_archive(tmp_path / "a.zip", content)
    write_archive(tmp_path / "a.tar.xz", content)
    assert (tmp_path / "a.tar.xz").stat().st_size < (tmp_path / "a.zip").stat().st_size / 4


@pytest.mark.parametrize("name", ["a.tar.xz", "A.TAR.XZ", "renamed.zip", "renamed"])
def test_the_first_bytes_decide_how_an_archive_is_unpacked(tmp_path: Path, name: str) -> None:
    write_archive(tmp_path / "first.tar.xz", {"d": b"4"})
    (tmp_path / "first.tar.xz").rename(tmp_path / name)
    with unpacked(tmp_path / name) as folder:
        assert (folder / "d").read_bytes() == b"4"
    write_archive(tmp_path / "first.zip", {"d": b"5"})
    (tmp_path / "first.zip").replace(tmp_path / name)
    with unpacked(tmp_path / name) as folder:
        assert (folder / "d").read_bytes() == b"5"


@BOTH
def test_an_archive_that_cannot_be_written_is_an_error(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be written.*choose another --output"):
        write_archive(tmp_path / "file" / f"a{suffix}", {})


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.TGZ", "a.txz", "a.xz", "a.zip.7z"])
def test_names_of_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"name it \.zip or \.tar\.xz"):
        write_archive(tmp_path / name, {"d": b"4"})
    assert not (tmp_path / name).exists()


def in_tar(path: Path, *names: str, kind: bytes = tarfile.REGTYPE) -> Path:
    """A tar archive, packed by xz, with members of any name."""
    with tarfile.open(path, "w:xz") as opened:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", 0
            opened.addfile(info)
    return path


@pytest.mark.parametrize(
    ("names", "kind", "problem"),
    [
        (("good", "../evil"), tarfile.REGTYPE, "leads out of the folder"),
        (("good", "/etc/../evil"), tarfile.REGTYPE, "leads out of the folder"),
        (("a", "a"), tarfile.REGTYPE, "is used twice"),
        (("x/Straße", "x/STRASSE"), tarfile.REGTYPE, "is used twice"),
        (("link",), tarfile.SYMTYPE, "is a link"),
        (("link",), tarfile.LNKTYPE, "is a link"),
        (("pipe",), tarfile.FIFOTYPE, "a device"),
    ],
)
def test_what_is_unsafe_in_a_tar_archive_is_refused(
    tmp_path: Path, names: tuple[str, ...], kind: bytes, problem: str
) -> None:
    path = in_tar(tmp_path / "a.tar.xz", *names, kind=kind)
    with pytest.raises(DataError, match=problem), unpacked(path):
        raise AssertionError("unpacked")
    assert not (tmp_path / "evil").exists()


def test_a_tar_bomb_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar.xz", "w:xz", preset=0) as opened:
        info = tarfile.TarInfo("zeros")
        info.size = 300 * 2**20
        with open("/dev/zero", "rb") as zeros:
            opened.addfile(info, zeros)
    with pytest.raises(DataError, match=r"bomb\.tar\.xz"), unpacked(tmp_path / "bomb.tar.xz"):
        raise AssertionError("unpacked")


def packed(path: Path, *names: str, mode: int = stat.S_IFREG | 0o644) -> Path:
    """A zip file with members of any name."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as opened:
        warnings.simplefilter("ignore")  # of names that are used twice
        for name in names:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr = name, mode << 16
            opened.writestr(info, b"content")
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/evil", "a//b", "./a", "a\\..\\b", "C:/evil", "C:evil", "..", "a\nb"],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "a.zip", "good", name)
    with pytest.raises(DataError, match="leads out of the archive's own folder"), unpacked(path):
        raise AssertionError("unpacked")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("x/Straße", "x/STRASSE")])
def test_names_that_are_used_twice_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """Also where a file system ignores case: the second would replace the first after it was checked."""
    path = packed(tmp_path / "a.zip", *names)
    with pytest.raises(DataError, match="is used twice"), unpacked(path):
        raise AssertionError("unpacked")


def test_links_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", "link", mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="is a link"), unpacked(path):
        raise AssertionError("unpacked")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("zeros", "w") as member:
        for _ in range(archive.SMALL_BYTES // 2**20 + 1):
            member.write(bytes(2**20))
    with pytest.raises(DataError, match=r"would unpack to 257 MiB, .* a zip bomb"), unpacked(path):
        raise AssertionError("unpacked")


def test_sizes_that_lie_do_not_unpack_more(tmp_path: Path) -> None:
    """The directory says 10 bytes, the data are a million: zipfile reads as many as announced, and checks their sum."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a", bytes(10**6))
    data = path.read_bytes().replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(DataError, match="not readable as a zip file"), unpacked(path):
        raise AssertionError("unpacked")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    path = packed(tmp_path / "a.zip", "a", "b", "c")
    with pytest.raises(DataError, match="has 3 files"), unpacked(path):
        raise AssertionError("unpacked")


@BOTH
@pytest.mark.parametrize("place", [0, 60, -30])
def test_a_damaged_file_is_an_error(tmp_path: Path, place: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_archive(path, {"a.json": bytes(range(256)) * 10})
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a\{suffix}"), unpacked(path):
        raise AssertionError("unpacked")


@BOTH
def test_a_file_that_was_cut_off_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_archive(path, {"a.json": bytes(range(256)) * 10})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"a\{suffix}"), unpacked(path):
        raise AssertionError("unpacked")
