"""Caches are trusted only if nobody else can have written them, and no home folder is needed for them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fptkit.engine.cache.store import FeatureStore, cache_folder
from fptkit.errors import UsageError
from fptkit.sources import identity
from fptkit.sources.choice import data_folder, expanded, shown_folder
from fptkit.sources.ownership import is_own, is_own_group, own_temporary_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners here")

NOBODY = 65534


def world_writable(path: Path) -> None:
    path.chmod(0o666)


def of_another(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(path, NOBODY, NOBODY)


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".there"))
    path.symlink_to(path.with_suffix(".there"))


PLANTED = pytest.mark.parametrize("planted", [world_writable, of_another, a_link])


def test_own_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0o644)
    assert is_own(tmp_path / "a")
    (tmp_path / "b").mkdir(mode=0o700)
    assert is_own(tmp_path / "b")
    os.mkfifo(tmp_path / "c")
    assert not is_own(tmp_path / "c")
    assert not is_own(tmp_path / "absent")
    assert not is_own(Path("a\0b"))


@PLANTED
def test_what_others_can_have_written_is_not_own(tmp_path: Path, planted: Callable[[Path], None]) -> None:
    (tmp_path / "a").touch(mode=0o644)
    planted(tmp_path / "a")
    assert not is_own(tmp_path / "a")


def test_groups_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    user = pwd.struct_passwd(("me", "x", os.geteuid(), 500, "", "/home/me", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: user)
    groups = {500: ("me", ["me"]), 501: ("me", []), 502: ("lab", [])}
    monkeypatch.setattr(
        grp, "getgrgid", lambda number: grp.struct_group((groups[number][0], "x", number, groups[number][1]))
    )
    assert [is_own_group(number) for number in groups] == [True, False, False]
    groups[500] = ("me", ["me", "you"])
    assert not is_own_group(500)
    assert not is_own_group(9)  # unknown


@PLANTED
@pytest.mark.parametrize("name", ["features", "features.json"])
def test_planted_features_are_computed_again(
    tmp_path: Path, name: str, planted: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0)  # the worst that a container sets
    try:
        store, computed = FeatureStore(tmp_path / "s", (4, 1, 2), [2, 4]), []

        def compute(batch: int) -> np.ndarray:
            computed.append(batch)
            return np.full((2, 1, 2), batch, np.float32)

        def read() -> np.ndarray:
            rows = store.read(compute, lambda rows: True, stop_requested=lambda: False, computed=lambda done: None)
            assert rows is not None
            return np.array(rows)

        assert read().tolist() == read().tolist()
        assert computed == [0, 1]
        planted(tmp_path / "s" / name)
        assert read()[:, 0, 0].tolist() == [0, 0, 1, 1]
        assert computed == [0, 1, 0, 1]
        read()
        assert computed == [0, 1, 0, 1]
    finally:
        os.umask(before)


@PLANTED
def test_planted_digests_are_computed_again(
    tmp_path: Path, planted: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.write_bytes(b"content")
    os.utime(data, (1, 1))
    monkeypatch.setattr(identity, "_settled_at", lambda status: 0)
    digest = identity.file_digest(data)
    (cache,) = (tmp_path / "cache" / "digests").iterdir()
    content = json.loads(cache.read_bytes())
    content["files"]["data"][-1] = "0" * 32
    cache.write_text(json.dumps(content))
    assert identity.file_digest(data) == "0" * 32  # what is in an own cache is taken
    planted(cache)
    assert identity.file_digest(data) == digest


def test_digests_that_were_not_used_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_MOST_CACHED", 3)
    for days in (1, 2, 3, 4, 200):
        (tmp_path / f"{days}.json").touch()
        os.utime(tmp_path / f"{days}.json", (time.time() - days * 86_400,) * 2)
    (tmp_path / "other").touch()
    identity._prune.__wrapped__(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "2.json", "3.json", "other"]
    monkeypatch.setattr(identity, "_MOST_CACHED", 100)
    os.utime(tmp_path / "2.json", (0, 0))
    identity._mark_used(tmp_path / "2.json")
    os.utime(tmp_path / "3.json", (0, 0))
    identity._prune.__wrapped__(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "2.json", "other"]


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No home folder is known, as for a user of a container without an entry in passwd."""

    def unknown(*_: object) -> str:
        raise RuntimeError("could not determine the home directory")

    import platformdirs

    for name in ("FPTKIT_DATA", "FPTKIT_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platformdirs, "user_data_dir", unknown)
    monkeypatch.setattr(platformdirs, "user_cache_dir", unknown)
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_folder_caches_are_among_the_temporary_files(homeless: Path) -> None:
    own = homeless / f"fptkit-{os.geteuid()}"
    assert (data_folder(), cache_folder()) == (own / "data", own / "cache" / "features")
    assert own.stat().st_mode & 0o777 == 0o700
    assert shown_folder(own) == str(own)
    with pytest.raises(UsageError, match="~x/y: the home folder is not known; write the path without ~"):
        expanded("~x/y")


@PLANTED
def test_a_temporary_folder_of_somebody_else_is_refused(homeless: Path, planted: Callable[[Path], None]) -> None:
    folder = own_temporary_folder()
    planted(folder)
    with pytest.raises(UsageError, match="somebody else made it or can write to it"):
        data_folder()
