"""A recipe as one file that extends nothing: every option with its value, and a comment that says what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fptkit.options import Options
from fptkit.recipe.dump import dump_mapping, recipe_mapping
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import SECTIONS, RecipeSettings
from fptkit.recipe.schema import describe_options
from fptkit.specs import ComponentSpec, FreezingPolicySpec

WIDTH = 100
"""Columns of a comment."""


def flat_recipe(loaded: LoadedRecipe, header_lines: Sequence[str]) -> str:
    """The text of a checked recipe; loading it gives an equal recipe.

    Args:
        loaded: the recipe, with profile and overrides applied.
        header_lines: comment lines for the top, without ``#``.
    """
    mapping = recipe_mapping(loaded.recipe)
    left_out = [key for key in ("pinned", "plugins", "listeners") if not any(_values(mapping[key]))]
    meanings = _meanings(loaded)
    lines = [f"# {line}".rstrip() for line in header_lines]
    for key, value in mapping.items():
        if key not in left_out:
            lines += ["", *_written(key, value, key, meanings, 0)]
    return "\n".join(lines) + "\n"


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else list(value)


def _meanings(loaded: LoadedRecipe) -> dict[str, str]:
    """What each option means, by its dotted key."""
    found = {row.name: row.description for row in describe_options(RecipeSettings)}
    for section, kind in SECTIONS.items():
        component = getattr(loaded.recipe, section)
        if component is None:
            continue
        spec = loaded.registry.get(kind, component.name)
        found[f"{section}.name"] = spec.summary
        model = spec.options_model() if isinstance(spec, (ComponentSpec, FreezingPolicySpec)) else Options
        found |= {f"{section}.{row.name}": row.description for row in describe_options(model)}
    return found


def _written(key: str, value: Any, path: str, meanings: Mapping[str, str], depth: int) -> Iterator[str]:
    """The lines of an entry: its comment, then its value, or the entries of a mapping that has some."""
    indent = "  " * depth
    if meaning := meanings.get(path):
        yield from (f"{indent}# {line}" for line in textwrap.wrap(meaning, WIDTH - len(indent)))
    if isinstance(value, Mapping) and value:
        yield f"{indent}{key}:"
        for inner, below in value.items():
            yield from _written(inner, below, f"{path}.{inner}", meanings, depth + 1)
        return
    yield from (indent + line for line in dump_mapping({key: value}).splitlines())
