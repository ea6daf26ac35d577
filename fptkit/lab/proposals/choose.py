"""Which task fits a user's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import FptkitError, PluginError, UnknownNameError, UsageError
from fptkit.registry import Registry
from fptkit.specs import TaskSpec
from fptkit.specs.base import resolve_target
from fptkit.tasks.reading.look import Look

_CLEAR = 0.02
"""Difference of scores below which two tasks fit equally well."""


@dataclass(frozen=True)
class Chosen:
    """The task that was chosen.

    Args:
        look: what its format saw.
        others: looks of the other tasks that could read the data, the best first.
    """

    look: Look
    others: tuple[Look, ...] = ()


def choose_task(place: Path, registry: Registry, *, task: str | None = None, labels: Sequence[str] = ()) -> Chosen:
    """Choose the task for a file or folder.

    Args:
        place: the file or folder.
        registry: the tasks; those with a function ``look`` are asked.
        task: the only task to ask; None for all of them.
        labels: columns to predict, if the user names them.

    Raises:
        UnknownNameError: there is no such task that reads users' files.
        UsageError: no task can read the data, several fit equally well, or it is not clear what is predicted; the
            message has the choices.
        FptkitError: the data cannot be read.
    """
    specs = [spec for name in registry.names(TaskSpec) if (spec := registry.get(TaskSpec, name)).look is not None]
    if task is not None:
        known = [spec.name for spec in specs]
        if task not in known:
            raise UnknownNameError("task that reads users' files", task, known)
        specs = [spec for spec in specs if spec.name == task]
    looks, errors = _looks(specs, place, labels)
    if not looks:
        raise errors[0] if errors else UsageError(_unread(place, specs))
    best, *others = sorted(looks, key=lambda look: -look.score)
    if best.lacking:
        raise UsageError(_unclear(best, others))
    equal = [look for look in others if best.score - look.score < _CLEAR]
    if equal:
        fitting = ", ".join(f"--task {look.task} ({look.why})" for look in (best, *equal))
        raise UsageError(f"{place}: several tasks fit equally well; choose one: {fitting}")
    return Chosen(best, tuple(look for look in others if not look.lacking))


def _looks(specs: Sequence[TaskSpec], place: Path, labels: Sequence[str]) -> tuple[list[Look], list[FptkitError]]:
    """What each task sees, and what kept the others from seeing."""
    looks: list[Look] = []
    errors: list[FptkitError] = []
    for spec in specs:
        assert spec.look is not None
        look = resolve_target(spec.look, wanted_by=spec)
        try:
            found = look(place, tuple(labels))
        except FptkitError as err:
            errors.append(err)
            continue
        except OSError as err:
            errors.append(UsageError(f"{place}: cannot be read ({err.strerror or err}); check its permissions"))
            continue
        if found is not None and not isinstance(found, Look):
            raise PluginError(f"{spec}: look returned {type(found).__name__}; expected fptkit.tasks.reading.look.Look")
        if found is not None:
            looks.append(found)
    return looks, errors


def _unclear(best: Look, others: Sequence[Look]) -> str:
    tasks = ", ".join(f"--task {look.task} ({look.why})" for look in others if not look.lacking)
    return best.lacking + (f". Or choose another task: {tasks}" if tasks else "")


def _unread(place: Path, specs: Sequence[TaskSpec]) -> str:
    if place.is_dir() and not any(place.iterdir()):
        return f"{place}: the folder is empty"
    tasks = "\n".join(f"  {spec.name}: {spec.summary}" for spec in specs)
    return f"{place}: no task reads files like these. These read users' files:\n{tasks}"
