"""The run folder: one process at a time, never overwritten, and whether it can be gone on with."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fptkit.engine.checkpoint import latest_checkpoint
from fptkit.engine.progress import last_step, pause_step
from fptkit.errors import UsageError
from fptkit.recipe.load import LoadedRecipe, load_saved_recipe
from fptkit.recipe.models import Recipe

SUMMARY = "summary.json"
RECIPE = "recipe.yaml"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"


@contextlib.contextmanager
def only_us(folder: Path) -> Iterator[None]:
    """Make the folder and keep a second process out of it. One that was new and stays empty is removed again.

    Raises:
        UsageError: another process is at work there, or the folder cannot be made.
    """
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(f"another run is at work in {folder}") from None
    except OSError as err:
        raise UsageError(f"the run folder {folder} cannot be used: {err}") from err
    try:
        yield
    finally:
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            with contextlib.suppress(OSError):  # while it is still ours: nobody else can be at work here
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


def recipe_for(folder: Path, loaded: LoadedRecipe, *, resume: bool) -> Recipe:
    """The recipe to run in ``folder``; on resume with the sources and precision the first part of the run had taken.

    Raises:
        UsageError: the folder holds a run and it is not to be resumed, another recipe made it, or its recipe is gone.
    """
    saved_file = folder / RECIPE
    holds_checkpoints = latest_checkpoint(folder / CHECKPOINTS) is not None
    if not resume and (saved_file.exists() or holds_checkpoints or (folder / SUMMARY).exists()):
        raise UsageError(f"{folder} holds a run already. Go on with it by --resume, or choose another --output")
    if not saved_file.exists():
        if holds_checkpoints:
            raise UsageError(f"{folder} holds checkpoints but no {RECIPE}: put it back, or choose another --output")
        return loaded.recipe
    saved = load_saved_recipe(saved_file, loaded.registry)
    differing = _differences(_comparable(saved), _comparable(loaded.recipe))
    if differing:
        raise UsageError(
            f"{folder} was made by another recipe; it differs in {', '.join(differing)}. "
            f"Go on with the saved one:\n  {resume_command(folder)}"
        )
    return loaded.recipe.model_copy(update={"pinned": saved.pinned})


def read_summary(folder: Path) -> dict[str, Any]:
    """The folder's summary; empty where there is none that can be read."""
    try:
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_complete(
    summary: dict[str, Any], recipe: Recipe, *, open_test: bool = True, pause_at: int | None = None
) -> bool:
    """Whether a run is as far as it is asked to go, and the recipe does not ask to train it longer.

    Args:
        summary: of its folder.
        recipe: what it was made from, with the limits that now hold.
        open_test: whether the test splits are to be opened.
        pause_at: step to pause at, None for the end of training.
    """
    train, status = recipe.train, summary.get("status")
    if status == "paused":
        return pause_at is not None and pause_step(train, pause_at) <= summary.get("steps", 0)
    if status != "finished" and (status != "validated" or open_test):
        return False
    if summary.get("ended_by") == "seconds":
        return True  # the limit itself must be the same, or the folder is another recipe's
    if summary.get("ended_by") == "patience":
        return summary.get("patience") == train.patience and summary.get("max_steps") == train.max_steps
    return bool(last_step(train, summary.get("flops_per_step", 0)) <= summary.get("steps", 0))


def resume_command(folder: Path) -> str:
    """The command that goes on with the run of ``folder``."""
    return f"fptkit run {shlex.quote(str(folder / RECIPE))} --output {shlex.quote(str(folder))} --resume"


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """What must not change when a run is resumed: all but how long it trains, on what device and how many threads,
    where frozen weights lie, what it keeps for the backward pass, how often it tells, where its plugins lie, and
    notes."""
    content = recipe.model_dump(mode="json", exclude={"pinned", "description", "plugins", "threads", "device"})
    for name in ("max_steps", "patience", "log_every", "activation_checkpointing", "shard_frozen"):
        content["train"].pop(name)
    return content


def _differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Dotted paths at which two trees differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted(ours.keys() | theirs.keys()):
            found += _differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if ours == theirs else [path]
