"""The answer of a study: a line for each question, what was found on each task, and the tables behind them."""

from __future__ import annotations

from collections.abc import Iterable

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Point, Section
from fptkit.lab.reporting.footnotes import Footnotes
from fptkit.lab.reporting.questions import Question, questions_of
from fptkit.lab.reporting.sentences import ADD_SEEDS, MORE_SEEDS, RAISE_AT_MOST, counts, finding, over, sentence
from fptkit.lab.studies.results import StudyResults
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
    more = _more_seeds(results) if any(" more seed" in text for text in texts) else ()
    return Section(
        "answer",
        "Answer",
        paragraphs=tuple(_explanation(results)) if points else (),
        points=points or (Point("The study compares no arms."),),
        notes=(*noted.notes, *more),
    )


def _more_seeds(results: StudyResults) -> tuple[str, ...]:
    """What the number of further seeds means, and how to add them."""
    if results.choose == "common":
        return (MORE_SEEDS,)
    return (f"{MORE_SEEDS} {RAISE_AT_MOST if results.until else ADD_SEEDS}",)


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
    said = sentence(question.answer, where, question.metric(results))
    return Point(prefix + _noted(said, question.answer.note, noted), below)


def _noted(text: str, note: str, noted: Footnotes) -> str:
    beside = noted.beside(note)
    return f"{text}; {beside}" if beside else text + noted.mark(note)


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
            "after every seed gives no more false verdicts. A mean at which seeds stopped tends to be too large; the "
            "interval allows for that."
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
