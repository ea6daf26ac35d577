"""Calls of hooks beyond plain functions: wrappers, and checks of what was returned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pluggy

from fptkit.errors import PluginError
from fptkit.specs.base import Spec
from fptkit.specs.frames import frames_of, reason_of
from fptkit.specs.kinds import HOOKS


def is_wrapper(implementation: pluggy.HookImpl) -> bool:
    """Whether a function is a wrapper of a hook, of pluggy's new or old style."""
    return bool(implementation.wrapper or implementation.hookwrapper)


def wrappers_of(manager: pluggy.PluginManager, hook: str) -> Iterator[pluggy.HookImpl]:
    """The wrappers of a hook, the outermost last."""
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    yield from (found for found in caller.get_hookimpls() if is_wrapper(found))


def blamed(wrappers: Sequence[pluggy.HookImpl], err: BaseException) -> pluggy.HookImpl:
    """The wrapper whose code raised an error, or returned what is not accepted: then the outermost."""
    codes = [frame.f_code for frame, _ in frames_of(err.__traceback__)]
    return next((found for found in wrappers if found.function.__code__ in codes), wrappers[-1])


def checked_records(hook: str, results: Any) -> Iterator[Spec]:
    """The records among the results of a hook.

    Args:
        hook: the hook.
        results: what its functions returned, one list of records each.

    Raises:
        PluginError: something else was returned.
    """
    kind = HOOKS[hook]
    if not isinstance(results, (list, tuple)):
        raise PluginError(f"a wrapper of {hook} returned {type(results).__name__}, expected the list it got from yield")
    for records in results:
        if not isinstance(records, (list, tuple)):
            raise PluginError(f"{hook} returned {type(records).__name__}, expected a list of {kind.__name__}")
        for record in records:
            if not isinstance(record, kind):
                raise PluginError(f"{hook} returned a {type(record).__name__}, expected {kind.__name__}")
            yield record


def module_name(implementation: object) -> str:
    """The module of a plugin's hooks, which may be attributes of a module or of another object."""
    name = implementation.__name__ if isinstance(implementation, ModuleType) else type(implementation).__module__
    return str(name)


def reason_in_line(err: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(err, pluggy.PluginValidationError):
        text = " ".join(str(err).split())
        return f"{type(err).__name__}: {text}; the hooks are {', '.join(sorted(HOOKS))}"
    return reason_of(err)
