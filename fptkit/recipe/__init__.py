"""Recipes: one YAML file that says what to build and how to train it, checked in full before anything is built."""

from __future__ import annotations

from fptkit.recipe.dump import component_mapping, dump_mapping, dump_recipe
from fptkit.recipe.find import RecipeFile, find_recipe, list_recipes, recipe_folders
from fptkit.recipe.load import LoadedRecipe, load_model, load_recipe
from fptkit.recipe.models import Component, HeadOptions, Pinned, Recipe, TrainOptions
from fptkit.recipe.schema import OptionRow, describe_options, recipe_json_schema

__all__ = [
    "Component",
    "HeadOptions",
    "LoadedRecipe",
    "OptionRow",
    "Pinned",
    "Recipe",
    "RecipeFile",
    "TrainOptions",
    "component_mapping",
    "describe_options",
    "dump_mapping",
    "dump_recipe",
    "find_recipe",
    "list_recipes",
    "load_model",
    "load_recipe",
    "recipe_folders",
    "recipe_json_schema",
]
