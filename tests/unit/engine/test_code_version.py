"""The digest of the code: any source file changes it, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fptkit.engine.code_version import PACKAGE, code_version, digest_parts, sources_of

ROOT = PACKAGE.parent


def is_source(path: Path) -> bool:
    """By hand: what a developer would call a source file of the package."""
    inside = path.relative_to(PACKAGE)
    return (
        path.is_file()
        and inside.parts[0] not in ("weights", "recipes")
        and "__pycache__" not in inside.parts
        and path.suffix not in (".md", ".pyc")
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    copy = tmp_path / "copy" / "fptkit"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return copy


def append(path: Path, text: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


@pytest.mark.slow
def test_every_source_file_counts(package: Path) -> None:
    files = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if is_source(path))
    suffixes = {path.suffix for path in files}
    assert suffixes >= {".py", ".c", ".cpp", ".yaml", ".css", ".j2", ".template"}
    assert code_version(package) == code_version(), "where the package is must not matter"
    for file in files:
        (package / file).write_bytes(b"")  # empty files are read quickly, time after time
    found = [code_version(package)]
    for file in files:  # each on top of those before
        append(package / file)
        found.append(code_version(package))
    unseen = [str(file) for file, before, after in zip(files, found, found[1:], strict=False) if before == after]
    assert unseen == []


@pytest.mark.parametrize(
    "file",
    [
        "weights/gpt2_nano/config.json",  # weights enter the addresses of runs that use them
        "weights/gpt2_nano/model.safetensors",
        "recipes/bit_xor_gpt2.yaml",  # in a wheel only; what a recipe says shows in the resolved recipe
        "recipes/base/gpt2.yaml",
        "README.md",
        "engine/notes.md",
        "engine/__pycache__/loop.cpython-311.pyc",
        "engine/loop.pyc",
        "numerics/loops.so",
        ".DS_Store",
        "engine/.loop.py.swp",
    ],
)
def test_what_is_no_source_does_not_count(package: Path, file: str) -> None:
    before = code_version(package)
    append(package / file, "changed")
    assert code_version(package) == before


@pytest.mark.parametrize("name", ["engine/new.py", "tasks/table.csv", "tasks/recipes/extra.yaml", "numerics/more.h"])
def test_new_renamed_and_missing_files_count(package: Path, name: str) -> None:
    found = [code_version(package)]
    append(package / name)
    found.append(code_version(package))
    (package / name).rename(package / "other.txt")
    found.append(code_version(package))
    assert len(set(found)) == 3
    (package / "other.txt").unlink()
    assert code_version(package) == found[0]


def test_a_wheel_has_the_digest_of_its_checkout(package: Path) -> None:
    shutil.copytree(ROOT / "recipes", package / "recipes")  # as [tool.hatch.build] in pyproject.toml says
    assert code_version(package) == code_version()


def test_ends_of_lines_do_not_count(package: Path) -> None:
    before = code_version(package)
    for name in ("engine/loop.py", "numerics/loops.c", "backbones/lstm/recurrence.cpp", "lab/published/tape2019.yaml"):
        text = (package / name).read_bytes()
        (package / name).write_bytes(text.replace(b"\n", b"\r\n"))
        assert (package / name).read_bytes() != text
    assert code_version(package) == before


def test_bytes_of_a_binary_file_all_count(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    digests = set()
    for content in (b"\0\r\n", b"\0\n"):
        (tmp_path / "a" / "table.bin").write_bytes(content)
        digests.add(digest_parts(sources_of(tmp_path / "a")))
    assert len(digests) == 2


def test_a_module_in_one_file_is_its_own_source(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_bytes(b"x = 1\r\n")
    assert list(sources_of(tmp_path / "plugin.py")) == [b"plugin.py", b"x = 1\n"]


def test_files_come_in_one_order_and_without_ambiguity(tmp_path: Path) -> None:
    for name in ("b.py", "a/z.py", "a.py", "recipes/r.yaml"):
        append(tmp_path / "p" / name, name)
    names = [part.decode() for part in list(sources_of(tmp_path / "p"))[::2]]
    assert names == ["p/a/z.py", "p/a.py", "p/b.py"]
    assert digest_parts([b"ab", b"c"]) != digest_parts([b"a", b"bc"])
