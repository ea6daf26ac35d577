"""Dates against pandas and the standard library."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.dates import looks_like_date, parse_dates


@pytest.mark.parametrize(
    "text",
    [
        "2020-02-29",
        "1969-12-31",
        "2020-01-02 03:04",
        "2020-01-02T03:04:05",
        "2020-01-02T03:04:05.123456",
        "2020-01-02T03:04:05+05:30",
        "2020-01-02T03:04:05-01:00",
    ],
)
def test_iso_dates_as_the_standard_library_reads_them(text: str) -> None:
    moment = datetime.fromisoformat(text)
    wanted = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    found = parse_dates([text], (), "here")
    assert found is not None
    assert found[0] == pytest.approx(wanted, abs=1e-6)


def test_day_or_month_first_comes_from_the_whole_column() -> None:
    day_first = parse_dates(["13/01/2020", "02/01/2020"], (), "here")
    month_first = parse_dates(["01/13/2020", "01/02/2020"], (), "here")
    assert day_first == month_first
    assert (
        parse_dates(["31.12.2020"], (), "h")
        == parse_dates(["2020/12/31"], (), "h")
        == parse_dates(["2020-12-31"], (), "h")
    )
    with pytest.raises(DataError, match=r"here: .*day or the month"):
        parse_dates(["01/02/2020", "03/04/2020"], (), "here")
    assert parse_dates(["05/05/2020"], (), "here") is not None


@pytest.mark.parametrize(
    "cells", [["2020-02-30"], ["2020-13-01"], ["hello"], ["20200101"], ["1-2-3"], [""], ["2020-01-01", "x"]]
)
def test_what_is_no_date(cells: list[str]) -> None:
    assert parse_dates(cells, ("",), "here") is None


def test_missing_dates_stay_missing() -> None:
    assert parse_dates(["1970-01-02", "?"], ("?",), "here") == [86400.0, None]
    assert looks_like_date("2020-01-01 10:00:00Z")


@pytest.mark.parametrize(
    "cell",
    [
        "2024-01-05 15:04:00+00",
        "2024-01-05 15:04:00 UTC",
        "2024-01-05 17:04+02",
        "1/5/2024 3:04 PM",
        "1/5/2024 3:04:00 pm",
        "05-Jan-2024 15:04",
        "05JAN2024 15:04:00",
        "5 January 2024 15:04",
        "Jan 5, 2024 3:04 PM",
    ],
)
def test_forms_of_databases_and_spreadsheets(cell: str) -> None:
    late = cell.replace("05", "25", 1) if "05" in cell else cell.replace("5", "25", 1)
    found = parse_dates([cell, late], (), "x")
    assert found is not None
    assert found[0] == datetime(2024, 1, 5, 15, 4, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize("cell", ["13/25/2024 13:04 PM", "5 Foo 2024", "0 AM", "2024-01-05 0:04 PM"])
def test_what_only_looks_like_such_a_form_is_no_date(cell: str) -> None:
    assert parse_dates([cell], (), "x") is None


def test_months_alone_are_their_first_days() -> None:
    assert parse_dates(["1949-01", "1949-12"], (), "x") == parse_dates(["1949-01-01", "1949-12-01"], (), "x")
    assert parse_dates(["1949-13"], (), "x") is None
    assert parse_dates(["7301-01"], (), "x") is None  # a code
