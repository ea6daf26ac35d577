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

from fptkit.engine.code_version import code_version
from fptkit.errors import DataError, FptkitError
from fptkit.files import ENVIRONMENT, find_json, find_summary
from fptkit.lab.studies.address import written
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.results import StudyResults, read_results, run_folder
from fptkit.recipe.models import Recipe
from fptkit.sources.decoding import decoding

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
    return frozenset(address for address in _matching(unmade, ledger) if _other_data(ledger.folder, address) is None)


def other_data_notes(unmade: Mapping[str, Recipe], ledger: Ledger) -> list[str]:
    """A line to print before a study starts if files were replaced since some of its runs were made; else none.

    Args:
        unmade: recipes of the study's missing runs, by address.
        ledger: ledger of the study's folder.
    """
    found = [data for address in _matching(unmade, ledger) if (data := _other_data(ledger.folder, address))]
    if not found:
        return []
    number = "1 run of this study was" if len(found) == 1 else f"{len(found)} runs of this study were"
    digests = ", ".join(sorted({data["digest"] for data in found}))
    return [
        f"{number} made on other data under the same path ({found[0]['source']}; digest {digests}); the runs are made "
        "again with the present data. The earlier ones are kept and not mixed in."
    ]


def _matching(unmade: Mapping[str, Recipe], ledger: Ledger) -> list[str]:
    """Addresses of started runs that are not among the missing ones, but have the recipe of one."""
    started = [(address, text) for address, text in ledger.started() if address not in unmade] if unmade else []
    if not started:
        return []
    asked: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for recipe in unmade.values():
        ours = written(recipe)
        asked.setdefault(_key(ours), []).append(ours)
    others = [(address, _read(text)) for address, text in started]
    return [address for address, theirs in others if any(_agree(ours, theirs) for ours in asked.get(_key(theirs), ()))]


def _other_data(ledger_folder: Path, address: str) -> dict[str, Any] | None:
    """Identity of a run's data, if it has files and this version of the code made the run: so they decided its address.

    None for a run that another version of the code made.
    """
    folder = run_folder(ledger_folder, address)
    data = find_summary(folder).get("data") or {}
    by_this_code = find_json(folder / ENVIRONMENT).get("code") == [code_version()]
    return data if by_this_code and data.get("files") else None


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
        loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        with decoding("a recipe of the ledger", "YAML"):
            found = yaml.load(text, loader)  # nosec B506: a safe one
    except DataError:
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
