"""Assessment of any kind of answers."""

from __future__ import annotations

from torch import Tensor

from fptkit.engine.assessment.classes import ClassAssessment
from fptkit.engine.assessment.numbers import NumberAssessment
from fptkit.engine.assessment.records import ClassesAssessed, NumbersAssessed
from fptkit.interfaces import OutputKind, Values


def assessment_for(output: OutputKind) -> ClassAssessment | NumberAssessment:
    """An empty assessment of answers of a kind; its ``update`` takes batches, its ``result`` gives the figures.

    Args:
        output: kind of the answers, with names.
    """
    return NumberAssessment(output) if isinstance(output, Values) else ClassAssessment(output)


def assess(output: OutputKind, predictions: Tensor, targets: Tensor) -> ClassesAssessed | NumbersAssessed:
    """How good predictions are: for classes confusion, per class, by place and calibration; for numbers their errors.

    Args:
        output: kind of the answers, with names.
        predictions: logits or numbers of N examples, as the model gives them, see `fptkit.Preparation.answers`.
        targets: of the same examples, as in `fptkit.Batch`.

    Shapes: for `Classes` and `TokenClasses` predictions have the targets' shape plus (K,), for `Values` the targets'
    shape.
    """
    found = assessment_for(output)
    found.update(predictions, targets)
    return found.result()
