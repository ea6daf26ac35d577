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


def earlier_runs(unmade: Mapping[str, tuple[str, Recipe]], ledger: Ledger) -> int:
    """How many runs the ledger holds that would be those of a study if the code were the same.

    Args:
        unmade: name and recipe of the runs the study needs and does not have, by address.
        ledger: of the study's folder.
    """
    asked: dict[str, list[dict[str, Any]]] = {}
    for name, recipe in unmade.values():
        asked.setdefault(name, []).append(_written(recipe))
    return sum(
        any(_agree(ours, theirs) for ours in asked[name])
        for address, name, text in ledger.started()
        if name in asked and address not in unmade and (theirs := _read(text))
    )


def earlier_results(folder: Path, study: Study) -> StudyResults | None:
    """The results in a study's folder, if another version of the code made them."""
    try:
        found = read_results(folder)
    except FptkitError:
        return None  # there are none that could be shown
    return None if found.code_version == study.code_version else found


def keep_results(folder: Path, results: StudyResults) -> Path:
    """Copy a study's folder to one named by the code that made it, before new results are written into it.

    Returns:
        That folder, beside the first.
    """
    kept = folder.with_name(f"{folder.name}-{results.code_version[:SHOWN_DIGITS]}")
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    return kept


def earlier_notes(runs: int, results: StudyResults | None, shown: Path | None, study: Study) -> list[str]:
    """What to report before a study begins whose runs another version of the code has made; nothing where it has not.

    Args:
        runs: how many, see `earlier_runs`.
        results: made of them, if there are any.
        shown: folder of these results.
        study: the study.
    """
    if not runs and results is None:
        return []
    code = f" (code {results.code_version[:SHOWN_DIGITS]})" if results else ""
    lines = []
    if runs:
        number = "1 run of this study was" if runs == 1 else f"{runs} runs of this study were"
        lines += [
            f"{number} made by another version of fptkit's code{code}; this is {study.code_version[:SHOWN_DIGITS]}. "
            "Results could differ, so the runs are made anew. The earlier ones are kept, and none is mixed in."
        ]
    else:
        lines += [f"the results so far were made by another version of fptkit's code{code}. They are kept."]
    if shown is not None:
        lines += [f"to see the earlier results: fptkit report {shlex.quote(str(shown))}"]
    release = ", ".join(results.versions.get("fptkit", ())) if results else ""
    lines += [
        "to continue or repeat the earlier runs: the same command with the version of fptkit that made them"
        + (f" (fptkit {release})" if release else "")
    ]
    return lines


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


def _agree(ours: Any, theirs: Any) -> bool:
    """Whether two recipes say the same wherever both say something: another version may have other options."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_agree(value, theirs[key]) for key, value in ours.items() if key in theirs)
    return bool(ours == theirs)
