"""Dates and times in text: one form for a whole column, never guessed cell by cell."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone

from fptkit.errors import DataError

_TIME = r"(?:[T ]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
_TIME += r"\s?(?P<half>[AaPp][Mm])?\s?(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
_NAME = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_FORMS = {
    "year first": re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})" + _TIME, re.ASCII),
    "day first": re.compile(r"(?P<day>\d{1,2})([-/.])(?P<month>\d{1,2})\2(?P<year>\d{4})" + _TIME, re.ASCII),
    "month first": re.compile(r"(?P<month>\d{1,2})([-/.])(?P<day>\d{1,2})\2(?P<year>\d{4})" + _TIME, re.ASCII),
    "day, name": re.compile(r"(?P<day>\d{1,2})[-/ ]?" + _NAME + r"[-/ ,]*(?P<year>\d{4})" + _TIME, re.I | re.A),
    "name, day": re.compile(_NAME + r"[-/ ]?(?P<day>\d{1,2})[-/ ,]+(?P<year>\d{4})" + _TIME, re.I | re.A),
    "month alone": re.compile(r"(?P<year>1[5-9]\d\d|2[01]\d\d)[-/](?P<month>0[1-9]|1[0-2])", re.A),
}
_SHORT_YEAR = re.compile(r"\d{1,2}/\d{1,2}/\d{2}" + _TIME, re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def looks_like_date(text: str) -> bool:
    """Whether a cell has the form of a date, in any order of its parts."""
    return any(form.fullmatch(text) for form in _FORMS.values())


def has_short_year(text: str) -> bool:
    """Whether a cell is a date whose year has two digits, ``1/31/20``: neither century nor order is known."""
    return bool(_SHORT_YEAR.fullmatch(text))


def unfit_dates(cells: Sequence[str]) -> list[int]:
    """The rows of cells that look like dates, but not in the form that fits most of them, such as ``0000-00-00``."""
    fits = {cell: {name for name, form in _FORMS.items() if _seconds(form, cell) is not None} for cell in set(cells)}
    best = max(_FORMS, key=lambda name: sum(name in fits[cell] for cell in cells))
    return [row for row, cell in enumerate(cells) if cell and best not in fits[cell]]


def parse_dates(cells: Sequence[str], missing: Collection[str], where: str) -> list[float | None] | None:
    """Seconds since 1970 for each cell, None for a missing one; None altogether if the cells are not dates.

    Dates without a time zone count as UTC.

    Args:
        cells: text without surrounding white space.
        missing: words that mean a missing value.
        where: the column, for messages.

    Raises:
        DataError: all cells are dates, but whether day or month comes first cannot be known.
    """
    distinct = {cell for cell in cells if cell not in missing}
    if not distinct or not all(map(looks_like_date, distinct)):
        return None
    fitting = {}
    for name, form in _FORMS.items():
        seconds = {cell: _seconds(form, cell) for cell in distinct}
        if None not in seconds.values():
            fitting[name] = seconds
    if not fitting:
        return None
    if len(fitting) > 1 and len({tuple(sorted(found.items())) for found in fitting.values()}) > 1:
        raise DataError(
            f"{where}: it is not clear whether {next(iter(sorted(distinct)))!r} has the day or the month first; write "
            "dates as YYYY-MM-DD"
        )
    found = next(iter(fitting.values()))
    return [found.get(cell) for cell in cells]


def _seconds(form: re.Pattern[str], text: str) -> float | None:
    match = form.fullmatch(text)
    if match is None:
        return None
    found = match.groupdict()
    parts = {name: int(found.get(name) or 0) for name in ("year", "month", "day", "hour", "minute", "second")}
    parts["day"] = parts["day"] if "day" in found else 1
    fraction, zone, half = (found.get(name) or "" for name in ("fraction", "zone", "half"))
    if name := found.get("name"):
        parts["month"] = 1 + _MONTHS.index(name.lower())
    if half:
        if not 1 <= parts["hour"] <= 12:
            return None
        parts["hour"] = parts["hour"] % 12 + 12 * (half.lower() == "pm")
    try:
        moment = datetime(**parts, tzinfo=timezone.utc)
    except ValueError:  # no such day or hour
        return None
    if zone and zone[0] in "+-":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:].lstrip(":") or 0))
        moment -= offset if zone[0] == "+" else -offset
    whole = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)
    return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
