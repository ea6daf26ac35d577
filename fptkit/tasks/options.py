"""Options of the generated tasks; in a module of their own so that listings and recipe checks do not import torch.

Source of the sizes of an example: Lu et al. 2021, section 3.1. The sizes of the splits are ours: the paper generates
new test batches for each evaluation.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fptkit.options import Options
from fptkit.specs import limits

_PROTOCOL = (
    "clean: fixed validation and test splits, evaluated in full; fpt2021: 25 new batches for every evaluation, as in "
    "the paper's code (fault D6)"
)


class BitXorOptions(Options):
    """Options of the task ``bit_xor``: the bitwise XOR of two bit strings."""

    protocol: Literal["clean", "fpt2021"] = Field(default="clean", description=_PROTOCOL)
    bits: int = Field(
        default=5,
        ge=1,
        le=limits.LENGTH,
        description="length of each of the two bit strings; an example has twice as many tokens",
    )
    validation_size: int = Field(
        default=1024, ge=1, le=limits.EXAMPLES, description="examples of the validation split (protocol clean)"
    )
    test_size: int = Field(
        default=4096, ge=1, le=limits.EXAMPLES, description="examples of the test split (protocol clean)"
    )

    @model_validator(mode="after")
    def _fits(self) -> BitXorOptions:
        limits.refuse_large(max(self.validation_size, self.test_size) * 2 * self.bits, "bits and examples")
        return self


class BitMemoryOptions(Options):
    """Options of the task ``bit_memory``: recall the bit string that is shown again with bits masked."""

    protocol: Literal["clean", "fpt2021"] = Field(default="clean", description=_PROTOCOL)
    strings: int = Field(default=5, ge=1, le=limits.LENGTH, description="strings to remember")
    bits: int = Field(default=1000, ge=1, le=limits.LENGTH, description="bits per string, a multiple of bits_per_token")
    bits_per_token: int = Field(default=50, ge=1, le=limits.WIDTH, description="bits per token, a divisor of bits")
    mask_probability: float = Field(default=0.5, ge=0, le=1, description="probability that a bit shown again is masked")
    validation_size: int = Field(
        default=256,
        ge=1,
        le=limits.EXAMPLES,
        description="examples of the validation split, each with all its bits (protocol clean)",
    )
    test_size: int = Field(
        default=1024,
        ge=1,
        le=limits.EXAMPLES,
        description="examples of the test split, each with all its bits (protocol clean)",
    )

    @model_validator(mode="after")
    def _tokens_fill_a_string(self) -> BitMemoryOptions:
        if self.bits % self.bits_per_token:
            raise ValueError(f"bits_per_token must divide bits, but {self.bits_per_token} does not divide {self.bits}")
        numbers = max(self.validation_size, self.test_size) * 2 * self.strings * self.bits
        limits.refuse_large(numbers, "strings, bits and examples")
        return self
