"""Load plugins, and look up their records by name.

Each plugin is loaded separately: a broken one is recorded with its reason and does not affect the others. The loader
works around pluggy, which accepts a misspelt hook until ``check_pending``, stops loading entry points at the first
failure, and leaves a plugin that fails validation half registered.
"""

from __future__ import annotations

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
from fptkit.errors import PluginError, UnknownNameError, UsageError, UserInterrupt
from fptkit.specs import HOOKS, Spec, kind_of
from fptkit.specs.frames import reason_of
from fptkit.specs.guard import claim
from fptkit.specs.surroundings import importing

RECORDS = ("backbones", "encoders", "freezing", "recipe", "tasks")
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
        return host.registry if len(host.registry.plugins) > len(self.plugins) else self

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


ENTRY_POINT_GROUP = "fptkit"

_SHOWN = 60
"""Characters of an unusable path that an error shows."""

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
        registry: records and plugins are added to it.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._manager = pluggy.PluginManager("fptkit")
        self._manager.add_hookspecs(hookspecs)

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
            if plugin.origin != "builtin":
                claim(plugin.described, _module_name(implementation), specs)
        except UserInterrupt:
            raise
        except BaseException as err:  # its code may raise anything
            plugin.status, plugin.reason, plugin.error = "failed", _reason(err), err
            if implementation is not None and self._manager.get_plugin(plugin.name) is implementation:
                self._manager.unregister(implementation)
        plugin.seconds = time.perf_counter() - started
        if os.environ.get("FPTKIT_TRACE_PLUGINS", "") not in ("", "0"):
            print(_trace(plugin, specs), file=sys.stderr)

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
        self.load(plugin, lambda: _import_file(path))
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
        """All records of one plugin; each must be of the kind that its hook returns."""
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
    """The canonical path of a plugin file: absolute, with links resolved. The file need not exist.

    Raises:
        UsageError: it is not a valid path.
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


_EXECUTED: dict[tuple[Path, str], ModuleType | BaseException] = {}
"""The module of every plugin file this process executed, or its error, by path and digest of the content."""


def _import_file(path: Path) -> ModuleType:
    """The module of a plugin file, executed once per process; a changed file is executed again.

    Raises:
        BaseException: whatever the file raised when it was executed.
    """
    content = path.read_bytes()
    key = path, hashlib.sha256(content).hexdigest()
    if key not in _EXECUTED:
        try:
            _EXECUTED[key] = _execute(path, content)
        except KeyboardInterrupt:
            raise
        except BaseException as err:
            _EXECUTED[key] = err
    found = _EXECUTED[key]
    if not isinstance(found, ModuleType):
        raise found
    sys.modules[found.__name__] = found  # an earlier version of the file may be there
    return found


def _execute(path: Path, content: bytes) -> ModuleType:
    """Execute a file as a module with a unique name, so that records can name it and workers can unpickle it."""
    name = f"fptkit_plugin_{path.stem}"
    if name in sys.modules and sys.modules[name].__file__ != str(path):
        name += f"_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"  # another folder's file of the same name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, SourceLoader):
        raise PluginError("it is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Compiled from the digested content: the loader would use a stale cache if the file changed within a second.
        exec(spec.loader.source_to_code(content, str(path)), vars(module))  # nosec B102: a plugin, which is code
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _trace(plugin: Plugin, specs: Sequence[Spec]) -> str:
    """The result of loading a plugin, as one line."""
    given = ", ".join(f"{spec.kind} {spec.name}" for spec in specs) or "no records"
    outcome = f"failed: {plugin.reason}" if plugin.failed else given
    return (
        f"fptkit plugin {plugin.described}: {plugin.seconds:.3f} s, hooks {', '.join(plugin.hooks) or '-'}; {outcome}"
    )


def _module_name(implementation: object) -> str:
    """The module of a plugin's hooks, which may be attributes of a module or of another object."""
    name = implementation.__name__ if isinstance(implementation, ModuleType) else type(implementation).__module__
    return str(name)


def _reason(err: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(err, pluggy.PluginValidationError):
        text = " ".join(str(err).split())
        return f"{type(err).__name__}: {text}; the hooks are {', '.join(sorted(HOOKS))}"
    return reason_of(err)
