"""The tokenizer of a text task: opened beside weights, and kept in the run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PrivateAttr

from fptkit.errors import DataError, UsageError
from fptkit.sources import choose
from fptkit.sources.decoding import decoding, read_bytes
from fptkit.sources.identity import DIGEST_BYTES
from fptkit.sources.tokenizers import TOKENIZER, find_tokenizer
from fptkit.sources.weights import open_weights
from fptkit.tasks.reading.labels import shown

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class _Kept:
    """The content of a tokenizer's file, and the tokenizer. All are equal: the digest tells them apart."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.tokenizer: Tokenizer | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept)

    __hash__ = None  # type: ignore[assignment]


class Vocabulary(BaseModel):
    """A tokenizer; a part of a preparation. Its file is beside ``preparation.json``.

    Args:
        source: where it came from, an entry of weights.
        digest: of its file, BLAKE2b of 16 bytes.
        size: tokens, including added ones.
        begin: id of the token before each text; None for none.
        end: id of the token after each text; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    digest: str
    size: int
    begin: int | None = None
    end: int | None = None
    _kept: _Kept = PrivateAttr(default_factory=_Kept)

    @classmethod
    def open(cls, entries: Sequence[str], begin: str | None = None, end: str | None = None) -> Vocabulary:
        """Open the tokenizer of the first available weights.

        Args:
            entries: entries of weights, best first.
            begin: token before each text.
            end: token after each text.

        Raises:
            SourceError: none of the entries has a tokenizer.
            DataError: the file is not a tokenizer.
            UsageError: the tokenizer has no such token.
        """
        choice = choose(
            entries,
            _beside_weights if len(entries) > 1 else find_tokenizer,
            what="the tokenizer of task text",
            advice="Name weights that have one by task.tokenizer, such as builtin:gpt2_nano, or set bytes: true.",
        )
        kept = _Kept(read_bytes(choice.found))
        tokenizer = _loaded(kept, str(choice.found))
        ids = {}
        for option, token in (("begin", begin), ("end", end)):
            ids[option] = None if token is None else tokenizer.token_to_id(token)
            if token is not None and ids[option] is None:
                special = [each.content for each in tokenizer.get_added_tokens_decoder().values()]
                raise UsageError(
                    f"task.{option}: the tokenizer of {choice.entry} has no token {token!r}; its special tokens are "
                    f"{shown(special) or 'none'}"
                )
        size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1
        made = cls(source=choice.entry, digest=_digest(kept.content), size=size, **ids)
        made._kept = kept
        return made

    def encode(self, texts: Sequence[str], names: Sequence[str]) -> list[list[int]]:
        """The tokens of texts, without `begin` and `end`. Special tokens in a text are text.

        Args:
            texts: the texts.
            names: place of each, for messages.

        Raises:
            DataError: the tokenizer does not accept a text.
        """
        tokenizer = _loaded(self._kept, "the tokenizer")
        with decoding(f"{names[0]} and the texts after it", "text of this tokenizer", advice="look at the texts"):
            return [found.ids for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def attachments(self) -> dict[str, bytes]:
        """The tokenizer's file by name."""
        return {TOKENIZER: self._kept.content}

    def attached(self, folder: Path) -> None:
        """Take the tokenizer from a run folder.

        Raises:
            DataError: it is missing, or not the one of training.
        """
        file = folder / TOKENIZER
        content = read_bytes(file)
        if _digest(content) != self.digest:
            raise DataError(f"{file}: not the tokenizer that the run was trained with; put that one back")
        self._kept.content, self._kept.tokenizer = content, None


def _beside_weights(entry: str) -> Path:
    """The tokenizer of one of several entries: a backbone uses the first whose weights are available, so this must."""
    if not entry.endswith(".json"):
        open_weights(entry)
    return find_tokenizer(entry)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _loaded(kept: _Kept, where: str) -> Any:
    """The tokenizer, without its own cutting, padding and randomness, of which a run would not know."""
    if kept.tokenizer is None:
        from tokenizers import Tokenizer

        if not kept.content:
            raise DataError(f"{where}: its file was not read; read the preparation from its run folder")
        with decoding(where, "a tokenizer", advice="write it again"):
            tokenizer = Tokenizer.from_str(kept.content.decode())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        if getattr(tokenizer.model, "dropout", None) is not None:
            tokenizer.model.dropout = None
        kept.tokenizer = tokenizer
    return kept.tokenizer
