"""The two bit tasks of the paper. Their data are always generated; there is no stored data set.

Source: Lu et al. 2021, section 3.1; kzl/universal-computation, ``datasets/bit_memory.py`` and ``datasets/bit_xor.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.interfaces import Classes, Vectors
from fptkit.tasks.generated import GeneratedTask
from fptkit.tasks.options import BitMemoryOptions, BitXorOptions


class BitXor(GeneratedTask):
    """Bitwise XOR of two bit strings: one bit (0 or 1) per token, read out at the tokens of the second string.

    Shapes: inputs (B, 2 * bits, 1), targets (B, bits), logits (B, bits, 2).
    """

    def __init__(self, options: BitXorOptions, *, seed: int, pinned: str | None = None) -> None:
        super().__init__(
            options,
            seed=seed,
            validation_size=options.validation_size,
            test_size=options.test_size,
            protocol=options.protocol,
        )
        self._bits = options.bits
        self.input = Vectors(1)
        self.output = Classes(2, tokens=options.bits)
        self.max_tokens = 2 * options.bits

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `GeneratedTask.draw`."""
        bits = torch.randint(0, 2, (count, 2, self._bits), generator=generator)
        return bits.flatten(1)[:, :, None].float(), bits[:, 0] ^ bits[:, 1]


class BitMemory(GeneratedTask):
    """Recall a bit string: several strings of bits (-1 or 1), then one of them again with bits masked to 0.

    Shapes: inputs (B, (strings + 1) * P, bits_per_token), targets (B, P, bits_per_token), logits (B, P, bits_per_token,
    2), with P = bits / bits_per_token.
    """

    def __init__(self, options: BitMemoryOptions, *, seed: int, pinned: str | None = None) -> None:
        super().__init__(
            options,
            seed=seed,
            validation_size=options.validation_size,
            test_size=options.test_size,
            protocol=options.protocol,
        )
        self._options = options
        tokens = options.bits // options.bits_per_token
        self.input = Vectors(options.bits_per_token)
        self.output = Classes(2, tokens=tokens, per_token=options.bits_per_token)
        self.max_tokens = (options.strings + 1) * tokens
        # Bits that are shown again need no memory; half of the masked ones are right by guessing.
        self.chance_accuracy = 1 - options.mask_probability / 2

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `GeneratedTask.draw`."""
        options = self._options
        strings = torch.randint(0, 2, (count, options.strings, options.bits), generator=generator)
        asked = torch.randint(0, options.strings, (count,), generator=generator)
        answer = strings[torch.arange(count), asked]
        shown = torch.rand((count, options.bits), generator=generator) >= options.mask_probability
        signs = torch.cat([2 * strings - 1, ((2 * answer - 1) * shown)[:, None]], dim=1).float()
        return (
            signs.reshape(count, self.max_tokens, options.bits_per_token),
            answer.reshape(count, -1, options.bits_per_token),
        )
