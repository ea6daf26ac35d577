"""JSON Schema of recipes, made from the registry so that editors complete plugins too, and tables of options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from fptkit.errors import PluginError
from fptkit.options import Decides, Options, decides, description_of
from fptkit.recipe.models import COMPONENT_LISTS, DEFAULT_NAMES, REQUIRED, SECTIONS, Recipe, RecipeSettings
from fptkit.recipe.words import expected, shown
from fptkit.registry import Registry
from fptkit.specs import ComponentSpec, FreezingPolicySpec, Spec


@dataclass(frozen=True)
class OptionRow:
    """One option, for a table.

    Args:
        name: its key.
        type: its allowed values, in words.
        default: its default as a recipe would write it, empty if it is required.
        description: its meaning and unit, with a note if it does not decide the result.
        decides: what it decides, see `fptkit.options.Decides`.
    """

    name: str
    type: str
    default: str
    description: str
    decides: Literal["result", "length", "nothing"] = "result"


def describe_options(model: type[BaseModel]) -> list[OptionRow]:
    """The options of a model; those of a nested model follow with dotted names."""
    return list(_rows(model, ""))


def _rows(model: type[BaseModel], prefix: str, above: Decides = Decides.RESULT) -> Iterator[OptionRow]:
    schema = _schema_of(model)
    for name, field in model.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        words = "a mapping" if nested else expected(schema.get("properties", {}).get(name, {}), schema)
        default = "" if field.is_required() or nested else _default(field.get_default(call_default_factory=True))
        bare = words.removeprefix("an ").removeprefix("a ").replace("one of ", "")
        mark = decides(field) if above is Decides.RESULT else above
        yield OptionRow(prefix + name, bare, default, description_of(field), mark.value)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner, f"{prefix}{name}.", mark)


def _default(value: Any) -> str:
    return value if isinstance(value, str) and value else shown(value)


DRAFT = "https://json-schema.org/draft/2020-12/schema"
"""The version of JSON Schema that all schemas follow."""


def recipe_json_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a recipe. Editors report a wrong option at the option, as ``fptkit validate`` does.

    Args:
        registry: its components become the allowed sections. If an options model cannot be imported, the schema allows
            any options of that component.
    """
    settings = RecipeSettings.model_json_schema()
    definitions = dict(settings.pop("$defs", {}))
    properties = {**settings["properties"], **_sections(registry, definitions)}
    profiles = {
        "type": "object",
        "additionalProperties": {"type": "object", "properties": properties, "additionalProperties": False},
        "description": "named changes to this recipe, chosen with --profile",
    }
    extends = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
        "description": "recipe file, or a list of them, that this one builds on; later ones override earlier ones",
    }
    # What a recipe extends may name its components; one that extends nothing must name those without a default.
    named = {key: {"required": ["name"]} for key in SECTIONS if key not in DEFAULT_NAMES}
    return {
        "$schema": DRAFT,
        "title": "fptkit recipe",
        "type": "object",
        "properties": {**properties, "profiles": profiles, "extends": extends},
        "if": {"required": ["extends"]},
        "else": {"required": sorted(REQUIRED), "properties": named},
        "additionalProperties": False,
        "$defs": definitions,
    }


def part_json_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a file that recipes extend: any part of a recipe."""
    schema = recipe_json_schema(registry)
    return {key: value for key, value in schema.items() if key not in ("if", "else")}


def _sections(registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schemas of all keys that name components; the schemas they refer to are added to ``definitions``."""
    found: dict[str, Any] = {}
    for key, kind in {**SECTIONS, **COMPONENT_LISTS}.items():
        section = _one_of([entry.spec for entry in registry.entries(kind)], definitions)
        description = description_of(Recipe.model_fields[key])
        definitions[f"section.{key}"] = section
        reference = {"$ref": f"#/$defs/section.{key}"}  # a profile has the same sections
        if key in COMPONENT_LISTS:
            section["required"] = ["name"]
            found[key] = {"type": "array", "items": reference, "description": description}
            continue
        if key not in DEFAULT_NAMES and key not in REQUIRED:
            section["type"] = [*section["type"], "null"]
        found[key] = {**reference, "description": description}
    return found


def _one_of(specs: Sequence[Spec], definitions: dict[str, Any]) -> dict[str, Any]:
    """A section that names one of these components, or is only its name.

    Written with ``if`` and ``then``, not as a list of alternatives: of those, a reader of JSON Schema cannot know which
    one was meant, and reports a wrong option as a section that fits none of them.
    """
    name = {"enum": [spec.name for spec in specs], "enumDescriptions": [spec.summary for spec in specs]}
    return {
        "type": ["object", "string"],
        "properties": {"name": name},
        "allOf": [
            {
                "if": {"properties": {"name": {"const": spec.name}}, "required": ["name"]},
                "then": _section(spec, definitions),
            }
            for spec in specs
        ],
        "if": {"type": "string"},
        "then": name,
    }


def _section(spec: Spec, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of the section of one component; the schemas it refers to are added to ``definitions``."""
    try:
        model = spec.options_model() if isinstance(spec, (ComponentSpec, FreezingPolicySpec)) else Options
    except PluginError:
        return {"properties": {"name": {"description": spec.summary}}}
    prefix = f"{spec.kind.replace(' ', '_')}.{spec.name}."
    schema = _schema_of(model, "#/$defs/" + prefix + "{model}")
    definitions.update({prefix + key: value for key, value in schema.pop("$defs", {}).items()})
    return {
        "title": spec.name,
        "description": spec.summary,
        "properties": {"name": {"description": spec.summary}, **schema.get("properties", {})},
        "additionalProperties": bool(schema.get("additionalProperties", not schema)),
    }


def _schema_of(model: type[BaseModel], template: str = "#/$defs/{model}") -> dict[str, Any]:
    try:
        return model.model_json_schema(ref_template=template)
    except PydanticUserError:  # a plugin's own type that JSON Schema cannot express
        return {}
