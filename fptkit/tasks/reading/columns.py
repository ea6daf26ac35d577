"""The kind of a column, from all its cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from fptkit.errors import DataError
from fptkit.tasks.reading.dates import has_short_year, looks_like_date, parse_dates, unfit_dates
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.numbers import advice as advice_for
from fptkit.tasks.reading.numbers import in_another_style, is_code, missing_words, parse_numbers, short

Kind = Literal["number", "category", "date", "empty"]

IDENTIFIER_SHARE = 0.8
"""Fraction of rows with a category of their own from which a column is an identifier and not a category."""

FEW_WORDS = 5
"""Different numbers per different word from which a column has numbers, and the words are strangers in it."""

_FEW_ROWS = 20
"""Below this many rows, a column of categories that are all different may be chance."""


@dataclass(frozen=True)
class Column:
    """A column that was read.

    Args:
        name: its name.
        kind: ``number``, ``category``, ``date``, or ``empty`` if every cell is missing.
        cells: its cells, without surrounding white space; a missing one is empty text.
        numbers: of ``number`` the numbers, of ``date`` seconds since 1970; NaN for missing ones. Else empty.
        notes: what the run header should say.
    """

    name: str
    kind: Kind
    cells: Sequence[str]
    numbers: Sequence[float] = ()
    notes: tuple[str, ...] = ()

    @property
    def distinct(self) -> int:
        """Number of different values, without missing ones."""
        if self.kind in ("number", "date"):
            return len({number for number in self.numbers if not math.isnan(number)})
        return len({cell for cell in self.cells if cell})


def read_column(
    name: str,
    cells: Sequence[str],
    where: Callable[[int], str],
    *,
    missing: Collection[str],
    decimal: str = ".",
    declared: Kind | None = None,
    option: str = "categorical",
) -> Column:
    """Read a column, and find its kind from all its cells.

    Numbers if all cells are; dates if all are, in one form; otherwise categories. If most cells are numbers, or most
    are dates, and some are not, that is an error with the line of the first one, and not a reason to make categories
    of the numbers. Digits that begin with a zero (``01234``) are codes, which are categories.

    Args:
        name: name of the column.
        cells: its cells, without surrounding white space.
        where: place of a row, for messages.
        missing: words that mean a missing value.
        decimal: the decimal mark.
        declared: its kind, if a user or the file declares it.
        option: option of the task for columns that have no numbers, for messages.

    Raises:
        DataError: a cell does not fit the kind.
    """
    advice = f"add it to the option {option}"
    words = missing_words(cells, frozenset(missing))
    blanks = frozenset(missing)
    blanked = ["" if cell in blanks else cell for cell in cells]
    notes = _missing_notes(name, words)
    if not any(blanked):
        return Column(name, "empty", blanked, notes=notes)
    if declared == "category":
        return Column(name, "category", blanked, notes=notes)
    if declared in (None, "number"):
        numbers = parse_numbers(blanked, ("",), decimal)
        strangers = [row for row, number in enumerate(numbers) if number is None]
        if not strangers and declared is None and any(map(is_code, blanked)):
            note = f"column '{name}' has codes such as {next(filter(is_code, blanked))}, and is read as categories"
            return Column(name, "category", blanked, notes=(*notes, note))
        if not strangers:
            return Column(name, "number", blanked, [math.nan if n is None else n for n in numbers], notes)
        if declared == "number" or _are_few(blanked, strangers):
            raise _stranger(
                name, blanked, where, strangers, ("numbers", advice_for(blanked[strangers[0]], decimal)), advice
            )
        _check_marks(name, blanked, where, strangers, decimal, advice)
    return _dates_or_categories(name, blanked, where, notes, declared, advice)


def _dates_or_categories(
    name: str,
    cells: Sequence[str],
    where: Callable[[int], str],
    notes: tuple[str, ...],
    declared: Kind | None,
    advice: str,
) -> Column:
    short_years = [row for row, cell in enumerate(cells) if has_short_year(cell)]
    if short_years and _are_few(cells, [row for row in range(len(cells)) if row not in set(short_years)]):
        raise DataError(
            f"{where(short_years[0])}: column '{name}' has dates with years of two digits, such as "
            f"{short(cells[short_years[0]])}; write dates as YYYY-MM-DD; if the column has categories, {advice}"
        )
    seconds = parse_dates(cells, ("",), f"{where(0)}, column '{name}'")
    if seconds is not None:
        return Column(name, "date", cells, [math.nan if s is None else s for s in seconds], notes)
    strangers = [row for row, cell in enumerate(cells) if cell and not looks_like_date(cell)] or unfit_dates(cells)
    if strangers and (declared == "date" or _are_few(cells, strangers)):
        raise _stranger(name, cells, where, strangers, ("dates", "; correct it"), advice)
    return Column(name, "category", cells, notes=notes)


def _are_few(cells: Sequence[str], strangers: Sequence[int]) -> bool:
    """Whether most cells fit a kind, or the others are few different words, such as one for a missing value."""
    words = {cells[row] for row in strangers}
    fitting = set(cells) - words - {""}
    return 2 * len(strangers) <= sum(map(bool, cells)) or FEW_WORDS * len(words) <= len(fitting)


def _check_marks(
    name: str, cells: Sequence[str], where: Callable[[int], str], strangers: Sequence[int], decimal: str, advice: str
) -> None:
    """Refuse a column of numbers that are written in another way: with a decimal comma or thousands separators.

    Raises:
        DataError: most cells are such numbers.
    """
    found = [row for row in strangers if in_another_style(cells[row], decimal)]
    if 2 * len(found) > sum(map(bool, cells)):
        row = found[0]
        raise DataError(
            f"{where(row)}: column '{name}': {short(cells[row])} is not a number{advice_for(cells[row], decimal)}; if "
            f"the column has no numbers, {advice}"
        )


def _stranger(
    name: str,
    cells: Sequence[str],
    where: Callable[[int], str],
    strangers: Sequence[int],
    what: tuple[str, str],
    advice: str,
) -> DataError:
    """The error about cells that do not fit their column."""
    row = strangers[0]
    others = Counter(cells[row] for row in strangers)
    more = f" ({len(strangers):,} such cells: {shown([short(cell) for cell in sorted(others)])})"
    kind, tip = what
    return DataError(
        f"{where(row)}: column '{name}' has {kind}, but here {short(cells[row])}{more if len(strangers) > 1 else ''}"
        f"{tip}; if the column has categories, {advice}"
    )


def _missing_notes(name: str, words: dict[str, int]) -> tuple[str, ...]:
    if not words:
        return ()
    found = ", ".join(f"'{word}' {count:,}" for word, count in words.items())
    return (f"column '{name}': these cells count as missing (option missing): {found}",)


def check_categories(column: Column, where: str, *, advice: str = "add it to the option ignore") -> None:
    """Refuse a column with about as many categories as rows: an identifier or free text, from which nothing is learnt.

    Args:
        column: a column of categories.
        where: the table, for messages.
        advice: what to do about it, for the message.

    Raises:
        DataError: it is one.
    """
    filled = sum(map(bool, column.cells))
    if filled >= _FEW_ROWS and column.distinct >= IDENTIFIER_SHARE * filled:
        raise DataError(
            f"{where}: column '{column.name}' has {column.distinct:,} different values in {filled:,} rows, like an "
            f"identifier or free text; {advice}"
        )
