"""The task table: columns, encoding, preparation without the data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fptkit.errors import DataError, UsageError
from fptkit.tasks.table.options import TableOptions
from fptkit.tasks.table.preparation import TablePreparation
from fptkit.tasks.table.task import Table

pd = pytest.importorskip("pandas")

CHANCE = np.random.default_rng(0)
COUNT = 200


def frame() -> object:
    return pd.DataFrame(
        {
            "id": range(COUNT),
            "size": CHANCE.normal(5, 2, COUNT).round(4),
            "colour": CHANCE.choice(["red", "green", "blue"], COUNT),
            "day": pd.date_range("2020-01-01", periods=COUNT, freq="37h").strftime("%Y-%m-%d %H:%M"),
            "same": 7,
            "label": CHANCE.choice(["yes", "no"], COUNT),
        }
    )


def written(folder: Path, found: object | None = None, name: str = "t.csv") -> str:
    found = frame() if found is None else found
    found.to_csv(folder / name, index=False)  # type: ignore[attr-defined]
    return f"path:{folder / name}"


def task_of(source: object, **options: object) -> Table:
    return Table(TableOptions.model_validate({"source": source, "target": "label", **options}), seed=0)


def rows_of(task: Table, split: str = "train") -> torch.Tensor:
    found = task.split(split)
    inputs: torch.Tensor = found.batch(range(found.size or 0), torch.Generator()).inputs
    return inputs[:, :, 0]


def preparation_of(task: Table) -> TablePreparation:
    assert isinstance(task.preparation, TablePreparation)
    return task.preparation


def test_columns_that_carry_nothing_are_left_out_with_a_note(tmp_path: Path) -> None:
    task = task_of(written(tmp_path))
    assert [column.name for column in preparation_of(task).columns] == ["size", "colour", "day"]
    assert task.max_tokens == 3
    notes = "\n".join(task.notes)
    assert "columns: 1 numeric and 1 categorical, 1 of dates" in notes
    assert "column 'id' is not used: it rises by the same step in every row" in notes
    assert "column 'same' is not used: it is 7 in every training row" in notes
    assert "id" in [c.name for c in preparation_of(task_of(written(tmp_path), numeric="id")).columns]


def test_an_index_in_each_file_of_a_source_is_one(tmp_path: Path) -> None:
    found = frame()
    (tmp_path / "d").mkdir()
    written(tmp_path / "d", found.iloc[:150], "train.csv")  # type: ignore[attr-defined]
    written(tmp_path / "d", found.iloc[150:].assign(id=range(50)), "test.csv")  # type: ignore[attr-defined]
    task = task_of(f"path:{tmp_path / 'd'}")
    assert any("'id' is not used" in note for note in task.notes)
    assert task.split("test").size == 50


def test_numbers_and_categories_against_scikit_learn(tmp_path: Path) -> None:
    found = frame()
    task = task_of(written(tmp_path, found))
    size = pd.read_csv(tmp_path / "t.csv")[["size"]]
    train = rows_of(task)
    values = {float(value) for value in train[:, 0, 0]}
    scaled = StandardScaler().fit_transform(size.iloc[_train_rows(task, size)])
    np.testing.assert_allclose(sorted(values), sorted(set(scaled[:, 0].astype(np.float32).tolist())), atol=1e-5)
    column = preparation_of(task).columns[1]
    hot = OneHotEncoder(categories=[list(column.categories)]).fit_transform([["red"], ["blue"], ["green"]]).toarray()  # type: ignore[union-attr]
    prepared = preparation_of(task).prepare(_examples(task, [["5", c, "2020-01-01"] for c in ("red", "blue", "green")]))
    np.testing.assert_array_equal(prepared.inputs[:, 1, 0, 2:5].numpy(), hot)
    assert prepared.inputs[:, 1, 0].sum(1).tolist() == [1, 1, 1]


def _train_rows(task: Table, size: object) -> list[int]:
    """Rows of the file that are in train, found by their value."""
    column = preparation_of(task).columns[0]
    known = {round(float(v) * column.deviation + column.mean, 4) for v in rows_of(task)[:, 0, 0]}  # type: ignore[union-attr]
    values = size["size"].round(4)  # type: ignore[index]
    return [row for row, value in enumerate(values) if any(math.isclose(value, k, abs_tol=2e-4) for k in known)]


def _examples(task: Table, cells: list[list[str]]) -> object:
    from fptkit.interfaces import Examples

    return Examples(np.array(cells, object), [f"new.csv:{row + 2}" for row in range(len(cells))])


def test_missing_unknown_and_rare_cells(tmp_path: Path) -> None:
    task = task_of(written(tmp_path), max_categories=2)
    cells = [["", "", ""], ["NA", "purple", "-"]]
    inputs = preparation_of(task).prepare(_examples(task, cells)).inputs[:, :, 0]
    assert inputs[0, 0].tolist()[:2] == [0, 1]
    assert inputs[0, 1].tolist()[:5] == [0, 1, 0, 0, 0]
    assert inputs[1, 1].tolist()[:5] == [0, 0, 0, 0, 1]
    assert inputs[0, 2].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert any("rare and unseen categories are merged into one: colour (1)" in note for note in task.notes)


def test_dates_know_year_week_and_day(tmp_path: Path) -> None:
    preparation = preparation_of(task_of(written(tmp_path)))
    cells = [["1", "red", day] for day in ("2020-03-02 06:00", "2020-03-09 06:00", "2020-03-02 18:00")]
    found = preparation.prepare(_examples(task_of(written(tmp_path)), cells)).inputs[:, 2, 0]
    week, day = found[:, 4:6], found[:, 6:8]
    torch.testing.assert_close(week[0], week[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(day[0], torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(day[2], torch.tensor([-1.0, 0.0]), atol=1e-4, rtol=0)
    assert found[0, 0] < found[2, 0] < found[1, 0]


def test_a_row_is_the_same_alone_among_others_and_after_the_data_are_gone(tmp_path: Path) -> None:
    source = written(tmp_path)
    task = task_of(source)
    saved = TablePreparation.model_validate_json(preparation_of(task).model_dump_json())
    (tmp_path / "t.csv").unlink()
    new = frame().iloc[:7].drop(columns="label")[["day", "colour", "size", "id"]]  # type: ignore[attr-defined]
    examples = saved.read([written(tmp_path, new, "new.csv")])
    assert examples.labels == {}
    assert examples.names[0] == f"{tmp_path / 'new.csv'}:2"
    batch = saved.prepare(examples)
    for row in range(7):
        torch.testing.assert_close(saved.prepare(examples.take([row])).inputs[0], batch.inputs[row])
    assert batch.targets.tolist() == [0] * 7


def test_the_training_file_read_again_gives_the_training_batches(tmp_path: Path) -> None:
    source = written(tmp_path)
    task = task_of(source)
    again = preparation_of(task).prepare(preparation_of(task).read([source]))
    everything = torch.cat([rows_of(task, name) for name in ("train", "validation", "test")])
    assert {tuple(row) for row in everything.flatten(1).tolist()} == {
        tuple(row) for row in again.inputs.flatten(1).tolist()
    }
    assert again.targets.sum() > 0


def test_faults_of_new_files(tmp_path: Path) -> None:
    preparation = preparation_of(task_of(written(tmp_path)))
    with pytest.raises(DataError, match=r"new.csv: no column 'size'"):
        preparation.read([written(tmp_path, frame().drop(columns="size"), "new.csv")])  # type: ignore[attr-defined]
    strange = frame().astype({"size": object})  # type: ignore[attr-defined]
    strange.loc[3, "size"] = "big"
    with pytest.raises(DataError, match=r"new.csv:5: column 'size' has numbers, but here 'big'"):
        preparation.prepare(preparation.read([written(tmp_path, strange, "new.csv")]))


def test_columns_that_decide_the_split_are_not_predictors(tmp_path: Path) -> None:
    found = frame().assign(person=[n // 4 for n in range(COUNT)])  # type: ignore[attr-defined]
    task = task_of(written(tmp_path, found), split={"group": "person"})
    assert "person" not in [column.name for column in preparation_of(task).columns]
    by_time = task_of(written(tmp_path, found), split={"time": "day"}, ignore=["person"])
    assert "by time (day)" in by_time.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "lable"}, r"task.target: .* no column 'lable'"),
        ({"ignore": ["colr"]}, "task.ignore"),
        ({"split": {"group": "g"}}, "task.split.group"),
        ({"ignore": ["size", "colour", "day"]}, "no column is left"),
        ({"numeric": ["colour"]}, "column 'colour' has numbers, but here"),
    ],
)
def test_faults_of_options(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        task_of(written(tmp_path), **options)


def test_identifiers_are_refused(tmp_path: Path) -> None:
    found = frame().assign(name=[f"n{n}" for n in range(COUNT)])  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"column 'name' has 200 different values.*ignore"):
        task_of(written(tmp_path, found))
    task_of(written(tmp_path, found), ignore="name")


@pytest.mark.parametrize(
    "options",
    [
        {"target": "a", "ignore": "a"},
        {"target": "a", "numeric": ["b"], "categorical": ["b"]},
        {"target": ["a", "a"]},
        {"target": "a", "split": {"group": "a"}},
        {"target": "a", "delimiter": ",,"},
    ],
)
def test_options_that_contradict_each_other(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TableOptions.model_validate({"source": "path:x", **options})


@pytest.mark.parametrize("place", ["", "/train.csv"])
def test_a_test_file_without_labels_is_explained(tmp_path: Path, place: str) -> None:
    written(tmp_path, name="train.csv")
    written(tmp_path, frame().drop(columns="label"), name="test.csv")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"test.csv has no column 'label'.*set split: \{own: false\}"):
        task_of(f"path:{tmp_path}{place}")
    assert task_of(f"path:{tmp_path}/train.csv", split={"own": False}).split("test").size == 30


def test_shuffled_identifiers_are_left_out(tmp_path: Path) -> None:
    found = frame().sample(frac=1, random_state=0)  # type: ignore[attr-defined]
    task = task_of(written(tmp_path, found))
    assert "id" not in [column.name for column in preparation_of(task).columns]
    assert any("'id' is not used: it has another whole number in every row" in note for note in task.notes)
    task = task_of(written(tmp_path, found), numeric=["id"])
    assert "id" in [column.name for column in preparation_of(task).columns]
