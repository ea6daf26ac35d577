"""Load plugins, and look up their records by name.

Each plugin is loaded separately: a broken one is recorded with its reason and does not affect the others. The loader
works around pluggy, which accepts a misspelt hook until ``check_pending``, stops loading entry points at the first
failure, and leaves a plugin that fails validation half registered.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pluggy

from fptkit import hookspecs
from fptkit.errors import PluginError, UnknownNameError, UsageError, UserInterrupt
from fptkit.specs import HOOKS, Spec, kind_of
from fptkit.specs.guard import claim
from fptkit.specs.hook_calls import blamed, checked_records, is_wrapper, module_name, reason_in_line, wrappers_of
from fptkit.specs.plugin import Plugin as Plugin
from fptkit.specs.plugin import trace
from fptkit.specs.plugin_file import import_file
from fptkit.specs.plugin_file import plugin_path as plugin_path
from fptkit.specs.surroundings import importing

RECORDS = (
    *("backbones", "encoders", "engine.trackers", "engine.training", "freezing", "recipe", "tasks"),
    *("sources", "lab", "cli"),
)
"""Packages of fptkit with a module ``records``: its own components, which use the same hooks as any plugin. Named as
text, since components import the registry, which must not import them."""

AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True)
class Entry:
    """A record and the plugin that registered it."""

    spec: Spec
    owner: Plugin


@dataclass
class Registry:
    """The records of all loaded plugins. A command loads one, and extends it with the plugin files of its recipes.

    Args:
        plugins: all plugins found, including those that failed: the error about an unknown name quotes their reasons.
    """

    plugins: list[Plugin] = field(default_factory=list)
    _entries: dict[type[Spec], dict[str, Entry]] = field(default_factory=dict)

    def extended(self, files: Sequence[str | Path]) -> Registry:
        """A registry with further plugin files; files that are loaded already are skipped.

        Args:
            files: the plugin files. This registry does not change, even if one of them fails.

        Raises:
            PluginError: one of them cannot be loaded.
            UsageError: one of them does not exist.
        """
        host = PluginHost(Registry(list(self.plugins), {kind: dict(named) for kind, named in self._entries.items()}))
        for file in files:
            host.load_file(Path(file))
        wrapped = host.wrap()
        found = host.registry if wrapped or len(host.registry.plugins) > len(self.plugins) else self
        return found.use()

    def use(self) -> Registry:
        """Make this the registry in which names are looked up where none is passed, see `in_use`; returns it."""
        _IN_USE[:] = [self]
        return self

    def add(self, specs: Sequence[Spec], owner: Plugin) -> None:
        """Register all records of one plugin, or none of them.

        Raises:
            PluginError: a name is already used, by another plugin or by this one.
        """
        seen: dict[tuple[type[Spec], str], Spec] = {}
        for spec in specs:
            kind = kind_of(type(spec)).record
            taken = self._entries.get(kind, {}).get(spec.name)
            if taken is not None:
                raise PluginError(f"{spec} is registered by both {taken.owner.described} and {owner.described}")
            if (kind, spec.name) in seen:
                raise PluginError(f"{spec} is given twice by {owner.described}")
            seen[kind, spec.name] = spec
        for (kind, name), spec in seen.items():
            self._entries.setdefault(kind, {})[name] = Entry(spec, owner)

    def replace(self, kind: type[Spec], records: Sequence[Spec], wrapper: Plugin) -> None:
        """Replace the records of a kind by those that a wrapper left, changed or added.

        Args:
            kind: the kind.
            records: all of them; one of a known name keeps its plugin.
            wrapper: the plugin that owns records with other names.

        Raises:
            PluginError: a name is given twice.
        """
        known = self._entries.get(kind, {})
        found: dict[str, Entry] = {}
        for spec in records:
            if spec.name in found:
                raise PluginError(f"{spec} is given twice after the wrapper of {wrapper.described}")
            found[spec.name] = Entry(spec, known[spec.name].owner if spec.name in known else wrapper)
        self._entries[kind] = found

    def remove(self, plugin: Plugin) -> None:
        """Remove the records of a plugin."""
        for kind, named in self._entries.items():
            self._entries[kind] = {name: entry for name, entry in named.items() if entry.owner is not plugin}

    def entries(self, kind: type[Spec]) -> Iterator[Entry]:
        """Entries of a kind, sorted by name."""
        yield from (entry for _, entry in sorted(self._entries.get(kind, {}).items()))

    def names(self, kind: type[Spec]) -> list[str]:
        """Names of a kind, sorted."""
        return sorted(self._entries.get(kind, {}))

    def entry(self, kind: type[Spec], name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            UnknownNameError: there is none. The error quotes plugins that failed, since one of them may have it.
        """
        known = self._entries.get(kind, {})
        if name not in known:
            failed = [f"plugin {plugin.name} did not load: {plugin.reason}" for plugin in self.plugins if plugin.failed]
            raise UnknownNameError(kind.kind, name, known, "\n".join(failed))
        return known[name]

    def get(self, kind: type[AnySpec], name: str) -> AnySpec:
        """The record called ``name``.

        Raises:
            UnknownNameError: there is none, see `entry`.
        """
        spec = self.entry(kind, name).spec
        assert isinstance(spec, kind)
        return spec


_IN_USE: list[Registry] = []
"""The registry that this process loaded, extended or built with last, if there is one."""


def in_use() -> Registry:
    """The registry of this command, or of this call from Python: the one that was loaded, extended or used last.

    Code that gets a name but no registry looks it up here, such as the sources of a list of weights. If none was
    loaded, the installed plugins are.
    """
    return _IN_USE[0] if _IN_USE else load_plugins(selection=selection_from_environment())


ENTRY_POINT_GROUP = "fptkit"


def load_plugins(files: Sequence[str | Path] = (), *, selection: str | None = None) -> Registry:
    """Load the built-in plugin, installed plugins and plugin files.

    Args:
        files: plugin files. A failure is an error here, since the user named the file.
        selection: which installed plugins to load: None for all, else names separated by commas, empty for none.

    Raises:
        PluginError: one of ``files`` cannot be loaded.
        UsageError: one of ``files`` does not exist.
    """
    host = PluginHost(Registry())
    host.load(Plugin("builtin", "builtin"), _import_builtin)
    chosen = None if selection is None else {name.strip() for name in selection.split(",") if name.strip()}
    for entry_point in _entry_points():
        distribution = entry_point.dist
        plugin = Plugin(
            entry_point.name,
            "distribution",
            distribution.name if distribution else "",
            distribution.version if distribution else "",
        )
        if chosen is not None and entry_point.name not in chosen:
            plugin.status = "blocked"
            plugin.reason = "left out by FPTKIT_PLUGINS"
            host.registry.plugins.append(plugin)
            continue
        host.load(plugin, entry_point.load)
    return host.registry.extended(files)


def selection_from_environment() -> str | None:
    """The value of ``FPTKIT_PLUGINS``: None when unset."""
    return os.environ.get("FPTKIT_PLUGINS")


class PluginHost:
    """Loads plugins one by one into a registry.

    Args:
        registry: records and plugins are added to it; wrappers of its plugins apply to what is added.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._manager = pluggy.PluginManager("fptkit")
        self._manager.add_hookspecs(hookspecs)
        for plugin in registry.plugins:
            if plugin.implementation is not None:
                self._manager.register(plugin.implementation, plugin.name)

    def load(self, plugin: Plugin, importer: Any) -> None:
        """Import and register one plugin. If it fails, ``plugin`` says why, and no record is registered.

        Args:
            plugin: its description; ``status``, ``reason`` and ``hooks`` are filled in.
            importer: function without arguments that returns the module or object with the hooks.
        """
        self.registry.plugins.append(plugin)
        implementation = None
        specs: list[Spec] = []
        started = time.perf_counter()
        try:
            # What a plugin prints while it loads must not mix with data on stdout.
            with importing():
                implementation = importer()
                self._refuse_second(plugin, implementation)
                self._manager.register(implementation, plugin.name)
                self._manager.check_pending()
                plugin.hooks = tuple(sorted(self._hooks_of(implementation)))
                specs = list(self._records(implementation))
            if not plugin.hooks:
                raise PluginError("it implements no fptkit hook; mark its functions with @fptkit.hookimpl")
            self.registry.add(specs, plugin)
            plugin.implementation = implementation
            if plugin.origin != "builtin":
                claim(plugin.described, module_name(implementation), specs)
        except UserInterrupt:
            raise
        except BaseException as err:  # its code may raise anything
            self._fail(plugin, implementation, err)
        plugin.seconds = time.perf_counter() - started
        if os.environ.get("FPTKIT_TRACE_PLUGINS", "") not in ("", "0"):
            print(trace(plugin, specs), file=sys.stderr)

    def _fail(self, plugin: Plugin, implementation: Any, err: BaseException) -> None:
        plugin.status, plugin.reason, plugin.error = "failed", reason_in_line(err), err
        plugin.implementation = None
        if implementation is not None and self._manager.get_plugin(plugin.name) is implementation:
            self._manager.unregister(implementation)

    def wrap(self) -> bool:
        """Let wrappers change the records, as pluggy describes: after all plugins were loaded, around each hook.

        A wrapper that fails is unregistered, and its plugin is failed.

        Returns:
            Whether there was a wrapper.

        Raises:
            PluginError: that of a plugin file failed.
        """
        found = False
        for hook in HOOKS:
            while wrappers := list(wrappers_of(self._manager, hook)):
                found = True
                owners = {id(plugin.implementation): plugin for plugin in self.registry.plugins}
                try:
                    with importing(), warnings.catch_warnings():
                        warnings.simplefilter("ignore", pluggy.PluggyTeardownRaisedWarning)
                        records = list(checked_records(hook, getattr(self._manager.hook, hook)()))
                    self.registry.replace(HOOKS[hook], records, owners[id(wrappers[-1].plugin)])
                    break
                except UserInterrupt:
                    raise
                except BaseException as err:  # its code may raise anything
                    failed = owners[id(blamed(wrappers, err).plugin)]
                    self.registry.remove(failed)
                    self._fail(failed, failed.implementation, err)
                    if failed.origin == "file":
                        raise PluginError(f"plugin {failed.name}: {failed.reason}") from err
        return found

    def load_file(self, path: Path) -> None:
        """Load a plugin from one Python file.

        Raises:
            UsageError: the file does not exist.
            PluginError: it cannot be loaded.
        """
        path = plugin_path(path)
        if not path.is_file():
            raise UsageError(f"plugin file {path} does not exist")
        if any(plugin.name == str(path) for plugin in self.registry.plugins):
            return
        plugin = Plugin(str(path), "file")
        self.load(plugin, lambda: import_file(path))
        if plugin.failed:
            raise PluginError(f"plugin {path}: {plugin.reason}") from plugin.error

    def _refuse_second(self, plugin: Plugin, implementation: Any) -> None:
        """Refuse a second plugin of that name or module. pluggy's own error shows an address, and unregistering after
        it would drop the first plugin."""
        if other := self._manager.get_name(implementation):
            raise PluginError(f"its module is already loaded as plugin '{other}'")
        if self._manager.has_plugin(plugin.name):
            others = [known.described for known in self.registry.plugins if known.name == plugin.name]
            raise PluginError(f"the plugin name '{plugin.name}' is used by both {' and '.join(others)}")

    def _hooks_of(self, implementation: Any) -> Iterator[str]:
        for caller in self._manager.get_hookcallers(implementation) or ():
            yield caller.name

    def _records(self, implementation: Any) -> Iterator[Spec]:
        """All records of one plugin, as its own functions return them; each must be of the kind of its hook."""
        for hook in HOOKS:
            for found in getattr(self._manager.hook, hook).get_hookimpls():
                if found.plugin is implementation and not is_wrapper(found):
                    yield from checked_records(hook, [found.function()])


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """Installed plugins, in an order that does not depend on the file system."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return sorted(points, key=lambda point: (point.name, point.dist.name if point.dist else ""))


def _import_builtin() -> SimpleNamespace:
    """The hooks of all of fptkit's own records, as one plugin."""
    modules = [importlib.import_module(f"fptkit.{part}.records") for part in RECORDS]
    return SimpleNamespace(**{hook: vars(module)[hook] for module in modules for hook in HOOKS if hook in vars(module)})
