"""Differences between the locked plan of a study and what the study does now, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from fptkit.lab.studies.locking.content import Plan
from fptkit.lab.studies.locking.digests import UNKNOWN

SHOWN_CELLS = 3
"""Largest number of recipes that a deviation lists."""

SHOWN_DIGITS = 12
"""Digits of a digest that a deviation shows."""

_ABSENT = object()


def deviations(planned: Plan, present: Plan) -> tuple[str, ...]:
    """Every difference between two plans of a study: what is now, and in brackets what was planned.

    Args:
        planned: the locked plan.
        present: the plan of the study as it runs now.
    """
    before, now = planned.model_dump(mode="json"), present.model_dump(mode="json")
    return (*_of_settings(before, now), *_of_recipes(planned, present), *_of_digests(planned, present))


def _of_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    found = list(_differences(now["settings"], before["settings"], ""))
    for key in ("study", "profile", "tasks"):
        found += _differences(now[key], before[key], key)
    found += _differences(list(now["arms"]), list(before["arms"]), "arms")
    for arm in (arm for arm in now["arms"] if arm in before["arms"]):
        found += _differences(now["arms"][arm], before["arms"][arm], f"arms.{arm}.summary")
    if not found:  # else these would repeat what is said already
        for key in ("reference", "tests", "exclusions"):
            found += _differences(now[key], before[key], key)
    found += _differences(now["fptkit"], before["fptkit"], "fptkit")
    for path, value, was in found:
        yield f"{path}: {_shown(value)} (plan: {_shown(was)})"


def _differences(now: Any, before: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Path, present and planned value of every difference; lists count as one value."""
    if isinstance(now, dict) and isinstance(before, dict):
        for key in dict.fromkeys((*now, *before)):
            below = f"{path}.{key}" if path else key
            yield from _differences(now.get(key, _ABSENT), before.get(key, _ABSENT), below)
    elif now != before:
        yield path, now, before


def _of_recipes(planned: Plan, present: Plan) -> Iterator[str]:
    """Differences in the recipes that both plans have; equal ones of several cells are one deviation."""
    before = {one.name: one.recipe for one in planned.recipes}
    now = {one.name: one.recipe for one in present.recipes}
    cells: dict[tuple[str, str, str], list[str]] = {}
    for name in (name for name in now if name in before):
        for path, value, was in _differences(now[name], before[name], ""):
            cells.setdefault((path, _shown(value), _shown(was)), []).append(name)
    for (path, value, was), names in cells.items():
        yield f"{path} of {_listed(names)}: {value} (plan: {was})"
    for name, reason in present.skipped.items():
        if name in before:
            yield f"{name}: skipped, {reason} (plan: made)"
    for name, reason in planned.skipped.items():
        if name in now:
            yield f"{name}: made (plan: skipped, {reason})"


def _of_digests(planned: Plan, present: Plan) -> Iterator[str]:
    if present.code != planned.code:
        yield f"code of fptkit: {_digits(present.code)} (plan: {_digits(planned.code)})"
    for what, before, now in (
        ("code of plugin component", planned.plugins, present.plugins),
        ("weights", planned.weights, present.weights),
        ("data of", planned.data, present.data),
    ):
        for name, value in now.items():
            was = before.get(name, UNKNOWN)
            if UNKNOWN not in (value, was) and value != was:
                yield f"{what} {name}: {_digits(value)} (plan: {_digits(was)})"


def _digits(digest: str) -> str:
    return digest[:SHOWN_DIGITS]


def _listed(names: list[str]) -> str:
    rest = len(names) - SHOWN_CELLS
    return "; ".join([*names[:SHOWN_CELLS], *([f"and {rest} more"] if rest > 0 else [])])


def _shown(value: Any) -> str:
    """A value as a reader of a study file would write it."""
    if value is _ABSENT:
        return "absent"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return ", ".join(f"[{_shown(one)}]" if isinstance(one, list) else _shown(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(child)}" for key, child in value.items()) or "none"
    return str(value) or "empty"


def _number(value: float) -> str:
    """``0.5``, but ``1e-3`` for small and large numbers; the shortest text that gives the same number."""
    text = repr(value)
    if value == 0 or 0.1 <= abs(value) < 1e6:
        return text.removesuffix(".0")
    return f"{Decimal(text).normalize():e}".replace("e+", "e")
