"""Language pretraining: a GPT-2 on text, from corpus to a folder in Hugging Face form."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from fptkit.errors import DataError
from fptkit.pretraining.corpus import Corpus, batch, prepare_corpus
from fptkit.pretraining.gpt2_forward import Gpt2Forward
from fptkit.pretraining.loop import (
    CHECKPOINT,
    Log,
    Progress,
    TrainingLoop,
    log_to_stderr,
    read_checkpoint,
)
from fptkit.pretraining.muon import Muon
from fptkit.pretraining.options import LanguageModelOptions, LengthMix, PretrainRecipe, PretrainTrain

RECIPE = "recipe.json"
_CORPUS = "corpus"
_EVALUATION_ROWS = 8


@dataclass(frozen=True)
class PretrainResult:
    """What a finished pretraining gives.

    Args:
        output: folder with model.safetensors, config.json, tokenizer.json and README.md.
        steps: training steps done.
        tokens: training tokens seen, repeats counted.
        seconds: wall-clock seconds of training.
        validation_loss: mean over all held-out text, nats per token.
        validation_bits_per_byte: the same in bits per byte of text.
    """

    output: Path
    steps: int
    tokens: int
    seconds: float
    validation_loss: float
    validation_bits_per_byte: float


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 matrix products."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def make_config(options: LanguageModelOptions, vocabulary: int) -> GPT2Config:
    """The Hugging Face configuration of the model; token 0 is the separator."""
    return GPT2Config(
        vocab_size=vocabulary,
        n_positions=options.positions,
        n_embd=options.width,
        n_layer=options.blocks,
        n_head=options.heads,
        resid_pdrop=options.dropout,
        embd_pdrop=options.dropout,
        attn_pdrop=options.dropout,
        bos_token_id=0,
        eos_token_id=0,
    )


def make_model(config: GPT2Config, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 with initial weights that depend on ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def make_optimizers(model: GPT2LMHeadModel, train: PretrainTrain) -> dict[str, torch.optim.Optimizer]:
    """Optimisers by name. The blocks' matrices go to Muon or AdamW and decay; embeddings, norms and biases never decay."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and ".h." in name else others).append(parameter)
    # Source of the betas: GPT-2 style training in modded-nanogpt (Jordan et al. 2024); small batches like a short memory.
    adamw = {"lr": train.adamw_learning_rate, "betas": (0.9, 0.95), "fused": True}
    optimizers: dict[str, torch.optim.Optimizer] = {"adamw": torch.optim.AdamW(others, weight_decay=0.0, **adamw)}
    if train.optimizer == "muon":
        optimizers["muon"] = Muon(matrices, train.muon_learning_rate, weight_decay=train.weight_decay)
    else:
        optimizers["matrices"] = torch.optim.AdamW(matrices, weight_decay=train.weight_decay, **adamw)
    return optimizers


def evaluate(forward: Gpt2Forward, tokens: Any, bytes_per_token: Any, length: int) -> dict[str, float]:
    """Loss on consecutive windows; each token but the first is predicted once, from what precedes it in its window.

    Bits per byte is the whole loss, separators included, divided by ln 2 and by the bytes of text predicted; a separator
    counts no byte.

    Shapes: tokens (N,), bytes_per_token (vocabulary,).

    Args:
        forward: computes the loss.
        tokens: token numbers, N at least 2.
        bytes_per_token: bytes of text of each token number.
        length: window in tokens.

    Raises:
        DataError: fewer than 2 tokens.
    """
    if len(tokens) < 2:
        raise DataError(f"the held-out text has {len(tokens)} tokens; 2 is the least that can be measured.")
    array = np.asarray(tokens, np.int64)
    whole = (len(array) - 1) // length * length
    windows = [(array[:whole].reshape(-1, length), array[1 : whole + 1].reshape(-1, length))] if whole else []
    if whole < len(array) - 1:
        windows.append((array[None, whole:-1], array[None, whole + 1 :]))
    nats = 0.0
    for inputs, targets in windows:
        for row in range(0, len(inputs), _EVALUATION_ROWS):
            part = slice(row, row + _EVALUATION_ROWS)
            nats += float(forward.nats(torch.from_numpy(inputs[part]), torch.from_numpy(targets[part])).double().sum())
    size = int(np.asarray(bytes_per_token)[array[1:]].sum())
    return {
        "validation_loss_nats_per_token": nats / (len(array) - 1),
        "validation_bits_per_byte": nats / math.log(2) / max(size, 1),
    }


class LanguageObjective:
    """Next-token prediction with a GPT-2.

    Args:
        recipe: the recipe.
        corpus: the tokens.
        resume_command: shown when a signal stops the training.
    """

    def __init__(self, recipe: PretrainRecipe, corpus: Corpus, resume_command: str) -> None:
        train = recipe.train
        longest = max(*train.sequence_lengths.tokens, *train.cooldown_sequence_lengths.tokens)
        if len(corpus.train) <= longest:
            raise DataError(
                f"the corpus has {len(corpus.train)} training tokens, not more than the longest sequence of {longest}. "
                "Use more text, or shorter train.sequence_lengths and train.cooldown_sequence_lengths."
            )
        self.model = make_model(make_config(recipe.model, recipe.tokenizer.vocabulary), train.seed)
        self.optimizers = make_optimizers(self.model, train)
        self.resume_command = resume_command
        half = train.precision == "bfloat16" or (train.precision == "auto" and multiplies_bfloat16())
        self.dtype = torch.bfloat16 if half else torch.float32
        self.forward = Gpt2Forward(self.model, self.dtype, dropout=recipe.model.dropout, compiled=train.compile)
        self._recipe, self._corpus = recipe, corpus

    def batch(self, step: int, *, cooling: bool) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step: a pure function of seed, step and ``cooling``. Shapes: (B, T) each."""
        train = self._recipe.train
        mix: LengthMix = train.cooldown_sequence_lengths if cooling else train.sequence_lengths
        generator = np.random.default_rng([train.seed, step, 1])
        shares = np.asarray(mix.weights) / sum(mix.weights)
        length = int(generator.choice(mix.tokens, p=shares))
        rows = train.batch_tokens // length
        cut = torch.from_numpy(batch(self._corpus.train, rows=rows, length=length, seed=train.seed, step=step))
        return cut[:, :-1].contiguous(), cut[:, 1:].contiguous()

    def loss(self, step: int, *, cooling: bool) -> Tensor:
        """Mean nats per token of the batch of ``step``."""
        inputs, targets = self.batch(step, cooling=cooling)
        if self._recipe.model.dropout:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._recipe.train.seed + (step << 20))
                return self.forward.loss(inputs, targets)
        return self.forward.loss(inputs, targets)

    def validate(self, tokens: int | None) -> dict[str, float]:
        """Loss and bits per byte on the first ``tokens`` of the held-out text, or all of it."""
        part = self._corpus.valid if tokens is None else self._corpus.valid[: tokens + 1]
        return evaluate(self.forward, part, self._corpus.bytes_per_token, self._recipe.model.positions)


def _identity(recipe: PretrainRecipe, corpus: Corpus) -> dict[str, Any]:
    """What a resumed training must share: all that the meaning of the checkpoint depends on."""
    return {
        "model": recipe.model.model_dump(),
        "tokenizer": recipe.tokenizer.model_dump(),
        "corpus_sha256": corpus.facts["corpus_sha256"],
        "seed": recipe.train.seed,
        "optimizer": recipe.train.optimizer,
    }


def pretrain(recipe: PretrainRecipe, output: Path, *, resume: bool = False, log: Log = log_to_stderr) -> PretrainResult:
    """Train a GPT-2 on text and write it in Hugging Face form.

    Resuming with other values of ``max_steps``, ``max_seconds``, learning rates or intervals is allowed: that is how a running
    training is ended early with a proper cooldown (a smaller ``max_seconds`` starts it at once).

    Args:
        recipe: the recipe.
        output: folder for checkpoint, metrics and result; made when missing.
        resume: go on from the checkpoint in ``output``.
        log: receives lines of progress.

    Raises:
        DataError: text missing, unreadable or too short.
        CheckpointError: ``resume`` without a usable checkpoint, or one of another training.
        TrainingError: the loss is not finite.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    output.mkdir(parents=True, exist_ok=True)
    corpus = prepare_corpus(recipe.data, recipe.tokenizer, output / _CORPUS)
    log(f"corpus: {len(corpus.train):,} training tokens, {len(corpus.valid):,} held out")
    (output / RECIPE).write_text(recipe.model_dump_json(indent=2), "utf-8")
    command = f"fptkit pretrain {shlex.quote(str(output / RECIPE))} --output {shlex.quote(str(output))} --resume"
    objective = LanguageObjective(recipe, corpus, command)
    log(f"model: {sum(p.numel() for p in objective.model.parameters()):,} parameters, {objective.dtype}")
    loop = TrainingLoop(objective, recipe.train, output, identity=_identity(recipe, corpus), log=log)
    progress = loop.run(resume=resume)
    export(output, output, log=log)
    measured = json.loads((output / "measurement.json").read_text("utf-8"))
    return PretrainResult(
        output,
        progress.step,
        progress.tokens,
        progress.seconds,
        measured["validation_loss_nats_per_token"],
        measured["validation_bits_per_byte"],
    )


def export(output: Path, destination: Path, *, log: Log = log_to_stderr) -> dict[str, Any]:
    """Write the weights of the latest checkpoint in Hugging Face form, measured on all held-out text as they are stored.

    May be called at any time, also while the training runs.

    Args:
        output: folder of the training.
        destination: folder for model.safetensors, config.json, tokenizer.json, README.md and measurement.json.
        log: receives lines of progress.

    Returns:
        What measurement.json holds.

    Raises:
        CheckpointError: there is no usable checkpoint.
        DataError: the corpus or the recipe of the training is gone.
    """
    if not (output / RECIPE).is_file():
        raise DataError(f"'{output}' is not the output folder of a pretraining: it holds no {RECIPE}.")
    recipe = PretrainRecipe.model_validate_json((output / RECIPE).read_text("utf-8"))
    tensors, progress, _ = read_checkpoint(output / CHECKPOINT)
    corpus = prepare_corpus(recipe.data, recipe.tokenizer, output / _CORPUS)
    stored = getattr(torch, recipe.save_dtype)
    config = make_config(recipe.model, recipe.tokenizer.vocabulary)
    config.architectures, config.dtype = ["GPT2LMHeadModel"], stored
    weights = {
        name.removeprefix("model.transformer."): tensor.to(stored)
        for name, tensor in tensors.items()
        if name.startswith("model.transformer.")
    }
    model = make_model(config, 0)
    model.transformer.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    log(f"export of step {progress.step}: measuring on {len(corpus.valid):,} held-out tokens")
    forward = Gpt2Forward(model, torch.bfloat16 if multiplies_bfloat16() else torch.float32)
    measured: dict[str, Any] = {
        "step": progress.step,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 1),
        "cooldown_from": progress.cooldown_from,
        "end": progress.end,
    }
    measured |= evaluate(forward, corpus.valid, corpus.bytes_per_token, recipe.model.positions)
    destination.mkdir(parents=True, exist_ok=True)
    partial = destination / "model.partial"
    save_file(weights, partial, {"format": "pt"})
    os.replace(partial, destination / "model.safetensors")
    (destination / "config.json").write_text(config.to_json_string(), "utf-8")
    corpus.tokenizer.save(str(destination / "tokenizer.json"))
    (destination / "measurement.json").write_text(json.dumps(measured, indent=2) + "\n", "utf-8")
    log(
        f"exported to {destination}: {measured['validation_loss_nats_per_token']:.4f} nats/token, "
        f"{measured['validation_bits_per_byte']:.4f} bits/byte"
    )
    return measured
