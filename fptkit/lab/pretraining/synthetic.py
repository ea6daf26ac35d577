"""Pretraining on symbols from a random source: the control for "language matters".

Everything is as for language (model, schedule, loop), but the tokens are drawn, not read: independently of each other,
or from a Markov chain. What such a source can teach is known exactly: no model predicts it better than its entropy
rate.

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
from fptkit.lab.pretraining.synthetic_card import write_synthetic_card
from fptkit.seeds import derive_seed


class SymbolSource:
    """A stationary source of symbols 0 ... vocabulary - 1.

    Attributes:
        stationary: probability of each symbol at any place, (V,).
        transitions: probability of the next symbol given the one before, rows sum to 1, (V, V); None where symbols are
            independent.
    """

    def __init__(self, data: SyntheticData) -> None:
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
        """Nats per symbol that no model can do without, once it has seen the symbol before."""
        if self.transitions is None:
            return self.unigram_entropy
        nats = -np.where(self.transitions > 0, self.transitions * np.log(np.maximum(self.transitions, 1e-300)), 0.0)
        return float(self.stationary @ nats.sum(1))

    @property
    def unigram_entropy(self) -> float:
        """Nats per symbol for a model that knows the symbols' frequencies and looks at none before."""
        return float(-(self.stationary * np.log(np.maximum(self.stationary, 1e-300))).sum())

    def sample(self, rows: int, length: int, chance: np.random.Generator) -> NDArray[np.int64]:
        """Draw sequences, each starting from the stationary distribution. Shapes: -> (rows, length)."""
        uniform = chance.random((rows, length))
        if self.transitions is None:
            return self._pick(self._cumulative, uniform)
        symbols = np.empty((rows, length), np.int64)
        symbols[:, 0] = self._pick(self.stationary.cumsum(), uniform[:, 0])
        for place in range(1, length):
            before = self._cumulative[symbols[:, place - 1]]
            symbols[:, place] = np.minimum((before <= uniform[:, place, None]).sum(1), before.shape[1] - 1)
        return symbols

    def nats(self, symbols: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the source itself gives each symbol but the first, given the one before. Shapes: (N,) -> (N - 1,)."""
        if self.transitions is None:
            return -np.log(self.stationary[symbols[1:]])
        return -np.log(self.transitions[symbols[:-1], symbols[1:]])

    @staticmethod
    def _pick(cumulative: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        # The last sum may fall short of 1 by a rounding error, which must not make a symbol beyond the last.
        return np.minimum(np.searchsorted(cumulative, uniform, side="right"), len(cumulative) - 1).astype(np.int64)


def _stationary(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution that the chain keeps: p P = p, with sum 1. It is unique, since every transition is possible."""
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
        resume_command: shown when a signal stops the training.
    """

    def __init__(self, recipe: SyntheticRecipe, resume_command: str) -> None:
        self.source = source = SymbolSource(recipe.data)
        self.held_out = held_out = draw_held_out(source, recipe)
        seed = recipe.train.seed

        def draw(rows: int, length: int, step: int) -> NDArray[np.int64]:
            return source.sample(rows, length + 1, _chance(seed, "symbols", step))

        def measure(forward: Gpt2Forward, tokens: int | None) -> dict[str, float]:
            part = held_out if tokens is None else held_out[: tokens + 1]
            return evaluate(forward, part, None, recipe.model.positions).as_metrics() | _against(source, part)

        super().__init__(
            recipe.model,
            recipe.data.vocabulary,
            recipe.train,
            draw=draw,
            measure=measure,
            resume_command=resume_command,
        )


def draw_held_out(source: SymbolSource, recipe: SyntheticRecipe) -> NDArray[np.int64]:
    """The symbols that validate: one sequence of a stream of its own. Shapes: -> (N,)."""
    return source.sample(1, recipe.data.held_out_tokens, _chance(recipe.data.seed, "held out"))[0]


def _against(source: SymbolSource, tokens: NDArray[np.int64]) -> dict[str, float]:
    """What the source itself has on the same symbols: the loss of a perfect model."""
    return {"validation_source_nats_per_token": round(float(source.nats(tokens).mean()), 6)}


@dataclass(frozen=True)
class SyntheticResult:
    """What a finished pretraining gives.

    Args:
        output: folder with model.safetensors, config.json and README.md.
        steps: training steps done.
        tokens: symbols seen.
        seconds: wall-clock seconds of training.
        validation_loss: mean over the held-out symbols, nats per symbol.
        source_loss: the source's own on the same symbols; no model can be expected to be better.
        entropy_rate: of the source, nats per symbol.
    """

    output: Path
    steps: int
    tokens: int
    seconds: float
    validation_loss: float
    source_loss: float
    entropy_rate: float


def pretrain(
    recipe: SyntheticRecipe, output: Path, *, resume: bool = False, log: Log = log_to_stderr
) -> SyntheticResult:
    """Train a GPT-2 on symbols from a random source and write it in Hugging Face form.

    Folder, resuming and stopping are those of `fptkit.lab.pretraining.language.pretrain`.

    Args:
        recipe: the recipe.
        output: folder for checkpoint, metrics and result; made when missing.
        resume: go on from the checkpoint in ``output``; start there if it holds none.
        log: receives lines of progress.

    Raises:
        CheckpointError: the checkpoint to go on from is damaged or of another training.
        UsageError: ``output`` cannot be made, another process trains there, it holds an earlier training and ``resume``
            is false, or it holds a model without a checkpoint.
        TrainingError: the loss is not finite.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        KeyboardInterrupt: a second Ctrl-C came before that was done.
    """
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    identity = {
        "kind": recipe.kind,
        "data": recipe.data.model_dump(),
        "model": recipe.model.model_dump(),
        "seed": recipe.train.seed,
        "optimizer": recipe.train.optimizer,
    }
    with locked_folder(output, "pretraining"):
        check_output(output, identity, resume=resume)
        objective = SyntheticObjective(recipe, resume_command(output))
        log(
            f"source: {recipe.data.source} of {recipe.data.vocabulary} symbols, entropy rate "
            f"{objective.source.entropy_rate:.4f} nats per symbol"
        )
        progress = train(objective, recipe, output, identity=identity, resume=resume, log=log)
        measured = export(output, output, log=log)
    return SyntheticResult(
        output,
        progress.step,
        progress.tokens,
        progress.seconds,
        measured["validation_loss_nats_per_token"],
        measured["validation_source_nats_per_token"],
        measured["entropy_rate_nats_per_token"],
    )


def export(output: Path, destination: Path, *, title: str | None = None, log: Log = log_to_stderr) -> dict[str, Any]:
    """Write the latest checkpoint's weights in Hugging Face form, measured as they are stored on the held-out symbols.

    Args:
        output: folder of the training.
        destination: folder for model.safetensors, config.json, README.md and measurement.json.
        title: heading of the model card; none takes the name of ``destination``.
        log: receives lines of progress.

    Returns:
        What measurement.json holds.

    Raises:
        CheckpointError: there is no usable checkpoint.
        DataError: the recipe of the training is gone.
    """
    recipe = stored_recipe(output, SyntheticRecipe)
    weights, progress = read_model(output / CHECKPOINT, recipe.save_dtype)
    source = SymbolSource(recipe.data)
    held_out = draw_held_out(source, recipe)
    log(f"export of step {progress['step']}: measuring on {len(held_out):,} held-out symbols")
    measured = {
        **progress,
        **measure_stored(recipe, recipe.data.vocabulary, weights, held_out, None),
        **_against(source, held_out),
        "entropy_rate_nats_per_token": round(source.entropy_rate, 6),
        "unigram_nats_per_token": round(source.unigram_entropy, 6),
        "uniform_nats_per_token": round(float(np.log(recipe.data.vocabulary)), 6),
    }
    write_weights(weights, destination / WEIGHTS)
    write_config(recipe.model, recipe.data.vocabulary, recipe.save_dtype, destination)
    card = write_synthetic_card(
        recipe,
        measured,
        title=title or destination.resolve().name,
        parameters=sum(tensor.numel() for tensor in weights.values()),
    )
    write_card(card, measured, destination)
    log(
        f"exported to {destination}: {measured['validation_loss_nats_per_token']:.4f} nats per symbol, the source "
        f"itself {measured['validation_source_nats_per_token']:.4f}"
    )
    return measured
