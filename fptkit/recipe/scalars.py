"""What an unquoted word of YAML means: the core schema of YAML 1.2, and a refusal of words with two readings.

PyYAML follows YAML 1.1: it reads ``no`` as false, ``010`` as 8, ``1:30`` as 90 and ``1e-3`` as text. Here ``1e-3`` is a
number, ``1:30`` is text, and the first two are refused, since whoever wrote them may have meant either.

Source: YAML 1.2.2, section 10.3.2. Departures: refused words, and no ``0o`` and ``0x`` integers.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_AMBIGUOUS = {"yes", "y", "on", "no", "n", "off"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+|[-+]?0[xob][0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER = {".nan", ".NaN", ".NAN"}


class RefusedScalar(ValueError):
    """A word that has more than one reading; its text says how to write each."""


def read_plain(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises:
        RefusedScalar: the word is ``yes``, ``no``, ``on``, ``off``, ``y`` or ``n``, or a number in base 2, 8 or 16.
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
        return float(text)
    if infinite := _INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf")
    return float("nan") if text in _NOT_A_NUMBER else text
