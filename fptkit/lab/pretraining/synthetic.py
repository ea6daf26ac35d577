"""Pretraining on symbols from a random source: the control for the claim that language matters.

Model, schedule and loop are those of language pretraining, but the tokens are random: independent of each other, from a
Markov chain, or examples of a procedure (`procedures`). The best possible loss is known exactly.

Source: Wang et al. 2023, "Pre-training with Synthetic Data Helps Offline Reinforcement Learning" (arXiv 2310.00771).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.files import locked_folder
from fptkit.lab.pretraining.gpt2_forward import Gpt2Forward
from fptkit.lab.pretraining.loop import CHECKPOINT, Log, log_to_stderr
from fptkit.lab.pretraining.next_token import (
    WEIGHTS,
    NextTokenObjective,
    check_output,
    evaluate,
    measure_stored,
    read_model,
    resume_command,
    stored_recipe,
    train,
    write_card,
    write_config,
    write_weights,
)
from fptkit.lab.pretraining.options import SyntheticData, SyntheticRecipe
from fptkit.lab.pretraining.procedures import PROCEDURES, Procedure
from fptkit.lab.pretraining.synthetic_card import write_synthetic_card
from fptkit.seeds import derive_seed


class SymbolSource:
    """A stationary source of symbols 0 ... vocabulary - 1.

    Attributes:
        vocabulary: number of symbols.
        stationary: probability of each symbol at any position, (V,).
        transitions: probability of the next symbol given the previous one, rows sum to 1, (V, V); None if the symbols
            are independent.

    Args:
        data: kind and parameters of the source.
    """

    def __init__(self, data: SyntheticData) -> None:
        self.vocabulary = data.vocabulary
        if data.source == "iid":
            weights = np.arange(1, data.vocabulary + 1, dtype=np.float64) ** -data.zipf_exponent
            self.transitions: NDArray[np.float64] | None = None
            self.stationary: NDArray[np.float64] = weights / weights.sum()
            self._cumulative = self.stationary.cumsum()
            return
        chance = _chance(data.seed, "transitions")
        scores = chance.standard_normal((data.vocabulary, data.vocabulary)) / data.temperature
        rows = np.exp(scores - scores.max(1, keepdims=True))
        self.transitions = rows / rows.sum(1, keepdims=True)
        self.stationary = _stationary(self.transitions)
        self._cumulative = self.transitions.cumsum(1)

    @property
    def entropy_rate(self) -> float:
        """Lowest expected loss of any model that sees the previous symbols, in nats per symbol."""
        if self.transitions is None:
            return self.unigram_entropy
        nats = -np.where(self.transitions > 0, self.transitions * np.log(np.maximum(self.transitions, 1e-300)), 0.0)
        return float(self.stationary @ nats.sum(1))

    @property
    def unigram_entropy(self) -> float:
        """Expected loss of a model that knows only the frequencies of the symbols, in nats per symbol."""
        return float(-(self.stationary * np.log(np.maximum(self.stationary, 1e-300))).sum())

    def sample(self, rows: int, length: int, chance: np.random.Generator) -> NDArray[np.int64]:
        """Sample sequences, each starting from the stationary distribution. Shapes: -> (rows, length)."""
        uniform = chance.random((rows, length))
        if self.transitions is None:
            return self._pick(self._cumulative, uniform)
        symbols = np.empty((rows, length), np.int64)
        symbols[:, 0] = self._pick(self.stationary.cumsum(), uniform[:, 0])
        for place in range(1, length):
            before = self._cumulative[symbols[:, place - 1]]
            symbols[:, place] = np.minimum((before <= uniform[:, place, None]).sum(1), before.shape[1] - 1)
        return symbols

    def held_out(self, length: int, chance: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """One sequence, and `nats` of it. Shapes: -> (length,), (length - 1,)."""
        symbols = self.sample(1, length, chance)[0]
        return symbols, self.nats(symbols)

    def nats(self, symbols: NDArray[np.int64]) -> NDArray[np.float64]:
        """Loss of the source itself on each symbol except the first, in nats. Shapes: (N,) -> (N - 1,)."""
        if self.transitions is None:
            return -np.log(self.stationary[symbols[1:]])
        return -np.log(self.transitions[symbols[:-1], symbols[1:]])

    @staticmethod
    def _pick(cumulative: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        # The last cumulative sum may be below 1 by a rounding error, which must not give a symbol after the last one.
        return np.minimum(np.searchsorted(cumulative, uniform, side="right"), len(cumulative) - 1).astype(np.int64)


Source = SymbolSource | Procedure
"""Where the symbols of a pretraining come from."""


def _stationary(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stationary distribution of the chain, p P = p; unique, since every transition is possible."""
    equations = transitions.T - np.eye(len(transitions))
    equations[-1] = 1.0
    found = np.linalg.solve(equations, np.eye(len(transitions))[-1]).clip(min=0.0)
    return np.asarray(found / found.sum())


def _chance(seed: int, *words: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *words)))


class SyntheticObjective(NextTokenObjective):
    """Next-symbol prediction on a random source.

    Args:
        recipe: the recipe.
        resume_command: command line that resumes the training, shown when a signal stops it.
    """

    def __init__(self, recipe: SyntheticRecipe, resume_command: str) -> None:
        self.source = source = source_of(recipe.data)
        self.held_out, own = held_out, _ = draw_held_out(source, recipe)
        seed = recipe.train.seed

        def draw(rows: int, length: int, step: int) -> NDArray[np.int64]:
            return source.sample(rows, length + 1, _chance(seed, "symbols", step))

        def measure(forward: Gpt2Forward, tokens: int | None) -> dict[str, float]:
            part = held_out if tokens is None else held_out[: tokens + 1]
            return evaluate(forward, part, None, recipe.model.positions).as_metrics() | _against(own[: len(part) - 1])

        super().__init__(
            recipe.model,
            source.vocabulary,
            recipe.train,
            draw=draw,
            measure=measure,
            resume_command=resume_command,
        )


def source_of(data: SyntheticData) -> Source:
    """The source that the options name."""
    return PROCEDURES[data.source](data) if data.source in PROCEDURES else SymbolSource(data)


def draw_held_out(source: Source, recipe: SyntheticRecipe) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sample the held-out symbols: one sequence from a separate random stream, and the loss of the source on each.

    Shapes: -> (N,), (N - 1,).
    """
    return source.held_out(recipe.data.held_out_tokens, _chance(recipe.data.seed, "held out"))


def _against(nats: NDArray[np.float64]) -> dict[str, float]:
    """Loss of the source itself on the same symbols, which is that of a perfect model."""
    return {"validation_source_nats_per_token": round(float(nats.mean()), 6)}


def _levels(source: Source, symbols: NDArray[np.int64]) -> dict[str, float]:
    """Losses in nats per symbol that models can be compared with.

    For a stationary source they are expectations. Of a procedure, only frequencies on the held-out symbols are known.
    """
    uniform = {"uniform_nats_per_token": round(float(np.log(source.vocabulary)), 6)}
    if isinstance(source, SymbolSource):
        return {
            "entropy_rate_nats_per_token": round(source.entropy_rate, 6),
            "unigram_nats_per_token": round(source.unigram_entropy, 6),
            **uniform,
        }
    frequency = np.bincount(symbols, minlength=source.vocabulary) / len(symbols)
    seen = frequency[frequency > 0]
    return {"unigram_nats_per_token": round(float(-(seen * np.log(seen)).sum()), 6), **uniform}


@dataclass(frozen=True)
class SyntheticResult:
    """Result of a finished pretraining.

    Args:
        output: folder with model.safetensors, config.json and README.md.
        steps: training steps done.
        tokens: symbols seen.
        seconds: wall-clock seconds of training.
        validation_loss: mean over the held-out symbols, nats per symbol.
        source_loss: loss of the source itself on the same symbols; no model is expected to be better.
        entropy_rate: entropy rate of the source, nats per symbol; None for procedures.
    """

    output: Path
    steps: int
    tokens: int
    seconds: float
    validation_loss: float
    source_loss: float
    entropy_rate: float | None


def pretrain(
    recipe: SyntheticRecipe, output: Path, *, resume: bool = False, log: Log = log_to_stderr
) -> SyntheticResult:
    """Train a GPT-2 on symbols from a random source and write it in Hugging Face format.

    Output folder, resuming and stopping work as in `fptkit.lab.pretraining.language.pretrain`.

    Args:
        recipe: the recipe.
        output: folder for checkpoint, metrics and result; created if missing.
        resume: resume from the checkpoint in ``output``, or start a training if there is none.
        log: receives lines of progress.

    Raises:
        CheckpointError: the checkpoint to resume from is damaged or of another training.
        UsageError: ``output`` cannot be created or is in use by another process, it holds an earlier training and
            ``resume`` is false, or it holds a model without a checkpoint.
        TrainingError: the loss is not finite.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        KeyboardInterrupt: a second Ctrl-C before the state was saved.
    """
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    identity = {
        "kind": recipe.kind,
        "data": recipe.data.identity(),
        "model": recipe.model.model_dump(),
        "seed": recipe.train.seed,
        "optimizer": recipe.train.optimizer,
    }
    with locked_folder(output, "pretraining"):
        check_output(output, identity, resume=resume)
        objective = SyntheticObjective(recipe, resume_command(output))
        log(f"source: {recipe.data.source} of {objective.source.vocabulary} symbols{_floor(objective.source)}")
        progress = train(objective, recipe, output, identity=identity, resume=resume, log=log)
        measured = export(output, output, log=log)
    return SyntheticResult(
        output,
        progress.step,
        progress.tokens,
        progress.seconds,
        measured["validation_loss_nats_per_token"],
        measured["validation_source_nats_per_token"],
        measured.get("entropy_rate_nats_per_token"),
    )


def _floor(source: Source) -> str:
    return f", entropy rate {source.entropy_rate:.4f} nats per symbol" if isinstance(source, SymbolSource) else ""


def export(output: Path, destination: Path, *, title: str | None = None, log: Log = log_to_stderr) -> dict[str, Any]:
    """Write the latest checkpoint's weights in Hugging Face format, and evaluate them as stored on held-out symbols.

    Args:
        output: folder of the training.
        destination: folder for model.safetensors, config.json, README.md and measurement.json.
        title: heading of the model card; by default the name of ``destination``.
        log: receives lines of progress.

    Returns:
        The content of measurement.json.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        DataError: the recipe of the training is missing.
    """
    recipe = stored_recipe(output, SyntheticRecipe)
    weights, progress = read_model(output / CHECKPOINT, recipe.save_dtype)
    source = source_of(recipe.data)
    held_out, own = draw_held_out(source, recipe)
    log(f"export of step {progress['step']}: measuring on {len(held_out):,} held-out symbols")
    measured = {
        **progress,
        **measure_stored(recipe, source.vocabulary, weights, held_out, None),
        **_against(own),
        **_levels(source, held_out),
    }
    write_weights(weights, destination / WEIGHTS)
    write_config(recipe.model, source.vocabulary, recipe.save_dtype, destination)
    card = write_synthetic_card(
        recipe,
        measured,
        vocabulary=source.vocabulary,
        title=title or destination.resolve().name,
        parameters=sum(tensor.numel() for tensor in weights.values()),
    )
    write_card(card, measured, destination)
    log(
        f"exported to {destination}: {measured['validation_loss_nats_per_token']:.4f} nats per symbol, the source "
        f"itself {measured['validation_source_nats_per_token']:.4f}"
    )
    return measured
