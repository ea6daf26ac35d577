"""A text of several rows is said once."""

from __future__ import annotations

from fptkit.lab.reporting.footnotes import Footnotes


def test_texts_are_numbered_in_the_order_of_their_first_row() -> None:
    noted = Footnotes(["b", "", "a", "b", "c"])
    assert [noted.mark(text) for text in ("b", "a", "c", "", "other")] == ["¹", "²", "³", "", ""]
    assert noted.notes == ("¹ b", "² a", "³ c")
    assert noted.beside("a") == ""


def test_a_text_of_too_few_rows_stays_beside_its_row() -> None:
    noted = Footnotes(["a", "a", "b"], least=2)
    assert (noted.mark("a"), noted.beside("a")) == ("¹", "")
    assert (noted.mark("b"), noted.beside("b")) == ("", "b")


def test_there_may_be_more_than_nine() -> None:
    noted = Footnotes(map(str, range(12)))
    assert noted.mark("11") == "¹²"
