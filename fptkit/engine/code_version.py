"""The version of the code that decides what a run computes. Light: no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import fptkit

PACKAGE = Path(fptkit.__file__).parent

RECIPES = "recipes"
"""Folder of a package that holds recipes and studies: what they say shows in the resolved recipe. In a checkout of
fptkit it is outside the package."""

WEIGHTS = "weights"
"""Folder of fptkit's own weights: those that a recipe names enter the addresses of its runs."""

_COMPILED = (".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib", ".o", ".obj", ".a", ".lib")
_DOCUMENTATION = (".md", ".rst")


def code_version(package: Path = PACKAGE) -> str:
    """The digest of the code that every run rests on: fptkit's version and every source file of the package.

    All of it counts, whatever it is for: a rule that guesses which file decides a result would be wrong one day, and
    then old results would pass for new ones. Weights in the package and plugins enter the addresses of the runs that
    use them, so that installing a plugin leaves all other runs as they are.

    Args:
        package: folder of the package.
    """
    return digest_parts([fptkit.__version__.encode(), *sources_of(package, without=(WEIGHTS,))])


def digest_parts(parts: Iterable[bytes]) -> str:
    """SHA-256 of several parts, each with its length before it, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def sources_of(path: Path, *, without: Iterable[str] = ()) -> Iterator[bytes]:
    """Names and contents of a module's or package's source files, in the same order on every machine.

    Source is every file, data files among them, but documentation, compiled files, hidden ones, and recipes. Ends of
    lines count as one character, however a checkout writes them.

    Args:
        path: file of the module, or folder of the package.
        without: further folders of the package to leave out.
    """
    if not path.is_dir():
        yield path.name.encode()
        yield read_source(path)
        return
    left_out = {RECIPES, *without}
    files = [(file.relative_to(path).parts, file) for file in path.rglob("*")]
    for parts, file in sorted(files):
        if parts[0] not in left_out and _is_source(parts) and file.is_file():
            yield "/".join((path.name, *parts)).encode()
            yield read_source(file)


def _is_source(parts: tuple[str, ...]) -> bool:
    if any(part.startswith(".") or part == "__pycache__" for part in parts):
        return False
    return not parts[-1].lower().endswith(_COMPILED + _DOCUMENTATION)


def read_source(file: Path) -> bytes:
    """A file's content; of a text, every end of line as one character."""
    content = file.read_bytes()
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")
