"""Shell completion of ``PATH=VALUE``: the keys of the recipe given before, and their values."""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem

from fptkit.cli.completion import installed, silent
from fptkit.specs import NOUNS


def settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of a recipe that begin so, or the values that the key before ``=`` may have."""
    split_at = _split_by_bash(incomplete)
    key, equals, value = split_at or incomplete.partition("=")
    before = "" if split_at else f"{key}="  # bash replaces only what follows the equals sign
    with silent():
        options = _options(_given(context))
        if not equals:
            return [
                CompletionItem(f"{name}=", help=description)
                for name, (description, _) in options.items()
                if name.startswith(key)
            ]
        _, words = options.get(key, ("", ()))
        return [CompletionItem(before + word) for word in words if word.startswith(value)]
    return []


def _given(context: click.Context) -> str:
    """The recipe given before; arguments before an option without its value are left in ``args``."""
    known = [context.params.get(name) for name in ("recipe", "study", "name")]
    left = [word for word in context.args if word not in NOUNS and word not in ("recipe", "study")]
    return str(next((name for name in (*known, *left) if name), ""))


def _split_by_bash(incomplete: str) -> tuple[str, str, str] | None:
    """Key, equals sign and value typed so far if bash passed them as three words, which it does unless told not to."""
    words, position = os.environ.get("COMP_WORDS", "").split(), int(os.environ.get("COMP_CWORD", "0") or 0)
    if "=" in incomplete.rstrip("=") or not 2 <= position <= len(words):
        return None
    if words[position : position + 1] == ["="]:
        return words[position - 1], "=", ""
    return (words[position - 2], "=", incomplete) if words[position - 1] == "=" else None


def _options(recipe: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every key of a recipe -> its description and the words it may be; the components are those the recipe names."""
    from fptkit.recipe.find import find_recipe, read_recipe_file, recipe_folders
    from fptkit.recipe.models import DEFAULT_NAMES, SECTIONS, RecipeSettings
    from fptkit.recipe.schema import describe_options
    from fptkit.specs import ComponentSpec, FreezingPolicySpec

    registry = installed()
    folders = recipe_folders(registry)
    tree = read_recipe_file(find_recipe(recipe, folders), folders).tree
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for section, kind in SECTIONS.items():
        names = registry.names(kind)
        found[section] = found[f"{section}.name"] = (f"name of the {kind.kind}", tuple(names))
        node = tree.mapping.get(section) if tree else None
        named = node.mapping.get("name") if node else None
        name = str(named.value) if named else DEFAULT_NAMES.get(section, "")
        if name in names and isinstance(spec := registry.get(kind, name), (ComponentSpec, FreezingPolicySpec)):
            found |= {
                f"{section}.{row.name}": (row.description, _words(row.type))
                for row in describe_options(spec.options_model())
            }
    rows = [row for row in describe_options(RecipeSettings) if not row.name.startswith("pinned")]
    return found | {row.name: (row.description, _words(row.type)) for row in rows}


def _words(kind: str) -> tuple[str, ...]:
    """The words in a description of allowed values, such as ``auto, cpu, cuda``; empty for numbers and texts."""
    alternatives = [word for part in kind.split(" or ") for word in part.split(", ")]
    plain = [word for word in alternatives if word.replace("_", "").isalnum() and word.islower()]
    return tuple(word for word in plain if word not in ("text", "number", "integer", "mapping"))
