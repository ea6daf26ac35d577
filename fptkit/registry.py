"""Names to records, with the plugin each came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from fptkit.errors import PluginError, UnknownNameError
from fptkit.specs import Spec

if TYPE_CHECKING:
    from fptkit.plugins import Plugin

AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True)
class Entry:
    """A record and the plugin that gave it."""

    spec: Spec
    owner: Plugin


@dataclass
class Registry:
    """Everything the loaded plugins offer.

    Args:
        plugins: all plugins met, those that failed included: their reasons are quoted when a name is not found.
    """

    plugins: list[Plugin] = field(default_factory=list)
    _entries: dict[type[Spec], dict[str, Entry]] = field(default_factory=dict)

    def add(self, specs: Sequence[Spec], owner: Plugin) -> None:
        """Register all records of one plugin, or none.

        Raises:
            PluginError: a name is taken, by another plugin or within this one.
        """
        seen: dict[tuple[type[Spec], str], Spec] = {}
        for spec in specs:
            kind = _kind_of(spec)
            taken = self._entries.get(kind, {}).get(spec.name)
            if taken is not None:
                raise PluginError(f"{spec} is registered by both {taken.owner.described} and {owner.described}")
            if (kind, spec.name) in seen:
                raise PluginError(f"{spec} is given twice by {owner.described}")
            seen[kind, spec.name] = spec
        for (kind, name), spec in seen.items():
            self._entries.setdefault(kind, {})[name] = Entry(spec, owner)

    def entries(self, kind: type[Spec]) -> Iterator[Entry]:
        """Entries of a kind, by name."""
        yield from (entry for _, entry in sorted(self._entries.get(kind, {}).items()))

    def names(self, kind: type[Spec]) -> list[str]:
        """Names of a kind, sorted."""
        return sorted(self._entries.get(kind, {}))

    def entry(self, kind: type[Spec], name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            UnknownNameError: there is none; plugins that failed are quoted, since one of them may hold it.
        """
        known = self._entries.get(kind, {})
        if name not in known:
            failed = [f"plugin {plugin.name} did not load: {plugin.reason}" for plugin in self.plugins if plugin.failed]
            raise UnknownNameError(kind.kind, name, known, "\n".join(failed))
        return known[name]

    def get(self, kind: type[AnySpec], name: str) -> AnySpec:
        """The record called ``name``; raises as `entry` does."""
        spec = self.entry(kind, name).spec
        assert isinstance(spec, kind)
        return spec


def _kind_of(spec: Spec) -> type[Spec]:
    """The record class a spec is listed under: a plugin's subclass of `TaskSpec` is a task."""
    return next(base for base in type(spec).__mro__ if issubclass(base, Spec) and "kind" in vars(base))
