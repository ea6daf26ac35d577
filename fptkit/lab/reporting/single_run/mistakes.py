"""The worst errors, shown as pictures, sequences, texts, series or rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fptkit.engine.assessment.records import ClassesAssessed, Content, Mistake, NumbersAssessed, SplitAssessed
from fptkit.lab.reporting.document import Exhibit, Section
from fptkit.lab.reporting.drawing import SERIES, Picture, shortened
from fptkit.lab.reporting.single_run.read import RunFiles
from fptkit.lab.reporting.wording import counted, number
from fptkit.lab.studies.results import Measure

CHUNK = 30
"""Symbols in a line of a sequence: as many as a phone has room for."""

CHUNKS = 6
"""Lines of a sequence that are shown."""

LISTED = 12
"""Answers of an example that are listed."""

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
        else:
            said.append(f"{name}: the largest errors, {counted(len(own), 'example')}.")
    if any(one.content.tokens for split in files.splits.values() for one in split.worst):
        said.append("Shown is what the model received, since the examples have no other form.")
    return Section("worst", "The worst errors", paragraphs=tuple(said), exhibits=tuple(exhibits))


def _exhibit(key: str, split: SplitAssessed, one: Mistake, prefix: str) -> Exhibit:
    title = prefix + (one.name or (f"example {one.index}" if one.index is not None else "generated example"))
    answers, aligned = split.answers, ""
    if isinstance(answers, ClassesAssessed):
        lines, aligned = list(_classes(answers, one)), _aligned(answers, one)
    else:
        lines = list(_numbers(answers, one))
    return Exhibit(
        title=title,
        lines=(*lines, *_cut(one.content)),
        image=f"data:image/png;base64,{one.content.picture}" if one.content.picture else "",
        picture=_sparkline(key, one, split),
        text="" if aligned else one.content.text or " ".join(one.content.symbols),
        aligned=aligned,
        cells=one.content.cells,
    )


def _classes(answers: ClassesAssessed, one: Mistake) -> Iterator[str]:
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
    else:
        listed = ", ".join(str(place + 1) for place in wrong[:LISTED])
        yield f"at {'position' if len(wrong) == 1 else 'positions'} {listed}{' …' if len(wrong) > LISTED else ''}"


def _name(answers: ClassesAssessed, number: float) -> str:
    place = int(number)
    return shortened(answers.names[place], 60) if 0 <= place < len(answers.names) else str(place)


def _numbers(answers: NumbersAssessed, one: Mistake) -> Iterator[str]:
    names = [figures.name for figures in answers.outputs] or [f"value {place + 1}" for place in range(len(one.true))]
    for name, true, predicted in list(zip(names, one.true, one.predicted, strict=False))[
        : 3 if one.content.series else 6
    ]:
        which = f"{shortened(name, 40)}: " if one.answers > 1 else ""
        yield f"{which}predicted {number(predicted, Measure())}, true {number(true, Measure())}"
    if one.answers > 6:
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
    elif content.length and content.cells:
        yield f"the first cells of {content.length:,}"


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
        lines += [f"{'':5}{start + 1}", f"     {''.join(symbols[start:end])}", f"true {true}", f"said {wrong}".rstrip()]
    if len(one.true) > CHUNK * CHUNKS:
        lines.append(f"… of {len(one.true):,}")
    return "\n".join(lines)


def _letters(names: Sequence[str]) -> Sequence[str]:
    """A character for each class."""
    if all(len(name) == 1 for name in names):
        return names
    return [chr(ord("a") + place) if place < 26 else chr(ord("A") + place % 26) for place in range(len(names))]


_HIGH, _ACROSS = 90.0, 240.0


def _sparkline(key: str, one: Mistake, split: SplitAssessed) -> Picture | None:
    """The channels of a series as lines; of a forecast, its truth and prediction after it."""
    if not one.content.series:
        return None
    names = one.content.channels or tuple(f"channel {place + 1}" for place in range(len(one.content.series)))
    picture = Picture(f"worst-{key}", "", f"Series of {', '.join(names)}.", height=_HIGH, width=_ACROSS)
    lines = [list(channel) for channel in one.content.series]
    future = _future(one, split)
    values = [value for line in lines for value in line if value is not None] + [
        value for some in future for value in some
    ]
    if not values:
        return None
    low, high = min(values), max(values)
    span, length = (high - low) or 1.0, len(lines[0]) + max(map(len, future), default=0)

    def at(step: int, value: float) -> tuple[float, float]:
        return 4 + step * (_ACROSS - 8) / max(1, length - 1), _HIGH - 6 - (value - low) / span * (_HIGH - 12)

    for index, line in enumerate(lines):
        for run in _known(line):
            picture.line(index % len(SERIES), [at(step, value) for step, value in run])
    for kind, some in zip(("true", "said"), future, strict=False):
        points = " ".join(
            "{:.1f},{:.1f}".format(*at(len(lines[0]) - 1 + step, value)) for step, value in enumerate(some, 1)
        )
        picture.add(f'<polyline class="{"range" if kind == "true" else "level"}" points="{points}"/>')
    return picture


def _known(line: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """Stretches without a missing value."""
    run: list[tuple[int, float]] = []
    for step, value in enumerate(line):
        if value is None:
            if run:
                yield run
            run = []
        else:
            run.append((step, value))
    if run:
        yield run


def _future(one: Mistake, split: SplitAssessed) -> list[list[float]]:
    """True and predicted steps of a forecast of one channel; empty for others, or if the series was averaged."""
    outputs = split.answers.outputs if isinstance(split.answers, NumbersAssessed) else ()
    steps = [figures.name.rpartition(" +") for figures in outputs]
    one_channel = len({name for name, plus, _ in steps if plus}) == 1 and all(plus for _, plus, _ in steps)
    averaged = one.content.length > len(one.content.series[0])
    if not one_channel or averaged or len(one.content.series) != 1:
        return []
    return [list(one.true), list(one.predicted)]
