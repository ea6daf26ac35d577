"""The run folder: the recipe it was made from, whether a run is complete, and how it is resumed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fptkit.engine.checkpoint import STATE, latest_checkpoint
from fptkit.engine.code_version import code_version
from fptkit.engine.progress import last_step, pause_step
from fptkit.errors import TrainingError, UsageError
from fptkit.files import CHECKPOINTS, ENVIRONMENT, METRICS, RECIPE, SUMMARY, find_json, is_sealed
from fptkit.options import deciding
from fptkit.recipe.load import LoadedRecipe, load_saved_recipe
from fptkit.recipe.models import Recipe

UNRECORDED = "not recorded"
"""The version of the code of a run that was made before runs recorded it."""


_UNSEALED = (
    "the checkpoint is of a version of fptkit that wrote no digest of its state, so it is taken as it is; whether it "
    "was altered cannot be checked"
)


def recipe_for(folder: Path, loaded: LoadedRecipe, *, resume: bool) -> Recipe:
    """The recipe to run in ``folder``; on resume, with the sources and precision that the run used before.

    Raises:
        UsageError: the folder holds a run but ``resume`` is false, another recipe made it, or its recipe is missing.
    """
    saved_file = folder / RECIPE
    holds_checkpoints = latest_checkpoint(folder / CHECKPOINTS) is not None
    if not resume and (saved_file.exists() or holds_checkpoints or _began(folder)):
        raise UsageError(f"{folder} holds a run already; continue it with --resume, or choose another --output")
    if not saved_file.exists():
        if holds_checkpoints:
            raise UsageError(f"{folder} holds checkpoints but no {RECIPE}: put it back, or choose another --output")
        return loaded.recipe
    saved = load_saved_recipe(saved_file, loaded.registry)
    differing = _differences(_comparable(saved), _comparable(loaded.recipe))
    if differing:
        raise UsageError(
            f"{folder} was made by another recipe; it differs in {', '.join(differing)}. "
            f"Continue with the saved one:\n  {resume_command(folder)}"
        )
    return loaded.recipe.model_copy(update={"pinned": saved.pinned})


def _began(folder: Path) -> bool:
    """Whether the folder has the summary of a run that was built; one that a plugin ended before may start again."""
    found = find_json(folder / SUMMARY)
    return (folder / SUMMARY).exists() and (found.get("status") != "failed" or "steps" in found)


def earlier_code(folder: Path) -> list[str]:
    """Versions of the code that made the run in a folder, in their order; empty if it has no checkpoint."""
    if latest_checkpoint(folder / CHECKPOINTS) is None:
        return []
    found = find_json(folder / ENVIRONMENT).get("code")
    return [str(version) for version in found] if isinstance(found, list) else [UNRECORDED]


def code_notes(folder: Path) -> list[str]:
    """Lines for the header of a resumed run if another version of the code made a part of it."""
    others = [version for version in earlier_code(folder) if version != code_version()]
    kept = latest_checkpoint(folder / CHECKPOINTS)
    unsealed = [] if kept is None or is_sealed(kept / STATE) else [_UNSEALED]
    if not others:
        return unsealed
    return [
        *unsealed,
        "a part of this run was made by another version of the code ("
        f"{', '.join(version[:16] for version in others)}), so its result may differ from that of a single version. To "
        f"repeat it with one: fptkit run {shlex.quote(str(folder / RECIPE))} --output ANOTHER_FOLDER",
    ]


def refuse_missing(folder: Path) -> None:
    """Refuse to go on in a run folder of which somebody removed files; one that is gone as a whole is left to
    `failed_file`.

    Raises:
        TrainingError: the recipe, the environment or the metrics file is missing.
    """
    problem = _removed_files(folder)
    if problem is not None and folder.is_dir():
        raise problem


def failed_file(folder: Path, err: OSError) -> TrainingError:
    """The error of a run that could not read or write a file, which need not be in its folder."""
    if not folder.is_dir():
        return TrainingError(
            f"{folder}: the run folder is gone: it was removed or renamed during the run. If it was renamed, continue "
            f"it under its new name: fptkit run NEW/{RECIPE} --output NEW --resume"
        )
    removed = _removed_files(folder)  # while somebody removes the folder, its files go first
    if removed is not None:
        return removed
    kept = latest_checkpoint(folder / CHECKPOINTS)
    if kept is None:
        return TrainingError(f"{folder}: {err}. It has no checkpoint; start the run again")
    return TrainingError(
        f"{folder}: {err}. The last complete checkpoint, {kept.name}, is kept; --resume continues from it"
    )


def _removed_files(folder: Path) -> TrainingError | None:
    """The error of a run folder that lacks files without which no run can be continued or repeated."""
    missing = [name for name in (RECIPE, ENVIRONMENT, METRICS) if not (folder / name).exists()]
    if not missing:
        return None
    return TrainingError(
        f"{folder}: {', '.join(missing)} {'was' if len(missing) == 1 else 'were'} removed during the run, which "
        "can no longer be continued or repeated. Start it again in another folder"
    )


def is_complete(
    summary: dict[str, Any], recipe: Recipe, *, open_test: bool = True, pause_at: int | None = None
) -> bool:
    """Whether a run is as far as requested, and its recipe does not ask for longer training.

    Args:
        summary: its summary.
        recipe: its recipe, with the present limits.
        open_test: whether the test splits are to be evaluated.
        pause_at: step to pause at, None for the end of training.
    """
    train, status = recipe.train, summary.get("status")
    if status == "paused":
        return pause_at is not None and pause_step(train, pause_at) <= summary.get("steps", 0)
    if status != "finished" and (status != "validated" or open_test):
        return False
    if summary.get("ended_by") == "listener":
        return True  # its checkpoint says so, too
    if summary.get("ended_by") == "seconds":
        return True  # the limit itself must be the same, or the folder is another recipe's
    if summary.get("ended_by") == "patience":
        return summary.get("patience") == train.patience and summary.get("max_steps") == train.max_steps
    return bool(last_step(train, summary.get("flops_per_step", 0)) <= summary.get("steps", 0))


def resume_command(folder: Path) -> str:
    """The command that resumes the run in ``folder``."""
    return f"fptkit run {shlex.quote(str(folder / RECIPE))} --output {shlex.quote(str(folder))} --resume"


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """The settings that must not change when a run is resumed. Pinned choices are copied from the earlier run."""
    content = deciding(recipe, lengths=False)
    content.pop("pinned")
    return content


def _differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Dotted paths at which two trees differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted(ours.keys() | theirs.keys()):
            found += _differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if ours == theirs else [path]
