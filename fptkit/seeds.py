"""All randomness of a run comes from one seed: each use derives its own stream by name, independent of the others.

A stream named by the step number needs no saved generator state: a resumed run derives the same stream.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
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


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of torch, numpy and Python inside the block, and restore them afterwards.

    Code of plugins may draw from any of them, and what is built must follow from the seed of the run.
    """
    import numpy as np
    import torch

    numpy_before, python_before = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_before)
            random.setstate(python_before)
