"""What a job's result will differ in from its figure: what a report will say of the pair, before anything runs."""

from __future__ import annotations

from typing import Any

from fptkit.lab.published import Figure, Published
from fptkit.lab.published.reasons import notes_of, reasons_of
from fptkit.lab.reproduction.arms import BITS
from fptkit.lab.reproduction.counts import count_of
from fptkit.lab.reproduction.plan import PAPER, Job
from fptkit.lab.studies.results import CellResult, CommonRate, Estimate, RateResult
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.registry import Registry

_NONE = Estimate(values=(), mean=None, sem=None)


def load_job(job: Job, registry: Registry, folder: str, profile: str = PAPER) -> LoadedRecipe:
    """Load the recipe of a job, without the keys that only studies have.

    Args:
        job: the job.
        registry: the components.
        folder: the plan's folder.
        profile: ``paper`` or ``smoke``.

    Raises:
        RecipeError: its overrides do not fit its recipe.
    """
    overrides = [text for text in job.overrides(folder, profile) if not text.startswith("choose=")]
    return load_recipe(job.recipe, profile=profile, overrides=overrides, registry_loader=lambda given: registry)


def differences(
    job: Job, figure: Figure, published: Published, loaded: LoadedRecipe
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reasons why the result will not be comparable with a figure, and notes; as in ``fptkit report --against``.

    Args:
        job: the job.
        figure: one of its figures.
        published: the paper.
        loaded: the job's recipe, see `load_job`.
    """
    cell = expected_cell(job, loaded)
    return reasons_of(cell, figure, published), notes_of(cell, figure, published)


def expected_cell(job: Job, loaded: LoadedRecipe) -> CellResult:
    """The result that the job will have if all of its sources are available, without figures.

    Args:
        job: the job.
        loaded: the job's recipe, see `load_job`.
    """
    recipe, size = loaded.recipe, count_of(job)
    task, backbone = recipe.task.options, recipe.backbone.options
    weights = _first(backbone, "weights") or "random"
    seeds = Estimate(values=(0.0,) * job.seeds, mean=0.0, sem=None)
    rates = tuple(RateResult(learning_rate=rate, validation=_NONE, runs=()) for rate in job.learning_rates)
    return CellResult(
        task=job.figure.task,
        arm=job.arm,
        complete=True,
        metric="accuracy",
        rates=rates,
        chosen_rate=job.learning_rates[0] if len(rates) == 1 else None,
        common=CommonRate(learning_rate=None) if len(rates) > 1 else None,
        test_split="test",  # the plan has remote homology under fpt2021 alone, which has one test split
        test={"test": seeds},
        steps=(recipe.train.max_steps,) * job.seeds,
        best_steps=(0,) * job.seeds,
        task_name=recipe.task.name,
        protocol=getattr(task, "protocol", ""),
        source=_first(task, "source") or "generated",
        task_options=task.model_dump(mode="json"),
        backbone=recipe.backbone.name,
        weights=weights,
        init="random" if weights == "random" else str(getattr(backbone, "init", "pretrained")),
        blocks=size.blocks,
        width=size.width,
        backbone_options=backbone.model_dump(mode="json"),
        freezing=recipe.freezing.name,
        freezing_options=recipe.freezing.options.model_dump(mode="json", exclude_defaults=True),
        # The bit tasks leave it open: several answers are read at the last tokens.
        readout="last_k" if recipe.head.readout == "auto" else recipe.head.readout,
        encoder=recipe.encoder.name if recipe.encoder is not None else "",
        schedule=recipe.train.schedule.name,
        head_options=recipe.head.model_dump(mode="json", exclude_defaults=True),
        precision=recipe.precision,
        pretrained_on="bit_memory" if BITS in job.needs else "",
    )


def _first(options: Any, name: str) -> str:
    """The first entry of a list of sources; empty if the options have no such list."""
    found = getattr(options, name, ())
    return str(found[0]) if isinstance(found, tuple) and found else ""
