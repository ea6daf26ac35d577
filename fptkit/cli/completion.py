"""Shell completion of recipes, components and profiles. ``fptkit --help`` says how to enable it.

Completion runs at every key press: nothing heavy is loaded, and an error completes nothing.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

if TYPE_CHECKING:
    from fptkit.registry import Registry


class _Bash(BashComplete):
    """click's completion for bash, but without a space after ``KEY=``, where the value follows."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )


add_completion_class(_Bash)


def recipe_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recipes of fptkit and its plugins by name, studies too if the command takes them, then files."""
    from fptkit.recipe.find import list_recipes, list_studies

    wanted = {"pretrain": ("pretrain",), "run": ("run",), "study": ("run",)}.get(_command(context), ("run", "pretrain"))
    with silent():
        registry = installed()
        found = [recipe for recipe in list_recipes(registry) if recipe.kind in wanted]
        if _command(context) in ("study", "validate", "copy"):
            found = [*list_studies(registry), *found]
        items = [_item(recipe.name, recipe.description) for recipe in found if recipe.name.startswith(incomplete)]
        return [*items, CompletionItem(incomplete, type="file")]
    return []


def component_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Components of the kind given before, recipes or studies."""
    from fptkit.specs import NOUNS

    kind = context.params.get("kind")
    if kind == "recipe":
        return recipe_names(context, parameter, incomplete)
    with silent():
        if kind == "study":
            from fptkit.recipe.find import list_studies

            studies = list_studies(installed())
            return [_item(s.name, s.description) for s in studies if s.name.startswith(incomplete)]
        return component_items(kind, incomplete) if kind in NOUNS else []
    return []


def completes(noun: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """The completion of an argument or option that names a component of a kind."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return component_items(noun, incomplete)

    return complete


def component_items(noun: str, incomplete: str) -> list[CompletionItem]:
    """Components of a kind, for the arguments and options that name one."""
    from fptkit.specs import NOUNS

    with silent():
        entries = installed().entries(NOUNS[noun].record)
        return [_item(e.spec.name, e.spec.summary) for e in entries if e.spec.name.startswith(incomplete)]
    return []


def profile_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Profiles of the recipe or study given before."""
    from fptkit.recipe.find import find_recipe, find_study, read_recipe_file, recipe_folders

    # An option without its value ends click's parsing; the arguments before it are then left in ``args``.
    before = [
        context.params.get("recipe"),
        context.params.get("study"),
        *(context.params.get("recipes") or ()),
        *context.args,
    ]
    given = next((name for name in before if name), "")
    with silent():
        folders = recipe_folders(installed())
        path = (find_study if _command(context) in ("study", "validate") else find_recipe)(given, folders)
        names = read_recipe_file(path, folders).profiles
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return []


def tracker_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Listeners: the trackers, and those of plugins."""
    from fptkit.specs import ListenerSpec

    with silent():
        entries = installed().entries(ListenerSpec)
        return [_item(e.spec.name, e.spec.summary) for e in entries if e.spec.name.startswith(incomplete)]
    return []


def run_folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders of runs that ended, in ``runs`` and where the word so far leads, then any folder."""
    from pathlib import Path

    from fptkit.files import MODEL, RECIPE

    with silent():
        start = Path(incomplete)
        above = start if incomplete.endswith("/") or not incomplete else start.parent
        beside = sorted(path for path in above.iterdir() if path.is_dir()) if above.is_dir() else []
        places = [*beside, *(inner for path in beside if path.name == "runs" for inner in sorted(path.iterdir()))]
        found = [path for path in places if (path / MODEL).is_file() and (path / RECIPE).is_file()]
        items = [CompletionItem(str(path)) for path in found if str(path).startswith(incomplete.removeprefix("./"))]
        return [*items, CompletionItem(incomplete, type="dir")]
    return []


def _command(context: click.Context) -> str:
    """Name of the command, without that of a subcommand."""
    return (context.info_name or "").partition(" ")[0]


def installed() -> Registry:
    """The installed components; nothing is reported about plugins that fail."""
    from fptkit.registry import load_plugins, selection_from_environment

    return load_plugins(selection=selection_from_environment())


def _item(name: str, summary: str) -> CompletionItem:
    return CompletionItem(name, help=summary)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Errors while a name is completed are reported by the command itself."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception):
        yield
