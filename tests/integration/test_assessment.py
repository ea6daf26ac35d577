"""What a run saves about its test answers: from the one evaluation, the same after a resume, equal to a direct one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from whole_runs import start

from fptkit.build import build
from fptkit.engine.assessment.file import read_assessment
from fptkit.engine.assessment.records import ClassesAssessed
from fptkit.engine.checkpoint import restore_trained
from fptkit.recipe.load import load_recipe


def counted_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that the test split makes from now on."""
    from fptkit.tasks.generated import ArraySplit

    made: list[int] = []
    real = ArraySplit.batch

    def batch(self: ArraySplit, indices: list[int], generator: torch.Generator) -> object:
        if self.size == 50:
            made.append(len(indices))
        return real(self, indices, generator)

    monkeypatch.setattr(ArraySplit, "batch", batch)
    return made


def test_the_test_is_passed_once_and_answers_are_those_of_the_model(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = counted_batches(monkeypatch)
    summary = start(recipe, tmp_path / "run")
    assert sum(made) == 50
    found = read_assessment(tmp_path / "run")
    assert found is not None
    assert found.step == summary["best_step"]
    split = found.splits["test"]
    answers = split.answers
    assert isinstance(answers, ClassesAssessed)
    assert answers.accuracy == pytest.approx(summary["metrics"]["test"]["test"]["accuracy"])
    assert split.loss == pytest.approx(summary["metrics"]["test"]["test"]["loss"], rel=1e-5)

    from safetensors.torch import load_file

    loaded = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    restore_trained(built.model, load_file(tmp_path / "run" / "model.safetensors"), origin=tmp_path)
    batch = built.task.split("test").batch(range(50), torch.Generator())
    with torch.no_grad():
        predicted = built.model.eval()(batch.inputs).argmax(-1)
    counts = [[int(((batch.targets == t) & (predicted == p)).sum()) for p in (0, 1)] for t in (0, 1)]
    assert answers.matrix == counts
    for one in split.worst:
        assert one.index is not None
        assert one.predicted == tuple(predicted[one.index].float().tolist())
        assert one.content.symbols == tuple(f"{bit:g}" for bit in batch.inputs[one.index, :, 0].tolist())


def test_a_run_that_tests_later_saves_the_same(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "once")
    start(recipe, tmp_path / "later", open_test=False)
    assert read_assessment(tmp_path / "later") is None
    start(recipe, tmp_path / "later", resume=True)
    texts = [(tmp_path / name / "assessment.json").read_text() for name in ("once", "later")]
    assert texts[0] == texts[1]
    assert json.loads((tmp_path / "later" / "summary.json").read_text())["times_tested"] == 1


def test_sampled_tests_say_how_much_was_sampled(recipe: Path, tmp_path: Path) -> None:
    summary = start(recipe, tmp_path / "run", "task.protocol=fpt2021")
    found = read_assessment(tmp_path / "run")
    assert found is not None
    split = found.splits["test"]
    assert (split.size, split.evaluated) == (None, 25 * 8)
    assert isinstance(split.answers, ClassesAssessed)
    assert split.answers.accuracy == pytest.approx(summary["metrics"]["test"]["test"]["accuracy"])
    assert all(one.index is None for one in split.worst)


def test_parameters_by_role_and_block_add_up(recipe: Path, tmp_path: Path) -> None:
    summary = start(recipe, tmp_path / "run", "freezing.train=[{role: attention, blocks: '1:'}]")
    parts = summary["parameter_parts"]

    def of(key: str) -> int:
        return sum(one[key] * (1 if one["first"] is None else one["last"] - one["first"] + 1) for one in parts)

    assert of("total") == summary["parameters"]["total"]
    assert of("trained") == summary["parameters"]["trained"]
    attention = [(one["first"], one["last"], one["trained"] > 0) for one in parts if one["role"] == "attention"]
    assert attention == [(0, 0, False), (1, 1, True)]
