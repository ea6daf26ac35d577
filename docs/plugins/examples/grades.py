"""Grades: how many of four bits are ones? A kind of answers of its own: classes in an order (ordinal regression)."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from fptkit import Accuracy, AnswerKind, Classes, GeneratedTask, Seen, TaskSpec, Vectors, hookimpl


@dataclass(frozen=True)
class Ordinal(AnswerKind):
    """K grades. The head gives K - 1 logits: is the grade above 0, above 1, ...? Source: Frank and Hall 2001."""

    name = "ordinal"
    best_metric = "accuracy"
    dtype = torch.int64
    has_probabilities = True
    count: int

    def head_width(self):
        return self.count - 1

    def target_shape(self, size, tokens=0):
        return (size,)

    def prediction_shape(self, size, tokens=0):
        return (size, self.count - 1)

    def loss(self, predictions, targets):
        above = (targets[:, None] > torch.arange(self.count - 1, device=targets.device)).to(predictions.dtype)
        return functional.binary_cross_entropy_with_logits(predictions, above)

    def metrics(self):
        return {"accuracy": Accuracy()}

    def for_metrics(self, predictions, targets):
        return self.seen(predictions).predictions, targets

    def chance(self):
        return 1 / self.count

    def seen(self, predictions, targets=None):  # reports and predictions treat grades as classes
        above = torch.cat([torch.ones_like(predictions[:, :1]), predictions.sigmoid()], 1)
        chances = above - torch.cat([above[:, 1:], torch.zeros_like(above[:, :1])], 1)
        return Seen(Classes(self.count), chances.clamp(min=1e-9).log(), targets)


class Grades(GeneratedTask):
    input, output, max_tokens = Vectors(1), Ordinal(5), 4

    def draw(self, count, generator):
        bits = torch.randint(2, (count, 4, 1), generator=generator)
        return bits.float(), bits.sum((1, 2))


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="grades", summary="how many of four bits are ones?", target=Grades)]
