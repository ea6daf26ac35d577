"""The word embeddings of a language model, frozen: its own tokens become its own token vectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from fptkit.backbones.words import Words, find_words
from fptkit.encoders.options import WordOptions
from fptkit.errors import ShapeError, UsageError
from fptkit.interfaces import Encoder, ParameterRole, Symbols
from fptkit.sources import Unavailable, choose
from fptkit.sources.identity import file_digest
from fptkit.sources.tokenizers import find_tokenizer
from fptkit.sources.weights import open_weights


class WordEmbeddings(Encoder):
    """The rows of a language model's word embedding, which never train: no freezing policy selects them.

    Positions are not added here: the backbone adds its own.

    Args:
        options: recipe options.
        input: the task's input kind; its symbols must be tokens of the tokenizer that belongs to the weights.
        width: D.
        weights: the backbone's weights, used if the options name none; empty if there are none.

    Raises:
        ShapeError: the symbols are not tokens of this tokenizer, or the table has another width than the backbone.
        UsageError: neither the options nor the backbone name weights.
        DataError: the weights have no word embeddings.
        SourceError: none of the weights is available.
    """

    def __init__(self, options: WordOptions, *, input: Symbols, width: int, weights: str = "") -> None:
        super().__init__()
        words = _opened(options, weights)
        _check(words, input, width)
        self.table = nn.Embedding(*words.shape, _weight=torch.empty(words.shape))
        if not isinstance(self.table.weight, FakeTensor):  # an estimate needs no numbers
            with torch.no_grad():
                self.table.weight.copy_(words.read())

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, T) integer -> (B, T, D)."""
        encoded: Tensor = self.table(inputs)
        return encoded

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """See `Encoder.parameter_roles`."""
        return {"table.weight": ParameterRole("embedding", fixed=True)}


def _opened(options: WordOptions, weights: str) -> Words:
    entries = [entry for entry in options.weights or (weights,) if entry not in ("", "random")]
    if not entries:
        raise UsageError(
            "encoder 'word_embeddings': no weights to read them from: the backbone's are random, or it is a part of a "
            "mixed encoder; name some by its option weights, such as builtin:gpt2_nano, or use the encoder symbols"
        )
    return choose(
        entries,
        lambda entry: find_words(open_weights(entry)),
        what="weights of the encoder word_embeddings",
        advice="Name other weights by encoder.weights, or use the encoder symbols.",
    ).found


def _check(words: Words, input: Symbols, width: int) -> None:
    """Raise if the symbols are not the tokens of these words, or the width is not the backbone's."""
    rows, numbers = words.shape
    if not input.vocabulary:
        raise ShapeError(
            "encoder 'word_embeddings' takes the tokens of a tokenizer, but the task's symbols are of another kind; "
            "use the encoder symbols"
        )
    try:
        digest = file_digest(find_tokenizer(words.entry))
    except Unavailable:
        digest = input.vocabulary  # weights without a tokenizer: the user named one for the task
    if digest != input.vocabulary or input.count > rows:
        raise ShapeError(
            f"encoder 'word_embeddings': the task's tokenizer ({input.count:,} tokens) is not that of {words.entry} "
            f"({rows:,} word embeddings); name the same weights in task.tokenizer and encoder.weights"
        )
    if numbers != width:
        raise ShapeError(
            f"encoder 'word_embeddings': the word embeddings of {words.entry} have {numbers} numbers, but the backbone "
            f"takes {width}; name weights of this width by encoder.weights"
        )
