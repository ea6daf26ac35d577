"""Zip files: the same bytes for the same content, and nothing unsafe is unpacked."""

from __future__ import annotations

import os
import stat
import time
import warnings
import zipfile
from pathlib import Path

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.lab.verification.bundles import archive
from fptkit.lab.verification.bundles.archive import unpacked, write_zip


def test_the_bytes_depend_on_names_and_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1" * 1000)
    write_zip(tmp_path / "a.zip", {"x/one": tmp_path / "one", "two": b"2", "x/": b""})
    os.utime(tmp_path / "one", (time.time(), 10**9))
    (tmp_path / "one").chmod(0o600)
    write_zip(tmp_path / "b.zip", {"x/": b"", "two": b"2", "x/one": b"1" * 1000})
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_was_packed_is_unpacked_and_then_removed(tmp_path: Path) -> None:
    content = {"a/b/c.json": b"{}", "d.safetensors": b"\0" * 100, "a/": b"", "a/b/": b""}
    write_zip(tmp_path / "a.zip", content)
    with unpacked(tmp_path / "a.zip") as folder:
        assert {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        } == {"a/b/c.json": b"{}", "d.safetensors": b"\0" * 100}
    assert not folder.exists()
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.getinfo("d.safetensors").compress_type == zipfile.ZIP_STORED
        assert opened.testzip() is None


def test_a_zip_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be written.*choose another --output"):
        write_zip(tmp_path / "file" / "a.zip", {})


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


@pytest.mark.parametrize("place", [0, 60, -30])
def test_a_damaged_file_is_an_error(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {"a.json": bytes(range(256)) * 10})
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip"), unpacked(path):
        raise AssertionError("unpacked")
