"""Facts about a run other than its metrics: parts, sources, counts, machine, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch

from fptkit import __version__
from fptkit.engine.build import Built
from fptkit.engine.code_version import code_version
from fptkit.freezing import ParameterCounts
from fptkit.freezing.counts import count_parts
from fptkit.interfaces import Metric, Metrics, Task
from fptkit.numerics import kernels
from fptkit.numerics.precision import why_not_int8
from fptkit.recipe.dump import component_mapping
from fptkit.recipe.models import Recipe, SeedName
from fptkit.registry import Registry
from fptkit.sources.weights import pretrained_on

_VERSIONED = ("torch", "transformers", "numpy", "pydantic", "pluggy", "safetensors")
_VERSIONED_IF_USED = ("torchmetrics",)


def run_facts(
    recipe: Recipe,
    built: Built,
    counts: ParameterCounts,
    device: torch.device,
    *,
    flops_per_step: int,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Facts that are known before training, as in ``summary.json``.

    Args:
        recipe: the recipe.
        built: the parts built from it.
        counts: its numbers of parameters.
        device: the device it trains on.
        flops_per_step: floating-point operations of a training step.
        notes: lines in addition to those of backbone and task.
    """
    task, backbone = built.task, built.model.backbone
    metric, higher_is_better = task.selection()
    metrics = Metrics.of(task)
    return {
        "task": {
            "name": recipe.task.name,
            "protocol": task.protocol,
            "source": task.source,
            "stand_in": task.stand_in,
            "options": recipe.task.options.model_dump(mode="json"),
        },
        "data": task.data.facts() if task.data is not None else None,
        "selection": {"metric": metric, "higher_is_better": higher_is_better},
        "fractions": list(filter(metrics.is_fraction, metrics.names)),
        "accuracies": list(filter(metrics.is_accuracy, metrics.names)),
        "backbone": {
            "name": recipe.backbone.name,
            # Zero is the default of the class: the number is not known.
            "blocks": backbone.blocks if backbone.blocks or "blocks" in vars(backbone) else None,
            "width": getattr(backbone, "width", None),
            "weights": backbone.weights,
            "init": _init(recipe, built),
            "stand_in": backbone.stand_in,
            "pretrained_on": pretrained_on(backbone.weights),
            "options": recipe.backbone.options.model_dump(mode="json"),
        },
        "encoder": built.encoder_name,
        "readout": built.readout,
        "head_options": recipe.head.model_dump(mode="json", exclude_defaults=True),
        "shuffle_tokens": recipe.shuffle_tokens,
        "freezing": recipe.freezing.name,
        "freezing_options": recipe.freezing.options.model_dump(mode="json", exclude_defaults=True),
        "parameters": {"total": counts.total, "trained": counts.trained, "reached": counts.reached},
        "parameter_parts": list(map(asdict, count_parts(built.model))),
        "flops_per_step": flops_per_step,
        "max_steps": recipe.train.max_steps,
        "max_seconds": recipe.train.max_seconds,
        "max_flops": recipe.train.max_flops,
        "data_fraction": recipe.train.data_fraction,
        "patience": recipe.train.patience,
        "batch_size": recipe.train.batch_size,
        "learning_rate": recipe.train.learning_rate,
        "schedule": recipe.schedule.name if recipe.schedule else recipe.train.schedule.name,
        **_training_parts(recipe, task),
        "accumulate": recipe.train.accumulate,
        "batch_tokens": recipe.train.batch_tokens,
        "activation_checkpointing": recipe.train.activation_checkpointing,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": built.precision,
        "seed": recipe.train.seed,
        "seeds": {name: recipe.train.seed_of(name) for name in get_args(SeedName)},
        "majority_accuracy": dict(task.majority_accuracy),
        "chance_accuracy": task.chance(),
        "notes": [
            *backbone.notes,
            *_init_note(recipe, built),
            *_shuffle_note(recipe),
            *_precision_note(recipe, built),
            *task.notes,
            *notes,
            *_kernels_note(),
        ],
        "warnings": list(task.warnings),
    }


def _training_parts(recipe: Recipe, task: Task) -> dict[str, Any]:
    """The parts of a training that the recipe names; nothing for a recipe that names none."""
    single = {"head": recipe.readout, "loss": recipe.loss, "optimizer": recipe.optimizer, "schedule": recipe.schedule}
    parts: dict[str, Any] = {key: component_mapping(one) for key, one in single.items() if one is not None}
    if recipe.metrics:
        made = {name: make() for name, make in task.added_metrics.items()}
        parts["metrics"] = [{**component_mapping(one), **_of_metric(made[one.name])} for one in recipe.metrics]
    if recipe.transforms:
        parts["transforms"] = list(map(component_mapping, recipe.transforms))
    return {"training_parts": parts} if parts else {}


def _of_metric(metric: Metric) -> dict[str, Any]:
    return {"higher_is_better": metric.higher_is_better, "chance": getattr(metric, "chance", None)}


def _init(recipe: Recipe, built: Built) -> str:
    """Initialisation of the weights: as loaded, or random."""
    if built.model.backbone.weights == "random":
        return "random"
    return getattr(recipe.backbone.options, "init", "pretrained")


def _init_note(recipe: Recipe, built: Built) -> list[str]:
    init, weights = _init(recipe, built), built.model.backbone.weights
    if weights == "random" or init == "pretrained":
        return []
    return [f"control: only the sizes of {weights} are used, its values are re-initialised (init {init})"]


def _shuffle_note(recipe: Recipe) -> list[str]:
    if not recipe.shuffle_tokens:
        return []
    return ["control: tokens shuffled; the backbone gets the tokens of each example in random order"]


def _precision_note(recipe: Recipe, built: Built) -> list[str]:
    if recipe.precision != "int8" or built.precision == "int8":
        return []
    why = why_not_int8(next(built.model.parameters()).device)
    return [f"precision: {built.precision} is used instead of int8: {why or 'an earlier run of this recipe used it'}"]


def _kernels_note() -> list[str]:
    why = kernels.missed()
    return [] if why is None else [f"CPU kernels are not used, so steps are slower: {why} (docs/speed.md)"]


def versions() -> dict[str, str]:
    """Versions of fptkit, Python and the libraries that decide results."""
    used = filter(sys.modules.get, _VERSIONED_IF_USED)
    return {
        "fptkit": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in (*_VERSIONED, *used)},
    }


def environment(registry: Registry, *, earlier_code: Sequence[str] = ()) -> dict[str, Any]:
    """The environment of a run: versions, machine, command, plugins.

    Args:
        registry: its plugins.
        earlier_code: versions of the code that made earlier parts of the run.
    """
    return {
        "versions": versions(),
        "code": list(dict.fromkeys([*earlier_code, code_version()])),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "processor_model": processor_model(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "command": sys.argv,
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "status": plugin.status,
            }
            for plugin in registry.plugins
        ],
    }


def processor_model() -> str:
    """Name of the CPU; empty if the system does not say. Other CPUs may round differently."""
    facts = Path("/proc/cpuinfo")
    text = facts.read_text(encoding="utf-8", errors="replace") if facts.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor()


def peak_memory_mib() -> float:
    """Peak memory so far, in MiB: of the GPU if one was used, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    # On Linux, getrusage also counts the memory of the program that started this process.
    status = Path("/proc/self/status")
    if status.is_file():
        highest = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE)
        if highest:
            return round(int(highest[1]) / 2**10, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
