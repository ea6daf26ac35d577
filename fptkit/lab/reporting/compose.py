"""Assembles the sections of a report in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fptkit.lab.reporting import contents, curves, outcomes, tables
from fptkit.lab.reporting.document import Report, Section, Table
from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.studies.results import Costs, StudyResults

RINGED = (
    "A ring marks the chosen learning rate; an arrow beside it marks the edge of the grid: a better one may be outside "
    "it. Crosses mark runs that diverged, hollow markers learning rates that the search stopped early."
)

BARS = (
    "Test of each arm with its standard error, dots are single seeds; a dashed line is the accuracy of always "
    "answering with the most frequent class."
)


def compose(
    results: StudyResults,
    costs: Costs,
    *,
    published: Sequence[Section] = (),
    link: Callable[[str], str] = lambda address: "",
    command: str = "",
) -> Report:
    """Compose the report of a study; empty sections are left out.

    Args:
        results: of the study.
        costs: seconds of its runs; may be empty.
        published: sections that compare with published figures.
        link: maps the address of a run to the relative path of its folder, or to "" if there is none.
        command: command line that made the study; if empty, it is derived from the study's name.
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
        _charts(
            "shares",
            "Fraction of the data",
            "Test by fraction of the training split.",
            curves.data_fractions(results),
        ),
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
