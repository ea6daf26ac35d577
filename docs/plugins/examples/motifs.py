"""Motifs: which of four motifs does a sequence contain? Several labels at once."""

import torch

from fptkit import Labels, ListSplit, Options, Symbols, Task, TaskSpec, hookimpl
from fptkit.seeds import generator_for

MOTIFS = {"aab": (0, 0, 1), "bba": (1, 1, 0), "cc": (2, 2), "abc": (0, 1, 2)}
SIZES = {"train": 512, "validation": 64, "test": 64}


class Motifs(Task):
    def __init__(self, options: Options, *, seed: int, pinned: str | None) -> None:
        self.input, self.max_tokens = Symbols(4, pad=3), 16  # the fourth symbol is padding
        self.output = Labels(len(MOTIFS), names=tuple(MOTIFS))  # none, some or all of them
        self.splits = {name: self.draw(size, generator_for(0, name)) for name, size in SIZES.items()}

    def draw(self, size: int, generator: torch.Generator) -> ListSplit:
        lengths = torch.randint(6, self.max_tokens + 1, (size,), generator=generator).tolist()
        inputs = [torch.randint(3, (length,), generator=generator).tolist() for length in lengths]
        targets = [[contains(one, motif) for motif in MOTIFS.values()] for one in inputs]  # 0 and 1
        return ListSplit(self.input, self.output, inputs, targets)

    def split(self, name: str) -> ListSplit:
        return self.splits[name]


def contains(symbols: list[int], motif: tuple[int, ...]) -> int:
    ends = range(len(motif), len(symbols) + 1)
    return int(any(tuple(symbols[end - len(motif) : end]) == motif for end in ends))


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="motifs", summary="which motifs does a sequence contain?", target=Motifs)]
