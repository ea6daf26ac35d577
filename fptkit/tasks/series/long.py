"""Rows of steps in the order of time, and as series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.reading.columns import Column
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.series.values import Series

Codes = NDArray[np.int64]

_FEW_CELLS, _MOST_EMPTY = 100_000_000, 100
"""Cells up to which any series are made of rows, and cells for each row beyond which more are refused."""


@dataclass(frozen=True)
class Sorted:
    """Rows of a table in the order of series and time.

    Args:
        order: rows of the table.
        times: (rows,) time of each row of the table; the row's number without a column of times.
        notes: rows that were sorted, and unequal steps.
        step_s: seconds from one step to the next, if the times are dates; else None.
    """

    order: Codes
    times: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    step_s: float | None = None


def sort_steps(table: TextTable, owners: Sequence[Codes], time: Column | None) -> Sorted:
    """Sort rows by time within what they belong to.

    Args:
        table: the table, for messages.
        owners: the series of each row, and its channel if rows have one each.
        time: the column of times; None keeps the order of the rows.

    Raises:
        DataError: a time is missing, or occurs twice in the same series and channel.
    """
    count = len(table)
    times = np.arange(count, dtype=np.float64) if time is None else np.array(time.numbers, np.float64)
    order = np.lexsort((times, *reversed(owners)))
    if time is None:
        return Sorted(order, times)
    if len(lacking := np.flatnonzero(np.isnan(times))):
        raise DataError(
            f"{table.where(int(lacking[0]))}: the time in column '{time.name}' is missing; fill it in, or remove "
            "the row"
        )
    same = np.ones(max(count - 1, 0), bool)
    for codes in owners:
        same &= codes[order][1:] == codes[order][:-1]
    gaps = np.diff(times[order])[same]
    if len(twice := np.flatnonzero(same & (np.diff(times[order]) == 0))):
        first, second = sorted(map(int, order[twice[0] : twice[0] + 2]))
        raise DataError(
            f"{table.where(second)}: the same time in column '{time.name}' as in {table.where(first)}; a series has "
            "one row for each time. If the file holds several series, name the column that tells them apart (option "
            "id), or the one that names the channel (option channel)"
        )
    late = int((np.diff(order)[same] < 0).sum())
    notes = [f"rows are sorted by column '{time.name}': {late:,} came before an earlier one"] if late else []
    step = float(np.median(gaps)) if len(gaps) else math.nan
    calendar = 1.2 if time.kind == "date" and step > 20 * 86_400 else 1 + 1e-6  # months differ in length
    if len(gaps) and (uneven := int(((gaps > step * calendar) | (gaps < step / calendar)).sum())):
        notes.append(
            f"{uneven:,} of {len(gaps):,} steps are longer or shorter than the usual one in column '{time.name}'; the "
            "model sees the order of steps, not their times"
        )
    return Sorted(order, times, tuple(notes), step if time.kind == "date" and step > 0 else None)


def place(
    values: Series, owners: Codes, kinds: Codes | None, steps: Sorted, *, count: int, channels: int, where: str
) -> list[Series]:
    """Cut rows into series.

    Shapes: values (rows, C), or (rows, 1) if every row has one channel; -> (T, channels) each.

    Args:
        values: values of the rows.
        owners: the series of each row.
        kinds: the channel of each row; None if a row has all channels.
        steps: the order of the rows.
        count: number of series.
        channels: number of channels.
        where: the table, for messages.

    Raises:
        DataError: the series would have far more cells than there are rows.
    """
    if kinds is None:
        lengths = np.bincount(owners, minlength=count)
        return np.split(values[steps.order], np.cumsum(lengths)[:-1])
    series, cells = [], 0
    order = np.argsort(owners, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(owners, minlength=count))[:-1]):
        _, moments = np.unique(steps.times[rows], return_inverse=True)
        cells += (int(moments.max()) + 1) * channels
        if cells > max(_FEW_CELLS, _MOST_EMPTY * len(values)):
            raise DataError(
                f"{where}: {len(values):,} rows are series of {channels:,} channels, almost all values missing, "
                f"more than {cells:,} cells; check the options id, channel and time"
            )
        whole = np.full((int(moments.max()) + 1, channels), np.nan)
        whole[moments, kinds[rows]] = values[rows, 0]
        series.append(whole)
    return series
