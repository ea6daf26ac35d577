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

_APART = ("recipes", "skipped", "code", "plugins", "weights")
"""Parts of a plan that have sentences of their own."""


def deviations(planned: Plan, present: Plan) -> tuple[str, ...]:
    """Every difference between two plans of a study: what is now, and in brackets what was planned.

    Args:
        planned: the locked plan.
        present: the plan of the study as it runs now.
    """
    before, now = planned.model_dump(mode="json"), present.model_dump(mode="json")
    return (*_of_settings(before, now), *_of_recipes(before, now), *_of_digests(before, now))


def _of_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in Plan.model_fields:
        if key == "arms" and list(now[key]) != list(before[key]):
            yield f"arms: {_shown(list(now[key]))} (plan: {_shown(list(before[key]))})"
        elif key not in _APART:
            for path, value, was in _differences(now[key], before[key], key):
                yield f"{path}: {_shown(value)} (plan: {_shown(was)})"


def _differences(now: Any, before: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Path, present and planned value of every difference; lists count as one value."""
    if isinstance(now, dict) and isinstance(before, dict):
        for key in dict.fromkeys((*now, *before)):
            yield from _differences(now.get(key, _ABSENT), before.get(key, _ABSENT), f"{path}.{key}")
    elif now != before:
        yield path, now, before


def _of_recipes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Differences in the recipes of cells that both plans have; equal ones of several cells are one deviation."""
    cells: dict[tuple[str, str, str], list[str]] = {}
    for name in now["recipes"]:
        if name in before["recipes"]:
            for path, value, was in _differences(now["recipes"][name], before["recipes"][name], ""):
                cells.setdefault((path.lstrip("."), _shown(value), _shown(was)), []).append(name)
    for (path, value, was), names in cells.items():
        yield f"{path} of {_listed(names)}: {value} (plan: {was})"
    for name, reason in now["skipped"].items():
        if name in before["recipes"]:
            yield f"{name}: skipped, {reason} (plan: made)"
    for name, reason in before["skipped"].items():
        if name in now["recipes"]:
            yield f"{name}: made (plan: skipped, {reason})"


def _of_digests(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if now["code"] != before["code"]:
        yield f"code of fptkit: {_digits(now['code'])} (plan: {_digits(before['code'])})"
    for key, what in (("plugins", "code of plugin component"), ("weights", "weights")):
        for name in now[key]:
            value, was = now[key][name], before[key].get(name, UNKNOWN)
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
