"""Heavier: which of two strings has more ones? A pair, in two parts that both vary in length."""

import torch

from fptkit import ListSplit, Mixed, Options, Ranking, Symbols, Task, TaskSpec, hookimpl
from fptkit.seeds import generator_for

PARTS = ("left", "right")
SIZES = {"train": 512, "validation": 64, "test": 64}


class Heavier(Task):
    def __init__(self, options: Options, *, seed: int, pinned: str | None) -> None:
        bits = Symbols(3, pad=2)
        self.input = Mixed(dict.fromkeys(PARTS, bits), tokens=dict.fromkeys(PARTS, 8), varying=PARTS)
        self.max_tokens = self.input.max_tokens
        self.output = Ranking(2, names=PARTS)  # one score for each part; only their order counts
        self.splits = {name: self.draw(size, generator_for(0, name)) for name, size in SIZES.items()}

    def draw(self, size: int, generator: torch.Generator) -> ListSplit:
        lengths = torch.randint(1, 9, (size, 2), generator=generator).tolist()
        strings = [[torch.randint(2, (n,), generator=generator) for n in pair] for pair in lengths]
        weights = [[int(one.sum()) for one in pair] for pair in strings]  # equal ones: no pair to order
        return ListSplit(self.input, self.output, [{"left": a, "right": b} for a, b in strings], weights)

    def split(self, name: str) -> ListSplit:
        return self.splits[name]


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="heavier", summary="which of two strings has more ones?", target=Heavier)]
