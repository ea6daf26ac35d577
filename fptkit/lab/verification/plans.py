"""Checks of the plan: what is locked, what was run, and whether the runs' recipes are those of the plan."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fptkit.errors import FptkitError
from fptkit.files import RECIPE
from fptkit.lab.studies.locking import plan_file
from fptkit.lab.studies.record import FILE as STUDY
from fptkit.lab.studies.results import run_folder
from fptkit.lab.verification.consistency import read_yaml
from fptkit.lab.verification.differences import Findings, json_differences, shown
from fptkit.lab.verification.manifest import MANIFEST, Manifest, TrialRecord


def check_plan_file(folder: Path, manifest: Manifest, findings: Findings) -> None:
    """Check the digests of ``plan.json``, and note when it was locked and which deviations it records."""
    name = f"{folder.name}/{plan_file.FILE}"
    try:
        locked = plan_file.read(folder)
    except FptkitError as err:
        findings.wrong(name, str(err))
        return
    if locked is None:
        return
    for fault in locked.faults:
        findings.wrong(name, fault)
    if (folder / plan_file.FILE).read_text(encoding="utf-8") != plan_file.text_of(locked):
        findings.wrong(name, "was changed after it was written, though not in its values")
    if len(locked.log) < manifest.log:
        findings.wrong(name, f"{len(locked.log)} entries, but {manifest.log} in {MANIFEST}", "log")
    late = f", {locked.late}" if locked.late else ""
    after = "" if manifest.locked else ", after these results were written: run the study again to compare them"
    findings.notes.append(f"the plan was locked {locked.locked}{late}; digest {locked.digest}{after}")
    findings.notes += [f"deviation first seen {entry.time}: {entry.deviation}" for entry in locked.log]


def check_study_file(folder: Path, manifest: Manifest, findings: Findings) -> None:
    """Check that the settings in ``study.yaml`` are those that the study ran with."""
    content, settings = read_yaml(folder / STUDY), manifest.plan.settings
    stored = {key: value for key, value in content.items() if key in settings}
    derived = {key: settings[key] for key in stored}
    if stored.get("recipe_profile"):  # a study of a plain recipe states its own profile there
        derived["recipe_profile"] = settings["recipe_profile"] or manifest.plan.profile
    findings.differences += json_differences(f"{folder.name}/{STUDY}", stored, derived)


def check_recipes(ledger_folder: Path, manifest: Manifest, findings: Findings) -> None:
    """Check that each run's resolved recipe is that of its cell in the plan, with the rate and seed of its trial."""
    planned = {(one.task, one.arm): one.recipe for one in manifest.plan.recipes}
    recipes: dict[str, dict[str, Any]] = {}
    for trial in manifest.trials:
        path = run_folder(ledger_folder, trial.address) / RECIPE
        if not path.is_file() or (trial.task, trial.arm) not in planned:
            continue
        found = recipes.get(trial.address) or recipes.setdefault(trial.address, read_yaml(path))
        wanted = _recipe_of(trial, planned[trial.task, trial.arm])
        name = path.relative_to(ledger_folder).as_posix()
        for place, value, planned_value in _disagreements(found, wanted):
            what = f"{shown(value)}, but {shown(planned_value)} for {trial.key[0]} in the plan of {MANIFEST}"
            findings.wrong(name, what, place)


def _recipe_of(trial: TrialRecord, planned: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a trial: as planned, with its rate, its seed, and its fraction of the data."""
    train = {**planned["train"], "learning_rate": trial.learning_rate, "data_fraction": trial.data_fraction}
    if trial.varied:
        train["seeds"] = {**train["seeds"], trial.varied: trial.seed}
    else:
        train["seed"] = trial.seed
    return {**planned, "train": train}


def _disagreements(recipe: Any, wanted: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path and both values wherever a recipe differs from the settings that decide its result."""
    if isinstance(wanted, Mapping) and isinstance(recipe, Mapping):
        for key, value in wanted.items():
            yield from _disagreements(recipe.get(key), value, f"{path}.{key}" if path else key)
    elif _plain(recipe) != _plain(wanted):
        yield path, recipe, wanted


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def unlisted(folder: Path, known: Collection[str]) -> list[str]:
    """Names in a study's folder that no manifest covers."""
    return sorted(path.name for path in folder.iterdir() if path.name not in known and not path.name.startswith("."))
