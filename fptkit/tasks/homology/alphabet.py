"""The letters of protein sequences as symbol ids."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBZJUO"
"""One-letter codes by id, from 1: the 20 amino acids, X any, B Asp or Asn, Z Glu or Gln, J Leu or Ile, U
selenocysteine, O pyrrolysine.

Source: IUPAC-IUB one-letter codes, as in TAPE's vocabulary ``iupac`` (songlab-cal/tape, tape/tokenizers.py), and J.
TAPE's <cls>, <sep>, <mask> and <unk> are omitted: a frozen language model has no use for them. Ids differ from TAPE's,
which the protocol ``fpt2021`` uses (`TAPE_SYMBOLS`).
"""

PAD = 0
SYMBOL_COUNT = len(LETTERS) + 1

_UNKNOWN = 255
_IDS = np.full(256, _UNKNOWN, np.uint8)
for _id, _letter in enumerate(LETTERS, start=1):
    _IDS[[ord(_letter), ord(_letter.lower())]] = _id

TAPE_SYMBOLS = ("<pad>", "<mask>", "<cls>", "<sep>", "<unk>", *"ABCDEFGHIKLMNOPQRSTUVWXYZ")
"""TAPE's vocabulary ``iupac`` by id; its padding has the id 0, too.

Source: songlab-cal/tape, tape/tokenizers.py, IUPAC_VOCAB. It lacks J, which is read as X here.
"""

_CLS, _SEP = TAPE_SYMBOLS.index("<cls>"), TAPE_SYMBOLS.index("<sep>")
_TO_TAPE = np.array([PAD, *(TAPE_SYMBOLS.index("X" if letter == "J" else letter) for letter in LETTERS)], np.uint8)


def encode(text: str) -> tuple[NDArray[np.uint8], Counter[str]]:
    """Convert one-letter codes to symbol ids; case is ignored, and unknown characters become X.

    Returns:
        ids: (len(text),) symbol ids.
        unknown: count of each unknown character; those outside ASCII are counted as ``?``.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    ids = _IDS[codes]
    strange = ids == _UNKNOWN
    unknown = Counter(map(chr, codes[strange].tolist()))
    ids[strange] = _IDS[ord("X")]
    return ids, unknown


def decode(ids: NDArray[np.integer]) -> str:
    """Convert symbol ids to one-letter codes."""
    return "".join(LETTERS[number - 1] for number in ids.tolist())


def to_tape(ids: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Convert sequences to TAPE's vocabulary, each between <cls> and <sep>.

    Source: songlab-cal/tape, tape/tokenizers.py, ``TAPETokenizer.encode``.

    Args:
        ids: (S,) ids of `encode`, of all sequences, one after the other.
        offsets: (N + 1,) start of each sequence, then the end of the last.

    Returns:
        ids: (S + 2 N,) TAPE's ids.
        offsets: (N + 1,) as before, for these ids.
    """
    count = len(offsets) - 1
    starts = offsets + 2 * np.arange(count + 1)
    converted = np.empty(starts[-1], np.uint8)
    inside = np.ones(starts[-1], bool)
    inside[starts[:-1]] = inside[starts[1:] - 1] = False
    converted[inside] = _TO_TAPE[ids]
    converted[starts[:-1]], converted[starts[1:] - 1] = _CLS, _SEP
    return converted, starts


def decode_tape(ids: NDArray[np.integer]) -> str:
    """Convert TAPE's ids to one-letter codes; symbols that are no amino acids are left out."""
    return "".join(symbol for number in ids.tolist() if len(symbol := TAPE_SYMBOLS[number]) == 1)
