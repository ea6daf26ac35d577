"""How much each job computes: counted once with tensors without numbers, and kept, so that a plan needs no torch.

``python benchmarks/reproduce.py --count`` writes ``counts.json`` again; a test compares it with fresh counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from fptkit.errors import DataError
from fptkit.lab.benchmarking.hours import Speed, Work
from fptkit.lab.published.records import Record
from fptkit.lab.reproduction.arms import BITS
from fptkit.lab.reproduction.plan import PAPER, Job
from fptkit.registry import Registry

FILE = "counts.json"

PRETRAINING = "bit_memory_base"
"""Key of the pretraining of `fptkit.lab.reproduction.arms.BITS`."""


class Count(Record):
    """What one run computes, and the size of its model.

    Args:
        steps: training steps.
        flops_per_step: floating-point operations of a step.
        evaluation_flops: those of all evaluations.
        in_turn: see `fptkit.lab.benchmarking.hours.Work`.
        blocks, width: size of the backbone.
        parameters, trained: number of parameters.
        memory_gib: memory that a run needs on a GPU.
    """

    steps: int
    flops_per_step: float
    evaluation_flops: float
    in_turn: int
    blocks: int
    width: int
    parameters: int
    trained: int
    memory_gib: float

    @property
    def work(self) -> Work:
        """What one run computes."""
        return Work(self.steps, self.flops_per_step, self.evaluation_flops, self.in_turn)


@cache
def read_counts() -> Mapping[str, Count]:
    """The counts that are kept, by name of the job."""
    text = files("fptkit.lab.reproduction").joinpath(FILE).read_text(encoding="utf-8")
    return {name: Count.model_validate(content) for name, content in json.loads(text).items()}


def count_of(job: Job) -> Count:
    """The count of a job.

    Raises:
        DataError: it was not counted.
    """
    found = read_counts().get(job.name)
    if found is None:
        raise DataError(f"{job.name} is not in {FILE}: python benchmarks/reproduce.py --count writes it again")
    return found


def seconds_of(job: Job, speed: Speed) -> float:
    """Duration of all runs of a job in seconds, without what it needs first."""
    return job.runs * speed.seconds(count_of(job).work)


def preparing_seconds(job: Job, speed: Speed) -> float:
    """Duration in seconds of the pretraining that a job needs; downloads count as nothing."""
    return speed.seconds(read_counts()[PRETRAINING].work) if BITS in job.needs else 0.0


def count(job: Job, registry: Registry) -> Count:
    """Count the operations of a job in the profile paper, without its weights and with data of the same shape.

    Args:
        job: the job.
        registry: the components.

    Raises:
        FptkitError: its recipe cannot be built.
    """
    from fptkit.lab.benchmarking.estimate import estimate
    from fptkit.recipe.load import load_recipe

    loaded = load_recipe(job.recipe, profile=PAPER, overrides=_countable(job), registry_loader=lambda given: registry)
    found = estimate(loaded)
    evaluated = found.evaluated
    if job.task.held_out and job.figure.protocol == "clean":
        validation, *tests = job.task.held_out
        validations = -(-loaded.recipe.train.max_steps // loaded.recipe.train.validate_every)
        evaluated = validations * validation + sum(tests)
    return _rounded(found, evaluated)


def count_pretraining(registry: Registry) -> Count:
    """Count the operations of the pretraining on Bit Memory. Arguments and errors as for `count`."""
    from fptkit.lab.benchmarking.estimate import estimate
    from fptkit.lab.pretraining.recipes import LoadedTaskPretraining, load_pretraining

    settings = [text for flag, text in zip(BITS.arguments, BITS.arguments[1:], strict=False) if flag == "--set"]
    _, loaded = load_pretraining(
        BITS.arguments[1], overrides=[*settings, "precision=float32"], registry_loader=lambda given: registry
    )
    assert isinstance(loaded, LoadedTaskPretraining)
    found = estimate(loaded.run)
    return _rounded(found, found.evaluated)


def _countable(job: Job) -> list[str]:
    """The overrides that decide sizes, then those that give the same sizes without weights and data."""
    settings = [text for text in job.overrides("") if not text.startswith(("choose=", "backbone.init="))]
    weights = [text for text in settings if text.startswith("backbone.weights=")] if job.setup.counted else []
    kept = [text for text in settings if text not in weights]
    return [*kept, *job.task.counted, *job.setup.counted, "device=cpu"]


def _rounded(found: object, evaluated: int) -> Count:
    """Three significant digits: counts change in the last ones with the versions of libraries."""
    from fptkit.lab.benchmarking.estimate import Estimate

    assert isinstance(found, Estimate)
    return Count(
        steps=found.steps,
        flops_per_step=float(f"{found.flops_per_step:.3g}"),
        evaluation_flops=float(f"{found.flops_per_example * evaluated:.3g}"),
        in_turn=found.in_turn,
        blocks=found.blocks or 0,
        width=found.width or 0,
        parameters=found.parameters,
        trained=found.trained,
        memory_gib=float(f"{found.memory_bytes / 2**30:.2g}"),
    )
