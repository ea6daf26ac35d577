"""The request to run a recipe in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.engine.events import Listener
from fptkit.errors import UsageError
from fptkit.recipe.load import LoadedRecipe


@dataclass(frozen=True)
class RunRequest:
    """A request to run a recipe in a folder.

    Args:
        loaded: the checked recipe with its registry.
        folder: run folder.
        resume: continue the run that the folder holds; without it the folder must not hold a run.
        listeners: listeners in addition to those of the recipe and ``metrics.jsonl``.
        open_test: whether to evaluate the test splits at the end. Without it the run ends as ``validated``; the same
            request with it and ``resume`` evaluates them later and trains nothing more.
        pause_at: step at which to stop as ``paused``, or None. Rounded up to the next multiple of
            ``train.validate_every``, so that a pause comes after a validation and changes nothing that follows. If
            training ends before, the run does not pause.
        study: name of the study that makes the run, for listeners; empty for none.
        title: the run for people, for listeners; empty for a single run.

    Raises:
        UsageError: ``pause_at`` is below 1.
    """

    loaded: LoadedRecipe
    folder: Path
    resume: bool = False
    listeners: Sequence[Listener] = ()
    open_test: bool = True
    pause_at: int | None = None
    study: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        if self.pause_at is not None and self.pause_at < 1:
            raise UsageError(f"pause_at is {self.pause_at}; the first step is 1")
