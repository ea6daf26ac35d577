"""JSON Schema of pretraining recipes of all three kinds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from fptkit.lab.pretraining.options import PretrainRecipe, SyntheticRecipe, TaskPretraining
from fptkit.recipe.schema import DRAFT, part_json_schema
from fptkit.registry import Registry


def pretrain_json_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a pretraining recipe; its key ``kind`` decides which others it has.

    Args:
        registry: its components are allowed in a pretraining on a task.
    """
    definitions: dict[str, Any] = {}
    on_task = part_json_schema(registry)
    definitions |= on_task.pop("$defs")
    further = TaskPretraining.model_json_schema()
    definitions |= further.get("$defs", {})
    common = {key: on_task["properties"].pop(key) for key in ("profiles", "extends", "description")}
    of_task = {**on_task["properties"], **further["properties"]}
    kinds = {
        "language": _of_model(PretrainRecipe, definitions),
        "synthetic": _of_model(SyntheticRecipe, definitions),
        "task": of_task,
    }
    return {
        "$schema": DRAFT,
        "title": "fptkit pretraining recipe",
        "type": "object",
        "properties": {"kind": {"enum": list(kinds), "default": "language", "description": "what is predicted"}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": [] if kind == "language" else ["kind"]},
                "then": _whole(properties, common),
            }
            for kind, properties in kinds.items()
        ],
        "$defs": definitions,
    }


def _whole(properties: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """The schema of a recipe with these keys, in which profiles may hold them, too."""
    each = {"type": "object", "properties": properties, "additionalProperties": False}
    profiles = {**common["profiles"], "additionalProperties": each}
    return {"properties": {**properties, **common, "profiles": profiles}, "additionalProperties": False}


def _of_model(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """The keys of a model; the schemas they refer to are added to ``definitions``."""
    prefix = f"pretrain.{model.__name__}."
    schema = model.model_json_schema(ref_template="#/$defs/" + prefix + "{model}")
    # A profile may change one key of a section, and a recipe may extend another, so none is required.
    for key, value in schema.get("$defs", {}).items():
        definitions[prefix + key] = {name: part for name, part in value.items() if name != "required"}
    return dict(schema["properties"])
