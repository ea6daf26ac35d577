"""The base of every options model, immutable and closed to unknown keys, and what options of ``source`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema


class Options(BaseModel):
    """Options of a component, as the recipe's section gives them (without ``name``).

    Give each field a type, a default where there is a sensible one, and a ``Field(description=...)`` with the unit;
    ``fptkit show`` prints them and the recipe loader checks them with file and line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


ONE_OR_MORE = BeforeValidator(_as_list)
"""For a field of several entries, ``Annotated[tuple[Entry, ...], ONE_OR_MORE, ...]``: one text is a list of one."""

ONE_OR_MORE_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
)
"""The same for JSON Schema, as the last of the annotations."""


def source_check(allowed: str) -> Callable[[str], str]:
    """A check, for pydantic's ``AfterValidator``, that an entry is one of the sources a task has.

    Args:
        allowed: the sources as messages show them, separated by commas; one of them is a form such as ``path:DIR``.
    """
    words = allowed.split(", ")
    form = next(word for word in words if word.startswith("path:"))
    lacking = "no folder" if form == "path:DIR" else "nothing"

    def check(entry: str) -> str:
        place = entry.removeprefix("path:")
        if place == entry:
            if entry in words:
                return entry
            raise ValueError(f"unknown source '{entry}'; allowed: {allowed}")
        if not place.strip():
            raise ValueError(f"'path:' names {lacking}; write {form}")
        return entry

    return check
