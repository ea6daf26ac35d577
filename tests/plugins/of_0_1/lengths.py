from pathlib import Path

import torch

from fptkit import Batch, Classes, Examples, Preparation, Vectors
from fptkit.tasks.reading.text import lines_of


class Lengths(Preparation):
    """A word becomes its length, centred by the training words."""

    mean: float
    classes: tuple[str, ...]

    input = property(lambda self: Vectors(1))
    output = property(lambda self: Classes(len(self.classes), names=self.classes))
    max_tokens = property(lambda self: 1)

    def read(self, source):
        lines = [line for entry in source for line in lines_of(Path(entry.removeprefix("path:")))]
        return Examples([text.strip() for _, text in lines], [f"line {number}" for number, _ in lines])

    def prepare(self, examples):
        lengths = torch.tensor([[[len(word) - self.mean]] for word in examples.content])
        labels = examples.labels.get("class", [self.classes[0]] * len(examples))
        return Batch(lengths, torch.tensor([self.classes.index(label) for label in labels]))
