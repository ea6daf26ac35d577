"""Shared by the charts of a report: one chart for each task; an arm looks the same in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.reporting.levels import levels_of
from fptkit.lab.reporting.wording import error_of, place, scaled
from fptkit.lab.studies.results import CellResult, Estimate, Measure, StudyResults

Numbered = list[tuple[int, CellResult]]
"""Cells with the index of their arm, which decides colour, marker and dashes."""

FULL_SCALE = (0.0, 100.0)
"""Limits of fractions, in percent."""


def largest_fraction(results: StudyResults) -> float:
    """The largest fraction of the data; charts other than those over fractions show its cells."""
    return max((cell.data_fraction for cell in results.cells), default=1.0)


def _cells(results: StudyResults, task: str, wanted: Callable[[CellResult], bool]) -> Numbered:
    fraction = largest_fraction(results)
    found = [(number, results.cell(task, arm, fraction)) for number, arm in enumerate(results.arms)]
    return [(number, cell) for number, cell in found if cell is not None and wanted(cell)]


def by_metric(cells: Numbered) -> Iterable[tuple[Measure, Numbered]]:
    """Group the cells of a task by metric, since one axis cannot show different units."""
    ordered = sorted(cells, key=lambda pair: (pair[1].measure, pair[0]))
    return [(metric, list(group)) for metric, group in groupby(ordered, key=lambda pair: pair[1].measure)]


def per_task(
    results: StudyResults,
    kind: str,
    wanted: Callable[[CellResult], bool],
    draw: Callable[[Picture, Measure, Numbered], None],
    says: str,
    told_apart: str = "",
) -> list[Picture]:
    """Draw one picture for each task, and for each metric of it, that has cells to show.

    Args:
        results: of the study.
        kind: prefix of the pictures' keys.
        wanted: whether a cell is shown.
        draw: draws the cells of one metric into a picture.
        says: what the picture shows, for its text alternative.
        told_apart: added to the title if a section has several pictures of a task.
    """
    pictures = []
    for row, task in enumerate(results.tasks):
        for column, (metric, cells) in enumerate(by_metric(_cells(results, task, wanted))):
            title = place(task, largest_fraction(results)) + (f": {told_apart}" if told_apart else "")
            names = tuple((index, cell.arm) for index, cell in cells)
            picture = Picture(
                key=f"{kind}-{row}-{column}",
                title=title,
                alternative=f"{title}: {says}, for {', '.join(name for _, name in names)}.",
                series=names,
            )
            draw(picture, metric, cells)
            pictures.append(picture)
    return pictures


def limits(metric: Measure) -> tuple[float, float] | None:
    """Limits of a metric's scale: 0 and 100 for fractions, else None."""
    return FULL_SCALE if metric.fraction else None


def shown_levels(cells: Numbered) -> list[tuple[str, float]]:
    """What accuracies need no learning, in percent, for `fptkit.lab.reporting.drawing.Picture.levels`."""
    return [(level.name, 100 * level.value) for level in levels_of(cell for _, cell in cells)]


def span_of(estimate: Estimate, metric: Measure) -> tuple[float, float]:
    """Mean minus and plus the standard error, in the unit that is shown; only the mean for fewer than three seeds."""
    mean, error = estimate.mean or 0.0, error_of(estimate) or 0.0
    return scaled(mean - error, metric), scaled(mean + error, metric)
