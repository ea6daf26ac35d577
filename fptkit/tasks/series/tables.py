"""Series in tables: one per row, one per column, or in long form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, UsageError
from fptkit.tasks.reading.columns import Column, read_column
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.labels import same_label, shown
from fptkit.tasks.reading.numbers import short
from fptkit.tasks.reading.timing import TIME_NAMES, is_identifier, is_time
from fptkit.tasks.series.long import place, sort_steps
from fptkit.tasks.series.options import Layout
from fptkit.tasks.series.values import Read, without_missing_end

_IDS = ("id", "series", "series_id", "unique_id", "case_id", "sample_id", "instance", "case", "item_id")
_SUBJECTS = ("index", "sample", "subject", "patient", "participant", "trial", "recording")
_CHANNELS = ("channel", "dim", "dimension", "variable", "sensor")
_LABELS = ("label", "class", "target", "class_label")
_STEPS = (*TIME_NAMES, "step", "timepoint", "t")


def read_steps(table: TextTable, layout: Layout, split: Sequence[str]) -> Read:
    """Read the series of a table in the layout that the options say, or that its columns show.

    Args:
        table: the table.
        layout: options of reading.
        split: further columns by which splits are made.

    Raises:
        DataError: a cell is not a number, a time occurs twice, or a label changes within a series.
        UsageError: a column that the options name is missing, or it is not clear what a column is.
    """
    for option in ("id", "time", "channel"):
        if name := getattr(layout, option):
            table.need(name, f"task.{option}")
    for option in ("values", "ignore"):
        for name in getattr(layout, option):
            table.need(name, f"task.{option}")
    found = layout.id or _repeating_id(table)
    if layout.shape == "long" and not found:
        raise UsageError(f"task.id: name the column of {table.name} that tells series apart; it has {_has(table)}")
    if layout.shape == "long" or (layout.shape == "auto" and found):
        return _read_long(table, layout, split, found or "")
    return _read_columns(table, layout) if layout.forecasting else _read_rows(table, layout, split)


def _read_rows(table: TextTable, layout: Layout, split: Sequence[str]) -> Read:
    """A row is a series of one channel."""
    targets = _targets(table, layout, long=False)
    aside = {*targets, *split, *layout.ignore}
    names = list(layout.values) or [name for name in table.columns if name not in aside]
    notes: list[str] = []
    values = []
    for name in names:
        column = _number(table, name, layout, "a step of the series; add it to the option ignore if it is not")
        if not layout.values and _names_rows(name, column, table.columns[name]):
            notes.append(f"column '{name}' counts the rows, and is not a step")
        else:
            values.append(column)
    if not values:
        raise DataError(f"{table.name}: no columns of values; it has {_has(table)}")
    series = [without_missing_end(row[:, None]) for row in np.array(values, np.float64).T]
    if empty := [row for row, each in enumerate(series) if not len(each)]:
        raise DataError(f"{table.where(empty[0])}: every value of the series is missing; remove the row")
    rows = [table.where(row) for row in range(len(table))]
    labels = {name: table.columns[name] for name in targets}
    columns = {name: table.columns[name] for name in split if name in table.columns}
    if unused := [name for name in table.columns if name not in names and name not in aside]:
        notes.append(f"columns that are not used: {shown(unused)}")
    return Read(series, rows, ("value",), labels, columns, notes=(*table.notes, *notes))


def _names_rows(name: str, numbers: Sequence[float], cells: Sequence[str]) -> bool:
    """Whether a column numbers the series, in any order, and is not a step."""
    if name.strip().lower() not in (*_IDS, *_SUBJECTS):
        return is_identifier(name, cells)
    return is_time(name, numbers) or is_identifier("id", cells)


def _read_columns(table: TextTable, layout: Layout) -> Read:
    """A row is a step, the columns are channels of one series."""
    columns = {name: _column(table, name, layout) for name in table.columns if name not in layout.ignore}
    time = _time(columns, layout)
    steps = sort_steps(table, [np.zeros(len(table), np.int64)], time)
    chosen, notes = _channels(table, columns, layout, {time.name} if time else set())
    values = np.array([_numbers_of(columns[name]) for name in chosen]).T[steps.order]
    clock = f"the time is column '{time.name}'" if time else "rows are steps in the order of the file"
    return Read(
        [values], [table.name], tuple(chosen), notes=(*table.notes, clock, *notes, *steps.notes), step_s=steps.step_s
    )


def _read_long(table: TextTable, layout: Layout, split: Sequence[str], id: str) -> Read:
    """A row is a step of a series, or of one of its channels."""
    targets = () if layout.forecasting else _targets(table, layout, long=True)
    aside = {id, *targets, *(name for name in split if name != id)}
    rest = [name for name in table.columns if name not in aside and name not in layout.ignore]
    channel = layout.channel or next((name for name in rest if name.lower() in _CHANNELS), None)
    columns = {name: _column(table, name, layout) for name in rest if name != channel}
    time = _time(columns, layout)
    chosen, notes = _channels(table, columns, layout, {time.name} if time else set())
    if channel and len(chosen) > 1:
        raise UsageError(
            f"task.values: {table.name} names channels in column '{channel}', so one column has the values, but there "
            f"are {len(chosen)}: {shown(chosen)}; name it with the option values"
        )
    numbers, owners = _codes(table, id)
    if channel:
        kinds, channels = _codes(table, channel)
        if time is None:
            raise UsageError(f"task.time: name the column of {table.name} with the time of each value of a channel")
        steps = sort_steps(table, [numbers, kinds], time)
    else:
        kinds, channels = None, chosen
        steps = sort_steps(table, [numbers], time)
    values = np.array([_numbers_of(columns[name]) for name in chosen]).T
    series = place(values, numbers, kinds, steps, count=len(owners), channels=len(channels), where=table.name)
    _check_known(table, series, owners)
    clock = f"the time is column '{time.name}'" if time else "the rows of each are steps in the order of the file"
    constant = {name: _constant(table, name, id, numbers, len(owners)) for name in (*targets, *split) if name != id}
    return Read(
        series,
        [f"{table.name}, series {owner}" for owner in owners],
        tuple(channels),
        {name: constant[name] for name in targets},
        {**{name: constant[name] for name in split if name in constant}, id: owners},
        notes=(*table.notes, f"column '{id}' says which series a row belongs to; {clock}", *notes, *steps.notes),
        step_s=steps.step_s,
    )


def _check_known(table: TextTable, series: Sequence[NDArray[np.float64]], owners: Sequence[str]) -> None:
    for owner, each in zip(owners, series, strict=True):
        if np.isnan(each).all():
            raise DataError(f"{table.name}: every value of series {owner} is missing; remove it")


def _repeating_id(table: TextTable) -> str | None:
    """A column that is certainly the series of each row: by its name, and since its cells repeat."""
    found = [name for name, cells in table.columns.items() if name.lower() in _IDS and len(set(cells)) < len(cells)]
    timed = any(name.lower() in (*_STEPS, *_CHANNELS) for name in table.columns)
    return found[0] if len(found) == 1 and timed else None


def _targets(table: TextTable, layout: Layout, *, long: bool) -> tuple[str, ...]:
    """The columns to predict; none if a table for prediction lacks them."""
    if layout.target:
        return tuple(name for name in layout.target if name in table.columns)
    found = [name for name in table.columns if name.lower() in _LABELS]
    if not found and not long:  # in long form y may be a channel beside x
        found = [name for name in table.columns if name.lower() == "y"]
    return tuple(found) if len(found) == 1 else ()


def _time(columns: Mapping[str, Column], layout: Layout) -> Column | None:
    if layout.time:
        column = columns[layout.time]
        if column.kind not in ("number", "date"):
            raise UsageError(f"task.time: column '{layout.time}' has neither numbers nor dates")
        return column
    dates = [column for column in columns.values() if column.kind == "date"]
    named = [column for column in columns.values() if column.kind == "number" and column.name.lower() in _STEPS]
    return next(iter([*dates, *(column for column in named if column.name not in layout.values)]), None)


def _channels(
    table: TextTable, columns: Mapping[str, Column], layout: Layout, aside: set[str]
) -> tuple[list[str], list[str]]:
    """The columns of values, and notes on the others."""
    wanted = [*layout.values, *(layout.target if layout.forecasting and layout.values else ())]
    if wanted:
        for name in wanted:
            table.need(name, "task.values")
            _number(table, name, layout, "a channel")
        chosen = list(dict.fromkeys(wanted))
    else:
        numeric = [name for name, column in columns.items() if column.kind == "number" and name not in aside]
        keep = layout.target if layout.forecasting else ()
        chosen = [name for name in numeric if name in keep or not is_time(name, columns[name].numbers)]
        if clocks := [name for name in numeric if name not in chosen]:
            clock = f"columns that rise evenly, or are the time, are not channels: {', '.join(clocks)}"
            return _some(table, chosen), [clock, *_unused(columns, {*chosen, *clocks, *aside})]
    return _some(table, chosen), _unused(columns, {*chosen, *aside})


def _some(table: TextTable, chosen: list[str]) -> list[str]:
    if not chosen:
        raise DataError(f"{table.name}: no column of numbers that is not the time; it has {_has(table)}")
    return chosen


def _unused(columns: Mapping[str, Column], used: set[str]) -> list[str]:
    unused = [f"{name} ({column.kind})" for name, column in columns.items() if name not in used]
    return [f"columns that are not used: {shown(unused)}"] if unused else []


def _column(table: TextTable, name: str, layout: Layout) -> Column:
    kind = "number" if name in layout.values else table.kinds.get(name)
    return read_column(
        name,
        table.columns[name],
        table.where,
        missing=layout.missing,
        decimal=layout.decimal,
        option="ignore",
        declared=kind,  # type: ignore[arg-type]
    )


def _numbers_of(column: Column) -> NDArray[np.float64]:
    return np.full(len(column.cells), np.nan) if column.kind == "empty" else np.array(column.numbers, np.float64)


def _number(table: TextTable, name: str, layout: Layout, what: str) -> Sequence[float]:
    column = read_column(
        name, table.columns[name], table.where, missing=layout.missing, decimal=layout.decimal, option="ignore"
    )
    if column.kind == "empty":
        return [math.nan] * len(table)
    if column.kind != "number":
        row = next(row for row, cell in enumerate(column.cells) if cell)
        raise DataError(
            f"{table.where(row)}: column '{name}' has {short(column.cells[row])}, not numbers, so it is not {what}"
        )
    return column.numbers


def _codes(table: TextTable, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """A number for each cell of a column, and the cell of each number, in the order in which they occur."""
    numbers: dict[str, int] = {}
    known: dict[str, int] = {}
    for row, cell in enumerate(table.columns[name]):
        if cell not in known:
            if not cell:
                raise DataError(f"{table.where(row)}: column '{name}' is empty; fill it in, or remove the row")
            known[cell] = numbers.setdefault(same_label(cell), len(numbers))
    return np.array([known[cell] for cell in table.columns[name]], np.int64), list(numbers)


def _constant(table: TextTable, name: str, id: str, numbers: NDArray[np.int64], count: int) -> list[str]:
    """The cell of each series in a column that does not change within a series."""
    table.need(name, "task.target or task.split")
    found: list[str | None] = [None] * count
    for row, (owner, cell) in enumerate(zip(numbers.tolist(), table.columns[name], strict=True)):
        before = found[owner]
        if before is None:
            found[owner] = cell
        elif before != cell and same_label(before) != same_label(cell):
            raise DataError(
                f"{table.where(row)}: column '{name}' has {short(cell)}, but {short(before)} in an earlier row of the "
                f"same series ('{id}' is {short(table.columns[id][row])}); it must be the same in all rows of a series"
            )
    return [cell or "" for cell in found]


def _has(table: TextTable) -> str:
    return shown(list(table.columns))
