"""Does an export compute what the run computes? Compared on random inputs of several batch sizes and lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fptkit.errors import ExportError
from fptkit.inference.exports.form import Form
from fptkit.inference.exports.trace import one_line, quietly
from fptkit.interfaces import Classes, TokenClasses

TOLERANCE = 1e-4
"""Largest difference that is accepted, relative to the largest output of the batch, or absolute if that is below 1."""

SIZES = (1, 2, 5)
"""Examples of the compared batches."""

_MANY_TOKENS = 512
"""Tokens above which the largest batch is left out: three programs compute it, and its sizes were compared before."""

Compute = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """One compared batch.

    Args:
        examples: its size.
        tokens: its tokens, padding included.
        difference: largest difference between the export and the run in float32.
        largest: largest output of the run, without its sign.
        own: largest difference between the run in float32 and in its own precision.
        changed: predicted classes that the run's own precision changes; 0 for numbers.
        answers: number of predicted classes; 0 for numbers.
    """

    examples: int
    tokens: int
    difference: float
    largest: float
    own: float
    changed: int
    answers: int

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance; false for NaN."""
        return self.difference <= TOLERANCE * max(1.0, self.largest)


@dataclass(frozen=True)
class Agreement:
    """The comparison of an export with its run.

    Args:
        precision: how the run's frozen weights are stored and multiplied.
        cases: the compared batches.
    """

    precision: str
    cases: Sequence[Case] = field(default_factory=tuple)

    def lines(self, program: str) -> list[str]:
        """What was compared, and how large the differences are.

        Args:
            program: what computed the exported model.
        """
        worst = max(case.difference for case in self.cases)
        batches = ", ".join(f"{case.examples} x {case.tokens}" for case in self.cases)
        found = [
            f"{program} against the run in float32: largest difference {worst:.2g}, "
            f"largest output {max(case.largest for case in self.cases):.3g} (examples x tokens: {batches})"
        ]
        if self.precision != "float32":
            own, changed = max(case.own for case in self.cases), sum(case.changed for case in self.cases)
            answers = sum(case.answers for case in self.cases)
            classes = f"; it changes {changed} of {answers} predicted classes" if answers else ""
            found.append(
                f"the run in its own precision, {precision_text(self.precision)}, against the run in float32: largest "
                f"difference {own:.2g}{classes}"
            )
        return found


def precision_text(precision: str) -> str:
    """How frozen weights are stored and multiplied, in words."""
    words = {
        "int8": "frozen weights in 8 bits, multiplied in integers",
        "int8_storage": "frozen weights in 8 bits, multiplied in bfloat16",
    }
    return words.get(precision, precision)


def compare(form: Form, export: Compute, plain: Compute, own: Compute, precision: str) -> Agreement:
    """Compare an export with its run.

    Args:
        form: the inputs.
        export: the exported model, read back from its file.
        plain: the run in float32.
        own: the run in its own precision.
        precision: its name.

    Raises:
        ExportError: they differ by more than `TOLERANCE`, or the export does not run.
    """
    cases = []
    for number, (examples, tokens) in enumerate(_batches(form)):
        tensors = form.draw(examples, tokens, number + 1)
        with quietly():
            wanted, before = plain(*tensors), own(*tensors).float().cpu()
            try:
                found = export(*tensors)
            except Exception as err:
                raise ExportError(
                    f"the export does not run on {examples} examples of {tokens} tokens: {one_line(err)}"
                ) from err
        case = _case(form, (examples, tokens), found, wanted, before)
        if not case.agrees:
            raise ExportError(
                f"the export does not agree with the run: for {examples} examples of {tokens} tokens they differ by "
                f"{case.difference:.2g}, allowed is {TOLERANCE * max(1.0, case.largest):.2g}; nothing was written. "
                "Use the format safetensors, which needs no trace of the model"
            )
        cases.append(case)
    return Agreement(precision, tuple(cases))


def _batches(form: Form) -> list[tuple[int, int]]:
    """Every batch size with the fewest tokens, about half of the most, and the most."""
    tokens = sorted({form.least, (form.least + form.most) // 2, form.most}) if form.kind.varies else [form.most]
    return [(size, count) for size in SIZES for count in tokens if size < max(SIZES) or count <= _MANY_TOKENS]


def _case(form: Form, sizes: tuple[int, int], found: Tensor, wanted: Tensor, own: Tensor) -> Case:
    if found.shape != wanted.shape:
        raise ExportError(f"the export gives shape {tuple(found.shape)}, the run {tuple(wanted.shape)}")
    classes = isinstance(form.output, (Classes, TokenClasses))
    changed = int((own.argmax(-1) != wanted.argmax(-1)).sum()) if classes else 0
    return Case(
        *sizes,
        difference=_largest(found - wanted),
        largest=_largest(wanted),
        own=_largest(own - wanted),
        changed=changed,
        answers=wanted[..., 0].numel() if classes else 0,
    )


def _largest(values: Tensor) -> float:
    return float(torch.nan_to_num(values, nan=float("inf")).abs().max())
