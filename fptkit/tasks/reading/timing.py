"""Columns that only count rows or time, and rows that are not in the order of time."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence

from fptkit.errors import DataError

FEWEST = 8
"""Rows from which a column with equal steps counts as an index: in a shorter table it may be chance."""

TIME_NAMES = frozenset(
    ("time", "timestamp", "date", "datetime", "date_time", "ds", "epoch", "unix", "unixtime", "unix_time", "index")
)
"""Names, in lower case, of columns that hold the time if their numbers never fall."""


_IDENTIFIER = re.compile(r"(?:^|[\W_])(?i:id|idx|index|rowid|uid|key|row|nr|no)$|^(?i:row[ _]?number)$|[a-z]I[dD]$")


def has_equal_steps(values: Sequence[float]) -> bool:
    """Whether numbers rise or fall by the same step in every row, like a row number or a regular clock.

    Steps count as equal up to the rounding of the numbers. Never true below `FEWEST` rows, or with missing values.

    Args:
        values: the numbers in the order of the rows, NaN for missing ones.
    """
    if len(values) < FEWEST or any(math.isnan(value) for value in values):
        return False
    step = (values[-1] - values[0]) / (len(values) - 1)
    allowed = 1e-6 * abs(step) + 4e-16 * max(abs(values[0]), abs(values[-1]))
    if not abs(step) > 4 * allowed:
        return False
    return all(abs(later - earlier - step) <= allowed for earlier, later in itertools.pairwise(values))


def is_time(name: str, values: Sequence[float]) -> bool:
    """Whether a column of numbers is the time of the rows, and not something that was measured.

    Args:
        name: its name.
        values: its numbers in the order of the rows, NaN for missing ones.
    """
    if has_equal_steps(values):
        return True
    if name.strip().lower() not in TIME_NAMES or len(values) < 2:
        return False
    return all(earlier <= later for earlier, later in itertools.pairwise(values))


def is_identifier(name: str, cells: Sequence[str]) -> bool:
    """Whether a column numbers the examples: by its name (``id``, ``PassengerId``, ``row_number``), and since every row
    has another whole number. Their order may be that of a shuffled table.

    Args:
        name: its name.
        cells: its cells.
    """
    if len(cells) < FEWEST or not _IDENTIFIER.search(name.strip()):
        return False
    return len(set(cells)) == len(cells) and all(cell.isdecimal() for cell in cells)


def time_order(
    times: Sequence[float | None], where: Callable[[int], str], column: str
) -> tuple[list[int], tuple[str, ...]]:
    """The rows of a series in the order of time, and a note if the file has another order.

    Args:
        times: time of each row.
        where: place of a row, for messages.
        column: name of the column with the times.

    Returns:
        order: indices of the rows, earliest first.
        notes: a note if rows were sorted; else empty.

    Raises:
        DataError: a time is missing, or two rows have the same time.
    """
    for row, time in enumerate(times):
        if time is None or math.isnan(time):
            raise DataError(f"{where(row)}: the time in column '{column}' is missing; fill it in, or remove the row")
    known = [time for time in times if time is not None]
    order = sorted(range(len(known)), key=known.__getitem__)
    for earlier, later in itertools.pairwise(order):
        if known[earlier] == known[later]:
            raise DataError(
                f"{where(later)}: the same time in column '{column}' as in {where(earlier)}; a series has one row for "
                "each time. If the file holds several series, name the column that tells them apart"
            )
    late = sum(later < earlier for earlier, later in itertools.pairwise(known))
    if not late:
        return order, ()
    return order, (f"rows are sorted by column '{column}': {late:,} came before an earlier one",)
