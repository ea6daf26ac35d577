"""Tables of the pages of the answers: levels, differences beside the paper's, questions by tasks, efforts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from fptkit.lab.published import Published, compare, load_published
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.levels import CHANCE, level_texts, resolution_of
from fptkit.lab.reporting.questions import Question, questions_of
from fptkit.lab.reporting.sentences import difference_of, p_of
from fptkit.lab.studies.results import CellResult, Effort, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison

PAPER = "fpt2021"
MARGIN = 1.0
"""Points up to which a difference between two figures of the paper, which has no intervals, counts as none."""

MATRIX_FROM = 4
"""Number of questions from which a page shows a table of questions by tasks, too."""


def is_decided(one: Comparison | Answer) -> bool:
    """Whether a comparison, or the answer over all tasks, has a verdict."""
    return one.verdict in ("better", "worse", "same")


def without_results(results: StudyResults) -> list[str]:
    """Tasks of the study of which no arm has a test result yet."""
    found = {cell.task for cell in results.cells if cell.test}
    return [task for task in results.tasks if task not in found]


def with_results(results: StudyResults) -> StudyResults:
    """Results without the tasks that have none yet; all of them if none has."""
    empty = set(without_results(results))
    kept = tuple(task for task in results.tasks if task not in empty) or results.tasks
    cells = tuple(cell for cell in results.cells if cell.task in kept)
    comparisons = tuple(one for one in results.comparisons if one.task in kept)
    return results.model_copy(update={"tasks": kept, "cells": cells, "comparisons": comparisons})


def levels(results: StudyResults) -> Iterator[str]:
    """A row for each arm: test figures of all tasks, then chance."""
    cells = {(cell.arm, wording.place(cell.task, cell.data_fraction)): cell for cell in results.cells}
    arms, places = dict.fromkeys(arm for arm, _ in cells), dict.fromkeys(place for _, place in cells)
    unit = ", in percent" if all(cell.fraction for cell in results.cells) else ""
    yield f"Test{unit}: mean ± standard error over seeds, each at its own learning rate, chosen on validation."
    rows = [(arm, *(_level(cells.get((arm, place))) for place in places)) for arm in arms]
    chance = [level_texts([cell for (_, here), cell in cells.items() if here == place], CHANCE) for place in places]
    yield table(("arm", *places), [*rows, (CHANCE, *(text or wording.NOTHING for text in chance))])


def _level(cell: CellResult | None) -> str:
    if cell is None or cell.test_split not in cell.test:
        return wording.NOTHING
    rates = wording.counted_rates(cell.chosen_rates.values()) if cell.chosen_rates else ""
    return f"{wording.mean_and_sem(cell.test[cell.test_split], cell.measure)} ({rates})"


def differences(results: StudyResults) -> str:
    """A row for each comparison, with the paper's direction beside ours."""
    paper = paper_differences(results)
    rows = [
        (
            wording.place(one.task, one.data_fraction),
            f"{one.a} − {one.b}",
            difference_of(one, wording.metric_of(results, one)),
            resolution_of([one], wording.metric_of(results, one)) or wording.NOTHING,
            wording.p_value(p_of(one)),
            str(len(one.differences)),
            one.verdict,
            *_beside(one, paper.get((one.task, one.a, one.b))),
        )
        for question in questions_of(results)
        for one in question.comparisons
    ]
    heads = ("task", "arms", "difference [95 %]", "resolution", "p", "seeds", "verdict", "paper's", "beside ours")
    return table(heads, rows)


def paper_differences(results: StudyResults) -> dict[tuple[str, str, str], float]:
    """Differences in points between the paper's figures for two arms, by task and arms, where it has both.

    Arms that differ in what the paper did not vary have one figure in common, and no difference.
    """
    published: Published = load_published(PAPER)
    theirs = {
        (pair.task, pair.arm): pair.theirs
        for pair in compare(results, published)
        if pair.theirs is not None and pair.ours is not None
    }
    return {
        (one.task, one.a, one.b): a.value - b.value
        for one in results.comparisons
        if (a := theirs.get((one.task, one.a))) and (b := theirs.get((one.task, one.b))) and a != b
    }


def _beside(one: Comparison, paper: float | None) -> tuple[str, str]:
    """The paper's difference, and whether its direction is ours."""
    if paper is None:
        return "no figure", ""
    return f"{paper:+.1f}".replace("-", "−"), agreement(one, paper)


def agreement(one: Comparison, paper: float) -> str:
    """Whether a difference of the paper, in points, has the direction of our verdict.

    Its figures have no intervals, so a difference up to `MARGIN` counts as none.
    """
    if not is_decided(one):
        return "can't tell"
    theirs = "same" if abs(paper) <= MARGIN else "better" if paper > 0 else "worse"
    return "agrees" if theirs == one.verdict else "disagrees"


def matrix(results: StudyResults) -> Iterator[str]:
    """The differences once more, questions by tasks, if there are many."""
    questions = questions_of(results)
    if len(questions) < MATRIX_FROM:
        return
    yield "Questions by tasks, in points with 95 % interval; bold: decided."
    rows = [(f"{question.a} − {question.b}", *_of_tasks(results, question)) for question in questions]
    yield table(("arms", *results.tasks), rows)


def _of_tasks(results: StudyResults, question: Question) -> Iterator[str]:
    by_task = {one.task: one for one in question.comparisons}
    for task in results.tasks:
        if (one := by_task.get(task)) is None:
            yield wording.NOTHING
            continue
        text = difference_of(one, wording.metric_of(results, one)).replace(" points", "")
        yield f"**{text}** {one.verdict}" if is_decided(one) else text


def efforts(results: StudyResults) -> Iterator[str]:
    """Steps and operations to the targets, if the study has some."""
    rows = [_effort_row(cell) for cell in results.cells if cell.effort is not None]
    if rows:
        yield "Steps and operations until validation first reached the target; medians of the seeds that did."
        yield table(("task", "arm", "target", "reached", "steps", "TFLOP"), rows)


def _effort_row(cell: CellResult) -> tuple[str, ...]:
    effort = cell.effort
    assert effort is not None
    target = f"{100 * effort.target:g} %" if cell.fraction else f"{effort.target:g}"
    steps = f"{_median(effort.steps):,.0f}" if effort.steps else wording.NOTHING
    flops = f"{_median(effort.flops) / 1e12:.2g}" if effort.flops else wording.NOTHING
    return cell.task, cell.arm, target, f"{effort.reached} of {effort.seeds}", steps, flops


def steps_compared(results: StudyResults, a: str, b: str) -> str:
    """Where arm ``a`` needs more steps to the target than ``b``, in words; empty if the study has no targets.

    Compared are medians over all seeds. A seed that did not reach the target took more steps than any that did.
    """
    medians = {
        (cell.arm, cell.task): _median_of_all(cell.effort)
        for cell in results.cells
        if cell.effort is not None and cell.effort.seeds
    }
    found: dict[str, list[str]] = {}
    for task in results.tasks:
        if (a, task) in medians and (b, task) in medians:
            ours, others = medians[a, task], medians[b, task]
            order = "neither" if ours == others == math.inf else "as many" if ours == others else "more"
            found.setdefault("fewer" if ours < others else order, []).append(task)
    parts = [f"{order} on {wording.listed(found[order])}" for order in ("more", "as many", "fewer") if order in found]
    if "neither" in found:
        parts.append(f"on {wording.listed(found['neither'])} neither reaches it in half of its seeds")
    if not parts:
        return ""
    return (
        f"steps to the target, in the median of all seeds, not tested: {a} needs, compared with {b}, {'; '.join(parts)}"
    )


def _median_of_all(effort: Effort) -> float:
    return _median([*effort.steps, *[math.inf] * (effort.seeds - effort.reached)])


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)
