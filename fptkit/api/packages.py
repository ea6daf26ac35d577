"""The published packages of plugins, kept in ``packages.json``, so that they are listed without a network.

A package is added there once its own tests pass with this version of fptkit. ``docs/plugins/index.md`` shows the list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

FILE = "packages.json"


@dataclass(frozen=True)
class Package:
    """A published package of plugins.

    Args:
        name: its distribution.
        version: its newest version.
        tested_with: the versions of fptkit with which the tests of that version passed.
        adds: names of the components it brings, by their noun on the command line, such as ``tasks``.
        summary: one line.
    """

    name: str
    version: str
    tested_with: tuple[str, ...]
    adds: Mapping[str, tuple[str, ...]]
    summary: str

    @property
    def added(self) -> str:
        """What it brings, in words."""
        return "; ".join(f"{noun} {', '.join(names)}" for noun, names in self.adds.items())

    @property
    def install(self) -> str:
        """The command that installs it, in a checkout of fptkit."""
        return f"pip install ./plugins/{self.name}"

    def installed(self) -> str:
        """The version that is installed here; empty if it is not."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return ""


def published_packages() -> list[Package]:
    """All published packages, by name."""
    text = files("fptkit.api").joinpath(FILE).read_text(encoding="utf-8")
    found = [
        Package(
            name=row["name"],
            version=row["version"],
            tested_with=tuple(row["tested_with"]),
            adds={noun: tuple(names) for noun, names in row["adds"].items()},
            summary=row["summary"],
        )
        for row in json.loads(text)
    ]
    return sorted(found, key=lambda package: package.name)
