"""What accuracies are worth: chance and the most frequent class beside every table and in every chart of them, and the
difference that a table can resolve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fptkit.lab.reporting import wording
from fptkit.lab.studies.results import CellResult, Measure, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison

CHANCE = "chance"
MAJORITY = "most frequent class"

RESOLUTION = (
    "resolution: the difference that is found in 80 % of studies with this noise and number of seeds, before correction"
)
"""Said once, below the main table; other tables only give the figures."""


class Level(NamedTuple):
    """An accuracy that needs no learning.

    Args:
        name: ``chance`` or ``most frequent class``.
        value: the accuracy, in [0, 1].
    """

    name: str
    value: float


def levels_of(cells: Iterable[CellResult]) -> list[Level]:
    """The distinct levels of some cells, chance first."""
    shown = list(cells)
    chance = {cell.chance for cell in shown if cell.chance is not None}
    majority = {cell.majority for cell in shown if cell.majority is not None}
    return [Level(CHANCE, value) for value in sorted(chance)] + [Level(MAJORITY, value) for value in sorted(majority)]


def level_texts(cells: Iterable[CellResult], name: str) -> str:
    """The values of one level in percent; several if the cells differ, empty if it is unknown."""
    accuracy = Measure(fraction=True)
    texts = (wording.number(level.value, accuracy) for level in levels_of(cells) if level.name == name)
    return " or ".join(dict.fromkeys(texts))


def level_note(cells: Sequence[CellResult]) -> list[str]:
    """A note below a table of accuracies: what each level is on each task; none if nothing is known."""
    by_task: dict[str, list[CellResult]] = {}
    for cell in cells:
        by_task.setdefault(cell.task, []).append(cell)
    parts = []
    for name, words in ((CHANCE, "Chance"), (MAJORITY, "most frequent class")):
        known = {task: text for task, mine in by_task.items() if (text := level_texts(mine, name))}
        if known:
            parts.append(f"{words}: {', '.join(f'{task} {text} %' for task, text in known.items())}")
    return [f"{'; '.join(parts)}."] if parts else []


def resolution_of(compared: Iterable[Comparison | Answer], metric: Measure) -> str:
    """Range of the resolutions of some comparisons, with its unit; empty if none is known."""
    found = [one.resolution for one in compared if one.resolution is not None]
    if not found:
        return ""
    texts = dict.fromkeys(wording.number(value, metric) for value in (min(found), max(found)))
    return "–".join(texts) + (" points" if metric.fraction else "")


def resolutions(results: StudyResults) -> dict[tuple[str, float], str]:
    """The resolution on each task and fraction of the data, over all pairs of arms that the study compares."""
    found: dict[tuple[str, float], list[Comparison]] = {}
    for one in (*results.lifts, *results.comparisons):
        found.setdefault((one.task, one.data_fraction), []).append(one)
    texts = {place: resolution_of(some, wording.metric_of(results, some[0])) for place, some in found.items()}
    return {place: text for place, text in texts.items() if text}


def resolution_note(results: StudyResults, cells: Iterable[CellResult]) -> list[str]:
    """A note below a table of figures: its resolution on each task; none if no comparison was tested."""
    known = resolutions(results)
    places = dict.fromkeys((cell.task, cell.data_fraction) for cell in cells)
    listed = [f"{wording.place(*place)} {known[place]}" for place in places if place in known]
    return [f"Resolution: {', '.join(listed)}."] if listed else []


def figures_notes(results: StudyResults, cells: Sequence[CellResult]) -> tuple[str, ...]:
    """The notes that every table of figures has."""
    return (*level_note(cells), *resolution_note(results, cells))
