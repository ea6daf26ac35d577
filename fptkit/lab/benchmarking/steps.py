"""Measuring the training steps of a recipe: how fast, how near the machine's limit, and where the time goes."""

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
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of, wait_for
from fptkit.recipe.load import LoadedRecipe

STAGES = ("batch", "forward", "backward", "optimiser")
"""Where the time of a step goes. batch: making it and bringing it to the device; forward: with the loss; optimiser:
with clipping, and with clearing the gradients."""


@dataclass(frozen=True)
class StepFigures:
    """What the training steps of a recipe cost on this machine.

    Args:
        recipe: its name.
        task: name of the task.
        backbone: name of the backbone.
        weights: the weights taken.
        device: where it was measured.
        threads: processor threads.
        precision: of the frozen weights.
        steps: steps of each repeat; the same ones in each.
        repeats: how often they were measured.
        examples: of a step, on average.
        tokens: of a step as the backbone sees them, padding counted, on average.
        padding: share of the tokens that is padding.
        step_ms: median over the repeats, of the mean of a repeat's steps.
        fastest_ms: of the repeats.
        slowest_ms: of the repeats.
        flops_per_step: see `fptkit.freezing.counts.GradientPass`, on average.
        matrix_rates: floating-point operations a second of the step's products alone, by number format.
        peak_memory_mib: of this process up to the last measured step, building included; on a GPU its memory.
        stages_ms: see `STAGES`; medians over the repeats' steps, measured apart because watching takes time.
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
        """Examples trained on."""
        return self.examples / self.step_ms * 1e3

    @property
    def tokens_per_second(self) -> float:
        """Tokens through the backbone, padding counted."""
        return self.tokens / self.step_ms * 1e3

    @property
    def flops_per_second(self) -> float:
        """Operations of the whole step by its time."""
        return self.flops_per_step / self.step_ms * 1e3

    @property
    def share_of_matrix_rate(self) -> float:
        """The step's rate by that of its products alone, in the precision frozen weights are multiplied in."""
        return self.flops_per_second / self.matrix_rates["float32" if self.precision == "float32" else "bfloat16"]


def measure_steps(loaded: LoadedRecipe, *, steps: int = 5, repeats: int = 5) -> StepFigures:
    """Build a recipe as a run does, train ``repeats`` times ``steps`` steps and measure them.

    The same steps are taken each time, after as many that warm up, so that batches of different sizes do not count as
    noise. Their products alone are timed in between, so that a machine which others use slows both.

    Args:
        loaded: the recipe.
        steps: of a repeat.
        repeats: how often they are measured.

    Raises:
        FptkitError: building failed.
    """
    prepared = prepare(loaded)
    tokens, padding = _tokens(prepared, steps)
    peak = peak_memory_mib()
    products = largest(products_of(lambda: prepared.step(0)))
    alone = {
        name: ProductsAlone(products, dtype, prepared.device)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
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
    """Mean seconds of the steps 0 to ``steps``."""
    wait_for(prepared.device)
    started = time.perf_counter()
    for step in range(steps):
        prepared.step(step)
    wait_for(prepared.device)
    return (time.perf_counter() - started) / steps


def _tokens(prepared: Prepared, steps: int) -> tuple[float, float]:
    """Tokens that the backbone is given in a step, on average, and the share of padding among them. Warms up."""
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
    """Operations of one step. In parts, as the step is, so that no more memory is taken."""
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
    """A stopwatch with one hand for each stage.

    Args:
        device: is waited for at each border between stages.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stage, self._since = STAGES[0], 0.0
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def begin(self) -> None:
        """A step begins, with its batch."""
        wait_for(self._device)
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._stage, self._since = STAGES[0], time.perf_counter()

    def enter(self, stage: str) -> None:
        """Another stage begins."""
        wait_for(self._device)
        now = time.perf_counter()
        self._seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def end(self) -> dict[str, float]:
        """The step has ended; the seconds of each stage."""
        self.enter(STAGES[0])
        return self._seconds


@contextlib.contextmanager
def _watched(prepared: Prepared, watch: _Watch) -> Iterator[None]:
    """Tell the watch of the borders between stages: the engine's step itself is not changed."""
    step = prepared.trainer.training_step
    plain_backward = step.backward

    def backward(loss: torch.Tensor) -> None:
        watch.enter("backward")
        plain_backward(loss)
        watch.enter("optimiser")

    hook = prepared.trainer.model.register_forward_pre_hook(lambda module, given: watch.enter("forward"))
    step.backward = backward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del step.backward  # its class's is found again
        hook.remove()
