"""What a run saves about its test answers: from the one evaluation, the same after a resume, equal to a direct one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from whole_runs import start

from fptkit.engine.assessment.file import read_assessment
from fptkit.engine.assessment.records import ClassesAssessed
from fptkit.engine.build import build
from fptkit.engine.checkpoint import restore_trained
from fptkit.interfaces import Shown
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


BACKBONE = "backbone: {name: random, blocks: 1, width: 32, heads: 2, size: nano}\n"


def shown(folder: Path, task: str, index: int = 0) -> Shown:
    """What the task of a recipe shows of a test example, found by building it as a run does."""
    (folder / "shown.yaml").write_text(f"task: {{{task}}}\n{BACKBONE}")
    loaded = load_recipe(str(folder / "shown.yaml"))
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    found = built.task.show(built.task.test_splits[0], index)
    assert found is not None
    return found


def write_splits(folder: Path, ending: str, lines: dict[str, list[str]], header: str = "") -> str:
    """Files ``train``, ``validation`` and ``test`` with some lines each; returns the option that names the folder."""
    (folder / "data").mkdir()
    for name, some in lines.items():
        (folder / "data" / f"{name}.{ending}").write_text("\n".join([*([header] if header else []), *some]) + "\n")
    return f"source: 'path:{folder / 'data'}'"


def test_a_row_is_shown_with_the_columns_that_are_used(tmp_path: Path) -> None:
    rows = [f"{n},{n % 5},{'ab'[n % 2]},{'no' if n % 3 else 'yes'}" for n in range(40)]
    lines = {"train": rows[:20], "validation": rows[20:30], "test": rows[30:]}
    source = write_splits(tmp_path, "csv", lines, "id,height,kind,target")
    found = shown(tmp_path, f"name: table, {source}, target: target, ignore: [id]", 2)
    assert found.cells == {"height": "2", "kind": "a"}
    assert found.name.endswith("test.csv:4")


def test_a_text_and_a_sequence_are_shown_as_they_are(tmp_path: Path) -> None:
    rows = [f"{'ACGT'[n % 4] * (3 + n % 2)}GA,{'yes' if n % 2 else 'no'}" for n in range(40)]
    lines = {"train": rows[:20], "validation": rows[20:30], "test": rows[30:]}
    source = write_splits(tmp_path, "csv", lines, "sequence,label")
    assert shown(tmp_path, f"name: sequences, {source}, alphabet: dna", 1).text == "TTTTGA"
    (tmp_path / "text").mkdir()
    source = write_splits(tmp_path / "text", "csv", lines, "text,label")
    found = shown(tmp_path, f"name: text, {source}, bytes: true", 1)
    assert (found.text, found.name.rpartition("/")[2]) == ("TTTTGA", "test.csv:3")


def test_arrays_are_shown_as_what_they_are(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    pictures = chance.integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x=pictures, y=np.arange(30) % 2)
    found = shown(tmp_path, f"name: arrays, source: 'path:{tmp_path / 'a.npz'}'")
    assert found.picture is not None
    assert any((found.picture == picture).all() for picture in pictures)
    steps = chance.standard_normal((30, 12, 2))
    np.savez(tmp_path / "b.npz", x=steps, y=np.arange(30) % 2)
    found = shown(tmp_path, f"name: arrays, source: 'path:{tmp_path / 'b.npz'}'")
    assert found.series is not None
    assert any(np.allclose(found.series, series) for series in steps)


def test_a_forecast_shows_its_history_in_the_unit_of_the_data(tmp_path: Path) -> None:
    values = 100 + 10 * np.sin(np.arange(300) / 5)
    (tmp_path / "load.csv").write_text("load\n" + "\n".join(f"{value:.6f}" for value in values) + "\n")
    source = f"source: 'path:{tmp_path / 'load.csv'}'"
    found = shown(tmp_path, f"name: series, {source}, problem: forecasting, history: 16, horizon: 4")
    assert found.series is not None
    assert found.channels == ("load",)
    places = [place for place in range(285) if np.allclose(found.series[:, 0], values[place : place + 16], atol=1e-4)]
    assert len(places) == 1


def test_the_tasks_of_the_paper_show_pictures_proteins_and_expressions(tmp_path: Path) -> None:
    digit = shown(tmp_path, "name: mnist, source: [digits]")
    assert digit.picture is not None
    assert digit.picture.shape == (28, 28, 1)
    protein = shown(tmp_path, "name: remote_homology, source: [simulated], simulated: {folds: 2, length: [10, 60]}")
    assert set(protein.text) <= set("ACDEFGHIKLMNPQRSTVWYXBZJUO")
    assert len(protein.text) >= 5
    sizes = "train_size: 20, validation_size: 5, test_size: 5"
    expression = shown(tmp_path, f"name: listops, source: [generated], length: [5, 30], {sizes}")
    assert expression.text.startswith("[")
    assert expression.text.endswith("]")
