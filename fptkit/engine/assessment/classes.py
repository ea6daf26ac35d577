"""Answers that are classes, accumulated over batches: confusion, per class, by place, calibration."""

from __future__ import annotations

from math import ceil, sqrt

import torch
from torch import Tensor

from fptkit.engine.assessment.intervals import NORMAL, wilson
from fptkit.engine.assessment.records import Bin, Bounds, ClassesAssessed, ClassFigures, Place
from fptkit.interfaces import IGNORED, Classes, TokenClasses

BINS = 15
"""Bins of the calibration."""

LISTED = 10_000
"""Pairs of confused classes that are listed: all pairs of 100 classes."""

PLACES = 128
"""Places without names that are reported one by one; more are reported as at most so many ranges."""

_DENSE = 2048
"""Classes up to which all pairs are counted."""


class ClassAssessment:
    """Accumulates answers that are classes.

    Args:
        output: kind of the answers; names of classes and answers are taken from it.
    """

    def __init__(self, output: Classes | TokenClasses) -> None:
        self._output, count = output, output.count
        self._figures = torch.zeros(3, count, dtype=torch.int64)  # support, predicted, right
        self._pairs = torch.zeros(count**2 if count <= _DENSE else 0, dtype=torch.int64)
        self._bins = torch.zeros(3, BINS, dtype=torch.float64)  # answers, their confidence, right ones
        self._sums = torch.zeros(6, dtype=torch.float64)  # over examples with n answers, r right: 1, n, r, n², nr, r²
        self._places = torch.zeros(3, 2 if count == 2 else 1, 0, dtype=torch.int64)  # figures by class and place
        self._top5 = self._left_out = 0

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Accumulate a batch.

        Args:
            logits: the targets' shape plus (K,), as the model gives them.
            targets: (B, ...) int64; those equal to `fptkit.IGNORED` do not count.
        """
        targets = targets.detach().cpu().reshape(len(targets), -1)  # (B, P): P answers of each example
        logits = logits.detach().to("cpu", torch.float64).reshape(*targets.shape, -1)
        finite = logits.isfinite().all(-1)
        self._left_out += int(((targets != IGNORED) & ~finite).sum())
        counted = (targets != IGNORED) & finite
        predicted = logits.argmax(-1)
        right = (predicted == targets) & counted
        self._add_examples(counted, right)
        self._add_places(targets, predicted, counted)
        self._add_answers(logits[counted], targets[counted])

    def _add_answers(self, logits: Tensor, true: Tensor) -> None:
        """Shapes: logits (N, K), true (N,)."""
        count, predicted = self._output.count, logits.argmax(-1)
        for row, some in enumerate((true, predicted, true[true == predicted])):
            self._figures[row] += torch.bincount(some, minlength=count)
        if len(self._pairs):
            self._pairs += torch.bincount(true * count + predicted, minlength=count**2)
        confidence = logits.softmax(-1).amax(-1)
        place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        for row, weights in enumerate((torch.ones_like(confidence), confidence, (true == predicted).double())):
            self._bins[row] += torch.bincount(place, weights, minlength=BINS)
        self._top5 += int(((logits > logits.gather(1, true[:, None])).sum(1) < 5).sum())

    def _add_examples(self, counted: Tensor, right: Tensor) -> None:
        n, r = counted.sum(1).double(), right.sum(1).double()
        self._sums += torch.stack([(n > 0).double(), n, r, n * n, n * r, r * r]).sum(1)

    def _add_places(self, targets: Tensor, predicted: Tensor, counted: Tensor) -> None:
        width = targets.shape[1]
        if width == 1 and isinstance(self._output, Classes):
            return
        if (missing := width - self._places.shape[-1]) > 0:
            self._places = torch.cat([self._places, self._places.new_zeros(*self._places.shape[:-1], missing)], -1)
        apart = self._places.shape[1] == 2
        for number in range(self._places.shape[1]):
            true = counted & (targets == number) if apart else counted
            said = counted & (predicted == number) if apart else counted
            for row, some in enumerate((true, said, true & (predicted == targets))):
                self._places[row, number, :width] += some.sum(0)

    def result(self) -> ClassesAssessed:
        """The figures over all accumulated batches."""
        support, _, right = self._figures.sum(1).tolist()
        confused, unlisted = self._confused(support - right)
        return ClassesAssessed(
            names=self._output.names or tuple(map(str, range(self._output.count))),
            examples=int(self._sums[0]),
            answers=support,
            right=right,
            left_out=self._left_out,
            interval=_interval(self._sums.tolist()),
            classes=_figures(self._figures),
            confused=confused,
            unlisted=unlisted,
            calibration=self._calibration() if support else (),
            places=self._by_place(),
            place="" if not self._places.shape[-1] else "label" if self._named else "position",
            top5=self._top5 if self._output.count >= 10 else None,
        )

    @property
    def _named(self) -> tuple[str, ...]:
        return self._output.answers if isinstance(self._output, Classes) else ()

    def _confused(self, wrong: int) -> tuple[tuple[tuple[int, int, int], ...], int]:
        """Pairs of true and predicted class with their wrong answers, and how many are in none of the pairs."""
        if not len(self._pairs):
            return (), wrong
        count = self._output.count
        pairs = self._pairs.reshape(count, count).clone().fill_diagonal_(0).flatten()
        order = pairs.argsort(descending=True, stable=True)[: min(LISTED, int((pairs > 0).sum()))].tolist()
        listed = tuple((pair // count, pair % count, int(pairs[pair])) for pair in order)
        return listed, wrong - sum(answers for *_, answers in listed)

    def _calibration(self) -> tuple[Bin, ...]:
        return tuple(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                answers=int(answers),
                confidence=confidence / answers if answers else 0.0,
                accuracy=right / answers if answers else 0.0,
            )
            for number, (answers, confidence, right) in enumerate(self._bins.T.tolist())
        )

    def _by_place(self) -> tuple[Place, ...]:
        width = self._places.shape[-1]
        each = 1 if self._named else max(1, ceil(width / PLACES))
        found = []
        for start in range(0, width, each):
            end = min(start + each, width)
            figures = self._places[..., start:end].sum(-1)
            name = self._named[start] if self._named else str(end) if each == 1 else f"{start + 1}–{end}"
            support, _, right = figures.sum(1).tolist()
            classes = _figures(figures) if figures.shape[1] == 2 else ()
            found.append(Place(name=name, answers=support, right=right, classes=classes))
        return tuple(found)


def _figures(counts: Tensor) -> tuple[ClassFigures, ...]:
    """Shapes: counts (3, K)."""
    return tuple(ClassFigures(support=s, predicted=p, right=r) for s, p, r in counts.T.tolist())


def _interval(sums: list[float]) -> Bounds | None:
    """Interval of the accuracy from sums over examples: of 1, n, r, n², nr, r².

    Examples are drawn, not answers: the accuracy is a ratio of means over examples, whose variance is that of
    ``r - accuracy * n``.
    """
    examples, n, r, nn, nr, rr = sums
    if not n:
        return None
    if n == examples or r in (0, n):  # one answer each; or no variance, and then the answers of an example count once
        return wilson(r / n * examples, int(examples))
    accuracy = r / n
    variance = max(0.0, rr - 2 * accuracy * nr + accuracy**2 * nn)
    half = NORMAL * sqrt(variance * examples / max(1, examples - 1)) / n
    return max(0.0, accuracy - half), min(1.0, accuracy + half)
