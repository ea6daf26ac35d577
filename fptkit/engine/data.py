"""The data of a run by content: a resumed run must have the data that the run began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.errors import DataError
from fptkit.files import SUMMARY, write_sealed
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry
from fptkit.sources.places import TaskData
from fptkit.specs import TaskSpec


def data_reference(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Source and digest of the data, for checkpoints.

    Args:
        facts: the identity as in ``summary.json``; None if the task was built without.
    """
    return {name: facts[name] for name in ("source", "digest")} if facts else {}


def check_same_data(before: Mapping[str, Any], now: Mapping[str, Any], what: Path) -> None:
    """Check that data are those of an earlier part of a run.

    Args:
        before: their reference then; empty for a run that did not record it.
        now: their reference now.
        what: folder of the checkpoint or run, for the message.

    Raises:
        DataError: they differ.
    """
    if before and now and before["digest"] != now["digest"]:
        raise DataError(
            f"{what}: its run was trained on {before['source']} with digest {before['digest']}, but the data there now "
            f"have {now['digest']}; put the original data back, or start a new run with another --output"
        )


def refuse_other_data(folder: Path, summary: Mapping[str, Any], recipe: Recipe, registry: Registry) -> None:
    """Check, before anything is built, that the files of a run's data are still the same. Files that are gone are not.

    The digest of the other data is added to the summary, as ``data.refused``.

    Args:
        folder: folder of the run.
        summary: its summary; empty for a new run.
        recipe: its recipe.
        registry: what the names in the recipe mean.

    Raises:
        DataError: they differ.
    """
    before = summary.get("data")
    if not before or not before.get("files") or before.get("other_parts"):
        return  # generated, or identified only when it is built
    data = TaskData(registry.get(TaskSpec, recipe.task.name), recipe.task.options, recipe.pinned.source)
    if not data.snapshot.files:
        return
    now = data.identity(before["source"])
    try:
        check_same_data(before, data_reference(now.facts()), folder)
    except DataError:
        write_sealed(folder / SUMMARY, {**summary, "data": {**before, "refused": now.facts()}})
        raise
