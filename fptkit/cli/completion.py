"""Names that a shell completes: recipes, components, profiles. See ``fptkit --help`` for how to switch it on.

A completion is asked for at every key press: nothing heavy is loaded, and what fails completes nothing.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from fptkit.registry import Registry


def recipe_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recipes of fptkit and its plugins by name, with studies where the command takes them, then files."""
    from fptkit.recipe.find import list_recipes, list_studies

    wanted = {"pretrain": ("pretrain",), "run": ("run",), "study": ("run",)}.get(
        context.info_name or "", ("run", "pretrain")
    )
    with _silent():
        registry = _registry()
        found = [recipe for recipe in list_recipes(registry) if recipe.kind in wanted]
        if context.info_name in ("study", "validate", "copy"):
            found = [*list_studies(registry), *found]
        items = [_item(recipe.name, recipe.description) for recipe in found if recipe.name.startswith(incomplete)]
        return [*items, CompletionItem(incomplete, type="file")]
    return []


def component_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Components of the kind that stands before, recipes or studies."""
    from fptkit.specs import KINDS

    kind = context.params.get("kind")
    if kind == "recipe":
        return recipe_names(context, parameter, incomplete)
    with _silent():
        if kind == "study":
            from fptkit.recipe.find import list_studies

            studies = list_studies(_registry())
            return [_item(s.name, s.description) for s in studies if s.name.startswith(incomplete)]
        entries = _registry().entries(KINDS[kind]) if kind in KINDS else ()
        return [_item(e.spec.name, e.spec.summary) for e in entries if e.spec.name.startswith(incomplete)]
    return []


def profile_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Profiles of the recipe or study that stands before."""
    from fptkit.recipe.extends import read_with_bases
    from fptkit.recipe.find import base_folders, find_recipe, find_study, recipe_folders

    # An option whose value is still to come ends click's parsing; what stood before it is then left in ``args``.
    before = [
        context.params.get("recipe"),
        context.params.get("study"),
        *(context.params.get("recipes") or ()),
        *context.args,
    ]
    given = next((name for name in before if name), "")
    with _silent():
        folders = recipe_folders(_registry())
        path = (find_study if context.info_name in ("study", "validate") else find_recipe)(given, folders)
        tree = read_with_bases(path, path.name, [], lambda: base_folders(folders))
        profiles = tree.mapping.get("profiles") if tree else None
        names = profiles.mapping if profiles else {}
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return []


def _registry() -> Registry:
    from fptkit.registry import load_plugins, selection_from_environment

    return load_plugins(selection=selection_from_environment())


def _item(name: str, summary: str) -> CompletionItem:
    return CompletionItem(name, help=summary)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Whatever goes wrong while a name is completed, the command itself will say it."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception):
        yield
