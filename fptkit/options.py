"""The base of all options models, immutable and without unknown keys, and which options decide a result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Decides(Enum):
    """What an option decides, given in its annotation: ``log_every: Annotated[int, Decides.NOTHING]``.

    Attributes:
        RESULT: the result of a run; the default for options without an annotation. Another value makes another run.
        LENGTH: when training ends at the latest. Another value makes another run, but a resumed run may change it to
            train longer.
        NOTHING: nothing but rounding, for example where or how fast a run computes, or how often it reports. A resumed
            run may change it, and a study does not repeat a run for it. On a section, it covers all options inside.

    Example:
        >>> from typing import Annotated
        >>> import fptkit
        >>> class MyOptions(fptkit.Options):
        ...     workers: Annotated[int, fptkit.Decides.NOTHING] = 1
    """

    RESULT = "result"
    LENGTH = "length"
    NOTHING = "nothing"


_NOTES = {Decides.LENGTH: " (a resumed run may change it)", Decides.NOTHING: " (does not decide the result)"}


def decides(field: FieldInfo) -> Decides:
    """What the option in a model's field decides."""
    return next((mark for mark in field.metadata if isinstance(mark, Decides)), Decides.RESULT)


def description_of(field: FieldInfo) -> str:
    """The description of a model's field, with a note if the option does not decide the result."""
    return (field.description or "") + _NOTES.get(decides(field), "")


def deciding(options: BaseModel, *, lengths: bool = True) -> dict[str, Any]:
    """The values that decide a result, as JSON data.

    Options of the parts of a `mixed` encoder are checked only when it is built, so all of them count.

    Args:
        options: a recipe or the options of a component, including nested models.
        lengths: whether to include limits that a resumed run may change.
    """
    dropped = {Decides.NOTHING} if lengths else {Decides.NOTHING, Decides.LENGTH}
    return options.model_dump(mode="json", exclude=_left_out(options, dropped))


_PLAIN = (str, int, float, bool, NoneType)


def _left_out(value: Any, dropped: set[Decides]) -> dict[Any, Any]:
    """The argument for pydantic's ``exclude`` that leaves out fields with one of these marks, at any depth."""
    found: dict[Any, Any] = {}
    inner: Mapping[Any, Any] = {}
    if isinstance(value, BaseModel):
        left_out, kept = _divided(type(value), frozenset(dropped))
        found = dict.fromkeys(left_out, True)
        inner = {name: getattr(value, name) for name in kept}
    elif isinstance(value, Mapping):
        inner = value
    elif isinstance(value, (list, tuple)):
        inner = dict(enumerate(value))
    deeper = [(key, child) for key, child in inner.items() if not isinstance(child, _PLAIN)]
    return found | {key: below for key, child in deeper if (below := _left_out(child, dropped))}


@functools.lru_cache(maxsize=1024)
def _divided(model: type[BaseModel], dropped: frozenset[Decides]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a model's fields with one of these marks, and of its other fields. Kept: a study asks for each run."""
    fields = model.model_fields
    left_out = tuple(name for name, field in fields.items() if decides(field) in dropped)
    return left_out, tuple(name for name in fields if name not in left_out)


class Options(BaseModel):
    """Base of the options of a component: the keys of its section in a recipe, without ``name``.

    Give each field a type, a default if there is a sensible one, and a ``Field(description=...)`` with the unit.
    ``fptkit show`` prints them, and the recipe loader checks them and reports faults with file and line. Mark an option
    that does not decide the result of a run, see `Decides`.

    Example:
        >>> import fptkit, pydantic
        >>> class MyOptions(fptkit.Options):
        ...     bits: int = pydantic.Field(default=5, ge=1, description="bits of an example")
        >>> MyOptions(bits=3).bits
        3
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Add the notes of `description_of`, which editors then show."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, field in cls.model_fields.items():
            if name in properties and decides(field) in _NOTES:
                properties[name]["description"] = description_of(field)
        return schema


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


ONE_OR_MORE = BeforeValidator(_as_list)
"""For a field of several entries, ``Annotated[tuple[Entry, ...], ONE_OR_MORE, ...]``: one text becomes a list."""

ONE_OR_MORE_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
)
"""The JSON Schema of such a field; put it last among the annotations."""


def source_check(allowed: str) -> Callable[[str], str]:
    """A check, for pydantic's ``AfterValidator``, that an entry is one of a task's sources.

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
