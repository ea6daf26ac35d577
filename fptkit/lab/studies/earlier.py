"""Runs of a study made by another version of the code: counts them and keeps their results.

They cannot be mixed with new runs, since results may differ, and must not be lost.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fptkit.errors import FptkitError
from fptkit.lab.studies.address import written
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.results import StudyResults, read_results
from fptkit.recipe.models import Recipe

SHOWN_DIGITS = 8
"""Digits of the code version in the name of a folder with earlier results."""


def earlier_runs(unmade: Mapping[str, Recipe], ledger: Ledger) -> int:
    """Count the runs of `earlier_addresses`."""
    return len(earlier_addresses(unmade, ledger))


def earlier_addresses(unmade: Mapping[str, Recipe], ledger: Ledger) -> frozenset[str]:
    """Addresses of the runs in the ledger that match a missing run of the study but were made by another version of the
    code.

    Args:
        unmade: recipes of the study's missing runs, by address.
        ledger: ledger of the study's folder.
    """
    if not unmade:
        return frozenset()
    asked: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for recipe in unmade.values():
        ours = written(recipe)
        asked.setdefault(_key(ours), []).append(ours)
    others = {address: _read(text) for address, text in ledger.started() if address not in unmade}
    return frozenset(
        address
        for address, theirs in others.items()
        if any(_agree(ours, theirs) for ours in asked.get(_key(theirs), ()))
    )


def earlier_notes(study: Study, folder: Path, runs: int, *, keep: bool) -> list[str]:
    """Lines to print before a study starts if another version of the code made some of its runs; else none.

    Args:
        study: the study.
        folder: folder of the study's own files.
        runs: number of its runs made by another version, see `earlier_runs`.
        keep: whether to copy earlier results to a separate folder before new ones overwrite them.
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
            "Results could differ, so the runs are repeated. The earlier ones are kept and not mixed in."
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
        return None  # no readable results
    return None if found.code_version == study.code_version else found


def _kept(folder: Path, results: StudyResults) -> Path:
    """Copy a study's folder to a sibling folder, named after the code version that made the results."""
    kept = folder.with_name(f"{folder.name}-{results.code_version[:SHOWN_DIGITS]}")
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    return kept


def _kept_before(folder: Path, study: Study) -> tuple[Path, StudyResults] | tuple[None, None]:
    """The newest folder `_kept` made earlier, with its results."""
    folders = folder.parent.glob(f"{folder.name}-{'[0-9a-f]' * SHOWN_DIGITS}")
    for kept in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        if found := _results_of_another(kept, study):
            return kept, found
    return None, None


def _read(text: str) -> dict[str, Any]:
    """The recipe in a ledger row; empty if it cannot be parsed."""
    try:
        found = yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _key(written: Mapping[str, Any]) -> tuple[str, ...]:
    """A few settings that rarely coincide; only recipes with equal keys are compared in full."""
    places = (("task", "name"), ("backbone", "name"), ("train", "learning_rate"), ("train", "seed"))
    sections = [(written.get(section), key) for section, key in places]
    found = [str(section.get(key)) if isinstance(section, dict) else "" for section, key in sections]
    return (*found, *_seeds_apart(written))


def _seeds_apart(written: Mapping[str, Any]) -> list[str]:
    """The single seeds that a recipe sets; a version without this option follows ``train.seed`` in all of them."""
    train = written.get("train")
    seeds = train.get("seeds") if isinstance(train, dict) else None
    return [f"{name} {seed}" for name, seed in seeds.items() if seed is not None] if isinstance(seeds, dict) else []


def _agree(ours: Any, theirs: Any) -> bool:
    """Whether two recipes agree on every key both have: another version may have other options."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_agree(value, theirs[key]) for key, value in ours.items() if key in theirs)
    return bool(ours == theirs)
