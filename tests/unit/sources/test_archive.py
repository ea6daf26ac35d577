"""Tar archives of others: nothing outside of the folder is touched, and nothing but files is unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fptkit.errors import DataError
from fptkit.sources import decoding
from fptkit.sources.archive import unpack

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"text") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    content = content if kind == tarfile.REGTYPE else b""
    info.size = len(content)
    return info, content


def tar_of(path: Path, *members: Member, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def unpacked(path: Path, *members: Member, mode: str = "w:gz") -> dict[str, bytes]:
    folder = path / "to"
    folder.mkdir()
    unpack(tar_of(path / "a.tar", *members, mode=mode), folder)
    return {place.relative_to(folder).as_posix(): place.read_bytes() for place in folder.rglob("*") if place.is_file()}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_files_are_unpacked(tmp_path: Path, mode: str) -> None:
    folder, big = member("./data", tarfile.DIRTYPE), os.urandom(3 << 20)
    members = (member("./", tarfile.DIRTYPE), folder, member("data/a.json"), member("/b", content=big))
    assert unpacked(tmp_path, *members, mode=mode) == {"data/a.json": b"text", "b": big}


def test_permissions_are_not_taken_over(tmp_path: Path) -> None:
    info, content = member("a")
    info.mode, info.uid = 0o6777, 12345
    assert unpacked(tmp_path, (info, content)) == {"a": b"text"}
    status = (tmp_path / "to" / "a").stat()
    assert (status.st_mode & 0o7111, status.st_uid) == (0, os.getuid())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../outside"), "the name '../outside' leads out of the folder"),
        (member("a/../../outside"), "leads out of the folder"),
        (member(".."), "leads out of the folder"),
        (member("a\\..\\outside"), "leads out of the folder"),
        (member("C:outside"), "leads out of the folder"),
        (member("a\nb"), "leads out of the folder"),
        (member("x" * 300), "or is too long"),
        (member("/".join(["x" * 200] * 20)), "or is too long"),
        (member("a/../../outside", tarfile.DIRTYPE), "leads out of the folder"),
        (member("link", tarfile.SYMTYPE, "../outside"), "'link' is a link"),
        (member("link", tarfile.SYMTYPE, "inside"), "'link' is a link"),
        (member("link", tarfile.LNKTYPE, "good"), "'link' is a link"),
        (member("pipe", tarfile.FIFOTYPE), "'pipe' is a link, a device"),
        (member("device", tarfile.CHRTYPE), "'device' is a link, a device"),
        (member("hole", tarfile.GNUTYPE_SPARSE), "(sparse file|not readable)"),
        (member("good"), "the name 'good' is used twice"),
        (member("good/below"), r"(cannot be written|used twice)"),
    ],
)
def test_what_no_data_set_needs_is_refused(tmp_path: Path, bad: Member, said: str) -> None:
    with pytest.raises(Exception, match=said) as found:
        unpacked(tmp_path, member("good"), bad)
    assert type(found.value).__name__ in ("DataError", "UsageError")
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "to"]
    assert os.listdir(tmp_path / "to") == ["good"]


def test_links_through_long_names_do_not_lead_out(tmp_path: Path) -> None:
    """CVE-2025-4517: a chain of links whose resolved name is longer than a path may be, and a file through it."""
    chain, name = [], "d" * 247
    for number in range(16):
        chain += [member("/".join([name] * (number + 1)), tarfile.DIRTYPE)]
        chain += [member("/".join([name] * number + [chr(97 + number)]), tarfile.SYMTYPE, name)]
    chain += [member("escape", tarfile.SYMTYPE, "a/" * 16 + "../" * 18), member("escape/planted")]
    with pytest.raises(DataError, match="refused to unpack: 'a' is a link"):
        unpacked(tmp_path, *chain)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "to"]


def test_an_existing_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="used twice"):
        unpack(tar_of(tmp_path / "a.tar", member("a")), tmp_path / "to")
    assert not (tmp_path / "outside").exists()


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SMALL_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"would unpack to \d+ MiB or more, .* times its size"):
        unpacked(tmp_path, member("zeros", content=bytes(8 << 20)))


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-8] + bytes(8), lambda raw: b"<html>", lambda raw: b""],
    ids=["cut", "checksum", "page", "empty"],
)
def test_damaged_archives_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tar_of(tmp_path / "a.tar.gz", member("a", content=os.urandom(5000)))
    path.write_bytes(damage(path.read_bytes()))
    (tmp_path / "to").mkdir()
    with pytest.raises(DataError, match=r"a\.tar\.gz: (not readable as a tar archive|an archive without files)"):
        unpack(path, tmp_path / "to")


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(DataError, match="not a file, but a folder, pipe or device"):
        unpack(tmp_path / "a.tar", tmp_path)
