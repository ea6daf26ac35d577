"""A first look at time series: the options of the task ``series``. NumPy is imported late."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fptkit.errors import FptkitError
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.look import (
    CERTAIN,
    LIKELY,
    POSSIBLE,
    Choice,
    Look,
    classes_seen,
    entry_of,
    files_at,
    files_seen,
    range_seen,
)
from fptkit.tasks.reading.look_tables import Seen, columns_seen, guess_target, reading_options, see_table
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.reading.timing import TIME_NAMES, is_time
from fptkit.tasks.reading.usual import TARGETS
from fptkit.tasks.series.options import ENDINGS, SeriesOptions
from fptkit.tasks.series.reader import find_series, read_series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fptkit.tasks.series.values import Read

IDS = ("id", "series", "series_id", "unique_id", "case_id", "sample_id", "instance", "case", "item_id")
CHANNELS = ("channel", "dim", "dimension", "variable", "sensor")
STEPS = (*TIME_NAMES, "step", "timepoint", "t")

_LEAST_STEPS, _HORIZONS = 8, (24, 12, 6, 3, 1)
_HEAD = {"head": {"readout": "mean"}}


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at ``.ts``, UCR, npz files and tables that hold series.

    Args:
        place: a file or folder.
        labels: columns to predict, if the user names them.

    Raises:
        DataError: the first file cannot be read.
    """
    if files_at(place, ENDINGS) is None:
        return None
    found = find_series({"all": (entry_of(place),)}, own=True)
    path, kind = found.files[0], file_type(found.files[0])
    if kind == ".ts":
        return _read_seen(found, CERTAIN, "files .ts", {})
    if kind == ".npz":
        return _arrays(path, found)
    if kind in (".tsv", ".txt") and _is_ucr(path):
        return _read_seen(found, CERTAIN, "a class, then values, in each line (UCR)", {})
    if kind == ".txt":
        return None
    seen = see_table(path)
    return _long(found, seen, labels) or _rows(found, seen, labels) or _columns(found, seen, labels)


def _is_ucr(path: Path) -> bool:
    from fptkit.tasks.reading.text import lines_of
    from fptkit.tasks.series.tsv import looks_like_ucr

    _, line = next(lines_of(path), (0, ""))
    return len(line.split()) > _LEAST_STEPS and looks_like_ucr(path)


def _read_seen(found: SourceFiles, score: float, why: str, options: dict[str, Choice], lacking: str = "") -> Look:
    """A look at series that are read by the task's own reader."""
    given = {name: choice.value for name, choice in options.items()}
    layout = SeriesOptions(source={"all": (entry_of(found.files[0]),)}, **given).reading()
    split = "all" if set(found.splits) == {"all"} else "train"
    read = read_series(found.splits[split][0], split, layout)
    lines = (*files_seen(found), *_series_seen(read))
    if not read.labels and not layout.forecasting and not lacking:
        lacking = f"{found.files[0]}: the series have no labels; add them, or forecast, with the option horizon"
    return Look("series", score, why, lines, options, lacking, sections=_HEAD, cut=("max_steps", 1))


def _series_seen(read: Read) -> list[str]:
    steps = range_seen([len(each) for each in read.series], "steps")
    labels = [f"target {name}: {classes_seen(cells)}" for name, cells in read.labels.items()][:4]
    return [f"series: {len(read.series):,}, {steps}, {len(read.channels)} channels", *labels, *read.notes]


def _arrays(path: Path, found: SourceFiles) -> Look | None:
    """Arrays (N, T, C), and arrays (N, T) whose neighbouring values are alike."""
    import numpy as np

    from fptkit.tasks.series.arrays import read_arrays, splits_inside

    arrays = read_arrays(path)
    names = [name for name in arrays if name.lower().split("_")[0] in ("x", "series", "data")]
    if not names or "offsets" in "".join(names):
        return None
    values = next((arrays[name] for name in names if "train" in name.lower()), arrays[names[0]])
    if values.dtype.kind != "f" or values.ndim not in (2, 3):
        return None
    options: dict[str, Choice] = {}
    if values.ndim == 3 and values.shape[1] < values.shape[2] and values.shape[1] <= 32:
        options["channels_first"] = Choice(True, f"shape {values.shape} as (series, channels, steps)", True)
    whole = values if values.ndim == 2 else values.mean(1 if options else 2)
    if "offsets" not in "".join(arrays) and (whole.shape[1] < _LEAST_STEPS or _likeness(np.nan_to_num(whole)) < 0.3):
        return None
    if set(found.splits) == {"all"} and len(found.files) == 1 and (inside := splits_inside(path)):
        found = SourceFiles(dict.fromkeys(inside.values(), (path,)), notes=found.notes, base=found.base)
    try:
        return _read_seen(found, LIKELY, f"arrays {values.shape} of steps", options)
    except FptkitError:
        return None


def _likeness(values: NDArray[np.float64]) -> float:
    """Mean correlation of neighbouring steps within a series: near 1 for smooth series, near 0 for features.

    Shapes: values (N, T).
    """
    # Features differ in level, which must not count as likeness of neighbours: each column is centred over series too.
    some = values[:500] - values[:500].mean(0)
    some = some - some.mean(1, keepdims=True)
    return float((some[:, 1:] * some[:, :-1]).sum() / max(float((some**2).sum()), 1e-300))


def _long(found: SourceFiles, seen: Seen, labels: Sequence[str]) -> Look | None:
    """A row for each step of a series that a column names."""
    ids = [name for name in seen.columns if name.lower() in IDS and 1 < seen.columns[name].distinct < seen.rows]
    timed = [name for name in seen.columns if name.lower() in (*STEPS, *CHANNELS) or seen.columns[name].kind == "date"]
    if not ids or not timed:
        return None
    id = ids[0]
    fixed = [name for name in seen.columns if name not in (id, *timed) and _constant(seen, id, name)]
    varying = [name for name in seen.columns if name not in fixed]
    guess = guess_target(seen, labels, varying)
    options = {
        "layout": Choice("long", "a row is a step of the series that id names"),
        "id": Choice(id),
        **reading_options(seen),
    }
    if guess.choice:
        options["target"] = guess.choice
    lacking = guess.lacking and f"{guess.lacking}. A label has the same value in all rows of a series"
    if lacking:
        lines = (
            *files_seen(found),
            *columns_seen(seen),
            f"series: {seen.columns[id].distinct:,}, told by column '{id}'",
        )
        return Look("series", LIKELY + 0.05, "steps of series, a row each", lines, options, lacking)
    return _read_seen(found, LIKELY + 0.05, "steps of series, a row each", options)


def _constant(seen: Seen, id: str, name: str) -> bool:
    """Whether a column has one value in each series."""
    known: dict[str, str] = {}
    return all(
        known.setdefault(owner, cell) == cell
        for owner, cell in zip(seen.columns[id].cells, seen.columns[name].cells, strict=True)
    )


def _rows(found: SourceFiles, seen: Seen, labels: Sequence[str]) -> Look | None:
    """A row for each series: columns of numbers whose names count."""
    steps = [name for name in seen.of_kind("number", "empty") if re.fullmatch(r"[A-Za-z]{0,9}[ _.\-]?[0-9]+", name)]
    numbers = [int(re.search("[0-9]+$", name)[0]) for name in steps]  # type: ignore[index]
    rest = [name for name in seen.columns if name not in steps]
    counts = len(numbers) >= _LEAST_STEPS and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if not counts or len(rest) > 4 or _likeness_of(seen, steps) < 0.3:
        return None
    guess = guess_target(seen, labels, steps)
    options = {"layout": Choice("rows", "a row is a series, its columns are the steps"), **reading_options(seen)}
    if guess.choice:
        options["target"] = guess.choice
    unused = [name for name in rest if name not in guess.names]
    if unused:
        options["ignore"] = Choice(unused)
    why = f"columns {steps[0]} ... {steps[-1]} as steps"
    if guess.lacking:
        return Look("series", LIKELY, why, columns_seen(seen), options, guess.lacking)
    return _read_seen(found, LIKELY, why, options)


def _likeness_of(seen: Seen, names: Sequence[str]) -> float:
    import numpy as np

    cells = [seen.columns[name].numbers or [float("nan")] * seen.rows for name in names]
    return _likeness(np.nan_to_num(np.array(cells, np.float64).T))


def _columns(found: SourceFiles, seen: Seen, labels: Sequence[str]) -> Look | None:
    """A row for each step, with columns of numbers: nothing to predict but the next values."""
    times = seen.of_kind("date") or [name for name in seen.of_kind("number") if name.lower() in STEPS]
    numbers = [name for name in seen.of_kind("number") if not is_time(name, seen.columns[name].numbers)]
    usual = [name for name in seen.columns if name.lower() in TARGETS and name not in numbers]
    others = [name for name in seen.of_kind("category") if name not in labels]
    whole = len(times) == 1 and numbers and not usual and not others
    if not whole or seen.columns[times[0]].distinct < seen.rows or seen.rows < 60:
        return None
    if any(name not in numbers for name in labels):
        return None
    horizon = next(length for length in _HORIZONS if length <= seen.rows // 40 or length == 1)
    history = max(2, min(96, 4 * horizon))
    options = {
        "horizon": Choice(horizon, "steps to forecast", True),
        "history": Choice(history, "steps that a forecast sees"),
        **reading_options(seen),
    }
    if labels:
        options["target"] = Choice(labels[0] if len(labels) == 1 else list(labels))
    lines = (
        *files_seen(found),
        *columns_seen(seen),
        f"steps: {seen.rows:,}, by column '{times[0]}'; channels: {shown(numbers)}",
    )
    why = "a row for each time, all other columns numbers: forecasting"
    return Look("series", POSSIBLE, why, lines, options, sections={})
