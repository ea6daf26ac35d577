"""Write a recipe as YAML with every default; loading it gives an equal recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fptkit.recipe.models import COMPONENT_LISTS, SECTIONS, Component, Recipe
from fptkit.recipe.scalars import RefusedScalar, read_plain

ORDER = (
    "description",
    "plugins",
    *SECTIONS,
    "head",
    "train",
    "shuffle_tokens",
    "precision",
    "float32_products",
    "device",
    "threads",
    *COMPONENT_LISTS,
    "pinned",
)
"""Order of the keys in a written recipe: the data flow first, then how it is run."""


def dump_recipe(recipe: Recipe, header_lines: Sequence[str] = ()) -> str:
    """The YAML of a recipe.

    Args:
        recipe: the recipe to write.
        header_lines: comment lines for the top, without ``#``.
    """
    return dump_mapping(recipe_mapping(recipe), header_lines)


def recipe_mapping(recipe: Recipe) -> dict[str, Any]:
    """A recipe with every default, as plain values."""
    return {key: _plain(getattr(recipe, key)) for key in ORDER}


def dump_mapping(mapping: Mapping[str, Any], header_lines: Sequence[str] = ()) -> str:
    """The YAML of plain values; the recipe loader reads the same values from it.

    Args:
        mapping: of strings, numbers, booleans, None, lists and mappings.
        header_lines: comment lines for the top, without ``#``.
    """
    lines = [line for text in header_lines for line in text.splitlines() or [""]]
    header = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return header + yaml.dump(
        dict(mapping), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=100
    )


def component_mapping(component: Component) -> dict[str, Any]:
    """A component as a section of a recipe: its name, then its options."""
    return {"name": component.name, **component.options.model_dump(mode="json")}


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return component_mapping(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


class _Dumper(yaml.SafeDumper):
    """Quotes every text that the recipe loader would read as something else, and keeps lists of scalars on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = read_plain(text) == text
    except RefusedScalar:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    flow = not any(isinstance(item, dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
