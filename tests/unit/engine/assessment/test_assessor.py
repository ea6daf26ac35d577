"""The assessor of a split: losses, units, the worst examples, several processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fptkit.engine.assessment.assessor import SplitAssessor, example_losses
from fptkit.engine.assessment.records import ClassesAssessed, NumbersAssessed, SplitAssessed
from fptkit.engine.assessment.units import unit_of
from fptkit.engine.assessment.worst import WORST
from fptkit.engine.team.processes import ALONE
from fptkit.errors import DataError
from fptkit.interfaces import IGNORED, Batch, Classes, Preparation, Shown, Symbols, Task, TokenClasses, Values, Vectors


class _Task(Task):
    def __init__(self, output: Any, kind: Any = None) -> None:
        self.input, self.output, self.max_tokens = kind or Vectors(1), output, 9


class _Named(_Task):
    def show(self, split: str, index: int) -> Shown | None:
        return Shown(name=f"{split}:{index}", text="content")


class _Gone(_Task):
    def show(self, split: str, index: int) -> Shown | None:
        raise DataError("the file is gone")


def assessed(task: Task, predictions: Tensor, targets: Tensor, *, batch: int = 7, rows: bool = True) -> SplitAssessed:
    assessor = SplitAssessor(task, "test", 100)
    for start in range(0, len(targets), batch):
        some = slice(start, start + batch)
        inputs = torch.arange(len(targets))[some, None, None].float() + 0.5
        numbers = range(len(targets))[some] if rows else None
        assessor.see(Batch(inputs, targets[some], rows=numbers), predictions[some])
        assessor.add(predictions[some], targets[some])
    found = assessor.result(ALONE)
    assert found is not None
    return found


def test_the_worst_examples_are_the_wrong_ones_with_the_largest_loss() -> None:
    chance = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(60, 3, generator=chance), torch.randint(3, (60,), generator=chance)
    found = assessed(_Task(Classes(3)), logits, targets)
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    wrong = [row for row in range(60) if logits[row].argmax() != targets[row]]
    expected = sorted(wrong, key=lambda row: -losses[row])[:WORST]
    assert [one.index for one in found.worst] == expected
    assert found.worst[0].loss == pytest.approx(float(losses.max()), rel=1e-5)
    assert found.worst[0].true == (float(targets[expected[0]]),)
    assert found.worst[0].confidence[0] == pytest.approx(float(logits[expected[0]].softmax(0).max()), abs=1e-4)
    assert found.worst[0].content.series == ((expected[0] + 0.5,),)
    assert found.worst[0].content.tokens
    assert found.loss == pytest.approx(float(losses.mean()), rel=1e-6)
    low, high = found.loss_interval or (0, 0)
    assert (high - low) / 2 == pytest.approx(1.959964 * float(losses.std()) / 60**0.5, rel=1e-5)
    assert found.evaluated == 60


@pytest.mark.parametrize("batch", [1, 13, 60])
def test_batches_do_not_matter(batch: int) -> None:
    chance = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(60, 3, generator=chance), torch.randint(3, (60,), generator=chance)
    ours = assessed(_Task(Classes(3)), logits, targets, batch=batch)
    theirs = assessed(_Task(Classes(3)), logits, targets)
    assert ours.worst == theirs.worst
    assert ours.loss == pytest.approx(theirs.loss)


def test_an_example_that_was_drawn_twice_is_shown_once() -> None:
    assessor = SplitAssessor(_Task(Classes(2)), "test", 100)
    batch = Batch(torch.zeros(2, 1, 1), torch.tensor([0, 0]), rows=(5, 5))
    assessor.see(batch, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    found = assessor.result(ALONE)
    assert found is not None
    assert [one.index for one in found.worst] == [5]


def test_generated_examples_have_no_index() -> None:
    found = assessed(_Named(Classes(2)), torch.tensor([[0.0, 1.0]] * 3), torch.zeros(3, dtype=torch.int64), rows=False)
    assert [one.index for one in found.worst] == [None] * 3
    assert found.worst[0].content.tokens


def test_a_task_shows_its_examples_while_their_files_are_there() -> None:
    logits, targets = torch.tensor([[0.0, 1.0]]), torch.zeros(1, dtype=torch.int64)
    [one] = assessed(_Named(Classes(2)), logits, targets).worst
    assert (one.name, one.content.text, one.content.tokens) == ("test:0", "content", False)
    [one] = assessed(_Gone(Classes(2)), logits, targets).worst
    assert (one.name, one.content.tokens) == ("", True)


def test_tagging_is_cut_to_the_real_tokens() -> None:
    targets = torch.tensor([[0, 1, IGNORED], [0, IGNORED, IGNORED]])
    logits = torch.zeros(2, 3, 2)
    logits[..., 1] = 2.0
    assessor = SplitAssessor(_Task(TokenClasses(2), Symbols(5)), "test", 100)
    batch = Batch(torch.ones(2, 3, dtype=torch.int64), targets, torch.tensor([2, 1]), rows=(0, 1))
    assessor.see(batch, logits)
    assessor.add(logits, targets)
    found = assessor.result(ALONE)
    assert found is not None
    assert [(one.index, one.true, one.predicted, one.answers) for one in found.worst] == [
        (1, (0.0,), (1.0,), 1),
        (0, (0.0, 1.0), (1.0, 1.0), 2),
    ]
    assert [len(one.content.symbols) for one in found.worst] == [1, 2]
    task_loss = TokenClasses(2).loss(logits, targets)
    assert found.loss == pytest.approx(float(task_loss))


def test_an_example_without_labels_does_not_count() -> None:
    targets = torch.full((2, 3), IGNORED)
    assert example_losses(TokenClasses(2), torch.zeros(2, 3, 2), targets).isnan().all()


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 2)])
def test_losses_of_numbers_are_those_of_the_task(shape: tuple[int, ...]) -> None:
    predicted, true = torch.rand(shape), torch.rand(shape)
    output = Values(2) if len(shape) == 2 else Values(2, tokens=3)
    assert float(example_losses(output, predicted, true).mean()) == pytest.approx(float(output.loss(predicted, true)))


class _Scaled(Preparation):
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    crooked: bool = False

    def answers(self, predictions: Any) -> list[dict[str, Any]]:
        rows = predictions.double() * torch.tensor(self.deviation) + torch.tensor(self.mean)
        rows = rows.exp() if self.crooked else rows
        return [dict(zip(map(str, range(len(row))), row, strict=True)) for row in rows.tolist()]


def scaled_task(**changes: Any) -> _Task:
    task = _Task(Values(2, names=("a", "b")))
    task.preparation = _Scaled(**{"mean": (100.0, -1.0), "deviation": (10.0, 0.5), **changes})
    return task


def test_numbers_are_in_the_unit_of_the_data() -> None:
    predicted, true = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2)
    found = assessed(scaled_task(), predicted, true)
    assert found.unit
    assert isinstance(found.answers, NumbersAssessed)
    assert [one.absolute for one in found.answers.outputs] == pytest.approx([5.0, 0.5])
    assert found.worst[0].predicted == pytest.approx((100.0, 0.0))
    assert found.worst[0].true == pytest.approx((100.0, -1.0))
    assert found.loss == pytest.approx(5 / 4)  # in the scale of the model, as the metric


def test_a_preparation_that_does_not_scale_leaves_the_scale_of_the_model() -> None:
    assert unit_of(scaled_task(crooked=True)) is None
    assert unit_of(_Task(Values(2))) is None
    assert unit_of(_Task(Classes(2))) is None


def test_records_survive_the_file() -> None:
    found = assessed(_Task(Classes(2)), torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))
    assert isinstance(found.answers, ClassesAssessed)
    assert (found.answers.left_out, found.worst) == (1, ())
    again = SplitAssessed.model_validate_json(found.model_dump_json())
    assert again.model_dump_json() == found.model_dump_json()
