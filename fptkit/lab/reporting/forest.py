"""Forest plots: differences between two arms with their intervals, and the band of differences that count as none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.axes import Scale, around
from fptkit.lab.reporting.drawing import BOTTOM, LETTER, RIGHT, WIDTH, Picture, shortened
from fptkit.lab.reporting.questions import Question, questions_of
from fptkit.lab.reporting.sentences import difference_of, interval_of
from fptkit.lab.reporting.wording import scaled
from fptkit.lab.studies.results import Measure, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison

ROW, TALL = 32, 46
"""Height of a row: its name and figures above, the interval below; and if both do not fit into one line."""

LEFT = 12
"""Margin left of the plot, in units; names are above their rows, so that a phone has room for the intervals."""


@dataclass(frozen=True)
class _Row:
    name: str
    one: Comparison | Answer


def forest(results: StudyResults) -> list[Picture]:
    """A forest plot for each question; if every question is about one task, a single one with a row for each."""
    questions = questions_of(results)
    if all(question.single for question in questions):
        rows = [_Row(f"{one.a} − {one.b}", one) for question in questions for one in question.comparisons]
        places = dict.fromkeys((row.one.task, row.one.data_fraction) for row in rows if isinstance(row.one, Comparison))
        if len(places) > 1:
            rows = [_Row(f"{row.name}, {_place(row.one)}", row.one) for row in rows]
        title = wording.listed([wording.place(*place) for place in places]) if len(places) == 1 else "All comparisons"
        return _pictures(results, "forest-0", title, rows)
    return [
        picture
        for number, question in enumerate(questions)
        for picture in _pictures(results, f"forest-{number}", f"{question.a} − {question.b}", _rows(question))
    ]


def _rows(question: Question) -> list[_Row]:
    rows = [_Row(_place(one), one) for one in question.comparisons]
    return [*rows, _Row("all tasks", question.answer)] if question.answer is not None and not question.single else rows


def _place(one: Comparison | Answer) -> str:
    return wording.place(one.task, one.data_fraction) if isinstance(one, Comparison) else ""


def _pictures(results: StudyResults, key: str, title: str, rows: Sequence[_Row]) -> list[Picture]:
    """One picture for each metric, since one axis cannot show different units."""
    by_metric: dict[Measure, list[_Row]] = {}
    for row in rows:
        if isinstance(row.one, Comparison):
            by_metric.setdefault(wording.metric_of(results, row.one), []).append(row)
    if len(by_metric) == 1:
        by_metric = {next(iter(by_metric)): list(rows)}
    pictures = []
    for column, (metric, found) in enumerate(by_metric.items()):
        shown = [row for row in found if row.one.mean is not None]
        if shown:
            said = "differences with their confidence intervals and the margin within which they count as none"
            picture = Picture(
                f"{key}-{column}", title, f"{title}: {said}, for {wording.listed([r.name for r in shown])}."
            )
            _draw(picture, metric, shown)
            pictures.append(picture)
    return pictures


def _draw(picture: Picture, metric: Measure, rows: Sequence[_Row]) -> None:
    x = Scale(*around([0.0, *(end for row in rows for end in _ends(row.one, metric))]), LEFT, WIDTH - RIGHT)
    tall = any(len(row.name) > _room(x, row.one, metric) for row in rows)
    height = TALL if tall else ROW
    picture.height = 8 + height * len(rows) + BOTTOM
    bottom = picture.height - BOTTOM
    for number, row in enumerate(rows):
        _draw_margin(picture, x, (8 + height * number, height), row.one.margin, metric)
    for value in x.ticks():
        picture.add(f'<path class="grid" d="M{x(value):.1f},8V{bottom:g}"/>')
    picture.add(f'<path class="axis" d="M{x(0):.1f},4V{bottom:g}M{x.start:g},{bottom:g}H{x.end:g}"/>')
    for number, row in enumerate(rows):
        _draw_row(picture, x, (8 + height * number, 8 + height * (number + 1)), row, metric)
    picture.ticks_below(x)
    unit = "difference, points" if metric.fraction else f"difference of {metric.name.replace('_', ' ')}"
    picture.add(
        f'<text x="{WIDTH / 2:g}" y="{picture.height - 6:g}" text-anchor="middle">{escape(unit)}; right: the first is '
        "better</text>"
    )


def _draw_margin(picture: Picture, x: Scale, place: tuple[float, float], margin: float | None, metric: Measure) -> None:
    """Draw the band within which a difference counts as none, at the top and with the height of its row."""
    if margin is None:
        return
    low, high = (min(max(x(sign * scaled(margin, metric)), x.start), x.end) for sign in (-1, 1))
    said = escape(f"the same within {wording.margin(margin, metric)}")
    picture.add(
        f'<rect class="margin" x="{low:.1f}" y="{place[0]:g}" width="{high - low:.1f}" height="{place[1]:g}">'
        f"<title>{said}</title></rect>"
    )


def _ends(one: Comparison | Answer, metric: Measure) -> list[float]:
    bounds = interval_of(one) or ()
    margins = (-one.margin, one.margin) if one.margin is not None else ()
    return [scaled(value, metric) for value in (*bounds, one.mean or 0.0, *margins)]


def _figures(one: Comparison | Answer, metric: Measure) -> str:
    return f"{difference_of(one, metric).replace(' points', '')} {one.verdict}"


def _room(x: Scale, one: Comparison | Answer, metric: Measure) -> int:
    """Number of letters that fit beside the figures of a row."""
    return int((x.end - x.start) / LETTER) - len(_figures(one, metric)) - 2


def _draw_row(picture: Picture, x: Scale, span: tuple[float, float], row: _Row, metric: Measure) -> None:
    """Draw a row between two heights: name and figures side by side, or below each other in a tall row."""
    one, (top, end) = row.one, span
    tall, middle = end - top > ROW, end - 10
    room = int((x.end - x.start) / LETTER) if tall else _room(x, one, metric)
    said = f"{row.name}: {difference_of(one, metric)}, {one.verdict}"
    picture.add(
        f'<text class="name over" x="{x.start:g}" y="{top + 11:g}">{escape(shortened(row.name, room))}</text>',
        f'<text class="name over" x="{x.end:g}" y="{top + (25 if tall else 11):g}" text-anchor="end">'
        f"{escape(_figures(one, metric))}</text>",
    )
    bounds = interval_of(one)
    if bounds is not None:
        low, high = (x(scaled(bound, metric)) for bound in bounds)
        picture.add(
            f'<path class="range" d="M{low:.1f},{middle:g}H{high:.1f}M{low:.1f},{middle - 4:g}v8M{high:.1f},'
            f'{middle - 4:g}v8"/>'
        )
    at = x(scaled(one.mean or 0.0, metric))
    picture.add(
        f'<path class="{_MARKS[one.verdict]}" transform="translate({at:.1f},{middle:g})" d="{_shape(one)}">'
        f"<title>{escape(said)}</title></path>"
    )


_MARKS = {
    "better": "found",
    "worse": "found",
    "same": "found",
    "undecided": "open",
    "no difference found": "open",
    "not enough evidence": "open",
}
"""Filled markers are verdicts, hollow ones are not."""


def _shape(one: Comparison | Answer) -> str:
    """A diamond for all tasks, a square for ``same``, otherwise a disc."""
    if isinstance(one, Answer):
        return "M0,-7L9,0L0,7L-9,0Z"
    return "M-4.5,-4.5H4.5V4.5H-4.5Z" if one.verdict == "same" else "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z"
