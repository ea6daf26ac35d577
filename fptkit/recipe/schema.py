"""JSON Schema of recipes, made from the registry so that editors complete plugins too, and tables of options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from fptkit.errors import PluginError
from fptkit.options import Decides, Options, decides, description_of
from fptkit.recipe.models import COMPONENT_LISTS, REQUIRED, SECTIONS, Recipe, RecipeSettings
from fptkit.recipe.words import expected, shown
from fptkit.registry import Registry
from fptkit.specs import ComponentSpec, FreezingPolicySpec, Spec, kind_of


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


def recipe_json_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe.

    Args:
        registry: its components become the allowed sections. If an options model cannot be imported, the schema allows
            any options of that component.
    """
    settings = RecipeSettings.model_json_schema()
    definitions = dict(settings.pop("$defs", {}))
    properties = dict(settings["properties"])
    for key, kind in {**SECTIONS, **COMPONENT_LISTS}.items():
        sections = [_section(entry.spec, definitions) for entry in registry.entries(kind)]
        section: dict[str, Any] = {"oneOf": sections} if sections else {"type": "object"}
        if kind_of(kind).bare:
            section = {"anyOf": [{"enum": registry.names(kind)}, section]}
        description = description_of(Recipe.model_fields[key])
        if key in COMPONENT_LISTS:
            properties[key] = {"type": "array", "items": section, "description": description}
        else:
            properties[key] = {**section, "description": description}
    # A section of a profile may leave out its name, so it is only checked to be a mapping.
    in_profile = {key: {"type": "object"} if key in SECTIONS else value for key, value in properties.items()}
    profile = {"type": "object", "properties": in_profile, "additionalProperties": False}
    properties["profiles"] = {
        "type": "object",
        "additionalProperties": profile,
        "description": "named changes to this recipe, chosen with --profile",
    }
    properties["extends"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
        "description": "recipe file, or a list of them, that this one builds on; later ones override earlier ones",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fptkit recipe",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": sorted(REQUIRED)}, {"required": ["extends"]}],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _section(spec: Spec, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section that names one component; the schemas it refers to are added to ``definitions``."""
    name = {"const": spec.name, "description": spec.summary}
    try:
        model = spec.options_model() if isinstance(spec, (ComponentSpec, FreezingPolicySpec)) else Options
    except PluginError:
        return {"type": "object", "properties": {"name": name}, "required": ["name"]}
    prefix = f"{spec.kind.replace(' ', '_')}.{spec.name}."
    schema = _schema_of(model, "#/$defs/" + prefix + "{model}")
    definitions.update({prefix + key: value for key, value in schema.pop("$defs", {}).items()})
    return {
        "type": "object",
        "title": spec.name,
        "description": spec.summary,
        "properties": {"name": name, **schema.get("properties", {})},
        "required": ["name", *schema.get("required", [])],
        "additionalProperties": bool(schema.get("additionalProperties", not schema)),
    }


def _schema_of(model: type[BaseModel], template: str = "#/$defs/{model}") -> dict[str, Any]:
    try:
        return model.model_json_schema(ref_template=template)
    except PydanticUserError:  # a plugin's own type that JSON Schema cannot express
        return {}
