"""Language pretraining: a GPT-2 on text, from the corpus to a weights folder in Hugging Face format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.files import locked_folder, write_json
from fptkit.lab.pretraining.corpus import Corpus, batch, corpus_key, open_corpus, prepare_corpus
from fptkit.lab.pretraining.gpt2_forward import Gpt2Forward
from fptkit.lab.pretraining.loop import CHECKPOINT, Log, log_to_stderr
from fptkit.lab.pretraining.model_card import write_model_card
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
from fptkit.lab.pretraining.options import PretrainRecipe

_CORPUS = "corpus"


@dataclass(frozen=True)
class PretrainResult:
    """Result of a finished pretraining.

    Args:
        output: folder with model.safetensors, config.json, tokenizer.json and README.md.
        steps: training steps done.
        tokens: training tokens seen, repetitions included.
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


class LanguageObjective(NextTokenObjective):
    """Next-token prediction on a corpus.

    Args:
        recipe: the recipe.
        corpus: the tokens.
        resume_command: command line that resumes the training, shown when a signal stops it.

    Raises:
        DataError: the corpus has no more tokens than the longest sequence.
    """

    def __init__(self, recipe: PretrainRecipe, corpus: Corpus, resume_command: str) -> None:
        settings = recipe.train
        longest = max(*settings.sequence_lengths.tokens, *settings.cooldown_sequence_lengths.tokens)
        if len(corpus.train) <= longest:
            raise DataError(
                f"the corpus has {len(corpus.train)} training tokens, not more than the longest sequence of {longest}. "
                "Use more text, or shorter train.sequence_lengths and train.cooldown_sequence_lengths."
            )

        def draw(rows: int, length: int, step: int) -> NDArray[np.int64]:
            return batch(corpus.train, rows=rows, length=length, seed=settings.seed, step=step)

        def measure(forward: Gpt2Forward, tokens: int | None) -> dict[str, float]:
            part = corpus.valid if tokens is None else corpus.valid[: tokens + 1]
            return evaluate(forward, part, corpus.bytes_per_token, recipe.model.positions).as_metrics()

        super().__init__(
            recipe.model,
            recipe.tokenizer.vocabulary,
            settings,
            draw=draw,
            measure=measure,
            resume_command=resume_command,
        )


def _identity(recipe: PretrainRecipe, key: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that must be the same when the training is resumed, since checkpoint and metrics depend on them."""
    return {
        "model": recipe.model.model_dump(),
        "tokenizer": recipe.tokenizer.model_dump(),
        "corpus_sha256": key["corpus_sha256"],
        "validation_sha256": key["validation_sha256"],
        "document_separator": recipe.data.document_separator,
        "seed": recipe.train.seed,
        "optimizer": recipe.train.optimizer,
    }


def pretrain(recipe: PretrainRecipe, output: Path, *, resume: bool = False, log: Log = log_to_stderr) -> PretrainResult:
    """Train a GPT-2 on text and write it in Hugging Face format.

    ``output`` is checked before anything in it changes, so that another training there is not damaged. ``max_steps``,
    ``max_seconds``, learning rates and intervals may change when a training is resumed. To end a training early with a
    proper cooldown, resume it with a smaller ``max_seconds``, which starts the cooldown at once. A cooldown that has
    started does not change its length.

    Args:
        recipe: the recipe.
        output: folder for checkpoint, metrics and result; created if missing.
        resume: resume from the checkpoint in ``output``, or start a training if there is none.
        log: receives lines of progress.

    Raises:
        DataError: the text is missing, unreadable or too short.
        CheckpointError: the checkpoint to resume from is damaged or of another training.
        UsageError: ``output`` cannot be created or is in use by another process, it holds an earlier training and
            ``resume`` is false, or it holds a model without a checkpoint.
        TrainingError: the loss is not finite.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        KeyboardInterrupt: a second Ctrl-C before the state was saved.
    """
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    with locked_folder(output, "pretraining"):
        return _pretrain_here(recipe, output, resume=resume, log=log)


def _pretrain_here(recipe: PretrainRecipe, output: Path, *, resume: bool, log: Log) -> PretrainResult:
    """`pretrain`, in a locked folder."""
    key = corpus_key(recipe.data, recipe.tokenizer)
    identity = _identity(recipe, key)
    check_output(output, identity, resume=resume)
    corpus = prepare_corpus(recipe.data, recipe.tokenizer, output / _CORPUS, key=key)
    log(f"corpus: {len(corpus.train):,} training tokens, {len(corpus.valid):,} held out")
    objective = LanguageObjective(recipe, corpus, resume_command(output))
    progress = train(objective, recipe, output, identity=identity, resume=resume, log=log)
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
    """Write the latest checkpoint's weights in Hugging Face format, and evaluate them as stored on all held-out text.

    May be called at any time, even while the training runs.

    Args:
        output: folder of the training.
        destination: folder for model.safetensors, config.json, tokenizer.json, README.md and measurement.json.
        title: heading of the model card; by default the name of ``destination``.
        log: receives lines of progress.

    Returns:
        The content of measurement.json.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        DataError: the corpus or the recipe of the training is missing.
    """
    recipe = stored_recipe(output, PretrainRecipe)
    weights, progress = read_model(output / CHECKPOINT, recipe.save_dtype)
    corpus = open_corpus(output / _CORPUS, recipe.data.document_separator)
    log(f"export of step {progress['step']}: measuring on {len(corpus.valid):,} held-out tokens")
    vocabulary = recipe.tokenizer.vocabulary
    measured = progress | measure_stored(recipe, vocabulary, weights, corpus.valid, corpus.bytes_per_token)
    write_weights(weights, destination / WEIGHTS)
    _write_sidecars(recipe, corpus, destination)
    card = write_model_card(
        recipe,
        measured,
        corpus.facts,
        title=title or destination.resolve().name,
        parameters=sum(tensor.numel() for tensor in weights.values()),
    )
    write_card(card, measured, destination)
    log(
        f"exported to {destination}: {measured['validation_loss_nats_per_token']:.4f} nats/token, "
        f"{measured['validation_bits_per_byte']:.4f} bits/byte"
    )
    return measured


def _write_sidecars(recipe: PretrainRecipe, corpus: Corpus, destination: Path) -> None:
    """Write config.json, tokenizer.json and tokenizer_config.json, which transformers' Auto classes need."""
    write_config(recipe.model, recipe.tokenizer.vocabulary, recipe.save_dtype, destination)
    corpus.tokenizer.save(str(destination / "tokenizer.json"))
    separator = recipe.data.document_separator
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": separator,
        "eos_token": separator,
        "model_max_length": recipe.model.positions,
        "clean_up_tokenization_spaces": False,
    }
    write_json(destination / "tokenizer_config.json", settings)
