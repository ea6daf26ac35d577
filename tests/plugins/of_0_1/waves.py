import torch

from fptkit import ArraySplit, Classes, Task, TaskSpec, Vectors, hookimpl


class Waves(Task):
    def __init__(self, options, *, seed, pinned):
        self.input, self.output, self.max_tokens = Vectors(4), Classes(2), 8
        self.splits = {name: self.load(number) for number, name in enumerate(("train", "validation", "test"))}

    def load(self, number):  # a real task would read a file
        waves = torch.randn(64, 8, 4, generator=torch.Generator().manual_seed(number))
        return ArraySplit(waves, (waves.mean((1, 2)) > 0).long(), vectors=True)

    def split(self, name):
        return self.splits[name]


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="waves", summary="is the mean above zero?", target=Waves)]
