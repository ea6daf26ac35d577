"""Grades: how many of four bits are ones? A kind of answers of its own: classes in an order (ordinal regression)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fptkit import Accuracy, AnswerKind, Classes, GeneratedTask, Metric, Seen, TaskSpec, Vectors, hookimpl


@dataclass(frozen=True)
class Ordinal(AnswerKind):
    """K grades. The head gives K - 1 logits: is the grade above 0, above 1, ...? Source: Frank and Hall 2001."""

    name = "ordinal"
    best_metric = "accuracy"
    dtype = torch.int64
    has_probabilities = True
    count: int

    def head_width(self) -> int:
        return self.count - 1

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        return (size,)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        return (size, self.count - 1)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        above = (targets[:, None] > torch.arange(self.count - 1, device=targets.device)).to(predictions.dtype)
        return functional.binary_cross_entropy_with_logits(predictions, above)

    def metrics(self) -> dict[str, Metric]:
        return {"accuracy": Accuracy()}

    def for_metrics(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.seen(predictions).predictions, targets

    def chance(self) -> float:
        return 1 / self.count

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:  # reports treat grades as classes
        above = torch.cat([torch.ones_like(predictions[:, :1]), predictions.sigmoid()], 1)
        chances = above - torch.cat([above[:, 1:], torch.zeros_like(above[:, :1])], 1)
        return Seen(Classes(self.count), chances.clamp(min=1e-9).log(), targets)


class Grades(GeneratedTask):
    input, output, max_tokens = Vectors(1), Ordinal(5), 4

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        bits = torch.randint(2, (count, 4, 1), generator=generator)
        return bits.float(), bits.sum((1, 2))


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="grades", summary="how many of four bits are ones?", target=Grades)]
