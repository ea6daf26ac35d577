"""A text that belongs to several rows is said once, below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Footnotes:
    """Numbers the texts of the rows of a table or a list.

    Args:
        texts: the text of each row; empty for none.
        least: rows that must share a text for it to become a footnote.
    """

    def __init__(self, texts: Iterable[str], *, least: int = 1) -> None:
        shared = [text for text, count in Counter(texts).items() if text and count >= least]
        self._marks = {text: str(number).translate(_RAISED) for number, text in enumerate(shared, 1)}

    def mark(self, text: str) -> str:
        """The raised number of a text; empty if it is no footnote."""
        return self._marks.get(text, "")

    def beside(self, text: str) -> str:
        """The text itself, if it is no footnote and belongs beside its row; else empty."""
        return "" if text in self._marks else text

    @property
    def notes(self) -> tuple[str, ...]:
        """The footnotes, each with its number."""
        return tuple(f"{mark} {text}" for text, mark in self._marks.items())
