"""``study.yaml`` in a study's folder: the study as it was run, and the command to repeat it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from fptkit import __version__
from fptkit.errors import UsageError
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import Study
from fptkit.recipe.dump import dump_mapping
from fptkit.recipe.extends import lay_over, merge, read_override
from fptkit.recipe.find import find_file
from fptkit.recipe.tree import Node, Place, plain

FILE = "study.yaml"

STATE = ".state"
"""File in a study's folder with the digest of what its results were made from; unchanged results are not written
again."""

RESERVED = ("runs", "sessions", "slurm")
"""Folders of the ledger; a study cannot have one of these names."""

COMMANDS = ("lock",)
"""Subcommands of ``fptkit study``; a study cannot have one of these names either."""


def study_folder(ledger_folder: Path, study: Study) -> Path:
    """Folder for a study's own files.

    Args:
        ledger_folder: folder of the ledger.
        study: the study; its name and profile name the folder.

    Raises:
        UsageError: the study has the name of a subcommand, or of one of the ledger's own folders.
    """
    if study.name in COMMANDS:
        raise UsageError(
            f"a study cannot be called '{study.name}': fptkit study {study.name} is a command; rename the file"
        )
    name = f"{study.name}-{study.profile}" if study.profile else study.name
    if name in RESERVED:
        raise UsageError(f"a study cannot be called '{name}': the ledger has a folder of that name; rename the file")
    return ledger_folder / name


def study_text(study: Study, overrides: Sequence[str], command: Sequence[str]) -> str:
    """YAML of a study with its profile and overrides applied; `load_study` can read it.

    Args:
        study: the checked study.
        overrides: the overrides it was loaded with.
        command: the command line that started it.
    """
    header = [
        f"{study.name}, as it was run: profile and overrides are applied, every setting is written out.",
        f"fptkit {__version__}, Python {sys.version.split()[0]}, code {study.code_version[:16]}",
        f"Made by: {shlex.join(command)}",
    ]
    settings = {
        name: value for name, value in study.settings.model_dump(mode="json").items() if value not in (None, "", [], {})
    }
    plugins = list(dict.fromkeys(file for cell in study.cells for file in cell.loaded.recipe.plugins))
    content = {**settings, **({"plugins": plugins} if plugins else {}), **_fragments(study, overrides)}
    return dump_mapping(content, header)


def command_of(folder: Path) -> str:
    """The command line that made a study, from the ``study.yaml`` in its folder; empty if unknown."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^# Made by: (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _fragments(study: Study, overrides: Sequence[str]) -> dict[str, Any]:
    """Tasks and arms after overrides, with absolute paths for the recipes they extend."""
    if study.file.kind != "study":
        return _of_recipe(study, overrides)
    tree = lay_over(study.file.tree, profile=study.profile, overrides=overrides, faults=[])
    assert tree is not None  # it was loaded before
    found: dict[str, Any] = {}
    for key in ("tasks", "arms"):
        if key in tree.mapping:
            fragments = plain(tree.mapping[key])
            found[key] = {name: _findable(fragment, study.path.parent) for name, fragment in fragments.items()}
    return found


def _of_recipe(study: Study, overrides: Sequence[str]) -> dict[str, Any]:
    """A recipe as a study with one arm that extends it, with the overrides of the recipe's own keys."""
    ours = [text for text in overrides if text.partition("=")[0].partition(".")[0].strip() not in _of_study()]
    nodes = [node for number, text in enumerate(ours, start=1) if (node := read_override(text, number, []))]
    own = plain(reduce(merge, nodes, Node({}, Place("overrides"))))
    profile = {"recipe_profile": study.profile} if study.profile else {}
    return {**profile, "arms": {study.arms[0]: {"extends": [str(study.path.resolve())], **own}}}


def _of_study() -> set[str]:
    from fptkit.recipe.models import RecipeSettings

    return {*StudySettings.model_fields} - {*RecipeSettings.model_fields}


def _findable(fragment: Any, folder: Path) -> Any:
    """Replace bases next to the study by absolute paths, so that the fragment works from another folder."""
    if not isinstance(fragment, dict) or "extends" not in fragment:
        return fragment
    named = fragment["extends"]
    bases = [named] if isinstance(named, str) else named
    paths = [(base, find_file(str(folder / base))) for base in bases]
    return {**fragment, "extends": [str(path.resolve()) if path else base for base, path in paths]}
