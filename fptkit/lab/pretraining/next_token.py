"""Next-token prediction with a GPT-2 on any tokens: model, optimizers, objective, evaluation, export."""

from __future__ import annotations

import functools
import math
import os
import shlex
import shutil
from collections.abc import Callable, Mapping
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
from fptkit.files import replacing, write_json, write_text
from fptkit.lab.pretraining.gpt2_forward import Gpt2Forward
from fptkit.lab.pretraining.loop import CHECKPOINT, Log, Progress, TrainingLoop, check_folder, read_checkpoint
from fptkit.lab.pretraining.muon import Muon
from fptkit.lab.pretraining.options import (
    LanguageModelOptions,
    LengthMix,
    NextTokenRecipe,
    PretrainRecipe,
    PretrainTrain,
    SyntheticRecipe,
)
from fptkit.numerics.precision import cpu_multiplies_bfloat16
from fptkit.sources.weights import MEASUREMENT

RECIPE = "recipe.json"
WEIGHTS = "model.safetensors"
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
_EVALUATION_ROWS = 8


def arithmetic(train: PretrainTrain) -> torch.dtype:
    """Dtype of the matrix products; ``auto`` is bfloat16 if the CPU has instructions for it."""
    if train.precision == "auto":
        return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    return DTYPES[train.precision]


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on a CPU: ``$CXX`` or one of the usual names."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++", "cl") if name)


def make_config(options: LanguageModelOptions, vocabulary: int) -> GPT2Config:
    """The Hugging Face config of the model; token 0 is the separator."""
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
    """A GPT-2 with initial weights that depend only on ``seed``; torch's global generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def make_optimizers(model: GPT2LMHeadModel, train: PretrainTrain) -> dict[str, torch.optim.Optimizer]:
    """Optimizers by name: Muon or AdamW with weight decay for the blocks' matrices, AdamW without it for the rest.

    Args:
        model: the model; its parameters are trained.
        train: learning rates, weight decay, and the optimizer of the blocks' matrices.
    """
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
    """Loss on held-out tokens.

    Args:
        nats_per_token: mean over all predicted tokens.
        bits_per_byte: total loss / ln 2 / bytes of predicted text; separators count in the loss but not in the bytes.
            None if the tokens are not text.
        nats_by_position: mean loss at each position of the window, (positions,).
    """

    nats_per_token: float
    bits_per_byte: float | None
    nats_by_position: NDArray[np.float64]

    def as_metrics(self) -> dict[str, float]:
        """The mean losses that are not None, by their names in metrics.jsonl."""
        metrics = {"validation_loss_nats_per_token": round(self.nats_per_token, 6)}
        if self.bits_per_byte is not None:
            metrics["validation_bits_per_byte"] = round(self.bits_per_byte, 6)
        return metrics


def evaluate(
    forward: Gpt2Forward, tokens: NDArray[Any], bytes_per_token: NDArray[np.int64] | None, length: int
) -> Evaluation:
    """Loss on consecutive windows; each token except the first is predicted once, from those before it in its window.

    Shapes: tokens (N,), bytes_per_token (vocabulary,).

    Args:
        forward: computes the loss.
        tokens: token numbers, N at least 2.
        bytes_per_token: bytes of text of each token number; None if the tokens are not text.
        length: length of a window in tokens.

    Raises:
        DataError: fewer than 2 tokens.
    """
    if len(tokens) < 2:
        raise DataError(f"the held-out data have {len(tokens)} tokens; at least 2 are needed. Hold out more data.")
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
    total = float(nats.sum())
    bits = None
    if bytes_per_token is not None:
        bits = total / math.log(2) / max(int(bytes_per_token[array[1:]].sum()), 1)
    seen = counts > 0
    return Evaluation(total / (len(array) - 1), bits, nats[seen] / counts[seen])


def by_place(nats: NDArray[np.float64]) -> dict[str, float]:
    """Mean loss over ranges of positions that double: 0-31, 32-63, 64-127 ..."""
    places, start, stop = {}, 0, 32
    while start < len(nats):
        places[f"{start}-{min(stop, len(nats)) - 1}"] = round(float(nats[start:stop].mean()), 4)
        start, stop = stop, stop * 2
    return places


Draw = Callable[[int, int, int], NDArray[np.int64]]
"""(rows, length, step) -> windows (rows, length + 1), a pure function; the last column is only a target."""


class NextTokenObjective:
    """Next-token prediction with a GPT-2.

    Args:
        model: sizes of the model.
        vocabulary: number of different tokens.
        train: optimizers, sequence lengths and precision.
        draw: returns the windows of a step.
        measure: returns metrics on the first n held-out tokens, or on all of them for None.
        resume_command: command line that resumes the training, shown when a signal stops it.
    """

    def __init__(
        self,
        model: LanguageModelOptions,
        vocabulary: int,
        train: PretrainTrain,
        *,
        draw: Draw,
        measure: Callable[[Gpt2Forward, int | None], dict[str, float]],
        resume_command: str,
    ) -> None:
        self.model = make_model(make_config(model, vocabulary), train.seed)
        self.optimizers = make_optimizers(self.model, train)
        self.resume_command = resume_command
        self.dtype = arithmetic(train)
        self.compiled = train.compile and has_compiler()
        self.forward = Gpt2Forward(self.model, self.dtype, dropout=model.dropout, compiled=self.compiled)
        self._train, self._draw, self._measure, self._dropout = train, draw, measure, model.dropout

    def batch(self, step: int, *, cooling: bool) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, a pure function of seed, ``step`` and ``cooling``. Shapes: (B, T) each."""
        train = self._train
        mix: LengthMix = train.cooldown_sequence_lengths if cooling else train.sequence_lengths
        generator = np.random.default_rng([train.seed, step, 1])
        shares = np.asarray(mix.weights) / sum(mix.weights)
        length = int(generator.choice(mix.tokens, p=shares))
        cut = torch.from_numpy(self._draw(train.batch_tokens // length, length, step))
        return cut[:, :-1].contiguous(), cut[:, 1:].contiguous()

    def loss(self, step: int, *, cooling: bool) -> Tensor:
        """Mean loss of the batch of ``step``, in nats per token."""
        inputs, targets = self.batch(step, cooling=cooling)
        if self._dropout:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._train.seed + (step << 20))
                return self.forward.loss(inputs, targets)
        return self.forward.loss(inputs, targets)

    def validate(self, tokens: int | None) -> dict[str, float]:
        """Metrics on the first ``tokens`` held-out tokens, or all of them."""
        return self._measure(self.forward, tokens)


def check_output(output: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse a folder with a checkpoint or a model that this training must not overwrite. Writes nothing.

    Args:
        output: folder of the training; may be empty.
        identity: facts that must be the same in the checkpoint, see `read_own_checkpoint`.
        resume: whether the training resumes from the checkpoint.

    Raises:
        UsageError: the folder holds a checkpoint and ``resume`` is false, or it holds a model without a checkpoint.
        CheckpointError: the checkpoint is damaged or of another training.
    """
    check_folder(output, identity, resume=resume)
    if (output / WEIGHTS).exists() and not (output / CHECKPOINT).exists():
        raise UsageError(
            f"{output} holds a model ({WEIGHTS}) but no {CHECKPOINT} to resume from. Choose another --output"
        )


def resume_command(output: Path) -> str:
    """The command that resumes the training in a folder."""
    return f"fptkit pretrain {shlex.quote(str(output / RECIPE))} --output {shlex.quote(str(output))} --resume"


def train(
    objective: NextTokenObjective,
    recipe: PretrainRecipe | SyntheticRecipe,
    output: Path,
    *,
    identity: Mapping[str, Any],
    resume: bool,
    log: Log,
) -> Progress:
    """Write the recipe into the folder and train until the end or a signal; call `check_output` first.

    Raises:
        CheckpointError, TrainingError, Interrupted, KeyboardInterrupt: see `TrainingLoop.run`.
    """
    write_text(output / RECIPE, recipe.model_dump_json(indent=2))
    log(f"model: {sum(p.numel() for p in objective.model.parameters()):,} parameters, {objective.dtype}")
    if recipe.train.compile and not objective.compiled:
        log("train.compile: no C++ compiler found, so training is not compiled (slower, same model)")
    return TrainingLoop(objective, recipe.train, output, identity=identity, log=log).run(resume=resume)


def stored_recipe(output: Path, kind: type[NextTokenRecipe]) -> NextTokenRecipe:
    """Read the recipe that was trained in a folder.

    Raises:
        DataError: the folder holds no recipe.
    """
    if not (output / RECIPE).is_file():
        raise DataError(
            f"'{output}' holds no {RECIPE}: it is not the output folder of a pretraining. Give one that is."
        )
    return kind.model_validate_json((output / RECIPE).read_text("utf-8"))


def read_model(checkpoint: Path, save_dtype: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the model's tensors, converted to ``save_dtype``, and the progress of its training.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    tensors, progress, _ = read_checkpoint(checkpoint)
    start = "model.transformer."
    weights = {
        name.removeprefix(start): tensor.to(DTYPES[save_dtype])
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
    return weights, asdict(progress) | {"seconds": round(progress.seconds, 1)}


def measure_stored(
    recipe: PretrainRecipe | SyntheticRecipe,
    vocabulary: int,
    weights: Mapping[str, Tensor],
    tokens: NDArray[Any],
    bytes_per_token: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Evaluate the weights as stored and return entries for measurement.json; tokens as in `evaluate`."""
    dtype = arithmetic(recipe.train)
    made = make_model(make_config(recipe.model, vocabulary), 0)
    made.transformer.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    found = evaluate(Gpt2Forward(made, dtype), tokens, bytes_per_token, recipe.model.positions)
    return {
        **found.as_metrics(),
        "nats_by_position": by_place(found.nats_by_position),
        "arithmetic": str(dtype).removeprefix("torch."),
    }


def write_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write a safetensors file atomically, readable by everyone; its folder is created if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial, {"format": "pt"})
        partial.chmod(0o644)  # safetensors creates files that only their owner can read


def write_card(card: str, measured: Mapping[str, Any], destination: Path) -> None:
    """Write the model card (README.md) and measurement.json beside the weights."""
    write_text(destination / "README.md", card)
    write_json(destination / MEASUREMENT, measured)


def write_config(model: LanguageModelOptions, vocabulary: int, save_dtype: str, destination: Path) -> None:
    """Write config.json, so that transformers' Auto classes load the folder."""
    config = make_config(model, vocabulary)
    config.architectures, config.dtype = ["GPT2LMHeadModel"], save_dtype
    write_text(destination / "config.json", config.to_json_string())
