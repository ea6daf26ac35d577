"""JSON Schema of study files, built from that of recipes so that editors also complete their fragments."""

from __future__ import annotations

from typing import Any

from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.schema import DRAFT, recipe_json_schema
from fptkit.registry import Registry
from fptkit.specs import ControlSpec, SearchSpec, limits


def study_json_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a study.

    Args:
        registry: its components are allowed in fragments. Their options are checked only when the study is loaded,
            since a fragment may omit what its bases set.
    """
    recipe = recipe_json_schema(registry)
    settings = StudySettings.model_json_schema()
    _name_parts(settings, registry)
    # A recipe's profile has the form of a fragment: any keys of a recipe, including sections without a name.
    of_recipe = recipe["properties"]["profiles"]["additionalProperties"]["properties"]
    extends = recipe["properties"]["extends"]
    of_task = {**of_recipe, "extends": extends}
    of_arm = {**of_task, "summary": {"type": "string", "description": "one line that describes the arm"}}
    in_profile = {
        **settings["properties"],
        "tasks": _named(of_task, "tasks by name; omit if every arm extends a complete recipe"),
        "arms": _named(of_arm, "arms to compare, by name"),
    }
    properties = {
        **in_profile,
        "extends": {**extends, "description": "study file this one is merged over, or several, the lowest first"},
        "profiles": _named(in_profile, "named changes to this study, chosen with --profile"),
    }
    return {
        "$schema": DRAFT,
        "title": "fptkit study",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": ["arms"]}, {"required": ["extends"]}],
        "additionalProperties": False,
        "$defs": {**recipe["$defs"], **settings.get("$defs", {})},
    }


def _name_parts(settings: dict[str, Any], registry: Registry) -> None:
    """Allow only the controls and searches that fptkit or a plugin brings."""
    names = {"type": "array", "items": {"enum": registry.names(ControlSpec)}, "maxItems": limits.ARMS}
    settings["properties"]["controls"]["anyOf"] = [{"type": "boolean"}, names]
    settings["$defs"]["SearchOptions"]["properties"]["name"]["enum"] = registry.names(SearchSpec)


def _named(properties: dict[str, Any], description: str) -> dict[str, Any]:
    """Schema of a mapping from names to objects with some of these keys."""
    each = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "object", "additionalProperties": each, "description": description}
