"""Kinds of inputs and answers as JSON, so that a run folder alone says what its model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from fptkit.errors import DataError
from fptkit.interfaces.kinds import Classes, Grid, InputKind, Mixed, Symbols, Values, Vectors
from fptkit.interfaces.token_classes import OutputKind, TokenClasses

_INPUTS: Mapping[str, type] = {kind.name: kind for kind in (Vectors, Symbols, Grid)}
_OUTPUTS: Mapping[str, type] = {"classes": Classes, "values": Values, "token_classes": TokenClasses}


def describe(kind: InputKind | OutputKind) -> dict[str, Any]:
    """A kind as JSON data: its name under ``kind``, and its fields."""
    if isinstance(kind, Mixed):
        parts = {name: describe(part) for name, part in kind.parts.items()}
        return {"kind": kind.name, "parts": parts, "tokens": dict(kind.tokens)}
    name = next(name for name, known in {**_INPUTS, **_OUTPUTS}.items() if isinstance(kind, known))
    return {"kind": name, **{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(kind).items()}}


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
        return Mixed(parts, content.get("tokens", {}))
    kind: InputKind = _made(_INPUTS, content, where)
    return kind


def described_output(content: Any, where: str) -> OutputKind:
    """The answer kind that `describe` wrote, see `described_input`.

    Raises:
        DataError: it is something else.
    """
    kind: OutputKind = _made(_OUTPUTS, content, where)
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
