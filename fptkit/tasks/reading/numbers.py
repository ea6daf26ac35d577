"""What counts as a number in a text file, and which words mean a missing value.

Python's ``float`` also reads ``1_000``, full-width digits, ``infinity`` and ``nan``, which no data file means by a
number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence

from fptkit.errors import DataError

MISSING = (
    *("", "?", "-", "--", ".", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-nan", "-NaN"),
    *("null", "Null", "NULL", "nil", "none", "None", "NONE", "missing", "\\N", "NaT", "#DIV/0!", "#VALUE!", "#REF!"),
    *("#NUM!", "#NULL!", "#NAME?", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
"""Words that mean a missing value, by default. Source: pandas' ``na_values``, and what R, SAS, SQL, Excel, C and Python
write."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA_NUMBER = re.compile(r"[+-]?(?:[0-9]+,?[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:([,.' \u00a0\u2009\u202f_])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?")
_CURRENCY = re.compile(r"[+-]?\s?[$€£¥₹]\s?|\s?[$€£¥₹]")
_PLAIN = frozenset("0123456789+-.eE")
"""Text of these characters alone is a number for ``float`` if and only if it is one here."""


def parse_number(text: str, decimal: str = ".") -> float | None:
    """The finite number that a cell holds, or None.

    Args:
        text: the cell; surrounding white space is ignored.
        decimal: the decimal mark, ``.`` or ``,``.
    """
    text = text.strip()
    if not (_NUMBER if decimal == "." else _COMMA_NUMBER).fullmatch(text):
        return None
    number = float(text if decimal == "." else text.replace(",", "."))
    return number if math.isfinite(number) else None


def read_number(
    text: str, where: str, *, missing: Collection[str] = MISSING, decimal: str = ".", allow_missing: bool = True
) -> float:
    """The number that a cell must hold; NaN for a word that means a missing value.

    Args:
        text: the cell.
        where: its place, for messages.
        missing: words that mean a missing value.
        decimal: the decimal mark, ``.`` or ``,``.
        allow_missing: whether the value may be missing.

    Raises:
        DataError: it is neither a number nor missing.
    """
    number = parse_number(text, decimal)
    if number is not None:
        return number
    if text.strip() in missing:
        if allow_missing:
            return math.nan
        raise DataError(f"{where}: the value is missing; fill it in, or remove it")
    raise DataError(f"{where}: {short(text)} is not a number{advice(text, decimal)}")


def parse_numbers(cells: Sequence[str], missing: Collection[str], decimal: str = ".") -> list[float | None]:
    """The numbers of many cells: NaN for a missing one, None for one that is not a number.

    Args:
        cells: text without surrounding white space.
        missing: words that mean a missing value.
        decimal: the decimal mark.
    """
    if decimal == "." and (fast := _all_plain(cells)) is not None:
        return fast  # type: ignore[return-value]
    known: dict[str, float | None] = {}
    for cell in set(cells):
        known[cell] = math.nan if cell in missing else parse_number(cell, decimal)
    return [known[cell] for cell in cells]


def _all_plain(cells: Sequence[str]) -> list[float] | None:
    """The numbers, if all cells are finite numbers; else None."""
    if not cells or not _PLAIN.issuperset("".join(cells)):
        return None
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def advice(text: str, decimal: str = ".") -> str:
    """What to do about a cell that is not a number, as the end of a message."""
    text = text.strip()
    other = "," if decimal == "." else "."
    if text.lower().lstrip("+-") in ("inf", "infinity") or (_NUMBER if decimal == "." else _COMMA_NUMBER).fullmatch(
        text
    ):
        return ": it is infinite or too large; remove it, or write a missing value"
    if _GROUPED.fullmatch(text) and not (text.count(other) == 1 and parse_number(text, other) is not None):
        return "; write numbers without thousands separators"
    if parse_number(text, other) is not None:
        return f"; if '{other}' is the decimal mark, set decimal: '{other}'"
    if text.endswith("%"):
        return "; write percentages without the sign"
    if "\u2212" in text:
        return "; write minus as -, not as the sign of typesetting (U+2212)"
    if text != (bare := _bare(text)) and in_another_style(bare, decimal) | (parse_number(bare, decimal) is not None):
        return "; write numbers without signs of currency, with E for the exponent and without thousands separators"
    return "; correct it, or if it means a missing value, add it to the option missing"


def in_another_style(text: str, decimal: str = ".") -> bool:
    """Whether text is a number with the other decimal mark, thousands separators, a sign of currency or per cent, a
    typographic minus, or Fortran's exponent ``1.0D+02``."""
    other = "," if decimal == "." else "."
    bare = _bare(text)
    if bare != text and parse_number(bare, decimal) is not None:
        return True
    return bool(_GROUPED.fullmatch(bare)) or (parse_number(bare, other) is not None and not is_code(bare))


def _bare(text: str) -> str:
    """Text without a sign of currency or per cent, with a plain minus and ``E`` before an exponent."""
    bare = _CURRENCY.sub("", text.removesuffix("%").strip().replace("\u2212", "-"), count=1)
    return re.sub(r"(?<=\.)([0-9]*)[dD](?=[+-][0-9]{2})", r"\1E", bare)


def is_code(text: str) -> bool:
    """Whether digits are a code, such as a postcode, and not a number: they begin with a zero that has no value."""
    return text.startswith("0") and len(text) > 1 and text.isascii() and text.isdigit()


def missing_words(cells: Iterable[str], missing: Collection[str]) -> dict[str, int]:
    """The words among the cells that count as missing, other than empty cells, and how often each occurs."""
    found: dict[str, int] = {}
    for cell in cells:
        if cell and cell in missing:
            found[cell] = found.get(cell, 0) + 1
    return dict(sorted(found.items()))


def short(text: str) -> str:
    """Text quoted for a message, at most 40 characters."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
