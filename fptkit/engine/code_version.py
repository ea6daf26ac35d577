"""The version of the code that decides what a run computes. Light: no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import fptkit

PACKAGE = Path(fptkit.__file__).parent

UNDECIDING = (
    "benchmarking",
    "cli",
    "pretraining",
    "published",
    "recipe",
    "recipes",
    "reporting",
    "studies",
    "templates",
    "testing",
    "weights",
)
"""Parts of the package that do not decide what a run computes. What reads recipes is among them: all that it does shows
in the resolved recipe. Of the weights, those a recipe names go into its address."""


def code_version(package: Path = PACKAGE) -> str:
    """The digest of the code that every run rests on: fptkit's version and the sources of what decides results.

    Weights in the package and plugins are not in it: they go into the addresses of the runs that use them, so that
    installing a plugin leaves all other runs as they are.

    Args:
        package: folder of the package.
    """
    parts = [path for path in sorted(package.iterdir()) if path.name.removesuffix(".py") not in UNDECIDING]
    return digest_parts([fptkit.__version__.encode(), *(text for part in parts for text in sources_of(part))])


def digest_parts(parts: Iterable[bytes]) -> str:
    """SHA-256 of several parts, each with its length before it, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def sources_of(path: Path) -> Iterator[bytes]:
    """Names and texts of a module's or package's Python and C files, in the same order on every machine."""
    files = sorted(path.rglob("*"), key=lambda file: file.relative_to(path).parts) if path.is_dir() else [path]
    for file in files:
        if file.suffix in (".py", ".c"):
            yield file.relative_to(path.parent).as_posix().encode()
            yield file.read_bytes().replace(b"\r\n", b"\n")
