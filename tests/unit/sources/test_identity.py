"""Identity of data by content, and its cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from fptkit.errors import DataError
from fptkit.sources import identity as module
from fptkit.sources.identity import DataIdentity, Place, Snapshot, defined, file_digest, is_metadata, walk


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content is read."""
    read: list[Path] = []
    digest = module._digest
    monkeypatch.setattr(module, "_digest", lambda path: read.append(path) or digest(path))
    return read


def of(*places: Path) -> DataIdentity:
    return Snapshot.take(Place(place) for place in places).identity("path:x")


def made(path: Path, content: str = "x", *, age_s: float = 60) -> Path:
    """A file, as old as if it had been written some time ago (but its status is as new as it is)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once, as if some time had passed."""
    monkeypatch.setattr(module, "_settled_at", lambda status: 0)


def test_a_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    path = made(tmp_path / "a.csv", "content")
    assert file_digest(path) == hashlib.blake2b(b"content", digest_size=16).hexdigest()
    assert of(path).facts() == {
        "source": "path:x",
        "digest": file_digest(path),
        "files": 1,
        "bytes": 7,
        "parts": {"a.csv": file_digest(path)},
    }


def test_neither_place_nor_name_of_a_copy_counts(tmp_path: Path) -> None:
    made(tmp_path / "one" / "train" / "a.png", "a")
    made(tmp_path / "one" / "test" / "b.png", "b")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert of(tmp_path / "one").digest == of(tmp_path / "two").digest
    assert of(made(tmp_path / "x.csv", "same")).digest == of(made(tmp_path / "y.csv", "same")).digest


@pytest.mark.parametrize("change", ["content", "name", "class", "added", "removed", "swapped"])
def test_what_changes_the_identity_of_a_folder(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "data"
    for name in ("cat/1", "cat/2", "dog/1"):
        made(folder / name, name)
    before = of(folder).digest
    if change == "content":
        made(folder / "cat/1", "cat/!")
    elif change == "name":
        (folder / "cat/1").rename(folder / "cat/3")
    elif change == "class":
        (folder / "dog").rename(folder / "wolf")
    elif change == "added":
        made(folder / "dog/9")
    elif change == "removed":
        (folder / "dog/1").unlink()
    else:
        first, second = (folder / "cat/1").read_text(), (folder / "dog/1").read_text()
        made(folder / "cat/1", second)
        made(folder / "dog/1", first)
    assert of(folder).digest != before


def test_metadata_do_not_count(tmp_path: Path) -> None:
    made(tmp_path / "d/a.csv")
    before = of(tmp_path / "d").digest
    for name in (".DS_Store", "Thumbs.db", ".git/config", "sub/.hidden", "lock.mdb"):
        made(tmp_path / "d" / name, "noise")
        assert is_metadata(Path(name)) or is_metadata(Path(name).parent) or name == "sub/.hidden"
    assert of(tmp_path / "d").digest == before


def test_boundaries_between_names_and_contents_count(tmp_path: Path) -> None:
    made(tmp_path / "one/ab", "c")
    made(tmp_path / "one/x", "1")
    made(tmp_path / "two/a", "bc")
    made(tmp_path / "two/x", "1")
    assert of(tmp_path / "one").digest != of(tmp_path / "two").digest


def test_only_named_files_count(tmp_path: Path) -> None:
    files = [made(tmp_path / "d" / name, name) for name in ("a_TRAIN.ts", "a_TEST.ts")]
    place = Place(files[0], tuple(files))
    before = Snapshot.take([place]).identity("s")
    made(tmp_path / "d/other.ts")
    assert Snapshot.take([place]).identity("s") == before
    assert set(before.parts) == {"a_TRAIN.ts", "a_TEST.ts"}
    made(files[1], "new")
    assert Snapshot.take([place]).identity("s").digest != before.digest
    around = Place.around(files)
    assert around is not None
    assert around.base == tmp_path / "d"
    assert Place.around([]) is None


def test_an_unchanged_file_is_read_once(tmp_path: Path, hashed: list[Path], settled: None) -> None:
    folder = tmp_path / "d"
    made(folder / "a")
    made(folder / "b")
    first = of(folder)
    assert of(folder) == first
    assert sorted(path.name for path in hashed) == ["a", "b"]
    made(folder / "b", "new")
    assert of(folder) != first
    assert [path.name for path in hashed[2:]] == ["b"]


def test_a_file_with_the_same_size_and_time_is_another_one(tmp_path: Path, settled: None) -> None:
    path = made(tmp_path / "a", "one", age_s=100)
    status = path.stat()
    before = file_digest(path)
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert file_digest(path) != before


def test_a_file_that_was_just_written_is_not_cached(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TICK_NS", 10**12)
    path = made(tmp_path / "a", age_s=0)
    assert file_digest(path) == file_digest(path)
    assert len(hashed) == 2


def test_a_large_file_that_was_just_written_is_cached_after_a_moment(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGE", 1)
    path = made(tmp_path / "a", age_s=0)
    assert file_digest(path) == file_digest(path)
    assert len(hashed) == 1


def test_whole_seconds_mean_a_coarse_clock() -> None:
    assert module._settled_at((1, 5 * 10**9, 4 * 10**9, 1)) == 7 * 10**9
    assert module._settled_at((1, 5 * 10**9, 4 * 10**9 + 1, 1)) == 5 * 10**9 + 50_000_000


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"files": 3}', '{"files": {"a": 3}}', '{"files": {"a": [1, 2, 3, 4, "short"]}}']
)
def test_a_damaged_cache_is_ignored(tmp_path: Path, hashed: list[Path], settled: None, damage: str) -> None:
    path = made(tmp_path / "a")
    before = file_digest(path)
    (cache,) = (tmp_path / "cache/digests").iterdir()
    cache.write_text(damage)
    assert file_digest(path) == before
    assert len(hashed) == 2
    assert json.loads(cache.read_text())["files"]["a"][-1] == before


def test_without_a_place_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: None) -> None:
    made(tmp_path / "blocked")
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "blocked"))
    assert file_digest(made(tmp_path / "a")) == file_digest(tmp_path / "a")


@pytest.mark.parametrize("change", ["content", "replaced", "added", "removed"])
def test_a_change_while_reading_is_an_error(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "d"
    path = made(folder / "a", "old")
    snapshot = Snapshot.take([Place(folder)])
    if change == "content":
        path.write_text("new")
    elif change == "replaced":
        os.replace(made(tmp_path / "other", "new"), path)
    elif change == "added":
        made(folder / "b")
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"(changed while it was read|cannot be read)"):
        snapshot.identity("s")


def test_a_cached_digest_is_not_taken_for_a_replaced_file(tmp_path: Path, settled: None) -> None:
    path = made(tmp_path / "a", "old")
    before = file_digest(path)
    snapshot = Snapshot.take([Place(path)])
    os.replace(made(tmp_path / "other", "new"), path)
    with pytest.raises(DataError, match="changed while"):
        snapshot.identity("s")
    assert file_digest(path) != before


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    made(tmp_path / "far/1.png")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/class").symlink_to(tmp_path / "far")
    (tmp_path / "far/up").symlink_to(tmp_path / "d")
    assert [path.relative_to(tmp_path).as_posix() for path in walk(tmp_path / "d")] == ["d/class/1.png"]


def test_many_files_are_summed_up_by_folder(tmp_path: Path) -> None:
    for number in range(40):
        made(tmp_path / f"d/{'train' if number % 2 else 'test'}/{number}", str(number))
    found = of(tmp_path / "d")
    assert set(found.parts) == {"train/", "test/"}
    assert found.files == 40


def test_nothing_there(tmp_path: Path) -> None:
    assert Snapshot.take([Place(tmp_path / "absent")]).files == {}


def test_a_definition_is_an_identity(tmp_path: Path) -> None:
    assert defined("generated", "bits 5") == defined("generated", "bits 5")
    assert defined("generated", "bits 5").digest != defined("generated", "bits 6").digest
    with_part = defined("hf:x", "x", {"fingerprint": "f1"})
    assert with_part.digest != defined("hf:x", "x", {"fingerprint": "f2"}).digest
    assert with_part.facts()["other_parts"] == ["fingerprint"]
