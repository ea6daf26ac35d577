"""Plugins to records, records to names.

Each plugin is found and loaded on its own: a broken one is kept with its reason and stops nothing else. pluggy has
edges this loader rounds off: a misspelt hook is accepted until ``check_pending``, loading entry points stops at the
first failure, and a plugin that fails validation stays half registered.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import pluggy

from fptkit import hookspecs
from fptkit.errors import PluginError, UnknownNameError, UsageError
from fptkit.specs import HOOKS, Spec, kind_of

RECORDS = ("backbones", "encoders", "freezing", "recipe", "tasks")
"""Parts of fptkit with a module ``records``: what fptkit brings itself, through the same hooks as any plugin. They are
named as text, since components look names up here and so lie above the registry."""

AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True)
class Entry:
    """A record and the plugin that gave it."""

    spec: Spec
    owner: Plugin


@dataclass
class Registry:
    """Everything the loaded plugins offer. A command loads one, and extends it by the plugin files of its recipes.

    Args:
        plugins: all plugins met, those that failed included: their reasons are quoted when a name is not found.
    """

    plugins: list[Plugin] = field(default_factory=list)
    _entries: dict[type[Spec], dict[str, Entry]] = field(default_factory=dict)

    def extended(self, files: Sequence[str | Path]) -> Registry:
        """This registry and further plugins in single files; those it has already are passed over.

        Args:
            files: the plugins; this registry stays as it is, whether they load or not.

        Raises:
            PluginError: one of them does not load.
            UsageError: one is missing.
        """
        host = PluginHost(Registry(list(self.plugins), {kind: dict(named) for kind, named in self._entries.items()}))
        for file in files:
            host.load_file(Path(file))
        return host.registry if len(host.registry.plugins) > len(self.plugins) else self

    def add(self, specs: Sequence[Spec], owner: Plugin) -> None:
        """Register all records of one plugin, or none.

        Raises:
            PluginError: a name is taken, by another plugin or within this one.
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


ENTRY_POINT_GROUP = "fptkit"

_SHOWN = 60
"""Characters of an unusable path that an error shows."""

SLOW_S = 0.5
"""Import time above which a plugin is reported as slow; fptkit's own listings take a third of it in all."""


@dataclass
class Plugin:
    """One plugin that was met.

    Args:
        name: entry-point name, ``builtin``, or the path of a file.
        origin: ``builtin``, ``distribution`` or ``file``.
        distribution: name of the installed distribution, empty for the others.
        version: its version.
        status: ``loaded``, ``blocked`` (left out by ``FPTKIT_PLUGINS``) or ``failed``.
        reason: why it failed, one line.
        hooks: hooks it implements.
        error: the exception behind ``reason``.
        seconds: how long it took to load; every command waits for it.
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

    @property
    def slow(self) -> bool:
        """True when an installed plugin's module is too heavy for one that every command imports."""
        return self.origin == "distribution" and self.seconds > SLOW_S

    @property
    def failed(self) -> bool:
        """True when it could not be loaded."""
        return self.status == "failed"

    @property
    def described(self) -> str:
        """Name with distribution and version, for messages."""
        if self.distribution:
            return f"{self.name} ({self.distribution} {self.version})"
        return "fptkit itself" if self.origin == "builtin" else self.name


def load_plugins(files: Sequence[str | Path] = (), *, selection: str | None = None) -> Registry:
    """Load the built-ins, the installed plugins and single-file plugins.

    Args:
        files: plugins in single files; one that fails is an error, since it was asked for by name.
        selection: which installed plugins to load: None for all, else names separated by commas, empty for none.

    Raises:
        PluginError: one of ``files`` cannot be loaded.
        UsageError: a file is missing.
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
        registry: to which records and plugins are added.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._manager = pluggy.PluginManager("fptkit")
        self._manager.add_hookspecs(hookspecs)

    def load(self, plugin: Plugin, importer: Any) -> None:
        """Import and register one plugin; a failure is kept in ``plugin`` and leaves nothing behind.

        Args:
            plugin: its description; ``status``, ``reason`` and ``hooks`` are filled in.
            importer: function of no argument that returns the module or object with the hooks.
        """
        self.registry.plugins.append(plugin)
        implementation = None
        specs: list[Spec] = []
        started = time.perf_counter()
        try:
            # What a plugin prints while it loads must not mix with data on stdout.
            with contextlib.redirect_stdout(sys.stderr):
                implementation = importer()
                self._refuse_second(plugin, implementation)
                self._manager.register(implementation, plugin.name)
                self._manager.check_pending()
                plugin.hooks = tuple(sorted(self._hooks_of(implementation)))
                specs = list(self._records(implementation))
            if not plugin.hooks:
                raise PluginError("it implements no fptkit hook; mark its functions with @fptkit.hookimpl")
            self.registry.add(specs, plugin)
        except (Exception, SystemExit) as err:
            plugin.status, plugin.reason, plugin.error = "failed", _reason(err), err
            if implementation is not None and self._manager.get_plugin(plugin.name) is implementation:
                self._manager.unregister(implementation)
        plugin.seconds = time.perf_counter() - started
        if os.environ.get("FPTKIT_TRACE_PLUGINS", "") not in ("", "0"):
            print(_trace(plugin, specs), file=sys.stderr)

    def load_file(self, path: Path) -> None:
        """Load a plugin from one Python file.

        Raises:
            UsageError: there is no such file.
            PluginError: it does not load.
        """
        path = plugin_path(path)
        if not path.is_file():
            raise UsageError(f"plugin file {path} does not exist")
        if any(plugin.name == str(path) for plugin in self.registry.plugins):
            return
        plugin = Plugin(str(path), "file")
        self.load(plugin, lambda: _import_file(path))
        if plugin.failed:
            raise PluginError(f"plugin {path}: {plugin.reason}") from plugin.error

    def _refuse_second(self, plugin: Plugin, implementation: Any) -> None:
        """pluggy says the same with the module's address, and unregistering after it would drop the first one."""
        if other := self._manager.get_name(implementation):
            raise PluginError(f"its module is already loaded as plugin '{other}'")
        if self._manager.has_plugin(plugin.name):
            others = [known.described for known in self.registry.plugins if known.name == plugin.name]
            raise PluginError(f"the plugin name '{plugin.name}' is used by both {' and '.join(others)}")

    def _hooks_of(self, implementation: Any) -> Iterator[str]:
        for caller in self._manager.get_hookcallers(implementation) or ():
            yield caller.name

    def _records(self, implementation: Any) -> Iterator[Spec]:
        """All records of one plugin, each checked to be of its hook's kind."""
        for hook, kind in HOOKS.items():
            for hook_implementation in getattr(self._manager.hook, hook).get_hookimpls():
                if hook_implementation.plugin is not implementation:
                    continue
                records = hook_implementation.function()
                if not isinstance(records, (list, tuple)):
                    raise PluginError(f"{hook} returned {type(records).__name__}, expected a list of {kind.__name__}")
                for record in records:
                    if not isinstance(record, kind):
                        raise PluginError(f"{hook} returned a {type(record).__name__}, expected {kind.__name__}")
                    yield record


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """Installed plugins, in an order that does not depend on the file system."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return sorted(points, key=lambda point: (point.name, point.dist.name if point.dist else ""))


def _import_builtin() -> SimpleNamespace:
    """The hooks of all of fptkit's own records, as one plugin."""
    modules = [importlib.import_module(f"fptkit.{part}.records") for part in RECORDS]
    return SimpleNamespace(**{hook: vars(module)[hook] for module in modules for hook in HOOKS if hook in vars(module)})


def plugin_path(path: Path) -> Path:
    """The one path of a plugin file, however it is named: absolute, with links followed. There may be no such file.

    Raises:
        UsageError: no file system takes such a path.
    """
    try:
        found = path.resolve()
        found.is_file()
    except (OSError, ValueError, RuntimeError) as err:  # too long, a zero byte, links in a circle
        shown = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:_SHOWN]}..."
        raise UsageError(
            f"plugin file {shown!r} is not a usable path: {getattr(err, 'strerror', None) or err}"
        ) from err
    return found


_EXECUTED: dict[tuple[Path, str], ModuleType | Exception | SystemExit] = {}
"""What came of every plugin file this process executed, by path and digest of the content."""


def _import_file(path: Path) -> ModuleType:
    """The module of a plugin file, executed once in a process; a file that changed since is another one.

    Raises:
        Exception: whatever the file raised when it was executed.
        SystemExit: the same.
    """
    content = path.read_bytes()
    key = path, hashlib.sha256(content).hexdigest()
    if key not in _EXECUTED:
        try:
            _EXECUTED[key] = _execute(path, content)
        except (Exception, SystemExit) as err:
            _EXECUTED[key] = err
    found = _EXECUTED[key]
    if not isinstance(found, ModuleType):
        raise found
    sys.modules[found.__name__] = found  # an earlier content of the file may have taken its place
    return found


def _execute(path: Path, content: bytes) -> ModuleType:
    """Execute a file as a module with a name of its own, so that records can name it and workers can unpickle it."""
    name = f"fptkit_plugin_{path.stem}"
    if name in sys.modules and sys.modules[name].__file__ != str(path):
        name += f"_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"  # another folder's file of the same name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, SourceLoader):
        raise PluginError("it is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # The content the digest is of: the loader would take a stale cache where a file changed within a second.
        exec(spec.loader.source_to_code(content, str(path)), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _trace(plugin: Plugin, specs: Sequence[Spec]) -> str:
    """What loading a plugin did, as one line."""
    given = ", ".join(f"{spec.kind} {spec.name}" for spec in specs) or "no records"
    outcome = f"failed: {plugin.reason}" if plugin.failed else given
    return (
        f"fptkit plugin {plugin.described}: {plugin.seconds:.3f} s, hooks {', '.join(plugin.hooks) or '-'}; {outcome}"
    )


def _reason(err: BaseException) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(err).split())
    return text if isinstance(err, PluginError) else f"{type(err).__name__}: {text}"
