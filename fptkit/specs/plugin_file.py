"""Plugin files: one Python file each, executed once per process."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType

from fptkit.errors import PluginError, UsageError

_SHOWN = 60
"""Characters of an unusable path that an error shows."""


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


def import_file(path: Path) -> ModuleType:
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
