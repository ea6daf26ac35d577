"""Parity: is the number of ones in a string of bits odd? A task in one file."""

import torch
from pydantic import Field
from torch import Tensor

from fptkit import Classes, GeneratedTask, Options, Symbols, TaskSpec, hookimpl


class ParityOptions(Options):
    bits: int = Field(default=6, ge=1, description="bits of a string, one per token")
    test_size: int = Field(default=256, ge=1, description="examples of the validation split and of the test split")


class Parity(GeneratedTask):
    def __init__(self, options: ParityOptions, *, seed: int, pinned: str | None) -> None:
        super().__init__(options, seed=seed, validation_size=options.test_size, test_size=options.test_size)
        self.input = Symbols(2)  # a token is a 0 or a 1
        self.output = Classes(2)  # one answer for each example: even or odd
        self.max_tokens = options.bits

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        bits = torch.randint(0, 2, (count, self.max_tokens), generator=generator)
        return bits, bits.sum(1) % 2  # inputs (B, T), targets (B,)


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="parity", summary="is the number of ones odd?", target=Parity, options=ParityOptions)]
