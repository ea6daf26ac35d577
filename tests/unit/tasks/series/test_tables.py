"""Series in tables, compared with what pandas makes of the same cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptkit.errors import DataError, UsageError
from fptkit.tasks.reading.delimited import read_delimited
from fptkit.tasks.series.options import SeriesOptions
from fptkit.tasks.series.tables import read_steps
from fptkit.tasks.series.values import Read

pd = pytest.importorskip("pandas")


def read(tmp_path: Path, text: Any, *split: str, **options: Any) -> Read:
    path = tmp_path / "t.csv"
    path.write_text(text if isinstance(text, str) else text.to_csv(index=False))
    layout = SeriesOptions(source="path:x", **options).reading()
    return read_steps(read_delimited(path, header=layout.header), layout, split)


def long_frame(lengths: tuple[int, ...] = (5, 3, 4)) -> Any:
    chance = np.random.default_rng(0)
    rows = [
        (f"s{n}", t, "xyz"[n], *chance.normal(size=2).round(3)) for n, size in enumerate(lengths) for t in range(size)
    ]
    return pd.DataFrame(rows, columns=["id", "time", "label", "a", "b"])


def test_long(tmp_path: Path) -> None:
    frame = long_frame()
    found = read(tmp_path, frame)
    for series, (_, group) in zip(found.series, frame.groupby("id", sort=False), strict=True):
        np.testing.assert_array_equal(series, group[["a", "b"]].to_numpy())
    assert found.channels == ("a", "b")
    assert found.labels == {"label": ["x", "y", "z"]}


def test_rows_in_any_order_give_the_same_series(tmp_path: Path) -> None:
    frame = long_frame()
    found = read(tmp_path, frame.sample(frac=1, random_state=1))
    by_name = dict(zip(found.names, found.series, strict=True))
    for name, group in frame.groupby("id"):
        np.testing.assert_array_equal(by_name[f"{tmp_path}/t.csv, series {name}"], group[["a", "b"]].to_numpy())
    assert any("rows are sorted by column 'time'" in note for note in found.notes)


def test_a_column_names_the_channel(tmp_path: Path) -> None:
    frame = long_frame()
    melted = frame.melt(["id", "time", "label"], ["a", "b"], "channel", "value").drop(index=1)  # s0, time 1, channel a
    found = read(tmp_path, melted)
    expected = frame[["a", "b"]].to_numpy()[:5].copy()
    expected[1, 0] = np.nan
    np.testing.assert_array_equal(found.series[0], expected)
    assert found.channels == ("a", "b")


def test_dates_give_the_step(tmp_path: Path) -> None:
    frame = pd.DataFrame({"when": pd.date_range("2024-01-31", periods=20, freq="ME"), "load": np.arange(20) % 7})
    found = read(tmp_path, frame, horizon=2, history=4)
    assert found.channels == ("load",)
    assert found.step_s == pytest.approx(30.5 * 86_400, rel=0.03)
    assert not any("longer or shorter" in note for note in found.notes)


def test_unequal_steps_are_noted(tmp_path: Path) -> None:
    text = "time,v\n" + "".join(f"{t},{t % 3}\n" for t in [0, 1, 2, 3, 9, 10, 11, 12, 13, 14])
    notes = read(tmp_path, text, horizon=1, history=2).notes
    assert any(
        note.startswith("1 of 9 steps are longer or shorter than the usual one in column 'time'") for note in notes
    )


def test_rows(tmp_path: Path) -> None:
    found = read(tmp_path, "label,t0,t1,t2,who\nup,1,2,3,ann\ndown,4,NA,\u0036,bob\nup,7,8,,ann\n", "who")
    assert found.series[0][:, 0].tolist() == [1, 2, 3]
    assert np.isnan(found.series[1][1, 0])
    assert len(found.series[2]) == 2  # padded by a missing value
    assert found.labels == {"label": ["up", "down", "up"]}
    assert found.columns == {"who": ["ann", "bob", "ann"]}


def test_clocks_and_indices_are_no_channels(tmp_path: Path) -> None:
    rows = [f"{n},{1_577_836_800 + 3600 * n},{n * n % 11}" for n in range(30)]
    found = read(tmp_path, "\n".join(["row,seconds,v", *rows]), horizon=2, history=4)
    assert found.channels == ("v",)
    assert any("row, seconds" in note for note in found.notes)


def test_a_first_value_that_is_missing_leaves_the_channel(tmp_path: Path) -> None:
    text = "date,v\n" + "".join(f"2024-01-{n + 1:02d},{'null' if n == 0 else n % 4}\n" for n in range(20))
    found = read(tmp_path, text, horizon=2, history=4)
    assert found.channels == ("v",)
    assert np.isnan(found.series[0][0, 0])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("id,time,v,label\n1,0,1,a\n1,0,2,a\n", {}, r"t.csv:3: the same time in column 'time' as in .*t.csv:2"),
        ("id,time,v,label\n1,0,1,a\n1,1,2,b\n", {}, r"t.csv:3: column 'label' has 'b', but 'a' in an earlier row"),
        ("id,time,v,label\n1,0,1,a\n1,,2,a\n", {}, r"t.csv:3: the time in column 'time' is missing"),
        ("id,time,v,label\n1,0,1,a\n,1,2,a\n", {"id": "id"}, r"t.csv:3: column 'id' is empty"),
        ("id,time,v,label\n1,0,NA,a\n1,1,NA,a\n", {"values": "v"}, "every value of series 1 is missing"),
        (
            "label,t0,t1\na,1,2\nb,3,x\n",
            {},
            r"t.csv:3: column 't1' has 'x', not numbers|t.csv:3: column 't1' has numbers",
        ),
        ("label,t0,note\na,1,good\nb,3,bad\n", {}, r"t.csv:2: column 'note' has 'good', not numbers.*option ignore"),
        ("label,t0\na,1\nb,NA\n", {}, r"t.csv:3: every value of the series is missing"),
        ("date,v\n2024-01-01,1\n2024-01-01,2\n", {"horizon": 1}, r"t.csv:3: the same time in column 'date'"),
        ("a,b\nx,y\nz,w\n", {"horizon": 1}, "no column of numbers that is not the time"),
    ],
)
def test_faults(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, **options)


@pytest.mark.parametrize(
    "text",
    [
        "id,time,v,label\n1,0,1,a\n1,1,2,{}\n",
        "label,t0,note\na,1,{}\nb,3,bad\n",
        "id,time,v,label\n{0},0,1,a\n{0},1,2,b\n",
    ],
)
def test_an_endless_cell_is_quoted_in_part(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text.format("[" * 300_000))
    assert len(str(caught.value)) < 5_000


def test_what_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"task.id: name the column"):
        read(tmp_path, "a,b\n1,2\n3,4\n", layout="long")
    with pytest.raises(UsageError, match=r"task.values: .* one column has the values, but there are 2: a, b"):
        read(tmp_path, "id,time,channel,a,b,label\n1,0,u,1,2,x\n1,1,u,3,4,x\n")
    with pytest.raises(DataError, match=r"task.channel: .* has no column 'sensor'"):
        read(tmp_path, "id,time,v,label\n1,0,1,a\n1,1,2,a\n", channel="sensor")


@pytest.mark.parametrize("name", ["id", "sample", "recording_id", "Subject"])
def test_identifiers_in_any_order_are_no_step(tmp_path: Path, name: str) -> None:
    rows = "".join(f"{row * 7 % 9},{row}.5,{row % 4}.25,a\n" for row in range(9))
    found = read(tmp_path, f"{name},t0,t1,label\n{rows}")
    assert {each.shape for each in found.series} == {(2, 1)}
    assert found.notes == (f"column '{name}' counts the rows, and is not a step",)
    assert read(tmp_path, f"{name},t0,t1,label\n{rows}", values=[name, "t0", "t1"]).series[0].shape == (3, 1)


def test_a_column_of_channels_that_has_another_value_in_every_row(tmp_path: Path) -> None:
    rows = "".join(f"s,{step},k{step},1.5\n" for step in range(12_000))
    with pytest.raises(DataError, match=r"t\.csv: 12,000 rows are series of 12,000 channels, almost all values"):
        read(tmp_path, "id,time,channel,value\n" + rows, id="id", time="time", channel="channel")
