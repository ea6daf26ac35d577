"""The result of a run beside what needs no learning."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fptkit.engine.assessment.records import CONFIDENCE, Bounds, ClassesAssessed, NumbersAssessed, SplitAssessed
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Point, Section, Table, row
from fptkit.lab.reporting.single_run.read import RunFiles
from fptkit.lab.studies.results import Measure

_EQUAL = 1e-4
"""Relative difference up to which a metric is the figure that the assessment has an interval for."""

INTERVALS = (
    f"In brackets: the {100 * CONFIDENCE:g} % interval over test examples, taken as independent of each other. It does "
    "not contain what differs between seeds; a study over seeds does."
)


def result(files: RunFiles) -> Section:
    """The metrics of every split, with intervals, chance and the most frequent class."""
    if not files.summary["metrics"].get("validation") and not files.tested:
        return Section("result", "Result", paragraphs=("There is no result yet.",))
    points = tuple(_findings(files))
    paragraphs = () if files.tested else ("The test splits were not evaluated: fptkit run --resume does that, once.",)
    return Section("result", "Result", paragraphs=paragraphs, points=points, tables=(_table(files),))


def _table(files: RunFiles) -> Table:
    metrics = files.summary["metrics"]
    splits = {
        **files.tested,
        "validation": metrics.get("validation") or {},
        **({"train (sample)": metrics["train"]} if metrics.get("train") else {}),
    }
    names = _ordered(files, {name for values in splits.values() for name in values})
    chance, majority = files.summary.get("chance_accuracy"), files.summary.get("majority_accuracy") or {}
    header = ["split", *(wording.unit(files.measure(name)) for name in names)]
    header += ["chance, %"] if chance is not None else []
    header += ["most frequent class, %"] if majority else []
    rows, bracketed = [], False
    for split, values in splits.items():
        entries = [Entry(split)]
        for name in names:
            measure = files.measure(name)
            bounds = interval_of(files, split, name)
            bracketed |= bounds is not None
            text = wording.number(values.get(name), measure)
            entries.append(Entry(f"{text} {wording.interval(bounds, measure)}".strip()))
        if chance is not None:
            entries.append(Entry(wording.number(chance, Measure(fraction=True))))
        if majority:
            entries.append(Entry(wording.number(majority.get(split.partition(" ")[0]), Measure(fraction=True))))
        rows.append(tuple(entries))
    notes = (INTERVALS,) if bracketed else ()
    if files.splits and overlapping(files):
        notes = ("There is no interval: windows of a series are not independent of each other.",)
    return Table("Metrics of the best step.", row(*header), tuple(rows), notes, opened=True)


def _ordered(files: RunFiles, names: set[str]) -> list[str]:
    """The selection metric first, the loss last."""
    return sorted(names, key=lambda name: (name != files.metric.name, name == "loss", name))


def interval_of(files: RunFiles, split: str, metric: str) -> Bounds | None:
    """The interval of a test metric; None if the metric is not one whose interval is known."""
    assessed, value = files.splits.get(split), files.tested.get(split, {}).get(metric)
    if assessed is None or value is None or overlapping(files):
        return None
    for known, bounds in _known(files, assessed, metric):
        if known is not None and math.isclose(known, value, rel_tol=_EQUAL, abs_tol=1e-9):
            return bounds
    return None


def overlapping(files: RunFiles) -> bool:
    """Whether examples are windows of the same series: then they are not independent, and have no interval."""
    return (files.summary["task"].get("options") or {}).get("problem") == "forecasting"


def _known(files: RunFiles, assessed: SplitAssessed, metric: str) -> Iterator[tuple[float | None, Bounds | None]]:
    """Figures of the assessment that a metric may be, with their intervals."""
    answers = assessed.answers
    if metric in ("loss", "mean_squared_error"):
        yield assessed.loss, assessed.loss_interval
    if isinstance(answers, NumbersAssessed):
        if metric.startswith("mean_absolute_error") and len(answers.outputs) == 1:
            yield answers.absolute, answers.absolute_interval
    elif isinstance(answers, ClassesAssessed) and metric in files.summary.get("accuracies", ()):
        yield answers.accuracy, answers.interval


def _findings(files: RunFiles) -> Iterator[Point]:
    """A sentence for each test split, or for validation if the test was not evaluated."""
    metric = files.metric
    for split, values in files.tested.items():
        value = values.get(metric.name)
        bounds = interval_of(files, split, metric.name)
        text = f"{split}: {_said(value, metric)} {wording.interval(bounds, metric)}".strip()
        yield Point(f"{text}{_beside(files, split, value, bounds)}.")
        naive = [note for note in files.summary.get("notes", ()) if str(note).startswith((f"{split}:", f"{split} ("))]
        yield from (Point(f"naive forecasts on {note}") for note in naive if overlapping(files))
    if not files.tested:
        value = (files.summary["metrics"].get("validation") or {}).get(metric.name)
        yield Point(f"validation, on which the step was chosen: {_said(value, metric)}.")


def _said(value: float | None, metric: Measure) -> str:
    return f"{metric.name.replace('_', ' ')} {wording.number(value, metric)}{' %' if metric.fraction else ''}"


def _beside(files: RunFiles, split: str, value: float | None, bounds: Bounds | None) -> str:
    """What the value is to be compared with."""
    assessed = files.splits.get(split)
    if value is None:
        return ""
    if files.metric.name in files.summary.get("accuracies", ()):
        return _beside_levels(files, split, value, bounds)
    if assessed is not None and isinstance(assessed.answers, NumbersAssessed):
        return _beside_mean(assessed.answers)
    return ""


def _beside_levels(files: RunFiles, split: str, value: float, bounds: Bounds | None) -> str:
    chance = files.summary.get("chance_accuracy")
    majority = (files.summary.get("majority_accuracy") or {}).get(split)
    levels = [("chance", chance), ("the most frequent class", majority)]
    known = [(name, level) for name, level in levels if level is not None]
    if not known:
        return ""
    said = ", ".join(f"{name} {wording.number(level, Measure(fraction=True))} %" for name, level in known)
    name, best = max(known, key=lambda one: one[1])
    low, high = bounds if bounds is not None else (value, value)
    if low > best:
        return f"; {said}. Better than {name} by {wording.difference(value - best, Measure(fraction=True))}"
    if high < best:
        return f"; {said}. Worse than {name}"
    return f"; {said}. Not distinguishable from {name} on this test"


def _beside_mean(answers: NumbersAssessed) -> str:
    """R² of a single number: against always predicting the mean of the test targets."""
    if len(answers.outputs) != 1 or (r2 := answers.outputs[0].r2) is None:
        return ""
    found = f"; R² {wording.effect_size(r2)}, where always predicting the mean of these targets has R² 0"
    return found if r2 > 0 else f"{found}: the model is no better than that"
