"""The embedding of the token that begins a text in the pretraining of a checkpoint."""

from __future__ import annotations

from torch import Tensor

from fptkit.backbones.options import WEIGHT_SCHEMES
from fptkit.backbones.words import find_words
from fptkit.errors import DataError, ShapeError
from fptkit.sources import Unavailable, choose
from fptkit.sources.decoding import decoding
from fptkit.sources.tokenizers import find_tokenizer
from fptkit.sources.weights import WeightFolder, open_weights

ADVICE = "use backbone.prefix.kind: learned"


def begin_of_text(entry: str) -> Tensor:
    """Read the embedding of the token that begins a text.

    Shapes: -> (D,) float32.

    Args:
        entry: weights, such as ``builtin:gpt2_nano``.

    Raises:
        ShapeError: neither the config nor the tokenizer says which token that is, or there are no word embeddings.
        SourceError: the weights are not available.
        DataError: the embedding contains NaN or infinity, or a file is not readable.
    """
    scheme, _, place = entry.partition(":")
    if scheme not in WEIGHT_SCHEMES or not place:
        raise ShapeError(
            f"backbone.prefix.kind 'bos': the backbone does not say which embedding begins a text, and its weights "
            f"'{entry}' are no checkpoint to read it from; {ADVICE}"
        )
    folder = choose([entry], open_weights, what="the embedding that begins a text", advice=f"Or {ADVICE}.").found
    token = _token(folder)
    try:
        words = find_words(folder)
    except DataError as err:
        raise ShapeError(f"backbone.prefix.kind 'bos': {err}; or {ADVICE}") from err
    if not 0 <= token < words.shape[0]:
        raise ShapeError(
            f"backbone.prefix.kind 'bos': {entry} says that token {token} begins a text, but it has "
            f"{words.shape[0]} word embeddings; {ADVICE}"
        )
    return words.row(token)


def _token(folder: WeightFolder) -> int:
    """The token that begins a text, by the config or the tokenizer.

    Raises:
        ShapeError: neither says it.
    """
    stated = folder.config.get("bos_token_id")
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    try:
        found = _first_of_tokenizer(folder.entry)
    except Unavailable as reason:
        why = f"its config.json has no bos_token_id, and {reason}"
    else:
        if found is not None:
            return found
        why = "its config.json has no bos_token_id, and its tokenizer puts no token in front of a text"
    raise ShapeError(
        f"backbone.prefix.kind 'bos': {folder.entry}: which token begins a text is unknown: {why}; {ADVICE}, or add "
        "bos_token_id to the config.json"
    )


def _first_of_tokenizer(entry: str) -> int | None:
    """The special token that a tokenizer puts in front of every text, such as BERT's ``[CLS]``; None if it does not.

    Raises:
        Unavailable: there is no tokenizer, or it is not readable.
    """
    from tokenizers import Tokenizer

    file = find_tokenizer(entry)
    try:
        with decoding(file, "a tokenizer"):
            encoded = Tokenizer.from_file(str(file)).encode("a")
    except DataError as err:
        raise Unavailable(str(err)) from err
    return int(encoded.ids[0]) if encoded.ids and encoded.special_tokens_mask[0] else None
