"""The task: is one the more frequent bit?"""

from __future__ import annotations

import torch
from fptkit import Classes, GeneratedTask, Symbols
from torch import Tensor

from fptkit_moons.options import MoonsOptions


class Moons(GeneratedTask):
    """Whether a string of bits holds more ones than zeros.

    A task with stored data derives from ``fptkit.Task`` instead and returns its splits from ``split(name)``.

    Shapes: inputs (B, bits) symbols, targets (B,), logits (B, 2).
    """

    def __init__(self, options: MoonsOptions, *, seed: int, pinned: str | None = None) -> None:
        super().__init__(options, seed=seed, validation_size=options.validation_size, test_size=options.test_size)
        self.input = Symbols(2)
        self.output = Classes(2)
        self.max_tokens = options.bits

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw examples; ``generator`` is the only source of randomness, so runs are reproducible."""
        bits = torch.randint(0, 2, (count, self.max_tokens), generator=generator)
        return bits, (2 * bits.sum(1) > self.max_tokens).long()
