"""The worst errors, shown as pictures, sequences, texts, series or rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from fptkit.engine.assessment.records import (
    ClassesAssessed,
    Content,
    Mistake,
    NumbersAssessed,
    OtherAssessed,
    SplitAssessed,
)
from fptkit.lab.reporting.document import Exhibit, Section
from fptkit.lab.reporting.drawing import Picture, dash, shortened
from fptkit.lab.reporting.single_run.numbers import forecast_of
from fptkit.lab.reporting.single_run.read import RunFiles
from fptkit.lab.reporting.wording import counted, number
from fptkit.lab.studies.results import Measure

CHUNK = 30
"""Symbols in a line of a sequence: as many as a phone has room for."""

CHUNKS = 6
"""Lines of a sequence that are shown."""

LISTED = 12
"""Answers of an example that are listed."""

SHOWN = 6
"""Numbers of an example that are listed."""

CELLS = 14
"""Cells of a row that are shown."""

PANELS = 3
"""Channels of a series that are drawn."""

_IGNORED = -100


def mistakes(files: RunFiles) -> Section:
    """The worst examples of every test split."""
    exhibits, said = [], []
    for name, split in files.splits.items():
        several = f"{name}: " if len(files.splits) > 1 else ""
        own = [_exhibit(f"{name}-{place}", split, one, several) for place, one in enumerate(split.worst)]
        exhibits += own
        if not own:
            said.append(f"{name}: no answer is wrong.")
        elif isinstance(split.answers, ClassesAssessed):
            said.append(f"{name}: the wrong answers with the largest loss, {counted(len(own), 'example')}.")
        elif isinstance(split.answers, OtherAssessed):
            said.append(f"{name}: the examples with the largest loss, {counted(len(own), 'example')}.")
        else:
            said.append(f"{name}: the largest errors, {counted(len(own), 'example')}.")
            if forecast_of([figures.name for figures in split.answers.outputs]):
                said.append("After the history follow the true values (solid line) and the forecast (dashed line).")
    if any(one.content.tokens for split in files.splits.values() for one in split.worst):
        said.append("Shown is what the model received, since the examples have no other form.")
    return Section("worst", "The worst errors", paragraphs=tuple(said), exhibits=tuple(exhibits))


def _exhibit(key: str, split: SplitAssessed, one: Mistake, prefix: str) -> Exhibit:
    title = prefix + (one.name or (f"example {one.index}" if one.index is not None else "generated example"))
    answers, aligned = split.answers, ""
    if isinstance(answers, ClassesAssessed):
        aligned = _aligned(answers, one)
        lines = list(_classes(answers, one, listed=not aligned))
    else:
        lines = list(_numbers(answers, one))
    return Exhibit(
        title=title,
        lines=(*lines, *_cut(one.content)),
        image=f"data:image/png;base64,{one.content.picture}" if one.content.picture else "",
        picture=_series(key, one, split),
        text="" if aligned else one.content.text or " ".join(one.content.symbols),
        aligned=aligned,
        cells=one.content.cells[:CELLS],
    )


def _classes(answers: ClassesAssessed, one: Mistake, *, listed: bool) -> Iterator[str]:
    """Predicted and true class; of several answers, how many are wrong, and which."""
    if one.answers == 1:
        chance = f" ({100 * one.confidence[0]:.0f} %)" if one.confidence else ""
        yield f"predicted {_name(answers, one.predicted[0])}{chance}, true {_name(answers, one.true[0])}"
        return
    wrong = [place for place, true in enumerate(one.true) if true not in (_IGNORED, one.predicted[place])]
    labelled = sum(true != _IGNORED for true in one.true)
    more = "" if len(one.true) == one.answers else f" of the first {len(one.true):,}"
    yield f"{len(wrong):,} of {labelled:,} answers wrong{more}"
    if answers.place == "label":
        for place in wrong[:LISTED]:
            true, said = _name(answers, one.true[place]), _name(answers, one.predicted[place])
            yield f"{answers.places[place].name}: predicted {said}, true {true}"
    elif listed:
        places = ", ".join(str(place + 1) for place in wrong[:LISTED])
        yield f"at {'position' if len(wrong) == 1 else 'positions'} {places}{' …' if len(wrong) > LISTED else ''}"


def _name(answers: ClassesAssessed, number: float) -> str:
    place = int(number)
    return shortened(answers.names[place], 60) if 0 <= place < len(answers.names) else str(place)


def _numbers(answers: NumbersAssessed | OtherAssessed, one: Mistake) -> Iterator[str]:
    """Predicted and true numbers; of a forecast, the error of each channel."""
    outputs = answers.outputs if isinstance(answers, NumbersAssessed) and len(answers.outputs) == one.answers else ()
    names = [figures.name for figures in outputs] or [f"value {place + 1}" for place in range(len(one.true))]
    if channels := forecast_of(names):
        for channel, places in list(channels.items())[:PANELS]:
            errors = [abs(one.predicted[place] - one.true[place]) for place in places if place < len(one.true)]
            if errors:
                error = number(sum(errors) / len(errors), Measure())
                yield f"{shortened(channel, 40)}: mean absolute error {error}"
        return
    for name, true, predicted in list(zip(names, one.true, one.predicted, strict=False))[:SHOWN]:
        which = f"{shortened(name, 40)}: " if one.answers > 1 else ""
        yield f"{which}predicted {number(predicted, Measure())}, true {number(true, Measure())}"
    if one.answers > SHOWN:
        yield f"{one.answers:,} numbers in all"


def _cut(content: Content) -> Iterator[str]:
    if content.length and (content.text or content.symbols):
        yield f"the beginning of {content.length:,} {'characters' if content.text else 'symbols'}"
    elif content.length and content.series:
        yield (
            f"{content.length:,} steps, averaged"
            if len(content.series[0]) < content.length
            else f"the first channels of {content.length:,}"
        )
    elif (whole := max(content.length, len(content.cells))) > CELLS:
        yield f"the first {CELLS} cells of {whole:,}"


def _aligned(answers: ClassesAssessed, one: Mistake) -> str:
    """A tagged sequence with its true classes, and the predicted ones where they are wrong; empty for others.

    Classes are written as one character: their name if all have one, otherwise a letter of the legend.
    """
    symbols: Sequence[str] = one.content.symbols or one.content.text
    if answers.place != "position" or not symbols or one.answers < 2 or len(symbols) < len(one.true):
        return ""
    if any(len(symbol) > 1 for symbol in symbols):
        return ""
    letters = _letters(answers.names)
    lines = (
        []
        if letters == answers.names
        else [f"{letter} = {name}" for letter, name in zip(letters, answers.names, strict=False)]
    )
    for start in range(0, min(len(one.true), CHUNK * CHUNKS), CHUNK):
        end = min(start + CHUNK, len(one.true))
        true = "".join("·" if tag == _IGNORED else letters[int(tag)] for tag in one.true[start:end])
        pairs = zip(one.true[start:end], one.predicted[start:end], strict=True)
        wrong = "".join(" " if tag in (_IGNORED, said) else letters[int(said)] for tag, said in pairs)
        lines += [f"{'':5}{start + 1}", f"     {''.join(symbols[start:end])}", f"true {true}", f"pred {wrong}".rstrip()]
    if len(one.true) > CHUNK * CHUNKS:
        lines.append(f"… of {len(one.true):,}")
    return "\n".join(lines)


def _letters(names: Sequence[str]) -> Sequence[str]:
    """A character for each class."""
    if all(len(name) == 1 for name in names):
        return names
    return [chr(ord("a") + place) if place < 26 else chr(ord("A") + place % 26) for place in range(len(names))]


_HIGH, _ACROSS, _EDGE = 56.0, 240.0, 4.0


def _series(key: str, one: Mistake, split: SplitAssessed) -> Picture | None:
    """A panel for each channel, with a scale of its own; of a forecast, the truth and the prediction follow."""
    channels = one.content.series[:PANELS]
    if not channels:
        return None
    names = one.content.channels or (tuple(f"channel {place + 1}" for place in range(len(channels))))
    names = names if len(channels) > 1 or one.content.channels else ("",)
    picture = Picture(f"worst-{key}", "", f"Series of {', '.join(filter(None, names)) or 'one channel'}.")
    picture.height, picture.width = len(channels) * _HIGH, _ACROSS
    future = _future(one, split)
    for place, (name, values) in enumerate(zip(names, channels, strict=False)):
        _panel(picture, place * _HIGH, name, values, future.get(name, ((), ())))
    return picture


def _panel(
    picture: Picture,
    top: float,
    name: str,
    values: Sequence[float | None],
    future: tuple[Sequence[float], Sequence[float]],
) -> None:
    shown = [value for value in (*values, *future[0], *future[1]) if value is not None]
    if not shown:
        return
    low, high, last = min(shown), max(shown), len(values) + len(future[0]) - 1

    def at(step: int, value: float) -> tuple[float, float]:
        up = (value - low) / (high - low) if high > low else 0.5
        return _EDGE + step * (_ACROSS - 2 * _EDGE) / max(1, last), top + _HIGH - _EDGE - up * (_HIGH - 18)

    for run in _known(values):
        picture.line(0, [at(step, value) for step, value in run])
    for kind, steps in zip(('range"', f'line c1"{dash(1)}'), future, strict=True):
        points = " ".join("{:.1f},{:.1f}".format(*at(len(values) + step, value)) for step, value in enumerate(steps))
        picture.add(*([f'<polyline class="{kind} points="{points}"/>'] if steps else []))
    picture.add(f'<text class="over" x="{_EDGE:g}" y="{top + 10:g}">{escape(shortened(name, 34))}</text>')


def _known(line: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """Stretches without a missing value."""
    for known, run in groupby(enumerate(line), key=lambda pair: pair[1] is not None):
        if known:
            yield [(step, value) for step, value in run if value is not None]


def _future(one: Mistake, split: SplitAssessed) -> dict[str, tuple[list[float], list[float]]]:
    """True and predicted steps of each channel of a forecast; empty for others, or if the series was averaged."""
    if not isinstance(split.answers, NumbersAssessed) or one.content.length > len(one.content.series[0]):
        return {}
    channels = forecast_of([figures.name for figures in split.answers.outputs])
    return {
        channel: ([one.true[place] for place in places], [one.predicted[place] for place in places])
        for channel, places in channels.items()
        if max(places) < len(one.true)
    }
