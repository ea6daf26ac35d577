"""Chain: the next symbol of a Markov chain. No model needs fewer bits per symbol than the chain has entropy."""

import torch
from torch import Tensor

from fptkit import ListSplit, NextSymbol, Options, Symbols, Task, TaskSpec, hookimpl
from fptkit.seeds import generator_for

SYMBOLS, LIKELY = 4, 0.7  # the symbol after s is s + 1 with this probability, else any
OUTPUT = NextSymbol(SYMBOLS)
SIZES = {"train": 512, "validation": 64, "test": 64}


class Chain(Task):
    def __init__(self, options: Options, *, seed: int, pinned: str | None) -> None:
        self.input, self.output, self.max_tokens = Symbols(SYMBOLS), OUTPUT, 16
        self.splits = {name: self.draw(size, generator_for(0, name)) for name, size in SIZES.items()}

    def draw(self, size: int, generator: torch.Generator) -> ListSplit:
        lengths = torch.randint(2, self.max_tokens + 1, (size,), generator=generator).tolist()
        inputs = [self.sequence(length, generator) for length in lengths]
        targets = [OUTPUT.targets_of(one[None])[0] for one in inputs]
        return ListSplit(self.input, self.output, inputs, targets)

    def sequence(self, length: int, generator: torch.Generator) -> Tensor:
        other = torch.randint(SYMBOLS, (length,), generator=generator).tolist()
        follow = (torch.rand(length, generator=generator) < LIKELY).tolist()
        symbols = other[:1]
        for place in range(1, length):
            symbols.append((symbols[-1] + 1) % SYMBOLS if follow[place] else other[place])
        return torch.tensor(symbols)

    def split(self, name: str) -> ListSplit:
        return self.splits[name]


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="chain", summary="the next symbol of a Markov chain", target=Chain)]
