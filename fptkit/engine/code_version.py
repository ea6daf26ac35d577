"""The version of the code that decides what a run computes. Light: no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import fptkit

PACKAGE = Path(fptkit.__file__).parent

RECIPES = "recipes"
"""Folder of a package with recipes and studies; not digested, since resolved recipes have their content. In a checkout
of fptkit it is outside the package."""

WEIGHTS = "weights"
"""Folder of fptkit's own weights: those that a recipe names are part of the addresses of its runs."""

_COMPILED = (".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib", ".o", ".obj", ".a", ".lib")
_DOCUMENTATION = (".md", ".rst")


def code_version(package: Path = PACKAGE) -> str:
    """The digest of the code behind every run: fptkit's version and every source file of the package.

    Every file counts: a rule that guesses which files decide a result would be wrong one day, and then old results
    would pass for new ones. Weights in the package, and plugins, are part of the addresses of the runs that use them,
    so that installing a plugin does not affect other runs.

    Args:
        package: folder of the package.
    """
    return digest_parts([fptkit.__version__.encode(), *sources_of(package, without=(WEIGHTS,))])


def digest_parts(parts: Iterable[bytes]) -> str:
    """SHA-256 of several parts, each preceded by its length, so that different lists of parts have different
    digests."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def sources_of(path: Path, *, without: Iterable[str] = ()) -> Iterator[bytes]:
    """Names and contents of a module's or package's source files, in the same order on every machine.

    Every file counts as source, including data files, except documentation, compiled files, hidden files and recipes.
    Line endings are normalised, since checkouts differ in them.

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
    """A file's content; in text files, with normalised line endings."""
    content = file.read_bytes()
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")
