"""What an unquoted word of YAML means: our own rules, which refuse words with more than one meaning."""

from __future__ import annotations

import math
import re

from fptkit.errors import clipped

Scalar = str | int | float | bool | None

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_AMBIGUOUS = {"yes", "y", "on", "no", "n", "off"}
DIGITS = 100
"""Digits of an integer, above which a number is read as floating-point; Python converts longer ones slowly."""

_INTEGER = re.compile(rf"[-+]?(0|[1-9][0-9]{{0,{DIGITS - 1}}})")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+|[-+]?0[xob][0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER = {".nan", ".NaN", ".NAN"}


class RefusedScalar(ValueError):
    """A word with more than one meaning; the message says how to write each."""


def read_plain(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises:
        RefusedScalar: the word is ``yes``, ``no``, ``on``, ``off``, ``y`` or ``n``, a number in base 2, 8 or 16, or a
            number that is too large.
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text.lower() in _AMBIGUOUS:
        boolean = "true" if text.lower() in ("yes", "y", "on") else "false"
        raise RefusedScalar(f"'{text}' can mean {boolean} or the word; write {boolean}, or \"{text}\" for the word")
    if _LEADING_ZERO.fullmatch(text):
        raise RefusedScalar(
            f"'{text}' can be read in base 8, 10, 2 or 16; write a plain decimal number, or \"{text}\" for text"
        )
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if infinite := _INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf")
    return float("nan") if text in _NOT_A_NUMBER else text


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise RefusedScalar(
            f"'{clipped(text)}' is too large for a number; the largest is about 1.8e308. Quote it for text"
        )
    return number
