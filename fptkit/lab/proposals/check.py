"""A recipe for a user's files that runs: the task is built from it, and its limits are fitted to the backbone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fptkit.errors import UsageError
from fptkit.lab.proposals.choose import Chosen
from fptkit.lab.proposals.compose import compose
from fptkit.registry import Registry
from fptkit.tasks.reading.look import Choice

if TYPE_CHECKING:
    from fptkit.interfaces import Task
    from fptkit.recipe.load import LoadedRecipe

MOST_TOKENS = 1024
"""Positions of the proposed backbone; also enough for a first run in minutes."""

BATCH = 32
"""Examples per step, if there are enough."""


@dataclass(frozen=True)
class Proposal:
    """A recipe that was checked.

    Args:
        text: the recipe.
        notes: what the task says about the data, as in the header of a run.
        warnings: what is probably wrong with the data.
        sizes: number of examples of each split.
        doubts: options that may as well be different, each with its comment.
    """

    text: str
    notes: Sequence[str]
    warnings: Sequence[str]
    sizes: Mapping[str, int]
    doubts: Sequence[str]


def propose(chosen: Chosen, place: Path, registry: Registry, *, command: str) -> Proposal:
    """Write a recipe, read the data by it, and fit batch size and length of examples.

    Args:
        chosen: the task.
        place: the file or folder, absolute.
        registry: all plugins.
        command: the command that asked for it.

    Raises:
        FptkitError: the data cannot be used, as a run would say.
    """
    options = dict(chosen.look.options)

    def text(batch_size: int) -> str:
        return compose(chosen, place, command=command, options=options, batch_size=batch_size)

    task, tokens = _task(text(1), registry)
    if chosen.look.cut is not None and tokens > MOST_TOKENS:
        name, each = chosen.look.cut
        options[name] = Choice(int(MOST_TOKENS * each), f"the longest example has {tokens:,}", True)
        task, tokens = _task(text(1), registry)
    if tokens > MOST_TOKENS:
        raise UsageError(f"{place}: an example has {tokens:,} tokens, above {MOST_TOKENS:,}; make the examples smaller")
    names = ("train", "validation", *task.test_splits)
    sizes = {name: size for name in names if (size := task.split(name).size) is not None}
    batch = BATCH
    while batch > max(1, sizes.get("train", batch) // 2):
        batch //= 2
    _check_models(text(batch), registry, task)
    doubts = [f"{name}: {choice.value}   ({choice.comment})" for name, choice in options.items() if choice.doubtful]
    return Proposal(text(batch), getattr(task, "notes", ()), getattr(task, "warnings", ()), sizes, doubts)


def _task(text: str, registry: Registry) -> tuple[Task, int]:
    """The task of a recipe, with its data read, and the number of tokens of its longest example after the encoder."""
    from fptkit.encoders.choice import default_encoder, encoded_tokens
    from fptkit.engine.build import build_task
    from fptkit.specs import EncoderSpec

    task = build_task(_loaded(text, registry, None).recipe, registry)
    spec = registry.get(EncoderSpec, task.default_encoder or default_encoder(task.input))
    return task, encoded_tokens(spec, spec.options_model()(), task.input, task.max_tokens, registry=registry)


def _check_models(text: str, registry: Registry, task: Task) -> None:
    """Build the models of the recipe and of its control."""
    import torch

    from fptkit.engine.build import build

    for profile in (None, "control"):
        build(_loaded(text, registry, profile).recipe, registry, torch.device("cpu"), task=task)


def _loaded(text: str, registry: Registry, profile: str | None) -> LoadedRecipe:
    from fptkit.files import RECIPE, write_text
    from fptkit.recipe.find import read_recipe_file, recipe_folders
    from fptkit.recipe.load import load_read_recipe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, RECIPE)
        write_text(path, text)
        file = read_recipe_file(path, recipe_folders(registry))
        return load_read_recipe(file, registry, profile=profile, overrides=(), given=())
