"""Text for language pretraining: read, held out, tokenised, cached, cut into batches."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretraining_recipes import (
    SEPARATOR,
    silent,
    write_corpus,
)
from pretraining_recipes import language_recipe as make_recipe

from fptkit.errors import DataError
from fptkit.lab.pretraining.corpus import (
    batch,
    encode_documents,
    hold_out,
    open_corpus,
    prepare_corpus,
    read_documents,
    token_bytes,
    train_tokenizer,
)
from fptkit.lab.pretraining.language import pretrain
from fptkit.lab.pretraining.options import LanguageData, TokenizerOptions


@pytest.mark.parametrize(("suffix", "pack"), [(".txt", bytes), (".txt.xz", lzma.compress), (".txt.gz", gzip.compress)])
def test_documents_are_read_from_plain_and_packed_files(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(pack(f"one\n\nähm\n{SEPARATOR}\n\n{SEPARATOR}\r\ntwo\n".encode()))
    assert read_documents(path, SEPARATOR) == ["one\n\nähm", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.txt", b"", "holds no text"),
        ("text.txt", f"\n{SEPARATOR}\n \n".encode(), "holds no text"),
        ("text.txt", b"\xff\xfe", "not UTF-8"),
        ("text.txt.xz", b"not packed", "not an? xz file"),
        ("text.txt.gz", b"not packed", "not a gzip file"),
        ("text.txt.xz", lzma.compress(b"text" * 1000)[:-20], "not readable as a file packed by xz"),
    ],
)
def test_unusable_corpus(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_documents(tmp_path / name, SEPARATOR)


def test_missing_corpus_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*data\.path"):
        pretrain(make_recipe(tmp_path / "absent.txt"), tmp_path / "out", log=silent)
    assert not (tmp_path / "out").exists()


def test_hold_out_takes_the_end_and_loses_nothing() -> None:
    documents = ["a" * 50, "b" * 50]
    train, valid = hold_out(documents, 0.2)
    assert (train, valid) == (["a" * 50, "b" * 30], ["b" * 20])
    with pytest.raises(DataError, match="too short"):
        hold_out(["a"], 0.2)


def test_tokenizer_round_trip_and_separators(corpus_file: Path) -> None:
    documents = read_documents(corpus_file, SEPARATOR)
    tokenizer = train_tokenizer(documents, TokenizerOptions(vocabulary=300), SEPARATOR)
    assert tokenizer.get_vocab_size() == 300
    assert tokenizer.token_to_id(SEPARATOR) == 0
    strange = "  Zwölf Boxkämpfer\tjagen — 猫 🐈\r\n"  # bytes never seen in the corpus must survive
    assert tokenizer.decode(tokenizer.encode(strange).ids) == strange
    tokens = encode_documents(tokenizer, documents, SEPARATOR)
    assert tokens.dtype == np.uint16
    starts = np.flatnonzero(tokens == 0)
    assert len(starts) == len(documents)
    assert starts[0] == 0
    pieces = [tokenizer.decode(piece[1:].tolist()) for piece in np.split(tokens, starts[1:])]
    assert pieces == documents


def test_token_bytes_count_the_text(corpus_file: Path) -> None:
    documents = read_documents(corpus_file, SEPARATOR)
    tokenizer = train_tokenizer(documents, TokenizerOptions(vocabulary=300), SEPARATOR)
    tokens = encode_documents(tokenizer, documents, SEPARATOR)
    sizes = token_bytes(tokenizer, SEPARATOR)
    assert sizes[0] == 0
    assert sizes[tokens].sum() == sum(len(document.encode()) for document in documents)


def test_vocabulary_larger_than_the_corpus_yields(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a short text, and a short one.", "utf-8")
    with pytest.raises(DataError, match=r"yields only \d+ tokens, fewer than tokenizer\.vocabulary 4096"):
        prepare_corpus(LanguageData(path=str(path)), TokenizerOptions(), tmp_path / "cache")
    assert not (tmp_path / "cache" / "corpus.json").exists()


def test_corpus_shorter_than_a_sequence(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "text.txt", documents=1, words=60)
    recipe = make_recipe(
        path,
        {"batch_tokens": 1024, "sequence_lengths": {"tokens": [1024], "weights": [1]}},
        model={"blocks": 1, "width": 32, "heads": 2, "positions": 1024},
        tokenizer={"vocabulary": 260},
    )
    with pytest.raises(DataError, match="not more than the longest sequence of 1024"):
        pretrain(recipe, tmp_path / "out", log=silent)


def test_cache_is_kept_until_text_or_settings_change(tmp_path: Path) -> None:
    path, cache = write_corpus(tmp_path / "text.txt"), tmp_path / "cache"
    data, options = LanguageData(path=str(path)), TokenizerOptions(vocabulary=300)
    first = prepare_corpus(data, options, cache)
    made = (cache / "train.npy").stat().st_mtime_ns
    prepare_corpus(data, options, cache)
    assert (cache / "train.npy").stat().st_mtime_ns == made
    prepare_corpus(data, TokenizerOptions(vocabulary=280), cache)
    assert open_corpus(cache, SEPARATOR).tokenizer.get_vocab_size() == 280
    write_corpus(path, documents=3)
    again = prepare_corpus(data, options, cache)
    assert len(again.train) < len(first.train)
    (cache / "corpus.json").write_text("{", "utf-8")  # a damaged record is made anew
    assert np.array_equal(prepare_corpus(data, options, cache).train, again.train)


def test_open_corpus_without_a_cache(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="token cache"):
        open_corpus(tmp_path, SEPARATOR)


def test_batches_depend_on_seed_and_step_alone() -> None:
    tokens = np.arange(100, dtype=np.uint16)
    rows = batch(tokens, rows=50, length=9, seed=1, step=2)
    assert rows.shape == (50, 10)
    assert (np.diff(rows) == 1).all()
    assert np.array_equal(rows, batch(tokens, rows=50, length=9, seed=1, step=2))
    for other in ({"seed": 1, "step": 3}, {"seed": 2, "step": 2}):
        assert not np.array_equal(rows, batch(tokens, rows=50, length=9, **other))
    everywhere = batch(tokens, rows=5000, length=9, seed=0, step=0)
    assert set(everywhere.ravel().tolist()) == set(range(100)), "both ends of the text are used"
