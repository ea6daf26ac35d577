"""A confusion matrix as a picture, for 2 to 100 classes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fptkit.engine.assessment.records import ClassesAssessed
from fptkit.lab.reporting.drawing import LETTER, WIDTH, Picture, shortened

MOST = 100
"""Classes up to which the matrix is drawn."""

_COUNTED = 12
"""Classes up to which cells have room for their counts."""

_LABEL = 12
"""Characters of a class name beside the matrix."""

_SPACE = 11.0
"""Units that a line of text takes: names that would be closer are left out."""


def matrix_of(key: str, title: str, found: ClassesAssessed, counts: Sequence[Sequence[int]]) -> Picture:
    """The confusion matrix: a row for each true class, a column for each predicted one, in the order of the classes.

    The colour of a cell is the part of its row: right answers in one colour, wrong ones in another.

    Args:
        key: of the picture.
        title: of the picture.
        found: gives the names.
        counts: (K, K), rows are true classes.
    """
    classes = len(counts)
    names = [shortened(name, _LABEL) for name in found.names]
    left = 20 + LETTER * max(map(len, names))
    side = (WIDTH - left - 6) / classes
    side = min(side, 56.0)
    top = 20.0
    picture = Picture(key, title, f"{title}: rows are true classes, columns predicted ones; {_in_words(found)}.")
    picture.add(f'<text x="{left + classes * side / 2:.1f}" y="12" text-anchor="middle">predicted</text>')
    picture.add(
        f'<text transform="translate(10,{top + classes * side / 2:.1f}) rotate(-90)" text-anchor="middle">true</text>'
    )
    for true, line in enumerate(counts):
        _draw_row(picture, found, true, line, left, top + true * side, side)
    bottom = top + classes * side
    picture.add(
        f'<rect class="outline" x="{left:.1f}" y="{top:g}" width="{classes * side:.1f}" height="{classes * side:.1f}"/>'
    )
    each = max(1, -(-int(_SPACE) // max(1, int(side))))
    for number in range(0, classes, each):
        middle = (number + 0.5) * side
        name = escape(names[number])
        picture.add(
            f'<text class="name" x="{left - 4:.1f}" y="{top + middle + 4:.1f}" text-anchor="end">{name}</text>',
            f'<text class="name" transform="translate({left + middle + 4:.1f},{bottom + 5:.1f}) rotate(-90)" '
            f'text-anchor="end">{name}</text>',
        )
    picture.height = bottom + 12 + LETTER * max(map(len, names))
    return picture


def _draw_row(
    picture: Picture, found: ClassesAssessed, true: int, line: Sequence[int], left: float, top: float, side: float
) -> None:
    whole = sum(line)
    for predicted, count in enumerate(line):
        if not count:
            continue
        colour = "c0" if predicted == true else "c1"
        part, at = count / whole, left + predicted * side
        said = f"true {found.names[true]}, predicted {found.names[predicted]}: {count:,} ({100 * part:.0f} %)"
        picture.add(
            f'<rect class="cell {colour}" x="{at:.2f}" y="{top:.2f}" width="{side:.2f}" height="{side:.2f}" '
            f'fill-opacity="{0.12 + 0.68 * part:.2f}"><title>{escape(said)}</title></rect>'
        )
        if len(found.classes) <= _COUNTED:
            picture.add(
                f'<text class="name over" x="{at + side / 2:.1f}" y="{top + side / 2 + 4:.1f}" text-anchor="middle">'
                f"{_short(count)}</text>"
            )


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"


def _in_words(found: ClassesAssessed) -> str:
    """The most frequent confusion, for the text alternative."""
    said = f"{found.right:,} of {found.answers:,} answers are right"
    if found.confused:
        true, predicted, count = found.confused[0]
        said += f", most often {found.names[true]} is taken for {found.names[predicted]} ({count:,} times)"
    return said
