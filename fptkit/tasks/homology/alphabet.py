"""The letters of protein sequences as symbol ids."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBZJUO"
"""One-letter codes by id, from 1: the 20 amino acids, X any, B Asp or Asn, Z Glu or Gln, J Leu or Ile, U
selenocysteine, O pyrrolysine.

Source: IUPAC-IUB one-letter codes, as in TAPE's vocabulary ``iupac`` (songlab-cal/tape, tape/tokenizers.py), and J.
TAPE's <cls>, <sep>, <mask> and <unk> are omitted: a frozen language model has no use for them. Ids differ from TAPE's.
"""

PAD = 0
SYMBOL_COUNT = len(LETTERS) + 1

_UNKNOWN = 255
_IDS = np.full(256, _UNKNOWN, np.uint8)
for _id, _letter in enumerate(LETTERS, start=1):
    _IDS[[ord(_letter), ord(_letter.lower())]] = _id


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
