"""Alphabets: which symbols a sequence may have, and how its text is divided into them.

One rule for all: ambiguity codes, gaps and stops are symbols of their own, and nothing is replaced or left out. In
``dna``, ``rna`` and ``protein``, lower case means the same as upper case, since it only marks repeats; elsewhere it is
another symbol, as in SMILES.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fptkit.errors import DataError
from fptkit.tasks.reading.labels import shown

PAD = 0
"""Id of padding; symbols are numbered from 1."""

LETTERS = {
    "dna": "ACGTRYSWKMBDHVN-.",
    "rna": "ACGURYSWKMBDHVN-.",
    "protein": "ACDEFGHIKLMNPQRSTVWYXBZJUO*-.",
}
"""Letters of the named alphabets: IUPAC codes with those for ambiguity, then stop and gaps.

Source: IUPAC-IUB codes, as NCBI lists them for FASTA (https://blast.ncbi.nlm.nih.gov/doc/blast-topics/).
"""

_SMILES = re.compile(
    r"\[[^\[\]]+\]|Br|Cl|%[0-9]{2}|%\([0-9]{1,5}\)|[BCNOPSFIbcnops0-9()=#$:/\\.+\-~@*?>]",
)
"""Symbols of SMILES: an atom in brackets, an atom of the organic subset, a bond, a branch, a ring number.

Source: Schwaller et al. 2019 (Molecular Transformer), section 3; ring numbers above 99 from OpenSMILES.
"""

Kind = Literal["read", "dna", "rna", "protein", "smiles", "bytes"]


class Alphabet(BaseModel):
    """An alphabet; a part of a preparation.

    Args:
        kind: its name; ``read`` for the symbols of the training data.
        symbols: the symbols, in the order of their ids from 1; empty for ``bytes``, which are all 256.
        separator: what separates symbols of several characters; empty if each character is one, or the kind decides.
        same_case: whether lower case means the same as upper case.
        unknown: whether unknown symbols become one further symbol; otherwise they are an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    symbols: tuple[str, ...] = ()
    separator: str = ""
    same_case: bool = False
    unknown: bool = False

    @property
    def size(self) -> int:
        """Number of ids, with padding and the symbol for unknown ones."""
        return 257 if self.kind == "bytes" else 1 + len(self.symbols) + self.unknown

    def encode(self, text: str, where: str) -> NDArray[np.int64]:
        """The ids of a sequence. Shapes: -> (T,).

        Args:
            text: the sequence.
            where: its place, for messages.

        Raises:
            DataError: it is empty, or has an unknown symbol and ``unknown`` is false.
        """
        if not text:
            raise DataError(f"{where}: the sequence is empty; remove the record")
        if self.kind == "bytes":
            return 1 + np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        if self._by_character:
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            ids = self._table[np.minimum(codes, len(self._table) - 1)]
        else:
            ids = np.array([self._ids.get(symbol, 0) for symbol in self.divide(text, where)], np.int64)
        if not ids.all():
            if not self.unknown:
                raise self._stranger(text, int(np.flatnonzero(ids == 0)[0]), where)
            ids[ids == 0] = 1 + len(self.symbols)
        return ids

    def divide(self, text: str, where: str) -> Sequence[str]:
        """The symbols of a sequence; for ``bytes`` their numbers as text.

        Raises:
            DataError: a part of the text is no symbol of SMILES.
        """
        if self.separator:
            symbols = text.split(self.separator)
            if "" in symbols:
                raise DataError(f"{where}: symbol {symbols.index('') + 1} is empty; check the separators")
            return symbols
        if self.kind == "smiles":
            return _smiles(text, where)
        if self.kind == "bytes":
            return [str(byte) for byte in text.encode()]
        return text.upper() if self.same_case else text

    @property
    def _by_character(self) -> bool:
        return not self.separator and self.kind != "smiles"

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols, start=1)}

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """Ids by code point; the last one stands for all above, which are unknown."""
        found = {ord(symbol): number for symbol, number in self._ids.items()}
        if self.same_case:
            found |= {ord(symbol.lower()): number for symbol, number in self._ids.items()}
        table = np.zeros(max(found) + 2, np.int64)
        table[list(found)] = list(found.values())
        return table

    def _stranger(self, text: str, place: int, where: str) -> DataError:
        symbol = self.divide(text, where)[place]
        known = "the training data" if self.kind == "read" else f"the alphabet {self.kind}"
        if self.kind == "smiles":
            known = "the training data"
        return DataError(
            f"{where}: unknown symbol {symbol!r} at position {place + 1:,}; {known} have {shown(self.symbols)}. "
            "Correct it, or set the option unknown: token, which reads all unknown symbols as one"
        )


def make_alphabet(
    kind: Kind, texts: Iterable[tuple[str, str]], *, separator: str = "", unknown: bool = False
) -> Alphabet:
    """An alphabet; ``read`` and ``smiles`` have the symbols of the training data.

    Args:
        kind: its name.
        texts: text and place of each training sequence.
        separator: what separates symbols of several characters; empty for none.
        unknown: see `Alphabet`.

    Raises:
        DataError: a text is not SMILES.
    """
    if kind in LETTERS:
        return Alphabet(kind=kind, symbols=tuple(LETTERS[kind]), separator=separator, same_case=True, unknown=unknown)
    if kind == "bytes":
        return Alphabet(kind=kind)
    empty = Alphabet(kind=kind, separator=separator)
    found: set[str] = set()
    for text, where in texts:
        found.update(empty.divide(text, where))
    return Alphabet(kind=kind, symbols=tuple(sorted(found)), separator=separator, unknown=unknown)


def _smiles(text: str, where: str) -> list[str]:
    symbols, place = [], 0
    while place < len(text):
        found = _SMILES.match(text, place)
        if found is None:
            raise DataError(
                f"{where}: {text[place]!r} at character {place + 1:,} is no symbol of SMILES; correct it, or use "
                "alphabet: read"
            )
        symbols.append(found[0])
        place = found.end()
    return symbols
