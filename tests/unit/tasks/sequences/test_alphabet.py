"""Alphabets, compared with a dictionary."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.sequences.alphabet import LETTERS, Alphabet, make_alphabet

CHANCE = random.Random(0)


def texts(*some: str) -> list[tuple[str, str]]:
    return [(text, f"f:{number}") for number, text in enumerate(some)]


@pytest.mark.parametrize("kind", ["dna", "rna", "protein"])
def test_named_letters_in_any_case(kind: str) -> None:
    alphabet = make_alphabet(kind, [])  # type: ignore[arg-type]
    letters = LETTERS[kind]
    sequence = "".join(CHANCE.choices(letters, k=200))
    assert alphabet.encode(sequence, "x").tolist() == [1 + letters.index(letter) for letter in sequence]
    assert np.array_equal(alphabet.encode(sequence.lower(), "x"), alphabet.encode(sequence, "x"))
    assert alphabet.size == len(letters) + 1
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize(
    ("kind", "sequence", "place", "symbol"),
    [
        ("dna", "ACGU", 4, "U"),
        ("rna", "acgt", 4, "T"),
        ("protein", "MK1", 3, "1"),
        ("dna", "ACé", 3, "É"),
        ("dna", "日", 1, "日"),
    ],
)
def test_an_unknown_symbol_is_an_error_with_its_place(kind: str, sequence: str, place: int, symbol: str) -> None:
    with pytest.raises(DataError, match=rf"^f\.fasta:7: unknown symbol '{symbol}' at position {place}"):
        make_alphabet(kind, []).encode(sequence, "f.fasta:7")  # type: ignore[arg-type]


def test_unknown_symbols_as_one_symbol() -> None:
    alphabet = make_alphabet("read", texts("ab"), unknown=True)
    assert alphabet.encode("abxé日a", "x").tolist() == [1, 2, 3, 3, 3, 1]
    assert alphabet.size == 4


def test_read_symbols_are_those_of_train_in_the_order_of_the_text() -> None:
    alphabet = make_alphabet("read", texts("bΩa", "aA-*日"))
    assert alphabet.symbols == ("*", "-", "A", "a", "b", "Ω", "日")
    for text in ("aA", "日Ωb*-"):
        assert alphabet.encode(text, "x").tolist() == [1 + alphabet.symbols.index(symbol) for symbol in text]
    with pytest.raises(DataError, match="unknown symbol 'B' at position 2"):
        alphabet.encode("aB", "x")


@pytest.mark.parametrize(
    ("smiles", "symbols"),
    [
        ("CCO", ["C", "C", "O"]),
        ("Clc1ccc(Br)cc1", ["Cl", "c", "1", "c", "c", "c", "(", "Br", ")", "c", "c", "1"]),
        ("C[C@@H](N)C(=O)O", ["C", "[C@@H]", "(", "N", ")", "C", "(", "=", "O", ")", "O"]),
        ("[Na+].[Cl-]", ["[Na+]", ".", "[Cl-]"]),
        ("F/C=C\\F", ["F", "/", "C", "=", "C", "\\", "F"]),
        ("C%12CC%12", ["C", "%12", "C", "C", "%12"]),
        ("[13CH4]", ["[13CH4]"]),
        ("CBr.BC", ["C", "Br", ".", "B", "C"]),
    ],
)
def test_smiles_symbols(smiles: str, symbols: list[str]) -> None:
    assert list(Alphabet(kind="smiles").divide(smiles, "x")) == symbols
    assert len(make_alphabet("smiles", texts(smiles)).encode(smiles, "x")) == len(symbols)


@pytest.mark.parametrize(("smiles", "place"), [("CCX", 3), ("C[CH", 2), ("C C", 2), ("ZCC", 1)])
def test_what_is_no_smiles(smiles: str, place: int) -> None:
    with pytest.raises(DataError, match=rf"^f:1: .* at character {place} is no symbol of SMILES"):
        Alphabet(kind="smiles").divide(smiles, "f:1")


def test_an_unknown_atom_of_smiles() -> None:
    alphabet = make_alphabet("smiles", texts("CCO", "[nH]"))
    with pytest.raises(DataError, match=r"unknown symbol '\[Se\]' at position 3"):
        alphabet.encode("CC[Se]", "x")


def test_bytes() -> None:
    text = "aé日\x00"
    assert make_alphabet("bytes", []).encode(text, "x").tolist() == [1 + byte for byte in text.encode()]
    assert make_alphabet("bytes", []).size == 257


@pytest.mark.parametrize("separator", [" ", LIST, "::"])
def test_symbols_of_several_characters(separator: str) -> None:
    alphabet = make_alphabet("read", texts(separator.join(["log", "in", "log"])), separator=separator)
    assert alphabet.symbols == ("in", "log")
    assert alphabet.encode(separator.join(["log", "in"]), "x").tolist() == [2, 1]
    with pytest.raises(DataError, match="unknown symbol 'out' at position 2"):
        alphabet.encode(separator.join(["log", "out"]), "x")
    with pytest.raises(DataError, match="symbol 2 is empty"):
        alphabet.encode(separator.join(["log", "", "in"]), "x")


def test_an_empty_sequence() -> None:
    with pytest.raises(DataError, match=r"^f:3: the sequence is empty"):
        make_alphabet("dna", []).encode("", "f:3")


def test_the_same_after_json() -> None:
    alphabet = make_alphabet("smiles", texts("CC[C@H]"), unknown=True)
    again = Alphabet.model_validate_json(alphabet.model_dump_json())
    assert again == alphabet
    assert np.array_equal(again.encode("C[C@H][Xe]", "x"), alphabet.encode("C[C@H][Xe]", "x"))
