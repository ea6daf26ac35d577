"""JSON Schema of study files, made from that of recipes, so that editors complete their fragments too."""

from __future__ import annotations

from typing import Any

from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.schema import recipe_json_schema
from fptkit.registry import Registry


def study_json_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a study.

    Args:
        registry: its components become what fragments may hold. Their options are checked where a study is loaded: a
            fragment may leave out what its bases say.
    """
    recipe = recipe_json_schema(registry)
    settings = StudySettings.model_json_schema()
    # A profile of a recipe holds what a fragment does: any keys of a recipe, sections without their name among them.
    of_recipe = recipe["properties"]["profiles"]["additionalProperties"]["properties"]
    extends = recipe["properties"]["extends"]
    of_task = {**of_recipe, "extends": extends}
    of_arm = {**of_task, "summary": {"type": "string", "description": "one line on it"}}
    in_profile = {
        **settings["properties"],
        "tasks": _named(of_task, "tasks by name; left out where every arm extends a whole recipe"),
        "arms": _named(of_arm, "what is compared, by name"),
    }
    properties = {
        **in_profile,
        "extends": {**extends, "description": "study file, or several with the lowest first, this one is laid over"},
        "profiles": _named(in_profile, "named changes to this study, chosen with --profile"),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fptkit study",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": ["arms"]}, {"required": ["extends"]}],
        "additionalProperties": False,
        "$defs": {**recipe["$defs"], **settings.get("$defs", {})},
    }


def _named(properties: dict[str, Any], description: str) -> dict[str, Any]:
    """Mappings by name, each with some of these keys."""
    each = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "object", "additionalProperties": each, "description": description}
