"""Language pretraining: a GPT-2 on text, from corpus to a folder in Hugging Face form."""

from __future__ import annotations

import functools
import json
import math
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from fptkit.errors import DataError, UsageError
from fptkit.precision import cpu_multiplies_bfloat16
from fptkit.pretraining.corpus import Corpus, Tokens, batch, corpus_key, open_corpus, prepare_corpus
from fptkit.pretraining.folder import only_us, write_whole
from fptkit.pretraining.gpt2_forward import Gpt2Forward
from fptkit.pretraining.loop import (
    CHECKPOINT,
    Log,
    TrainingLoop,
    check_folder,
    log_to_stderr,
    read_checkpoint,
)
from fptkit.pretraining.model_card import write_model_card
from fptkit.pretraining.muon import Muon
from fptkit.pretraining.options import LanguageModelOptions, LengthMix, PretrainRecipe, PretrainTrain

RECIPE = "recipe.json"
WEIGHTS = "model.safetensors"
_CORPUS = "corpus"
_EVALUATION_ROWS = 8
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


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


def arithmetic(train: PretrainTrain) -> torch.dtype:
    """Number format of the matrix products."""
    if train.precision == "auto":
        return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    return _DTYPES[train.precision]


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on a processor: ``$CXX`` or a usual name."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++", "cl") if name)


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
    """Optimisers by name. The blocks' matrices go to Muon or AdamW and decay; embeddings, norms, biases never decay."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and ".h." in name else others).append(parameter)
    # Source of the betas: GPT-3 (Brown et al. 2020, appendix B), usual for GPT-2 style training since.
    adamw = functools.partial(torch.optim.AdamW, lr=train.adamw_learning_rate, betas=(0.9, 0.95), fused=True)
    optimizers: dict[str, torch.optim.Optimizer] = {"adamw": adamw(others, weight_decay=0.0)}
    if train.optimizer == "muon":
        optimizers["muon"] = Muon(matrices, train.muon_learning_rate, weight_decay=train.weight_decay)
    else:
        optimizers["matrices"] = adamw(matrices, weight_decay=train.weight_decay)
    return optimizers


@dataclass(frozen=True)
class Evaluation:
    """Loss on held-out text.

    Args:
        nats_per_token: mean over all predicted tokens.
        bits_per_byte: the whole loss, separators included, / ln 2 / bytes of predicted text; a separator is no byte.
        nats_by_position: mean over the predictions made at each position of the window, (positions,).
    """

    nats_per_token: float
    bits_per_byte: float
    nats_by_position: NDArray[np.float64]

    def as_metrics(self) -> dict[str, float]:
        """The two means under the names that metrics.jsonl uses."""
        return {
            "validation_loss_nats_per_token": round(self.nats_per_token, 6),
            "validation_bits_per_byte": round(self.bits_per_byte, 6),
        }


def evaluate(forward: Gpt2Forward, tokens: Tokens, bytes_per_token: NDArray[np.int64], length: int) -> Evaluation:
    """Loss on consecutive windows; each token but the first is predicted once, from what precedes it in its window.

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
    nats, counts = np.zeros(length), np.zeros(length)
    for inputs, targets in windows:
        for row in range(0, len(inputs), _EVALUATION_ROWS):
            part = slice(row, row + _EVALUATION_ROWS)
            found = forward.nats(torch.from_numpy(inputs[part]), torch.from_numpy(targets[part])).double().sum(0)
            nats[: len(found)] += found.numpy()
            counts[: len(found)] += len(inputs[part])
    size = int(bytes_per_token[array[1:]].sum())
    total = float(nats.sum())
    seen = counts > 0
    return Evaluation(total / (len(array) - 1), total / math.log(2) / max(size, 1), nats[seen] / counts[seen])


def _by_place(nats: NDArray[np.float64]) -> dict[str, float]:
    """Mean loss over ranges of positions that double: 0-31, 32-63, 64-127 ..."""
    places, start, stop = {}, 0, 32
    while start < len(nats):
        places[f"{start}-{min(stop, len(nats)) - 1}"] = round(float(nats[start:stop].mean()), 4)
        start, stop = stop, stop * 2
    return places


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
        self.dtype = arithmetic(train)
        self.compiled = train.compile and has_compiler()
        self.forward = Gpt2Forward(self.model, self.dtype, dropout=recipe.model.dropout, compiled=self.compiled)
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
        return evaluate(self.forward, part, self._corpus.bytes_per_token, self._recipe.model.positions).as_metrics()


def _identity(recipe: PretrainRecipe, key: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed training must share: all that the meaning of the checkpoint and of the metrics depends on."""
    return {
        "model": recipe.model.model_dump(),
        "tokenizer": recipe.tokenizer.model_dump(),
        "corpus_sha256": key["corpus_sha256"],
        "validation_sha256": key["validation_sha256"],
        "document_separator": recipe.data.document_separator,
        "seed": recipe.train.seed,
        "optimizer": recipe.train.optimizer,
    }


def _check_output(output: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
    """`check_folder`, and no finished model without the checkpoint it came from: it would be overwritten."""
    check_folder(output, identity, resume=resume)
    if (output / WEIGHTS).exists() and not (output / CHECKPOINT).exists():
        raise UsageError(
            f"{output} holds a model ({WEIGHTS}) but no {CHECKPOINT} to go on from. Choose another --output"
        )


def pretrain(recipe: PretrainRecipe, output: Path, *, resume: bool = False, log: Log = log_to_stderr) -> PretrainResult:
    """Train a GPT-2 on text and write it in Hugging Face form.

    Nothing in ``output`` is changed before it is clear that this training may: what another one left there is kept.
    Resuming with other values of ``max_steps``, ``max_seconds``, learning rates or intervals is allowed: that is how a
    running training is ended early with a proper cooldown (a smaller ``max_seconds`` starts it at once). A cooldown
    that has begun keeps its length.

    Args:
        recipe: the recipe.
        output: folder for checkpoint, metrics and result; made when missing.
        resume: go on from the checkpoint in ``output``; start there if it holds none.
        log: receives lines of progress.

    Raises:
        DataError: text missing, unreadable or too short.
        CheckpointError: the checkpoint to go on from is damaged or of another training.
        UsageError: ``output`` cannot be made, another process trains there, it holds an earlier training and ``resume``
            is false, or it holds a model without a checkpoint.
        TrainingError: the loss is not finite.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        KeyboardInterrupt: a second Ctrl-C came before that was done.
    """
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    with only_us(output):
        return _pretrain_here(recipe, output, resume=resume, log=log)


def _pretrain_here(recipe: PretrainRecipe, output: Path, *, resume: bool, log: Log) -> PretrainResult:
    """`pretrain`, in a folder that is ours."""
    key = corpus_key(recipe.data, recipe.tokenizer)
    identity = _identity(recipe, key)
    _check_output(output, identity, resume=resume)
    corpus = prepare_corpus(recipe.data, recipe.tokenizer, output / _CORPUS, key=key)
    log(f"corpus: {len(corpus.train):,} training tokens, {len(corpus.valid):,} held out")
    command = f"fptkit pretrain {shlex.quote(str(output / RECIPE))} --output {shlex.quote(str(output))} --resume"
    objective = LanguageObjective(recipe, corpus, command)
    write_whole(output / RECIPE, recipe.model_dump_json(indent=2))
    log(f"model: {sum(p.numel() for p in objective.model.parameters()):,} parameters, {objective.dtype}")
    if recipe.train.compile and not objective.compiled:
        log("train.compile: no C++ compiler was found here, so training is not compiled (slower, same model)")
    loop = TrainingLoop(objective, recipe.train, output, identity=identity, log=log)
    progress = loop.run(resume=resume)
    measured = export(output, output, log=log)
    return PretrainResult(
        output,
        progress.step,
        progress.tokens,
        progress.seconds,
        measured["validation_loss_nats_per_token"],
        measured["validation_bits_per_byte"],
    )


def export(output: Path, destination: Path, *, title: str | None = None, log: Log = log_to_stderr) -> dict[str, Any]:
    """Write the latest checkpoint's weights in Hugging Face form, measured as they are stored on all held-out text.

    May be called at any time, also while the training runs.

    Args:
        output: folder of the training.
        destination: folder for model.safetensors, config.json, tokenizer.json, README.md and measurement.json.
        title: heading of the model card; none takes the name of ``destination``.
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
    corpus = open_corpus(output / _CORPUS, recipe.data.document_separator)
    stored = _DTYPES[recipe.save_dtype]
    weights = {
        name.removeprefix("model.transformer."): tensor.to(stored)
        for name, tensor in tensors.items()
        if name.startswith("model.transformer.")
    }
    log(f"export of step {progress.step}: measuring on {len(corpus.valid):,} held-out tokens")
    measured = {name: value for name, value in asdict(progress).items() if name != "seconds"}
    measured |= {"seconds": round(progress.seconds, 1)} | _measure(recipe, weights, corpus)
    destination.mkdir(parents=True, exist_ok=True)
    partial = destination / "model.partial"
    save_file(weights, partial, {"format": "pt"})
    partial.chmod(0o644)  # safetensors makes files that only their owner can read
    os.replace(partial, destination / WEIGHTS)
    _write_sidecars(recipe, corpus, destination)
    card = write_model_card(
        recipe,
        measured,
        corpus.facts,
        title=title or destination.resolve().name,
        parameters=sum(tensor.numel() for tensor in weights.values()),
    )
    (destination / "README.md").write_text(card, "utf-8")
    (destination / "measurement.json").write_text(json.dumps(measured, indent=2) + "\n", "utf-8")
    log(
        f"exported to {destination}: {measured['validation_loss_nats_per_token']:.4f} nats/token, "
        f"{measured['validation_bits_per_byte']:.4f} bits/byte"
    )
    return measured


def _measure(recipe: PretrainRecipe, weights: dict[str, Tensor], corpus: Corpus) -> dict[str, Any]:
    """Measures of the weights as stored, on all held-out text."""
    model = make_model(make_config(recipe.model, recipe.tokenizer.vocabulary), 0)
    model.transformer.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    dtype = arithmetic(recipe.train)
    found = evaluate(Gpt2Forward(model, dtype), corpus.valid, corpus.bytes_per_token, recipe.model.positions)
    return {
        **found.as_metrics(),
        "nats_by_position": _by_place(found.nats_by_position),
        "arithmetic": str(dtype).removeprefix("torch."),
    }


def _write_sidecars(recipe: PretrainRecipe, corpus: Corpus, destination: Path) -> None:
    """config.json, tokenizer.json and tokenizer_config.json, so that transformers' Auto classes load the folder."""
    config = make_config(recipe.model, recipe.tokenizer.vocabulary)
    config.architectures, config.dtype = ["GPT2LMHeadModel"], recipe.save_dtype
    (destination / "config.json").write_text(config.to_json_string(), "utf-8")
    corpus.tokenizer.save(str(destination / "tokenizer.json"))
    separator = recipe.data.document_separator
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": separator,
        "eos_token": separator,
        "model_max_length": recipe.model.positions,
        "clean_up_tokenization_spaces": False,
    }
    (destination / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
