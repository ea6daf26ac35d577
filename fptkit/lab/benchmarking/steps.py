"""Measures the training steps of a recipe: speed, distance from the machine's limit, and time by stage."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from fptkit.engine.facts import peak_memory_mib
from fptkit.freezing.counts import gradient_pass
from fptkit.interfaces import Batch
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of, rate_of, rates_for, wait_for
from fptkit.recipe.load import LoadedRecipe

STAGES = ("batch", "forward", "backward", "optimiser")
"""Stages of a step. batch: make it and move it to the device; forward: includes the loss; optimiser: includes gradient
clipping and clearing the gradients."""


@dataclass(frozen=True)
class StepFigures:
    """Time, memory and throughput of a recipe's training steps on this machine.

    Args:
        recipe: its name.
        task: name of the task.
        backbone: name of the backbone.
        weights: source of the weights.
        device: name of the device.
        threads: CPU threads.
        precision: of the frozen weights.
        steps: steps in each repeat; always the same steps.
        repeats: number of measurements.
        examples: mean number of examples per step.
        tokens: mean number of tokens per step, as the backbone sees them, padding included.
        padding: fraction of the tokens that is padding.
        step_ms: mean time of a repeat's steps, median over the repeats.
        fastest_ms: the same, of the fastest repeat.
        slowest_ms: the same, of the slowest repeat.
        flops_per_step: mean over the steps, see `fptkit.freezing.counts.GradientPass`.
        matrix_rates: floating-point operations per second of the step's matrix products alone, by dtype.
        peak_memory_mib: peak memory of this process while building and warming up; on a GPU, of the GPU.
        stages_ms: median time of each stage, see `STAGES`; measured separately, since this slows the steps down.
    """

    recipe: str
    task: str
    backbone: str
    weights: str
    device: str
    threads: int
    precision: str
    steps: int
    repeats: int
    examples: float
    tokens: float
    padding: float
    step_ms: float
    fastest_ms: float
    slowest_ms: float
    flops_per_step: float
    matrix_rates: dict[str, float]
    peak_memory_mib: float
    stages_ms: dict[str, float]

    @property
    def examples_per_second(self) -> float:
        """Throughput in training examples."""
        return self.examples / self.step_ms * 1e3

    @property
    def tokens_per_second(self) -> float:
        """Throughput in tokens of the backbone, padding included."""
        return self.tokens / self.step_ms * 1e3

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations of a step divided by its time."""
        return self.flops_per_step / self.step_ms * 1e3

    @property
    def share_of_matrix_rate(self) -> float:
        """The step's FLOP rate as a fraction of that of its matrix products alone, in the same precision."""
        return self.flops_per_second / self.matrix_rates[rate_of(self.precision)]


def measure_steps(loaded: LoadedRecipe, *, steps: int = 5, repeats: int = 5) -> StepFigures:
    """Build a recipe as a run does, then measure ``steps`` training steps ``repeats`` times.

    Each repeat does the same steps, so that batches of different sizes do not count as noise; as many steps warm up.
    The matrix products alone are timed between repeats, so that other load on the machine affects both.

    Args:
        loaded: the recipe.
        steps: steps in each repeat, at least 1.
        repeats: number of measurements, at least 1.

    Raises:
        TrainingError: out of memory.
        FptkitError: building failed.
    """
    prepared = prepare(loaded)
    tokens, padding = _tokens(prepared, steps)
    peak = peak_memory_mib()
    with prepared.trainer.training_step.graphs.paused():
        products = largest(products_of(lambda: prepared.step(0)))
    alone = {
        name: ProductsAlone(products, dtype, prepared.device)
        for name, dtype in rates_for(prepared.built.precision).items()
    }
    means, measured = [], []
    for _ in range(repeats):
        means.append(_timed(prepared, steps))
        measured.append({name: product.rate() for name, product in alone.items()})
    means.sort()
    rates = {name: statistics.median(rates[name] for rates in measured) for name in alone}
    stages = _stages(prepared, max(steps, repeats))
    batches = [prepared.batches.batch(step) for step in range(steps)]
    device = prepared.device
    return StepFigures(
        recipe=loaded.name,
        task=loaded.recipe.task.name,
        backbone=loaded.recipe.backbone.name,
        weights=prepared.built.model.backbone.weights,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        precision=prepared.built.precision,
        steps=steps,
        repeats=repeats,
        examples=sum(map(len, batches)) / steps,
        tokens=tokens,
        padding=padding,
        step_ms=statistics.median(means) * 1e3,
        fastest_ms=means[0] * 1e3,
        slowest_ms=means[-1] * 1e3,
        flops_per_step=sum(_flops(prepared, batch) for batch in batches) / steps,
        matrix_rates=rates,
        peak_memory_mib=peak,
        stages_ms={name: seconds * 1e3 for name, seconds in stages.items()},
    )


def _timed(prepared: Prepared, steps: int) -> float:
    """Mean seconds of the first ``steps`` steps."""
    wait_for(prepared.device)
    started = time.perf_counter()
    for step in range(steps):
        prepared.step(step)
    wait_for(prepared.device)
    return (time.perf_counter() - started) / steps


def _tokens(prepared: Prepared, steps: int) -> tuple[float, float]:
    """Mean number of tokens per step in the backbone, and the fraction that is padding. Also warms up."""
    given = real = 0

    def note(module: Any, arguments: tuple[Any, ...]) -> None:
        nonlocal given, real
        tokens, lengths = arguments[0], arguments[1] if len(arguments) > 1 else None
        given += tokens.shape[0] * tokens.shape[1]
        real += tokens.shape[0] * tokens.shape[1] if lengths is None else int(lengths.sum())

    hook = prepared.built.model.backbone.register_forward_pre_hook(note)
    try:
        for step in range(steps):
            prepared.step(step)
    finally:
        hook.remove()
    return given / steps, 1 - real / given


def _flops(prepared: Prepared, batch: Batch) -> int:
    """Operations of one step, by micro-batches like the step itself, so that it needs no more memory."""
    model, task = prepared.built.model, prepared.built.task
    return sum(gradient_pass(model, task, part).flops for part in prepared.parts(batch))


def _stages(prepared: Prepared, steps: int) -> dict[str, float]:
    """Median seconds of each stage of a step."""
    watch = _Watch(prepared.device)
    seconds: dict[str, list[float]] = {name: [] for name in STAGES}
    with _watched(prepared, watch):
        for step in range(steps):
            watch.begin()
            prepared.step(step)
            for name, taken in watch.end().items():
                seconds[name].append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


class _Watch:
    """A stopwatch for the stages of a step.

    Args:
        device: synchronised whenever a stage ends.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stage, self._since = STAGES[0], 0.0
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def begin(self) -> None:
        """Start a step with its first stage, the batch."""
        wait_for(self._device)
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._stage, self._since = STAGES[0], time.perf_counter()

    def enter(self, stage: str) -> None:
        """Start another stage."""
        wait_for(self._device)
        now = time.perf_counter()
        self._seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def end(self) -> dict[str, float]:
        """End the step and return the seconds of each stage."""
        self.enter(STAGES[0])
        return self._seconds


@contextlib.contextmanager
def _watched(prepared: Prepared, watch: _Watch) -> Iterator[None]:
    """Report the start of each stage to the watch, by hooks around the engine's unchanged step."""
    step = prepared.trainer.training_step
    plain_backward = step.backward

    def backward(loss: torch.Tensor) -> None:
        watch.enter("backward")
        plain_backward(loss)
        watch.enter("optimiser")

    hook = prepared.trainer.model.register_forward_pre_hook(lambda module, given: watch.enter("forward"))
    step.backward = backward  # type: ignore[method-assign]
    try:
        with step.graphs.paused():  # a recorded step calls no hooks
            yield
    finally:
        del step.backward  # uncovers the method of its class
        hook.remove()
