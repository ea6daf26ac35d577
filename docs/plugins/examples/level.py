"""Level: the part of ones up to each token. Real values for every token, which some tokens do not have."""

import torch

from fptkit import ListSplit, Options, Task, TaskSpec, TokenValues, Vectors, hookimpl
from fptkit.seeds import generator_for

SIZES = {"train": 512, "validation": 64, "test": 64}


class Level(Task):
    def __init__(self, options: Options, *, seed: int, pinned: str | None) -> None:
        self.input, self.max_tokens = Vectors(1), 12
        self.output = TokenValues(1, names=("level",))
        self.splits = {name: self.draw(size, generator_for(0, name)) for name, size in SIZES.items()}

    def draw(self, size: int, generator: torch.Generator) -> ListSplit:
        lengths = torch.randint(4, self.max_tokens + 1, (size,), generator=generator).tolist()
        inputs = [torch.randint(2, (length, 1), generator=generator).float() for length in lengths]
        levels = [one.cumsum(0) / torch.arange(1, len(one) + 1)[:, None] for one in inputs]
        for level in levels:
            level[0] = float("nan")  # the first token is not measured: it counts neither in loss nor in metrics
        return ListSplit(self.input, self.output, inputs, levels)

    def split(self, name: str) -> ListSplit:
        return self.splits[name]


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="level", summary="the part of ones up to each token", target=Level)]
