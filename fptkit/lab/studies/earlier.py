"""Runs of a study that another version of the code made: how many there are, and keeping the results made of them.

They cannot be mixed with new ones, since results may differ, and must not be lost.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fptkit.errors import FptkitError
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.results import StudyResults, read_results
from fptkit.options import deciding
from fptkit.recipe.models import Recipe

SHOWN_DIGITS = 8
"""Digits of a code version that name a folder of earlier results."""


def earlier_runs(unmade: Mapping[str, Recipe], ledger: Ledger) -> int:
    """How many runs the ledger holds that would be those of a study if the code were the same.

    Args:
        unmade: recipes of the runs the study needs and does not have, by address.
        ledger: of the study's folder.
    """
    if not unmade:
        return 0
    asked: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for recipe in unmade.values():
        ours = _written(recipe)
        asked.setdefault(_key(ours), []).append(ours)
    others = [_read(text) for address, text in ledger.started() if address not in unmade]
    return sum(any(_agree(ours, theirs) for ours in asked.get(_key(theirs), ())) for theirs in others)


def earlier_notes(study: Study, folder: Path, runs: int, *, keep: bool) -> list[str]:
    """What to report before a study begins whose runs another version of the code has made; nothing where it has not.

    Args:
        study: the study.
        folder: its own folder.
        runs: how many of its runs another version made, see `earlier_runs`.
        keep: whether to copy earlier results to a folder of their own, since new ones will take their place.
    """
    found = _results_of_another(folder, study)
    if found is None and not runs:
        return []
    if found is not None:
        shown: Path | None = _kept(folder, found) if keep else folder
    else:
        shown, found = _kept_before(folder, study)
    code = f" (code {found.code_version[:SHOWN_DIGITS]})" if found else ""
    lines = [f"the results so far were made by another version of the code{code}; they are kept"]
    if runs:
        number = "1 run of this study was" if runs == 1 else f"{runs} runs of this study were"
        lines = [
            f"{number} made by another version of the code{code}; this is {study.code_version[:SHOWN_DIGITS]}. "
            "Results could differ, so the runs are made anew. The earlier ones are kept, and none is mixed in."
        ]
    if shown is not None:
        lines += [f"to see the earlier results: fptkit report {shlex.quote(str(shown))}"]
    release = ", ".join(found.versions.get("fptkit", ())) if found else ""
    lines += [
        "to continue or repeat the earlier runs: the same command with the version of fptkit that made them"
        + (f" (fptkit {release})" if release else "")
    ]
    return lines


def _results_of_another(folder: Path, study: Study) -> StudyResults | None:
    """The results in a folder, if another version of the code made them."""
    try:
        found = read_results(folder)
    except FptkitError:
        return None  # there are none that could be shown
    return None if found.code_version == study.code_version else found


def _kept(folder: Path, results: StudyResults) -> Path:
    """Copy a study's folder to one beside it, named by the code that made the results."""
    kept = folder.with_name(f"{folder.name}-{results.code_version[:SHOWN_DIGITS]}")
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    return kept


def _kept_before(folder: Path, study: Study) -> tuple[Path, StudyResults] | tuple[None, None]:
    """The newest folder that `_kept` made in an earlier call, with its results."""
    folders = folder.parent.glob(f"{folder.name}-{'[0-9a-f]' * SHOWN_DIGITS}")
    for kept in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        if found := _results_of_another(kept, study):
            return kept, found
    return None, None


def _written(recipe: Recipe) -> dict[str, Any]:
    """What decides the result of a recipe, in the form of a recipe's file: options beside a component's name."""
    return {
        key: {"name": value["name"], **value["options"]} if isinstance(value, dict) and "options" in value else value
        for key, value in deciding(recipe).items()
    }


def _read(text: str) -> dict[str, Any]:
    """The recipe of a ledger's row; empty where it cannot be read."""
    try:
        found = yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _key(written: Mapping[str, Any]) -> tuple[str, ...]:
    """A few settings in which few recipes are equal, so that not each is compared with each."""
    places = (("task", "name"), ("backbone", "name"), ("train", "learning_rate"), ("train", "seed"))
    sections = [(written.get(section), key) for section, key in places]
    return tuple(str(section.get(key)) if isinstance(section, dict) else "" for section, key in sections)


def _agree(ours: Any, theirs: Any) -> bool:
    """Whether two recipes say the same wherever both say something: another version may have other options."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_agree(value, theirs[key]) for key, value in ours.items() if key in theirs)
    return bool(ours == theirs)
