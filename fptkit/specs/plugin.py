"""A plugin that was found, and the result of loading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fptkit.specs.base import Spec

SLOW_S = 0.5
"""Import time above which a plugin is reported as slow; a listing of fptkit's own components takes a third of it."""


@dataclass
class Plugin:
    """A plugin that was found, and the result of loading it.

    Args:
        name: entry-point name, ``builtin``, or the path of a file.
        origin: ``builtin``, ``distribution`` or ``file``.
        distribution: name of the installed distribution, empty for the others.
        version: its version.
        status: ``loaded``, ``blocked`` (left out by ``FPTKIT_PLUGINS``) or ``failed``.
        reason: why it failed, one line.
        hooks: hooks it implements.
        error: the exception that ``reason`` describes.
        seconds: how long it took to load, which delays every command.
        implementation: its module, or the object with its hooks; None if it is not loaded.
    """

    name: str
    origin: str
    distribution: str = ""
    version: str = ""
    status: str = "loaded"
    reason: str = ""
    hooks: tuple[str, ...] = ()
    error: BaseException | None = None
    seconds: float = 0.0
    implementation: Any = field(default=None, repr=False, compare=False)

    @property
    def slow(self) -> bool:
        """True if an installed plugin takes so long to import that it delays every command."""
        return self.origin == "distribution" and self.seconds > SLOW_S

    @property
    def failed(self) -> bool:
        """True if it could not be loaded."""
        return self.status == "failed"

    @property
    def described(self) -> str:
        """Name, distribution and version, for messages."""
        if self.distribution:
            return f"{self.name} ({self.distribution} {self.version})"
        return "fptkit itself" if self.origin == "builtin" else self.name


def trace(plugin: Plugin, specs: Sequence[Spec]) -> str:
    """The result of loading a plugin, as one line."""
    given = ", ".join(f"{spec.kind} {spec.name}" for spec in specs) or "no records"
    outcome = f"failed: {plugin.reason}" if plugin.failed else given
    return (
        f"fptkit plugin {plugin.described}: {plugin.seconds:.3f} s, hooks {', '.join(plugin.hooks) or '-'}; {outcome}"
    )
