"""Options of the generated tasks; light, so that listings and recipe checks load no torch.

Source of the sizes of an example: Lu et al. 2021, section 3.1. The sizes of the splits are ours: the paper draws its
test batches anew each time.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fptkit.options import Options

_PROTOCOL = (
    "clean: validation and test are drawn once and evaluated whole; fpt2021: 25 batches drawn anew for every "
    "evaluation, as in the paper's code (fault D6)"
)


class BitXorOptions(Options):
    """Options of the task ``bit_xor``: the XOR of two strings of bits."""

    protocol: Literal["clean", "fpt2021"] = Field(default="clean", description=_PROTOCOL)
    bits: int = Field(
        default=5, ge=1, description="bits of each of the two strings; an example has twice as many tokens"
    )
    validation_size: int = Field(default=1024, ge=1, description="examples of the validation split (protocol clean)")
    test_size: int = Field(default=4096, ge=1, description="examples of the test split (protocol clean)")


class BitMemoryOptions(Options):
    """Options of the task ``bit_memory``: which of several strings comes back with bits masked."""

    protocol: Literal["clean", "fpt2021"] = Field(default="clean", description=_PROTOCOL)
    strings: int = Field(default=5, ge=1, description="strings to remember")
    bits: int = Field(default=1000, ge=1, description="bits of a string, a multiple of bits_per_token")
    bits_per_token: int = Field(default=50, ge=1, description="bits in one token, a divisor of bits")
    mask_probability: float = Field(default=0.5, ge=0, le=1, description="probability that a bit shown again is masked")
    validation_size: int = Field(
        default=256, ge=1, description="examples of the validation split, each of all the bits (protocol clean)"
    )
    test_size: int = Field(
        default=1024, ge=1, description="examples of the test split, each of all the bits (protocol clean)"
    )

    @model_validator(mode="after")
    def _tokens_fill_a_string(self) -> BitMemoryOptions:
        if self.bits % self.bits_per_token:
            raise ValueError(f"bits_per_token must divide bits, but {self.bits_per_token} does not divide {self.bits}")
        return self
