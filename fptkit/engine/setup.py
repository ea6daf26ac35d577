"""From a recipe to everything a run needs before its first step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fptkit.engine.batches import BatchSource, TrainingBatches, evaluation_batches, micro_batches
from fptkit.engine.build import Built, build
from fptkit.engine.cache.features import FeatureCache, feature_cache
from fptkit.engine.checkpoint import trained_tensors
from fptkit.engine.contracts import check_encoder_width, checked_parts
from fptkit.engine.data import data_reference
from fptkit.engine.facts import run_facts
from fptkit.engine.fraction import fraction_notes, training_fraction
from fptkit.engine.memory import Pieces, smaller
from fptkit.engine.opening import open_split, open_test_splits
from fptkit.engine.optimizer import make_optimizer
from fptkit.engine.plugin_use import plugin_facts, used_entries
from fptkit.engine.progress import with_last_step
from fptkit.engine.team.processes import ALONE, Processes, batch_norms
from fptkit.engine.team.sharding import IdlePass, Sharded, check_blocks_run, meeting_place, shard_frozen
from fptkit.engine.team.team import Team
from fptkit.engine.training.choice import (
    OptimizerMaker,
    check_metric,
    chosen_optimizer,
    chosen_schedule,
    chosen_transforms,
)
from fptkit.engine.training.transforms import NamedTransform, transformed
from fptkit.freezing import FreezeProof, ParameterCounts, count_parameters
from fptkit.freezing.proof import digest_tensors
from fptkit.interfaces import Batch, Schedule, Split, Task, check_best_metric
from fptkit.model import CrossModalModel
from fptkit.recipe.models import Recipe, TrainOptions
from fptkit.registry import Registry
from fptkit.sources.activity import doing
from fptkit.specs.guard import during

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Args:
        built: task, model and trained parameters.
        training: the fraction of the training split that is used.
        options: the recipe's ``train`` section, with the last step in ``max_steps``.
        features: the parts and splits for the training loop, with cached features or unchanged.
        proof: digest of the frozen tensors; checks that the optimizer holds the trained ones only.
        frozen: identity of the frozen part, for checkpoints; holds ``digest``.
        facts: what ``summary.json`` says before training.
        data: source and digest of the data, for checkpoints; empty if the task was built without.
        team: the processes that train together.
        batches: batches of training and validation that come from elsewhere; None: those of the task's splits.
        tests: test splits by name, opened but not looked at.
        schedule: learning rate schedule; None: that of ``options``.
        optimizer: makes the optimizer over the trained parameters; None: AdamW by ``options``.
    """

    built: Built
    training: Split
    options: TrainOptions
    features: FeatureCache
    proof: FreezeProof
    frozen: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    team: Team = field(default_factory=Team)
    batches: BatchSource | None = None
    tests: Mapping[str, Split] = field(default_factory=dict)
    schedule: Schedule | None = None
    optimizer: OptimizerMaker | None = None

    @property
    def identity(self) -> dict[str, Mapping[str, Any]]:
        """What a checkpoint says about the frozen part and the data."""
        return {"frozen": self.frozen, "data": self.data}

    def make_optimizer(self, built: Built) -> torch.optim.Optimizer:
        """The optimizer over the trained parameters of some parts.

        Args:
            built: those of the run, or those for cached features.
        """
        if self.optimizer is None:
            return make_optimizer(built.groups, self.options)
        return self.optimizer(built.model, built.groups)

    def validation_batches(self, step: int) -> Iterable[Batch | None]:
        """The validation batches of this process after a number of steps."""
        if self.batches is not None:
            return self.batches.validation()
        features, processes = self.features, self.team.processes
        rank, count = processes.rank, processes.count
        task = features.built.task
        return evaluation_batches(task, "validation", features.validation, self.options, step, rank=rank, count=count)


def prepare(
    recipe: Recipe,
    registry: Registry,
    device: torch.device,
    processes: Processes = ALONE,
    *,
    task: Task | None = None,
    notes: Sequence[str] = (),
    open_tests: bool = False,
) -> Prepared:
    """Build the parts of a run, check that they keep their contracts, and count the operations of a step.

    Args:
        recipe: the recipe.
        registry: what its names mean.
        device: of this process.
        processes: those of the run. All of them call this.
        task: the recipe's task if it is already built; None builds it.
        notes: further lines for the run header.
        open_tests: open the test splits, to find out now if one is missing or empty; none of their examples is read.

    Raises:
        UsageError: the processes do not have the same recipe, data or weights; or options cannot be combined.
        FptkitError: building failed, or a part breaks its contract.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    mesh = processes.together(lambda: _mesh(recipe.train, device, processes))
    start = processes.together(lambda: _build(recipe, registry, device, mesh, processes, task, open_tests=open_tests))
    _check_same(recipe, start, processes)
    # Not `together`: with sharded weights a pass needs all processes, and none may wait for one that failed in it.
    team, first, counts = _count(start, recipe.backbone.name, processes)
    flops_per_step = round(counts.flops * start.first_size / len(first) * start.batches.step_cost())
    options = with_last_step(recipe.train, flops_per_step)
    features = feature_cache(
        start.built,
        recipe,
        options,
        start.proof.digest,
        training=start.training,
        validation=start.validation,
        processes=processes.count,
    )
    all_notes = [
        *fraction_notes(start.whole, start.training),
        *_processes_notes(start.built, processes),
        *_sharding_notes(recipe.train, start.sharded, processes),
        *features.notes,
        *notes,
    ]
    facts = run_facts(recipe, start.built, counts, device, flops_per_step=flops_per_step, notes=all_notes)
    return Prepared(
        built=start.built,
        training=start.training,
        options=options,
        features=features,
        proof=start.proof,
        frozen=_frozen_identity(recipe, start),
        facts={**facts, "processes": processes.count, "plugins": plugin_facts(used_entries(recipe, registry))},
        data=data_reference(facts["data"]),
        team=team,
        tests=start.tests,
        schedule=chosen_schedule(recipe, registry, options),
        optimizer=chosen_optimizer(recipe, registry),
    )


def training_batches(
    recipe: Recipe, task: Task, whole: Split, transforms: Sequence[NamedTransform] = ()
) -> tuple[TrainingBatches, Split]:
    """The training batches of a run, and the fraction of the training split that they are cut from.

    Args:
        recipe: the recipe.
        task: its task.
        whole: the training split.
        transforms: change its examples, one after the other.

    Raises:
        FptkitError: the split is empty, or does not fit the recipe's ``train`` section.
    """
    train = recipe.train
    training = training_fraction(task, whole, train.data_fraction, train.seed_of("data"), recipe.task.options)
    training = transformed(training, transforms)
    batches = TrainingBatches(task, training, train.batch_size, train.seed_of("order"), batch_tokens=train.batch_tokens)
    return batches, training


def check_trained_same(built: Built, processes: Processes) -> None:
    """Raise if the processes do not hold the same trained tensors.

    Raises:
        UsageError: they do not.
    """
    processes.check_same({"trained part": _trained_digest(built, processes)})


@dataclass(frozen=True)
class _Start:
    """The parts of a run before the first pass.

    Args:
        built: the parts.
        proof: digest of their frozen tensors, taken before these are sharded.
        sharded: what was sharded, if anything.
        whole: training split.
        training: the fraction of it that is used.
        validation: validation split.
        tests: test splits by name, of which no example was looked at.
        batches: training batches.
        first: the first micro-batch, on the device.
        first_size: examples of the first batch.
    """

    built: Built
    proof: FreezeProof
    sharded: Sharded | None
    whole: Split
    training: Split
    validation: Split
    tests: Mapping[str, Split]
    batches: TrainingBatches
    first: Batch
    first_size: int


def _mesh(train: TrainOptions, device: torch.device, processes: Processes) -> DeviceMesh | None:
    """The device mesh for sharded weights, if the recipe shards them and there are several processes."""
    if processes.count == 1 or train.shard_frozen == "never":
        return None
    return meeting_place(device, processes)


def _build(
    recipe: Recipe,
    registry: Registry,
    device: torch.device,
    mesh: DeviceMesh | None,
    processes: Processes,
    task: Task | None,
    *,
    open_tests: bool,
) -> _Start:
    """Build the parts; a task or encoder that breaks its contract fails here, not after the first validation."""
    finished: list[tuple[FreezeProof, Sharded | None]] = []

    def finish(model: CrossModalModel) -> None:
        """Digest the frozen weights before they are sharded."""
        doing("computing the digest of the frozen weights")
        proof = FreezeProof(model)
        finished.append((proof, shard_frozen(model, recipe.backbone.name, mesh, processes) if mesh else None))

    train = recipe.train
    built = build(recipe, registry, device, task=task, finish=finish)
    doing("reading the first batches")
    [(proof, sharded)] = finished
    whole, validation = (open_split(built.task, name, train.seed_of("data")) for name in ("train", "validation"))
    batches, training = training_batches(recipe, built.task, whole, chosen_transforms(recipe, registry, built.task))
    batch = batches.batch(0)
    # As large as a micro-batch of training, and the same in all processes: that of rank 0.
    first = micro_batches(micro_batches(batch, processes.count)[0], train.accumulate)[0].to(device)
    next(evaluation_batches(built.task, "validation", validation, train, 0))
    tests = open_test_splits(built.task, train.seed_of("data")) if open_tests else {}
    check_encoder_width(built, first)
    with during(of=built.task, call="metrics"):
        check_metric(recipe, built.task)
        check_best_metric(built.task)
    return _Start(built, proof, sharded, whole, training, validation, tests, batches, first, len(batch))


def _count(start: _Start, backbone: str, processes: Processes) -> tuple[Team, Batch, ParameterCounts]:
    """Parameters and operations of one pass, with as many examples as fit in memory, the same in all processes."""
    doing("counting parameters and operations of a step")
    model, task = start.built.model, start.built.task
    count = partial(count_parameters, model, task)
    with checked_parts(model, backbone):
        if start.sharded is None:
            first, counts = smaller(start.first, count)
            return Team(processes), first, counts
        idle = IdlePass(model, task, start.first)
        check_blocks_run(model, backbone, start.sharded, idle)
        return Team(processes, Pieces(may_grow=False), idle), start.first, count(start.first)


def _check_same(recipe: Recipe, start: _Start, processes: Processes) -> None:
    """Raise if the processes would not train the same model on the same examples."""
    built = start.built
    processes.check_same(
        {
            "recipe": hashlib.sha256(recipe.model_dump_json(exclude={"plugins"}).encode()).hexdigest(),
            "task.source": built.task.source,
            "content of the data": "" if built.task.data is None else built.task.data.digest,
            "backbone.weights": built.model.backbone.weights,
            "precision": built.precision,
            "number of training examples": start.training.size,
            "frozen part": start.proof.digest,
            "trained part": _trained_digest(built, processes),
        }
    )


def _trained_digest(built: Built, processes: Processes) -> str:
    """Of the trained tensors; a single process has nothing to compare it with."""
    return digest_tensors(trained_tensors(built.model).items()) if processes.count > 1 else ""


def _frozen_identity(recipe: Recipe, start: _Start) -> dict[str, Any]:
    return {
        "backbone": recipe.backbone.name,
        "weights": start.built.model.backbone.weights,
        "seed": recipe.train.seed_of("init"),
        "digest": start.proof.digest,
    }


def _processes_notes(built: Built, processes: Processes) -> list[str]:
    """What the run header says if a multi-process run differs from a single-process run."""
    if processes.count == 1 or not batch_norms(built.model):
        return []
    return ["batch norms take mean and variance over each process's part of a batch, not over all of it"]


def _sharding_notes(train: TrainOptions, sharded: Sharded | None, processes: Processes) -> list[str]:
    """What the run header says about sharded weights."""
    if sharded is not None:
        return [
            f"frozen matrices are sharded: each of {processes.count} processes holds {sharded.held / 2**20:,.1f} of "
            f"{sharded.whole / 2**20:,.1f} MiB, and everything else in full"
        ]
    if train.shard_frozen == "always":
        return [
            "train.shard_frozen: always, but there is one process, so nothing is sharded; use torchrun to start more"
        ]
    return []
