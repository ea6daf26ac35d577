"""From text to tokens: reads the corpus, trains the byte-level BPE, and caches memory-mapped token arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fptkit.errors import DataError
from fptkit.files import find_json, read_json, write_json
from fptkit.lab.pretraining.options import LanguageData, TokenizerOptions
from fptkit.sources.choice import expanded
from fptkit.sources.decoding import decoding
from fptkit.tasks.reading.numpy_files import read_npy
from fptkit.tasks.reading.text import open_bytes

Tokens = NDArray[np.uint16]
_RECORD = "corpus.json"


def read_documents(path: Path, separator: str) -> list[str]:
    """Read the documents of a text file, without empty documents and without line breaks around the separator.

    Args:
        path: UTF-8 text, plain or compressed (``.xz``, ``.gz``).
        separator: text between two documents.

    Raises:
        DataError: the file is missing, not UTF-8, damaged, or has no text.
    """
    _require(path)
    with open_bytes(path) as file, decoding(path, "text in UTF-8"):
        text = file.read().decode("utf-8")
    documents = [document.strip("\r\n") for document in text.split(separator)]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise DataError(f"corpus '{path}' holds no text. Set data.path to another file.")
    return documents


def hold_out(documents: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """Split documents into training and validation, the latter from the end of the file.

    A document at the boundary is cut there, so that a single long document can be split as well.

    Args:
        documents: all documents.
        share: fraction of the characters for validation, above 0 and below 1.

    Raises:
        DataError: there is not enough text for both splits.
    """
    total = sum(map(len, documents))
    left = total - max(1, round(total * share))
    if left < 1:
        raise DataError("the corpus is too short to hold out text for validation; give data.validation_path.")
    train: list[str] = []
    valid: list[str] = []
    for document in documents:
        head, tail = document[:left], document[left:]
        left -= len(head)
        if head:
            train.append(head)
        if tail:
            valid.append(tail)
    return train, valid


def _sample(documents: Sequence[str], size: int) -> Iterator[str]:
    """Paragraphs from evenly spaced parts of the text, about ``size`` characters in total."""
    share = min(1.0, size / max(1, sum(map(len, documents))))
    for document in documents:
        for start in range(0, len(document), 100_000):
            piece = document[start : start + 100_000]
            # The pre-tokeniser is slow on long texts; no useful token contains a paragraph break.
            yield from piece[: max(1, round(len(piece) * share))].split("\n\n")


def train_tokenizer(documents: Sequence[str], options: TokenizerOptions, separator: str) -> Tokenizer:
    """Train a byte-level BPE of exactly ``options.vocabulary`` tokens; token 0 is the separator.

    Args:
        documents: training text.
        options: the tokeniser's settings.
        separator: text between two documents.

    Raises:
        DataError: the text has too few distinct pairs for a vocabulary of this size.

    Source: GPT-2's byte-level BPE (Radford et al. 2019, section 2.2) as built by the library ``tokenizers``.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocabulary,
        special_tokens=[separator],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(documents, options.sample_bytes), trainer)
    found = tokenizer.get_vocab_size()
    if found != options.vocabulary:
        raise DataError(
            f"the corpus yields only {found} tokens, fewer than tokenizer.vocabulary {options.vocabulary}. "
            "Use more text or a smaller vocabulary."
        )
    return tokenizer


def encode_documents(tokenizer: Tokenizer, documents: Sequence[str], separator: str) -> Tokens:
    """Encode all documents as one array of token numbers, with the separator's token before each document.

    Shapes: -> (N,), uint16.
    """
    mark = np.array([tokenizer.token_to_id(separator)], np.uint16)
    parts: list[Tokens] = []
    for start in range(0, len(documents), 64):
        with decoding("the corpus", "text of this tokenizer", advice="look at its documents"):
            encodings = tokenizer.encode_batch(list(documents[start : start + 64]))
        for encoding in encodings:
            parts += [mark, np.asarray(encoding.ids, np.uint16)]
    return np.concatenate(parts)


def token_bytes(tokenizer: Tokenizer, separator: str) -> NDArray[np.int64]:
    """Bytes of text in each token; 0 for the separator.

    In a byte-level BPE, each character of a token's name is one byte.

    Shapes: -> (vocabulary,).
    """
    sizes = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for name, number in tokenizer.get_vocab().items():
        sizes[number] = 0 if name == separator else len(name)
    return sizes


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus.

    Args:
        train: training tokens, (N,) uint16, memory-mapped.
        valid: held-out tokens, (M,) uint16, memory-mapped.
        tokenizer: the tokeniser trained on the training text.
        bytes_per_token: bytes of text of each token number, (vocabulary,).
        facts: sizes and digests, for the model card.
    """

    train: Tokens
    valid: Tokens
    tokenizer: Tokenizer
    bytes_per_token: NDArray[np.int64]
    facts: dict[str, int | str]


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"corpus '{path}': no such file. Name a .txt, .txt.xz or .txt.gz file with --set data.path=FILE."
        )


def _digest(path: Path) -> str:
    _require(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as err:
        raise DataError(f"corpus '{path}' cannot be read: {err}") from err
    return digest.hexdigest()


def open_corpus(cache: Path, separator: str) -> Corpus:
    """Open a cached corpus without reading the text it was made from.

    Args:
        cache: folder written by `prepare_corpus`.
        separator: text between two documents.

    Raises:
        DataError: the cache is missing or damaged.
    """
    facts = read_json(cache / _RECORD, where=f"token cache '{cache}'")
    where = f"token cache '{cache}'"
    with decoding(cache / "tokenizer.json", "a tokenizer", where=where):
        tokenizer = Tokenizer.from_file(str(cache / "tokenizer.json"))
    train, valid = (read_npy(cache / f"{name}.npy", mapped=True) for name in ("train", "validation"))
    key = facts.pop("key")
    digests = {name: key[name] for name in ("corpus_sha256", "validation_sha256")}
    return Corpus(train, valid, tokenizer, token_bytes(tokenizer, separator), facts | digests)


def _cached_key(record: Path) -> Any:
    return find_json(record).get("key")


def _paths(data: LanguageData) -> tuple[Path, Path | None]:
    return expanded(data.path), expanded(data.validation_path) if data.validation_path else None


def corpus_key(data: LanguageData, options: TokenizerOptions) -> dict[str, Any]:
    """Everything the tokens depend on: digests of the files, and settings. Reads the files, writes nothing.

    Raises:
        DataError: a file is missing or unreadable.
    """
    path, valid_path = _paths(data)
    return {
        "corpus_sha256": _digest(path),
        "validation_sha256": _digest(valid_path) if valid_path else f"share {data.validation_share}",
        "separator": data.document_separator,
        **options.model_dump(),
        "layout": 1,
    }


def prepare_corpus(
    data: LanguageData, options: TokenizerOptions, cache: Path, *, key: Mapping[str, Any] | None = None
) -> Corpus:
    """Read, tokenise and cache a corpus; an existing cache of the same files and settings is reused.

    Args:
        data: files of the text.
        options: the tokeniser's settings.
        cache: folder for tokenizer.json and the token arrays; created if missing.
        key: result of `corpus_key` for these files and settings; computed if None.

    Raises:
        DataError: a file is missing, unreadable, empty, or too small for the vocabulary.
    """
    path, valid_path = _paths(data)
    key = corpus_key(data, options) if key is None else key
    record = cache / _RECORD
    if _cached_key(record) != key:
        cache.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        documents = read_documents(path, data.document_separator)
        if valid_path:
            train, valid = documents, read_documents(valid_path, data.document_separator)
        else:
            train, valid = hold_out(documents, data.validation_share)
        tokenizer = train_tokenizer(train, options, data.document_separator)
        tokenizer.save(str(cache / "tokenizer.json"))
        facts: dict[str, Any] = {"key": dict(key)}
        for name, part in (("train", train), ("validation", valid)):
            tokens = encode_documents(tokenizer, part, data.document_separator)
            np.save(cache / f"{name}.npy", tokens)
            facts[f"{name}_documents"] = len(part)
            facts[f"{name}_bytes"] = sum(len(document.encode()) for document in part)
            facts[f"{name}_tokens"] = len(tokens)
        write_json(record, facts)  # last: its presence says that the arrays are complete
    return open_corpus(cache, data.document_separator)


def batch(tokens: Tokens, *, rows: int, length: int, seed: int, step: int) -> NDArray[np.int64]:
    """Sample rows at random positions of the token array: a pure function of its arguments.

    Documents are packed: a row may cross a separator into the next document.

    Shapes: tokens (N,) -> (rows, length + 1); the last column is only a target.

    Args:
        tokens: token numbers, N more than ``length``.
        rows: number of rows.
        length: length of a row without its last target.
        seed: of the batches.
        step: of the training.
    """
    generator = np.random.default_rng([seed, step])
    starts = generator.integers(0, len(tokens) - length, size=rows)
    return np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64)
