"""Puts the sections of a report in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fptkit.lab.reporting import contents, curves, outcomes, tables
from fptkit.lab.reporting.document import Report, Section, Table
from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.studies.results import Costs, StudyResults

RINGED = (
    "A ring marks the rate that was chosen, an arrow beside it that it lies on the edge of the grid: a better one may "
    "lie outside. Crosses mark runs that diverged, hollow markers rates the search gave up early."
)

BARS = (
    "Test of each arm with its standard error, dots are single seeds; where there is a dashed line, it is what "
    "always answering with the commonest class gives."
)


def compose(
    results: StudyResults,
    costs: Costs,
    *,
    published: Sequence[Section] = (),
    link: Callable[[str], str] = lambda address: "",
    command: str = "",
) -> Report:
    """A report of a study.

    Args:
        published: sections that compare with published numbers.
        link: the way from the report to a run's folder, empty where there is none.
        command: the study was made by; empty for the one its name suggests.
    """
    sections = (
        contents.answer(results),
        Section("results", "Results", tables=(*tables.main_tables(results), *_one(tables.splits(results)))),
        contents.comparisons(results),
        *published,
        _charts("arms", "Arms side by side", BARS, outcomes.bars(results)),
        _charts("rates", "Learning rates", RINGED, curves.learning_rates(results), *_one(tables.rates_table(results))),
        _charts(
            "convergence",
            "Convergence",
            "Validation at the chosen learning rate, mean over seeds; the band is the standard error.",
            curves.convergence(results),
        ),
        _charts(
            "cost",
            "Cost against accuracy",
            "Towards the upper left is better. Operations are those of the training steps, forward and backward.",
            [*outcomes.costs_in_flops(results), *outcomes.costs_in_seconds(results, costs)],
            *_one(tables.costs_table(results, costs)),
        ),
        contents.effort(results),
        _charts("shares", "Share of the data", "Test by share of the training split.", curves.data_fractions(results)),
        contents.missing(results),
        contents.runs(results, link),
        contents.making(results, costs, command),
    )
    profile = f", profile {results.profile}" if results.profile else ""
    return Report(
        title=f"{results.name}{profile}",
        question=results.question,
        description=results.description,
        status=contents.status_of(results),
        warnings=results.warnings,
        sections=tuple(section for section in sections if not section.empty),
    )


def _charts(key: str, title: str, text: str, pictures: Sequence[Picture], *tables: Table) -> Section:
    return Section(key, title, (text,) if pictures else (), (), tables, tuple(pictures))


def _one(table: Table | None) -> tuple[Table, ...]:
    return () if table is None else (table,)
