"""All randomness of a run comes from one seed: each use derives its own stream by name, independent of the others.

A stream named by the step number needs no saved generator state: a resumed run derives the same stream.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """The seed for the use named by ``words``, in 0 ... 2**63 - 1, the same on every machine."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_for(seed: int, *words: str | int) -> torch.Generator:
    """A CPU generator for the use named by ``words``."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *words))
