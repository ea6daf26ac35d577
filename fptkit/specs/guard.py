"""One guard around every call into plugin code: what the code raises becomes a `PluginFault` with the author's line.

The calls themselves are not wrapped, so they cost nothing, and new hooks and methods are covered without code of their
own. An error carries the frames it passed: the outermost one in a plugin's modules is the function that fptkit called,
the innermost one is the author's line. Code in between adds what it alone knows, such as split and step, by `during`.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType, FunctionType
from typing import Any

from fptkit.errors import FptkitError, Interrupted, PeerError, PluginFault, UserInterrupt
from fptkit.specs.base import Spec
from fptkit.specs.frames import FOREIGN, during, frames_of, short, shown

__all__ = [
    "author_line",
    "claim",
    "during",
    "fault_of",
    "name_component",
    "owner_of",
    "plugin_faults",
    "raised_by_plugin",
]

_PLACES = (
    *("target", "options", "prepare", "files", "preparation", "look"),
    *("check", "config", "known", "installer", "runs_per_seed"),
)
"""Fields of records that name code."""

_LONGEST = 300
"""Characters of an error's text that are shown."""

CORRECT = "Correct the plugin there; --debug shows the whole traceback."


@dataclass
class _Owner:
    """A plugin and its records."""

    described: str
    specs: dict[str, Spec] = field(default_factory=dict)


_OWNERS: dict[str, _Owner] = {}
"""The plugin of every module or package with plugin code, in this process, like ``sys.modules``."""


def claim(plugin: str, module: str, specs: Sequence[Spec] = ()) -> None:
    """Note that the package of a module, and the modules that records name, are code of a plugin.

    Args:
        plugin: the plugin, in words.
        module: name of the module that holds its hooks.
        specs: its records.
    """
    elsewhere = {_module_of(getattr(spec, place, None)) for spec in specs for place in _PLACES}
    for name in {module.partition(".")[0], *elsewhere} - {""}:
        if name.partition(".")[0] in FOREIGN:
            continue
        owner = _OWNERS.get(name)
        if owner is None or owner.described != plugin:
            owner = _OWNERS[name] = _Owner(plugin)
        owner.specs.update({str(spec): spec for spec in specs})


def _owner_of_module(name: str) -> _Owner | None:
    """The plugin that claimed a module, or the nearest package around it."""
    while name:
        if name in _OWNERS:
            return _OWNERS[name]
        name = name.rpartition(".")[0]
    return None


def _module_of(target: object) -> str:
    if isinstance(target, str):
        return target.partition(":")[0]
    # A command of click, or a partial, is an object of a library's class around the plugin's function.
    code = getattr(target, "callback", None) or getattr(target, "func", None) or target
    return str(getattr(code, "__module__", None) or "")


def owner_of(thing: object) -> str:
    """The plugin whose code defines an object, or a class or function; empty if it is not a plugin's.

    Args:
        thing: for example a task.
    """
    definition = thing if isinstance(thing, (type, FunctionType)) else type(thing)
    owner = _owner_of_module(_module_of(definition))
    return "" if owner is None else owner.described


class plugin_faults:
    """Turn what plugin code raises inside the block into a `PluginFault`, and name the plugin in errors about it.

    Args:
        used: components of plugins that are in use, in words. If fptkit's own code fails then, the error names them:
            they may have returned something unsuitable.
    """

    def __init__(self, used: Sequence[str] = ()) -> None:
        self._used = used

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, err: BaseException | None, traceback: object) -> None:
        if err is None:
            return
        fault = fault_of(err) or self._suspicion(err)
        if fault is not None:
            raise fault from err
        name_component(err)

    def _suspicion(self, err: BaseException) -> PluginFault | None:
        if not self._used or not isinstance(err, Exception) or isinstance(err, (FptkitError, OSError)):
            return None
        frames = list(frames_of(err.__traceback__))
        place = shown(*frames[-1]) if frames else ""
        return PluginFault(
            "; ".join(self._used),
            "",
            "something that it returned cannot be used;",
            f"fptkit {_problem(err)}",
            place=place,
            context=_context(err),
            remedy="Compare shapes and types with docs/plugins/hooks.md, or run fptkit plugins --check.",
        )


def fault_of(err: BaseException) -> PluginFault | None:
    """The fault of a plugin behind an error; None if no plugin code raised it, or raised it on purpose.

    Args:
        err: any error. Errors of fptkit that plugins raise on purpose, such as `DataError`, stay what they are.
    """
    if isinstance(err, UserInterrupt) or (
        isinstance(err, FptkitError) and not isinstance(err, Interrupted | PeerError)
    ):
        return None
    for one in _chain(err):
        frames = [(frame, line, owner) for frame, line in frames_of(one.__traceback__) if (owner := _owner(frame))]
        # fptkit's own signals, passed through plugin code, are no fault of it
        if not frames or (isinstance(err, FptkitError) and not raised_by_plugin(one)):
            continue
        return _fault(one, err, frames)
    return None


def _fault(one: BaseException, err: BaseException, frames: Sequence[tuple[FrameType, int, _Owner]]) -> PluginFault:
    entered, _, owner = frames[0]
    spec = _spec_of([frame for frame, _, _ in frames], owner) or getattr(err, "_fptkit_during", {}).get("of")
    return PluginFault(
        owner.described,
        str(spec) if isinstance(spec, Spec) else "",
        _call(entered),
        _problem(one),
        place=shown(*frames[-1][:2]),
        context=_context(err),
        remedy=_remedy(one, spec),
    )


def author_line(err: BaseException) -> str:
    """File, line and text of an error's innermost frame in plugin code; empty if there is none."""
    for one in _chain(err):
        own = [pair for pair in frames_of(one.__traceback__) if _owner(pair[0])]
        if own:
            return shown(*own[-1])
    return ""


def name_component(err: BaseException) -> None:
    """Add plugin and place to an error of fptkit about a plugin's component; errors about others do not change.

    Args:
        err: the error, with what `during` added to it.
    """
    known = getattr(err, "_fptkit_during", {})
    of = known.get("of")
    if not isinstance(err, FptkitError) or isinstance(err, PluginFault) or "_fptkit_named" in vars(err):
        return
    owner = (
        owner_of(of)
        if not isinstance(of, Spec)
        else next((one.described for one in _OWNERS.values() if str(of) in one.specs and one.specs[str(of)] is of), "")
    )
    if not owner or not err.args or str(err) != err.args[0]:
        return
    vars(err)["_fptkit_named"] = True
    place = (author_line(err.__cause__) if err.__cause__ else "") or _defined(of, known.get("call"))
    example = f", example {known['example']}" if "example" in known else ""
    err.args = (f"{err}\n  plugin {owner}{example}" + (f", at {place}" if place else ""), *err.args[1:])


def _defined(of: object, call: str | None) -> str:
    """Where a component's method, or else the component, is defined; empty if Python does not know."""
    places = [_resolved(getattr(of, place, None)) for place in _PLACES] if isinstance(of, Spec) else [of]
    for place in places:
        definition = place if isinstance(place, type | FunctionType) else type(place)
        for found in (getattr(definition, call or "", None), definition):
            # A method may be inherited from fptkit; then the author's class is the place.
            if isinstance(found, type | FunctionType) and owner_of(found):
                with contextlib.suppress(OSError, TypeError):
                    lines, number = inspect.getsourcelines(found)
                    return f"{short(inspect.getfile(found))}:{number}: {lines[0].strip()}"
    return ""


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    """The error, then those it came from: a library may have put its own around that of a plugin."""
    seen: set[int] = set()
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        yield err
        err = err.__cause__ or (None if err.__suppress_context__ else err.__context__)


def _owner(frame: FrameType) -> _Owner | None:
    return _owner_of_module(str(frame.f_globals.get("__name__", "")))


def raised_by_plugin(err: BaseException) -> bool:
    """Whether an error was raised by plugin code itself, not by something that the code called."""
    frames = list(frames_of(err.__traceback__))
    return bool(frames) and _owner(frames[-1][0]) is not None


def _first_argument(frame: FrameType) -> Any:
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if frame.f_code.co_argcount else None


def _spec_of(frames: Sequence[FrameType], owner: _Owner) -> Spec | None:
    """The record whose code a frame is in, outermost frame first; that of a derived class before that of its base."""
    for frame in frames:
        first = _first_argument(frame)
        classes = first.__mro__ if isinstance(first, type) else type(first).__mro__
        nearest: tuple[int, Spec] | None = None
        for spec in owner.specs.values():
            for target in (_resolved(getattr(spec, place, None)) for place in _PLACES):
                if isinstance(target, FunctionType) and target.__code__ is frame.f_code:
                    return spec
                if isinstance(target, type) and target in classes:
                    distance = classes.index(target)
                    nearest = min(nearest or (distance, spec), (distance, spec), key=lambda found: found[0])
        if nearest:
            return nearest[1]
    only = list(owner.specs.values())
    return only[0] if len(only) == 1 and not str(frames[0].f_code.co_name).startswith("fptkit_") else None


def _resolved(target: object) -> object:
    """What a record names, if its module is imported already."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    return getattr(sys.modules.get(module), attribute, None)


def _call(frame: FrameType) -> str:
    """The function that fptkit called, in words."""
    name = frame.f_code.co_name
    if name == "<module>":
        return f"the import of {frame.f_globals.get('__name__')}"
    first = _first_argument(frame)
    definition = first if isinstance(first, type) else type(first)
    return f"{definition.__name__}.{name}" if hasattr(definition, name) else name


def _problem(err: BaseException) -> str:
    if isinstance(err, SystemExit):
        return f"called sys.exit({'' if err.code is None else repr(err.code)})"
    text = str(err).strip().partition("\n")[0]
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"raised {type(err).__name__}" + (f": {text}" if text else "")


def _remedy(err: BaseException, spec: object) -> str:
    if isinstance(err, ImportError):
        extra = getattr(spec, "extra", "")
        missing = extra or (err.name or "").partition(".")[0]
        return (
            f"Install what it needs{f': pip install {missing}' if missing else ''}; --debug shows the whole traceback."
        )
    if isinstance(err, SystemExit | KeyboardInterrupt | GeneratorExit | Interrupted | PeerError):
        return "A plugin must not end the process: raise an error that says what is wrong, such as fptkit's DataError."
    if isinstance(err, RecursionError):
        return "A function there calls itself endlessly; --debug shows the whole traceback."
    if isinstance(err, MemoryError):
        return "Let the plugin allocate less at once; --debug shows the whole traceback."
    if isinstance(err, Warning):
        return (
            "Warnings are errors in this process (-W error or PYTHONWARNINGS); correct the cause or allow the warning."
        )
    return CORRECT


def _context(err: BaseException) -> str:
    """Split, step and example, in words; empty if none of them is known."""
    known = getattr(err, "_fptkit_during", {})
    step = known.get("step")
    parts = (
        f"split {known['split']}" if "split" in known else "",
        f"training step {step + 1}" if step is not None else "",
        f"example {known['example']}" if "example" in known else "",
    )
    return ", ".join(filter(None, parts))
