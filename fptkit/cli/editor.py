"""What editors need: the JSON Schema of a file, and the comment by which an editor with YAML support finds it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fptkit.registry import Registry

FILES = {
    "run": "recipe.schema.json",
    "study": "study.schema.json",
    "pretrain": "pretrain.schema.json",
}
"""Kind of a file, as `fptkit.recipe.find.ReadFile` knows it -> file name of its schema."""

_HEADER = re.compile(r"^# yaml-language-server: \$schema=.*\n", re.MULTILINE)


def header(place: str) -> str:
    """The comment that names a schema, a path relative to the file; a line."""
    return f"# yaml-language-server: $schema={place}\n"


def with_header(text: str, place: str) -> str:
    """The text of a file with the comment at its top, instead of any other."""
    return header(place) + _HEADER.sub("", text)


def schema_of(kind: str, registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a kind of file.

    Args:
        kind: a key of `FILES`.
        registry: its components are allowed.
    """
    if kind == "study":
        from fptkit.lab.studies.schema import study_json_schema

        return study_json_schema(registry)
    if kind == "pretrain":
        from fptkit.lab.pretraining.schema import pretrain_json_schema

        return pretrain_json_schema(registry)
    from fptkit.recipe.schema import recipe_json_schema

    return recipe_json_schema(registry)
