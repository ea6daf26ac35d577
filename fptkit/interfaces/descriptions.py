"""Kinds of inputs and answers as JSON, so that a run folder alone says what its model takes and gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from fptkit.errors import DataError
from fptkit.interfaces.answer_kind import AnswerKind
from fptkit.interfaces.kinds import Grid, Symbols, Vectors
from fptkit.interfaces.mixed import InputKind, Mixed

_INPUTS: Mapping[str, type] = {kind.name: kind for kind in (Vectors, Symbols, Grid)}


def describe(kind: InputKind | AnswerKind) -> dict[str, Any]:
    """A kind as JSON data: its name under ``kind``, and its fields."""
    if isinstance(kind, Mixed):
        parts = {name: describe(part) for name, part in kind.parts.items()}
        varying = {"varying": list(kind.varying)} if kind.varying else {}  # left out, as in files of earlier versions
        return {"kind": kind.name, "parts": parts, "tokens": dict(kind.tokens), **varying}
    values = asdict(cast("Any", kind))  # kinds of answers are dataclasses, as is checked
    return {"kind": kind.name, **{key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}}


def answer_kinds() -> dict[str, type[AnswerKind]]:
    """Every kind of answers that was imported, by name, the newest of a name. A plugin's come with its task."""
    found: dict[str, type[AnswerKind]] = {}
    waiting: list[type[AnswerKind]] = AnswerKind.__subclasses__()
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if kind.name and not inspect.isabstract(kind):
            found[kind.name] = kind
    return found


def described_input(content: Any, where: str) -> InputKind:
    """The input kind that `describe` wrote.

    Args:
        content: JSON data.
        where: the file, for messages.

    Raises:
        DataError: it is something else.
    """
    if isinstance(content, Mapping) and content.get("kind") == Mixed.name and isinstance(content.get("parts"), Mapping):
        parts = {str(name): _made(_INPUTS, part, where) for name, part in content["parts"].items()}
        return Mixed(parts, content.get("tokens", {}), tuple(content.get("varying", ())))
    kind: InputKind = _made(_INPUTS, content, where)
    return kind


def described_output(content: Any, where: str) -> AnswerKind:
    """The answer kind that `describe` wrote, see `described_input`. That of a plugin must have been imported.

    Raises:
        DataError: it is something else.
    """
    kind: AnswerKind = _made(answer_kinds(), content, where)
    return kind


def _made(known: Mapping[str, type], content: Any, where: str) -> Any:
    name = str(content.get("kind")) if isinstance(content, Mapping) else ""
    if name not in known:
        raise DataError(
            f"{where}: {content!r:.60} is not a kind of {', '.join(known)}; replace the file by an intact copy"
        )
    kind = known[name]
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items() if key != "kind"}
    if strange := given.keys() - {each.name for each in fields(kind)}:
        raise DataError(f"{where}: {name} has no field '{min(strange)}'; it was written by another version of fptkit")
    try:
        return kind(**given)
    except TypeError as err:
        raise DataError(f"{where}: {name} lacks a field ({err}); replace the file by an intact copy") from err
