"""Answers that are classes: confusion, figures per class, by place, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fptkit.engine.assessment.records import ClassesAssessed, ClassFigures, SplitAssessed
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import ROWS, Entry, Point, Section, Table, row
from fptkit.lab.reporting.drawing import Picture, marker
from fptkit.lab.reporting.single_run.matrix import MOST, matrix_of
from fptkit.lab.studies.results import Measure

PAIRS = 12
"""Confused pairs that are listed."""

WEAKEST = 5
"""Classes with the lowest F1 that are named."""

CLEAR = 6
"""Classes up to which the matrix says it all."""

RARE = 0.1
"""Positions with fewer answers than this part of the most are not drawn: their accuracy would be noise."""

_PERCENT = Measure(fraction=True)

Splits = Sequence[tuple[str, SplitAssessed]]
"""Test splits with their assessments."""


def answers(splits: Splits) -> Iterator[Section]:
    """Sections on the answers to every test split that are classes."""
    found = [(name, one.answers) for name, one in splits if isinstance(one.answers, ClassesAssessed)]
    if not found:
        return
    yield Section(
        "confusion",
        "Confusion",
        points=tuple(_points(found)),
        pictures=tuple(_matrices(found)),
        tables=tuple(_pairs(name, one) for name, one in found if one.confused and len(one.classes) > CLEAR),
    )
    yield Section(
        "classes",
        "Each class",
        points=tuple(_weakest(name, one) for name, one in found if len(one.classes) > ROWS),
        tables=tuple(_per_class(name, one) for name, one in found),
    )
    if any(one.places for _, one in found):
        yield _places(found)
    if any(one.calibration for _, one in found):
        yield _calibration(found)


def _points(found: Sequence[tuple[str, ClassesAssessed]]) -> Iterator[Point]:
    for name, one in found:
        wrong = one.answers - one.right
        text = f"{name}: {wrong:,} of {wording.counted(one.answers, 'answer')} wrong"
        if one.answers != one.examples:
            text += f", in {wording.counted(one.examples, 'example')}"
        if one.top5 is not None and one.answers:
            top = wording.number(one.top5 / one.answers, _PERCENT)
            text += f"; the true class is among the five most probable ones for {top} %"
        if one.left_out:
            text += f"; {one.left_out:,} answers without finite predictions are left out"
        yield Point(f"{text}.")
        if len(one.classes) > MOST:
            yield Point(f"{name} has {len(one.classes):,} classes, too many for a matrix: see the pairs below.")


def _matrices(found: Sequence[tuple[str, ClassesAssessed]]) -> Iterator[Picture]:
    for number, (name, one) in enumerate(found):
        if len(one.classes) <= MOST and (counts := one.matrix) is not None:
            yield matrix_of(f"confusion-{number}", name, one, counts)


def _pairs(name: str, one: ClassesAssessed) -> Table:
    rows = tuple(
        row(one.names[true], one.names[predicted], f"{count:,}", _percent(count / one.classes[true].support))
        for true, predicted, count in one.confused[:PAIRS]
    )
    header = row("true class", "taken for", "answers", "of its class, %")
    return Table(f"{name}: the most frequent confusions.", header, rows, names=2)


def _weakest(name: str, one: ClassesAssessed) -> Point:
    """The classes with the lowest F1 of those that occur, since the table of many classes is collapsed."""
    known = [(figures.f1 or 0.0, number) for number, figures in enumerate(one.classes) if figures.support]
    listed = ", ".join(f"{one.names[number]} {_percent(f1)}" for f1, number in sorted(known)[:WEAKEST])
    return Point(f"{name}: the lowest F1 in %: {listed}.")


def _per_class(name: str, one: ClassesAssessed) -> Table:
    rows = tuple(
        (Entry(label), *_figures(figures))
        for label, figures in zip(one.names, one.classes, strict=True)
        if _occurs(figures)
    )
    missing = len(one.classes) - len(rows)
    notes = [f"Left out are {missing:,} of {len(one.classes):,} classes, which neither occur nor were predicted."]
    notes = notes if missing else []
    notes.append(
        "Precision: part of the predictions of a class that are right. Recall: part of its answers that were found. "
        "F1: their harmonic mean. Support: answers of the class."
    )
    foot = (row("mean of the classes", "", "", "", _percent(one.balanced_accuracy), _percent(one.macro_f1)),)
    header = row("class", "support", "predicted", "precision, %", "recall, %", "F1, %")
    return Table(f"{name}: every class, in their order.", header, rows, tuple(notes), foot=foot)


def _occurs(figures: ClassFigures) -> bool:
    return bool(figures.support or figures.predicted)


def _figures(figures: ClassFigures) -> tuple[Entry, ...]:
    return row(
        f"{figures.support:,}",
        f"{figures.predicted:,}",
        _percent(figures.precision),
        _percent(figures.recall),
        _percent(figures.f1),
    )


def _percent(value: float | None) -> str:
    return wording.number(value, _PERCENT)


def _places(found: Sequence[tuple[str, ClassesAssessed]]) -> Section:
    """Each label in a table; positions as a curve of their accuracy."""
    labels = [(name, one) for name, one in found if one.place == "label"]
    positions = [(name, one) for name, one in found if one.place == "position" and len(one.places) > 1 and one.answers]
    return Section(
        "places",
        "Each label" if labels else "Each position",
        tables=tuple(_labels(name, one) for name, one in labels),
        pictures=tuple(_positions(f"places-{number}", name, one) for number, (name, one) in enumerate(positions)),
    )


def _labels(name: str, one: ClassesAssessed) -> Table:
    rows = tuple(
        (Entry(place.name), Entry(_percent(place.right / place.answers)), *_figures(place.classes[1]))
        for place in one.places
        if place.classes and place.answers
    )
    header = row("label", "accuracy, %", "present", "predicted", "precision, %", "recall, %", "F1, %")
    return Table(f"{name}: every label, where it is present.", header, rows, opened=True)


def _positions(key: str, name: str, one: ClassesAssessed) -> Picture:
    """Accuracy by position in the example."""
    least = RARE * max(place.answers for place in one.places)
    places = [(number, place) for number, place in enumerate(one.places) if place.answers > least]
    values = [100 * place.right / place.answers for _, place in places]
    title = f"{name}: accuracy by position"
    picture = Picture(key, title, f"{title}: from {min(values):.1f} to {max(values):.1f} %.")
    y = picture.vertical(low=max(0.0, min([*values, 100 * (one.accuracy or 0)]) - 3), high=min(100.0, max(values) + 3))
    x = picture.horizontal(low=-0.5, high=places[-1][0] + 0.5)
    shown = range(0, places[-1][0] + 1, max(1, places[-1][0] // 8))
    ticks = [(float(number), one.places[number].name) for number in shown]
    picture.axes(x, y, x_label="position of the answer", y_label="accuracy, %", x_ticks=ticks)
    picture.line(0, [(x(number), y(value)) for (number, _), value in zip(places, values, strict=True)])
    for (number, place), value in zip(places, values, strict=True):
        said = f"position {place.name}: {value:.1f} % of {place.answers:,}"
        picture.add(marker(0, x(number), y(value), radius=2.2, title=said))
    picture.levels(y, [("all", 100 * (one.accuracy or 0))])
    return picture


def _calibration(found: Sequence[tuple[str, ClassesAssessed]]) -> Section:
    known = [(number, name, one) for number, (name, one) in enumerate(found) if one.calibration]
    points = tuple(Point(f"{name}: {_calibration_words(one)}") for _, name, one in known)
    return Section(
        "calibration",
        "Calibration",
        paragraphs=(
            "Confidence is the probability of the predicted class. Points on the dashed line are well calibrated: of "
            "answers with a confidence of 80 %, 80 % are right. The area of a point is the number of its answers; with "
            "few of them, its place is left to chance.",
        ),
        points=points,
        pictures=tuple(_reliability(f"calibration-{number}", name, one) for number, name, one in known),
    )


def _calibration_words(one: ClassesAssessed) -> str:
    answers = sum(part.answers for part in one.calibration)
    confidence = sum(part.answers * part.confidence for part in one.calibration) / answers
    accuracy = sum(part.answers * part.accuracy for part in one.calibration) / answers
    apart = confidence - accuracy
    how = (
        "neither over- nor under-confident"
        if abs(apart) < 0.01
        else "over-confident"
        if apart > 0
        else "under-confident"
    )
    error = wording.difference(one.calibration_error or 0.0, _PERCENT)
    return (
        f"expected calibration error {error}; on average {how}: confidence {_percent(confidence)} %, accuracy "
        f"{_percent(accuracy)} %."
    )


def _reliability(key: str, name: str, one: ClassesAssessed) -> Picture:
    picture = Picture(key, name, f"{name}: accuracy by confidence; {_calibration_words(one)}", height=260)
    y = picture.vertical(low=0, high=103)
    x = picture.horizontal(low=0, high=103)
    picture.axes(x, y, x_label="confidence, %", y_label="accuracy, %")
    picture.add(f'<path class="level" d="M{x(0):.1f},{y(0):.1f}L{x(100):.1f},{y(100):.1f}"/>')
    whole = sum(part.answers for part in one.calibration)
    drawn = [part for part in one.calibration if part.answers]
    picture.line(0, [(x(100 * part.confidence), y(100 * part.accuracy)) for part in drawn])
    for part in drawn:
        said = (
            f"{part.answers:,} answers of confidence {_percent(part.confidence)} %: {_percent(part.accuracy)} % right"
        )
        radius = 2.0 + 9.0 * (part.answers / whole) ** 0.5
        picture.add(marker(0, x(100 * part.confidence), y(100 * part.accuracy), radius=radius, title=said))
    return picture
