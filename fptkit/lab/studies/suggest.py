"""The command that says more about a finished run: a study with its control, or over seeds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import FptkitError
from fptkit.lab.studies.load import load_study
from fptkit.recipe.load import LoadedRecipe


@dataclass(frozen=True)
class Suggestion:
    """A study of a recipe.

    Args:
        command: command line, quoted for a shell.
        runs: number of runs it needs.
    """

    command: str
    runs: int


def control_study(
    loaded: LoadedRecipe,
    recipe: str,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[Path] = (),
) -> Suggestion | None:
    """The study that shows what the pretraining of a recipe is worth: the same model with random weights, over seeds.

    Args:
        loaded: the recipe, whose registry is used again.
        recipe: the recipe as given to ``fptkit run``.
        profile, overrides, plugin_files: the same; overrides of ``train.seed`` are left out, since a study has seeds.

    Returns:
        The study; None if the weights are random already, or if the recipe cannot be studied like this.
    """
    control = "unfrozen_random" if loaded.recipe.freezing.name == "full" else "frozen_random"
    kept = _without_seeds(overrides)
    try:
        study = load_study(
            recipe,
            profile=profile,
            overrides=kept,
            plugin_files=plugin_files,
            registry_loader=lambda _: loaded.registry,
            controls=(control,),
        )
    except FptkitError:
        return None
    if study.skipped:
        return None
    words = ["fptkit", "study", recipe, *_options(profile, kept, plugin_files), f"--controls={control}"]
    return Suggestion(shlex.join(words), len(study.cells) * len(study.settings.first_seeds))


def seeds_study(
    loaded: LoadedRecipe,
    recipe: str,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[Path] = (),
) -> Suggestion | None:
    """The study that repeats a run with several seeds. Arguments as for `control_study`.

    Returns:
        The study; None if the recipe cannot be studied like this.
    """
    kept = _without_seeds(overrides)
    try:
        study = load_study(
            recipe,
            profile=profile,
            overrides=kept,
            plugin_files=plugin_files,
            registry_loader=lambda _: loaded.registry,
        )
    except FptkitError:
        return None
    words = ["fptkit", "study", recipe, *_options(profile, kept, plugin_files)]
    return Suggestion(shlex.join(words), len(study.cells) * len(study.settings.first_seeds))


def _without_seeds(overrides: Sequence[str]) -> list[str]:
    """Overrides without those of seeds, since a study has its own."""
    return [text for text in overrides if not text.startswith(("train.seed=", "train.seeds"))]


def _options(profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]) -> Iterator[str]:
    if profile is not None:
        yield from ("--profile", profile)
    for text in overrides:
        yield from ("--set", text)
    for file in plugin_files:
        yield from ("--plugin", str(file))
