"""The answer of a study: a line for each question, what was found on each task, and the tables behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Point, Section, Table, row
from fptkit.lab.reporting.footnotes import Footnotes
from fptkit.lab.reporting.levels import resolution_of
from fptkit.lab.reporting.questions import Question, questions_of
from fptkit.lab.reporting.sentences import MORE_SEEDS, counts, difference_of, finding, over, sentence
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import Measure, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison

SENTENCES = 12
"""Up to this many comparisons get a sentence each; more are summarised by question."""


def answer(results: StudyResults) -> Section:
    """A line for each question, the pretraining lift first, and below it the verdict on each task."""
    questions = questions_of(results)
    brief = sum(len(one.comparisons) for one in questions) > SENTENCES
    noted = Footnotes((one.note for one in _said(questions, brief=brief)), least=2)
    points = tuple(_point(results, one, noted, brief=brief) for one in questions)
    texts = [text for point in points for text in (point.text, *point.below)]
    more = [MORE_SEEDS] if any(" more seed" in text for text in texts) else []
    return Section(
        "answer",
        "Answer",
        paragraphs=tuple(_explanation(results)) if points else (),
        points=points or (Point("The study compares no arms."),),
        notes=(*noted.notes, *more),
    )


def _said(questions: Iterable[Question], *, brief: bool) -> Iterable[Comparison | Answer]:
    """The records that get a sentence."""
    for one in questions:
        if one.answer is not None and not one.single:
            yield one.answer
        if one.single or not brief:
            yield from one.comparisons


def _point(results: StudyResults, question: Question, noted: Footnotes, *, brief: bool) -> Point:
    prefix = "pretraining lift: " if question.lift else ""
    compared = question.comparisons
    if question.single:
        (one,) = compared
        where = f"on {wording.place(one.task, one.data_fraction)}"
        return Point(prefix + _noted(sentence(one, where, wording.metric_of(results, one)), one.note, noted))
    if brief:
        below = counts(compared)
    else:
        below = tuple(
            f"{wording.place(one.task, one.data_fraction)}: "
            + _noted(finding(one, wording.metric_of(results, one)), one.note, noted)
            for one in compared
        )
    if question.answer is None:
        return Point(f"{prefix}{question.a} against {question.b}", below)
    where = over(question.answer.places, len(compared))
    said = sentence(question.answer, where, _shared_metric(results, compared))
    return Point(prefix + _noted(said, question.answer.note, noted), below)


def _noted(text: str, note: str, noted: Footnotes) -> str:
    beside = noted.beside(note)
    return f"{text}; {beside}" if beside else text + noted.mark(note)


def _shared_metric(results: StudyResults, compared: Sequence[Comparison]) -> Measure | None:
    metrics = {wording.metric_of(results, one) for one in compared}
    return metrics.pop() if len(metrics) == 1 else None


def _explanation(results: StudyResults) -> Iterable[str]:
    yield from _what_is_compared(results)
    confidence = f"{100 * results.confidence:g} %"
    differences = f"Differences are paired by seed and shown with their {confidence} interval; p is two-sided"
    if results.format == 1:
        yield (
            f"{differences} and corrected by Holm's method over the comparisons of the study. A verdict needs p below "
            f"{results.level:g}, with an allowance for the choice of the learning rate."
        )
        return
    yield (
        f"{differences} and corrected by Holm's method over the tasks of a question. Better or worse: p is below "
        f"{results.level:g}. The same: both one-sided tests exclude a difference beyond the margin, at the same level. "
        "Undecided: neither. Fewer than three seeds in common give no verdict."
    )
    if results.until:
        yield (
            f"Seeds were added until decided ({results.until}); intervals and p are valid at any time, so that looking "
            "after every seed gives no more false verdicts."
        )


def _what_is_compared(results: StudyResults) -> Iterable[str]:
    if results.format == 1:
        return  # a warning says so
    if len(results.learning_rates) < 2:
        yield "Compared is one training per seed: there was no search."
    elif results.choose == "common":
        yield "Compared is training at one learning rate for all seeds of a cell, chosen on their mean validation."
    else:
        yield (
            "Compared is the procedure, search included: each seed chooses its learning rate on its own validation, so "
            "that seeds are independent repetitions."
        )


def comparisons(results: StudyResults) -> Section:
    """The tables behind the answer: questions over tasks, then every comparison."""
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
    rows = []
    for one, given in found:
        metric = _shared_metric(results, one.comparisons)
        rows.append(
            (
                Entry(f"{given.a} − {given.b}", "pretraining lift" if one.lift else ""),
                Entry(given.verdict + noted.mark(given.note)),
                Entry(difference_of(given, metric) if metric else NOTHING),
                Entry(wording.p_value(given.p)),
                Entry(wording.p_value(given.p_same), _margin(given, metric)),
                Entry(wording.p_value(given.p_heterogeneity), _variation(given)),
                Entry(wording.difference(given.resolution, metric) if given.resolution and metric else NOTHING),
                Entry(str(len(given.places))),
                Entry(str(len(given.seeds))),
            )
        )
    header = [
        "arms",
        "verdict",
        "mean difference",
        "p",
        "p, the same",
        "p, tasks differ",
        "resolution",
        "tasks",
        "seeds",
    ]
    caption = "Questions: two arms over all tasks, each task with the same weight; one test each, uncorrected."
    return Table(caption, row(*header), tuple(rows), noted.notes)


def _variation(given: Answer) -> str:
    return "" if given.i2 is None else f"I² {wording.share(given.i2)}"


def _margin(one: Comparison | Answer, metric: Measure | None) -> str:
    return "" if one.margin is None or metric is None else f"within {wording.margin(one.margin, metric)}"


def _comparison_table(results: StudyResults, questions: Sequence[Question]) -> Table:
    compared = [one for question in questions for one in question.comparisons]
    noted = Footnotes(one.note for one in compared)
    columns = [column for column in _COLUMNS if any(_COLUMNS[column](results, one).text != NOTHING for one in compared)]
    rows = tuple(
        (
            Entry(f"{one.a} − {one.b}", "pretraining lift" if question.lift else ""),
            Entry(wording.place(one.task, one.data_fraction)),
            Entry(one.verdict + noted.mark(one.note), _more(one)),
            *(_COLUMNS[column](results, one) for column in columns),
        )
        for question in questions
        for one in question.comparisons
    )
    over_what = "all comparisons of the study" if results.format == 1 else "the tasks of each question"
    caption = f"Comparisons on each task, paired by seed; p corrected by Holm's method over {over_what}."
    return Table(caption, row("arms", "task", "verdict", *columns), rows, noted.notes, names=2)


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
    return Entry(wording.p_value(p), "" if p is None else _margin(one, wording.metric_of(results, one)))


def _resolution(results: StudyResults, one: Comparison) -> Entry:
    return Entry(resolution_of([one], wording.metric_of(results, one)) or NOTHING)


_COLUMNS = {
    "difference": _difference,
    "p": _p,
    "p, Holm": _p_holm,
    "p, the same, Holm": _p_same,
    "p, verdict": lambda results, one: Entry(wording.p_value(one.p_verdict)),
    "Hedges' g": lambda results, one: Entry(wording.effect_size(one.effect_size)),
    "resolution": _resolution,
    "pairs": lambda results, one: Entry(str(len(one.differences))),
}
"""Columns of the table of comparisons; those without any figure are left out."""
