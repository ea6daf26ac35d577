"""Tables as pandas and pyarrow write them."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.table.options import TableOptions
from fptkit.tasks.table.reader import files, read_table, same_columns

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")


def frame() -> object:
    return pd.DataFrame(
        {
            "a": [1.5, np.nan, -2e-9],
            "n": [1, 2, 3],
            "f": np.array([0.1, 0.2, 0.3], np.float32),
            "b": [True, False, True],
            "s": [" x ", None, "2"],
            "c": pd.Categorical(["u", "v", "u"]),
            "d": pd.to_datetime(["2020-01-02", None, "2020-01-02 03:04:05"], format="ISO8601"),
            "z": pd.to_datetime(["2020-01-02 00:00", "2020-06-02 01:00", None]).tz_localize("Europe/Berlin"),
        },
        index=[4, 5, 9],
    )


def test_parquet(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "t.parquet")  # type: ignore[attr-defined]
    table = read_table(tmp_path / "t.parquet")
    assert {name: list(cells) for name, cells in table.columns.items()} == {
        "a": ["1.5", "", "-2e-09"],
        "n": ["1", "2", "3"],
        "f": [repr(float(np.float32(x))) for x in (0.1, 0.2, 0.3)],
        "b": ["true", "false", "true"],
        "s": ["x", "", "2"],
        "c": ["u", "v", "u"],
        "d": ["2020-01-02 00:00:00", "", "2020-01-02 03:04:05"],
        "z": ["2020-01-02 00:00:00+01:00", "2020-06-02 01:00:00+02:00", ""],
    }
    assert table.kinds == {"a": "number", "n": "number", "f": "number", "d": "date", "z": "date"}
    assert "row numbers of pandas" in table.notes[0]
    assert table.where(2) == f"{tmp_path / 't.parquet'}, row 3"


def test_text_and_parquet_of_one_frame_agree(tmp_path: Path) -> None:
    some = frame()[["a", "n", "c"]]  # type: ignore[index]
    some.to_csv(tmp_path / "t.csv", index=False)
    some.to_parquet(tmp_path / "t.parquet", index=False)
    text, parquet = read_table(tmp_path / "t.csv"), read_table(tmp_path / "t.parquet")
    assert dict(text.columns) == dict(parquet.columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [[1], [2]]}, "column 'a' has values of type list"),
        ({"a": pa.array([], pa.int64())}, "no rows"),
        ({" ": [1]}, "a column has no name"),
        ({"a": [b"x"]}, "type bytes"),
    ],
)
def test_parquet_that_is_no_table(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n"])
def test_damaged_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataError, match="not readable as Parquet"):
        read_table(tmp_path / "t.parquet")


def test_a_folder_name_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "year=2020"
    folder.mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(folder / "t.parquet", index=False)
    assert list(read_table(folder / "t.parquet").columns) == ["a"]


def test_files_of_a_source(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "notes.md"):
        (tmp_path / name).write_text("a\n1\n")
    options = TableOptions.model_validate({"source": f"path:{tmp_path}", "target": "y"})
    assert sorted(path.name for path in files(options, f"path:{tmp_path}")) == ["test.csv", "train.csv"]


def test_tables_of_one_source_need_the_same_columns(tmp_path: Path) -> None:
    tables = []
    for name, text in (("a.csv", "x,y\n1,2\n"), ("b.csv", "y,z\n1,2\n")):
        (tmp_path / name).write_text(text)
        tables.append(read_table(tmp_path / name))
    same_columns(tables, ["y"])
    with pytest.raises(DataError, match=r"b.csv: no column 'x', which the training data have; its columns are y, z"):
        same_columns(tables, ["x"])


def test_times_and_durations_of_parquet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"t": [time(1, 2, 3), None], "d": [timedelta(hours=5), timedelta(0)]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.columns == {"t": ["3723.0", ""], "d": ["18000.0", "0.0"]}
    assert found.kinds == {"t": "number", "d": "number"}
