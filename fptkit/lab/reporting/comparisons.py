"""The tables behind the answer of a study: its questions over all tasks, and every comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Section, Table, row
from fptkit.lab.reporting.footnotes import Footnotes
from fptkit.lab.reporting.levels import resolution_of
from fptkit.lab.reporting.questions import Question, questions_of
from fptkit.lab.reporting.sentences import difference_of
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import Measure, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison


def comparisons(results: StudyResults) -> Section:
    """Questions over tasks, then every comparison."""
    questions = questions_of(results)
    tables = []
    if combined := [one for one in questions if one.answer is not None and not one.single]:
        tables.append(_answers_table(results, combined))
    if questions:
        tables.append(_comparison_table(results, questions))
    return Section("comparisons", "Comparisons", tables=tuple(tables))


def _answers_table(results: StudyResults, questions: Sequence[Question]) -> Table:
    found = [(one, one.answer) for one in questions if one.answer is not None]
    noted = Footnotes(given.note for _, given in found)
    margin = _shared(_margin(given, one.metric(results)) for one, given in found)
    rows = tuple(
        tuple(_without(entry, margin) for entry in _answer_row(one, given, one.metric(results), noted))
        for one, given in found
    )
    before, after = (
        row("arms", "verdict", "mean difference", "p"),
        row("p, tasks differ", "resolution", "tasks", "seeds"),
    )
    caption = "Questions: two arms over all tasks, each task with the same weight; one test each, uncorrected."
    return Table(caption, (*before, Entry("p, the same", margin), *after), rows, noted.notes)


def _answer_row(question: Question, given: Answer, metric: Measure | None, noted: Footnotes) -> tuple[Entry, ...]:
    return (
        _arms(question, given),
        Entry(given.verdict + noted.mark(given.note)),
        Entry(difference_of(given, metric) if metric else NOTHING),
        Entry(wording.p_value(given.p)),
        Entry(wording.p_value(given.p_same), _margin(given, metric)),
        Entry(wording.p_value(given.p_heterogeneity), "" if given.i2 is None else f"I² {wording.share(given.i2)}"),
        Entry(resolution_of([given], metric) or NOTHING if metric else NOTHING),
        Entry(str(len(given.places))),
        Entry(str(len(given.seeds))),
    )


def _arms(question: Question, one: Comparison | Answer) -> Entry:
    return Entry(f"{one.a} − {one.b}", "pretraining lift" if question.lift else "")


def _margin(one: Comparison | Answer, metric: Measure | None) -> str:
    return "" if one.margin is None or metric is None else f"within {wording.margin(one.margin, metric)}"


def _shared(texts: Iterable[str]) -> str:
    """The text that all rows share, for the header; empty if they differ."""
    distinct = set(texts)
    return distinct.pop() if len(distinct) == 1 else ""


def _without(entry: Entry, shared: str) -> Entry:
    return Entry(entry.text) if shared and entry.detail == shared else entry


def _comparison_table(results: StudyResults, questions: Sequence[Question]) -> Table:
    compared = [(question, one) for question in questions for one in question.comparisons]
    noted = Footnotes(one.note for _, one in compared)
    margin = _shared(_margin(one, wording.metric_of(results, one)) for _, one in compared)
    made = [{name: _without(column(results, one), margin) for name, column in _COLUMNS.items()} for _, one in compared]
    shown = [name for name in _COLUMNS if any(entries[name].text != NOTHING for entries in made)]
    rows = tuple(
        (
            _arms(question, one),
            Entry(wording.place(one.task, one.data_fraction)),
            Entry(one.verdict + noted.mark(one.note), _more(one)),
            *(entries[name] for name in shown),
        )
        for (question, one), entries in zip(compared, made, strict=True)
    )
    over_what = "all comparisons of the study" if results.format == 1 else "the tasks of each question"
    caption = f"Comparisons on each task, paired by seed; p corrected by Holm's method over {over_what}."
    header = (*row("arms", "task", "verdict"), *(Entry(name, margin if name == _SAME else "") for name in shown))
    return Table(caption, header, rows, noted.notes, names=2)


def _more(one: Comparison) -> str:
    """What a verdict is about to become, or when it was reached."""
    if one.anytime is not None and one.anytime.decided_at is not None:
        return f"after {one.anytime.decided_at} seeds"
    return wording.counted(one.further_seeds, "more seed") if one.further_seeds and one.verdict == "undecided" else ""


def _difference(results: StudyResults, one: Comparison) -> Entry:
    metric = wording.metric_of(results, one)
    bootstrap = wording.interval(one.interval_bca, metric)
    return Entry(difference_of(one, metric), f"bootstrap {bootstrap}" if bootstrap else "")


def _p(results: StudyResults, one: Comparison) -> Entry:
    if one.anytime is not None:
        return Entry(wording.p_value(one.anytime.p), f"e = {one.anytime.e:.3g}")
    return Entry(wording.p_value(one.p), "" if one.p_exact is None else f"exact {wording.p_value(one.p_exact)}")


def _p_holm(results: StudyResults, one: Comparison) -> Entry:
    return Entry(wording.p_value(one.anytime.p_holm if one.anytime is not None else one.p_holm))


def _p_same(results: StudyResults, one: Comparison) -> Entry:
    p = one.anytime.p_same_holm if one.anytime is not None else one.p_same_holm
    return Entry(wording.p_value(p), _margin(one, wording.metric_of(results, one)))


def _resolution(results: StudyResults, one: Comparison) -> Entry:
    return Entry(resolution_of([one], wording.metric_of(results, one)) or NOTHING)


_SAME = "p, the same, Holm"

_COLUMNS = {
    "difference": _difference,
    "p": _p,
    "p, Holm": _p_holm,
    _SAME: _p_same,
    "p, verdict": lambda results, one: Entry(wording.p_value(one.p_verdict)),
    "Hedges' g": lambda results, one: Entry(wording.effect_size(one.effect_size)),
    "resolution": _resolution,
    "pairs": lambda results, one: Entry(str(len(one.differences))),
}
"""Columns of the table of comparisons; those without any figure are left out."""
