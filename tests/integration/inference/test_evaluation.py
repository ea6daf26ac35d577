"""Evaluations: the figures of training again, those of a direct computation on other files, and openings counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas")

import numpy as np
import pandas as pd
from command_line import fptkit
from new_files import CASES, SPECIES
from tiny_runs import BACKBONE, logits, reference, softmax, train

from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.files import ADDRESS
from fptkit.inference.trained import load


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def openings(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on a table, its data, and ``labelled.csv``."""
    folder = tmp_path_factory.mktemp("birds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(folder / "cache"))
        CASES["table"](folder)
    frame = pd.read_csv(folder / "new.csv")
    frame["species"] = np.array(SPECIES)[np.arange(len(frame)) % 3]
    frame.to_csv(folder / "labelled.csv", index=False)
    return folder


@pytest.fixture
def run(birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, beside its data."""
    for path in birds.glob("*.csv"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(birds / "run", tmp_path / "run"))


def test_the_splits_give_the_figures_of_training(run: Path) -> None:
    model, known = load(run), summary(run)["metrics"]
    assert model.evaluate("test").metrics == known["test"]["test"]
    assert model.evaluate("validation").metrics == known["validation"]
    assert model.evaluate("train").parts["train"].examples == 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "table of labels",
        "table of numbers",
        "images",
        "arrays with a class at every step",
        "audio",
        "series scaled by channel",
        "forecast scaled by window",
        "text as bytes",
    ],
)
def test_the_splits_give_the_figures_of_training_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    made = CASES[case](tmp_path)
    monkeypatch.chdir(tmp_path)
    model, known = load(made.run), summary(made.run)["metrics"]
    assert model.evaluate("test").metrics == known["test"]["test"]
    assert model.evaluate("validation").metrics == known["validation"]
    # The files of a split, read again without the training data, give the same, too: metrics come with the preparation.
    if (tmp_path / "test.csv").exists():
        again = model.evaluate(source=tmp_path / "test.csv").metrics
        assert again == pytest.approx(dict(known["test"]["test"]), rel=1e-5)


def test_other_files_give_what_a_direct_computation_gives(run: Path) -> None:
    model = load(run)
    found = model.evaluate(source="path:labelled.csv")
    names = sorted(SPECIES)
    true = np.array([names.index(name) for name in pd.read_csv("labelled.csv")["species"]])
    raw = model.logits("path:labelled.csv").astype(np.float64)
    chances, said = softmax(raw), raw.argmax(1)
    assert found.metrics["accuracy"] == pytest.approx((said == true).mean())
    assert found.metrics["loss"] == pytest.approx(-np.log(chances[np.arange(len(true)), true]).mean(), rel=1e-5)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (true, said), 1)
    np.testing.assert_array_equal(found.confusion, confusion)
    for place, row in enumerate(found.per_class):
        right, predicted, support = confusion[place, place], confusion[:, place].sum(), confusion[place].sum()
        assert row["class"] == names[place]
        assert row["support"] == support
        assert row["precision"] == (pytest.approx(right / predicted) if predicted else None)
        assert row["recall"] == pytest.approx(right / support)
        assert row["f1"] == pytest.approx(2 * right / (predicted + support))
    sure = chances.max(1)
    bins = np.clip(np.ceil(sure * 15), 1, 15)
    error = sum(
        (bins == one).mean() * abs(sure[bins == one].mean() - (said == true)[bins == one].mean()) for one in set(bins)
    )
    assert found.calibration_error == pytest.approx(error)
    assert sum(one["answers"] for one in found.calibration) == len(true)


def test_numbers_are_in_the_unit_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CASES["table of numbers"](tmp_path)
    monkeypatch.chdir(tmp_path)
    model = load(tmp_path / "run")
    found = model.evaluate(source="path:test.csv")
    true = pd.read_csv("test.csv")[["eggs", "weight"]].to_numpy()
    errors = model.predict("path:test.csv") - true
    assert found.parts["test.csv"].in_unit
    for place, row in enumerate(found.numbers):
        some = errors[:, place]
        assert row["name"] == ("eggs", "weight")[place]
        assert row["mean_absolute_error"] == pytest.approx(np.abs(some).mean(), rel=1e-5)
        assert row["root_mean_squared_error"] == pytest.approx(np.sqrt((some**2).mean()), rel=1e-5)
        assert row["r2"] == pytest.approx(1 - (some**2).sum() / ((true - true.mean(0))[:, place] ** 2).sum(), rel=1e-5)


@pytest.mark.slow
def test_mnist_on_another_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    run = train(tmp_path, "{name: mnist, source: digits, train_size: 100}", BACKBONE)
    chance = np.random.default_rng(0)
    images, labels = chance.integers(0, 256, (70, 28, 28), dtype=np.uint8), chance.integers(0, 10, 70)
    np.savez(tmp_path / "other.npz", x=images, y=labels)
    found = load(run).evaluate(source=tmp_path / "other.npz")
    patches = images.reshape(70, 7, 4, 7, 4).transpose(0, 1, 3, 2, 4).reshape(70, 49, 16) / 255
    import torch

    raw = logits(reference(run), torch.from_numpy(patches.astype(np.float32)))
    assert found.metrics["accuracy"] == pytest.approx((raw.argmax(1) == labels).mean())
    assert found.metrics["loss"] == pytest.approx(-np.log(softmax(raw)[np.arange(70), labels]).mean(), rel=1e-5)
    np.savez(tmp_path / "float.npz", x=images / 255, y=labels)
    with pytest.raises(DataError, match="images are float64, expected uint8"):
        load(run).evaluate(source=tmp_path / "float.npz")


def test_each_opening_of_a_test_is_counted_before_it_starts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(run)
    assert summary(run)["times_tested"] == 1
    assert model.evaluate("test").times_opened == 2
    assert model.evaluate("validation").times_opened is None
    import fptkit.inference.evaluation as evaluation

    def fail(*arguments: Any, **named: Any) -> None:
        raise KeyError("killed")

    monkeypatch.setattr(evaluation, "evaluate", fail)
    with pytest.raises(KeyError):
        model.evaluate("test")
    assert summary(run)["times_tested"] == 3
    assert [one["splits"] for one in openings(run)] == [["test"], ["validation"], ["test"]]


def test_openings_of_files_are_counted_by_content(run: Path, tmp_path: Path) -> None:
    model = load(run)
    assert model.evaluate(source="path:labelled.csv").times_opened == 1
    shutil.copy("labelled.csv", "copy.csv")
    assert model.evaluate(source=Path("copy.csv")).times_opened == 2
    Path("copy.csv").write_text(Path("copy.csv").read_text() + f'50,wood,"{SPECIES[0]}"\n')
    assert model.evaluate(source=Path("copy.csv")).times_opened == 1
    assert summary(run)["times_tested"] == 1
    assert len({one["digest"] for one in openings(run)}) == 2


def test_the_data_of_the_run_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CASES["forecast scaled by train"](tmp_path)
    monkeypatch.chdir(tmp_path)
    assert any("trained on a part of them" in note for note in load("run").evaluate(source="path:data.csv").notes)
    shutil.copy("data.csv", "copy.csv")
    assert any("trained on a part of them" in note for note in load("run").evaluate(source="path:copy.csv").notes)
    with Path("copy.csv").open("a") as file:
        file.write("2024-01-06 00:00:00,300,-4\n")
    found = load("run").evaluate(source="path:copy.csv")
    assert not any("trained on a part of them" in note for note in found.notes)
    assert found.parts["copy.csv"].examples == 121 - 8 - 2 + 1


def test_the_folder_of_a_studys_run_does_not_change(run: Path) -> None:
    (run / ADDRESS).write_text("a" * 64 + "\n")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    model = load(run)
    assert model.evaluate("test").times_opened == 2
    assert model.evaluate("test").times_opened == 3
    assert model.evaluate(source="path:labelled.csv").times_opened == 1
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert len(Path("run.evaluations.jsonl").read_text().splitlines()) == 3


def test_without_the_training_data_splits_are_refused(run: Path) -> None:
    for path in Path().glob("*.csv"):
        path.rename(f"{path}.away")
    done = fptkit("evaluate", run, "--split", "test")
    assert done.returncode == 3
    assert "its training data are needed" in done.stderr
    assert "--source FILE" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert summary(run)["times_tested"] == 1  # nothing was opened


def test_other_training_data_are_refused(run: Path) -> None:
    Path("test.csv").write_text(Path("test.csv").read_text().replace("wood", "garden"))
    with pytest.raises(DataError, match=r"trained on .* with digest"):
        load(run).evaluate("test")
    assert summary(run)["times_tested"] == 1


def test_arguments_that_do_not_go_together(run: Path) -> None:
    model = load(run)
    with pytest.raises(UsageError, match="exactly one"):
        model.evaluate()
    with pytest.raises(UsageError, match="exactly one"):
        model.evaluate("test", source="path:labelled.csv")
    with pytest.raises(UnknownNameError, match="validation"):
        model.evaluate("valid")
    with pytest.raises(UsageError, match="no labels 'species'"):
        model.evaluate(source="path:new.csv")
    with pytest.raises(UsageError, match="2 examples, but 1 labels"):
        model.evaluate(inputs=[["50", "wood"], ["60", "wood"]], labels=[SPECIES[0]])


def test_examples_in_memory(run: Path) -> None:
    found = load(run).evaluate(inputs=[["50", "wood"], ["60", "garden"]], labels=[SPECIES[0], SPECIES[1]])
    assert found.parts["examples"].examples == 2
    assert found.times_opened is None
    assert not (run / "evaluations.jsonl").exists()


def test_what_the_command_prints(run: Path) -> None:
    done = fptkit("evaluate", run, "--source", "labelled.csv")
    assert done.returncode == 0, done.stderr
    for text in (
        "labelled.csv",
        "accuracy",
        "precision",
        "predicted =wren, small",
        "expected calibration error",
        "opened 1 time",
    ):
        assert text in done.stdout
    done = fptkit("evaluate", run, "--split", "test", "--json")
    content = json.loads(done.stdout)
    assert content["times_opened"] == 2
    assert content["parts"]["test"]["metrics"] == summary(run)["metrics"]["test"]["test"]
    assert np.array(content["parts"]["test"]["confusion"]).sum() == 9
    assert fptkit("evaluate", run).returncode == 2
    assert fptkit("evaluate", run, "--split", "test", "--batch-size", "3").returncode == 2


def test_a_result_in_a_notebook(run: Path) -> None:
    found = load(run).evaluate(source="path:labelled.csv")
    assert "<table>" in found._repr_html_()
    assert str(found).startswith("labelled.csv: 80 examples, loss ")
