"""Assembles the sections of a report in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fptkit.lab.reporting import contents, curves, of_plugins, outcomes, tables
from fptkit.lab.reporting.answers import answer
from fptkit.lab.reporting.arms import arms
from fptkit.lab.reporting.comparisons import comparisons
from fptkit.lab.reporting.document import Report, Section, Table
from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.reporting.forest import forest
from fptkit.lab.reporting.noise import noise
from fptkit.lab.reporting.of_plugins import Own
from fptkit.lab.reporting.rates import rates_tables
from fptkit.lab.studies.results import Costs, StudyResults

RINGED = (
    "A ring marks a chosen learning rate, the number next to it how many seeds chose it; an arrow marks the edge of "
    "the grid: a better one may be outside it. Crosses mark runs that diverged, hollow markers learning rates that the "
    "search stopped early."
)

BARS = (
    "Test of each arm with its standard error, dots are single seeds. Here and below, dashed lines are accuracies that "
    "need no learning: chance, and always answering with the most frequent class."
)

SMOKE = "Smoke profile: it only shows that the study runs. Its figures mean nothing."


def compose(
    results: StudyResults,
    costs: Costs,
    *,
    published: Sequence[Section] = (),
    own: Own | None = None,
    link: Callable[[str], str] = lambda address: "",
    command: str = "",
) -> Report:
    """Compose the report of a study; empty sections are left out.

    Args:
        results: of the study.
        costs: seconds of its runs; may be empty.
        published: sections that compare with published figures.
        own: sections of plugins.
        link: maps the address of a run to the relative path of its folder, or to "" if there is none.
        command: command line that made the study; if empty, it is derived from the study's name.
    """
    sections = (
        arms(results),
        answer(results),
        _charts("differences", "Differences", _differences(results), forest(results)),
        Section("results", "Results", tables=(*tables.main_tables(results), *_one(tables.splits(results)))),
        comparisons(results),
        *published,
        _charts("arms", "Arms side by side", BARS, outcomes.bars(results)),
        _charts("rates", "Learning rates", RINGED, curves.learning_rates(results), *rates_tables(results)),
        _charts(
            "convergence",
            "Convergence",
            "Validation at the chosen learning rates, mean over seeds; the band is the standard error.",
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
        noise(results),
        _charts(
            "shares",
            "Fraction of the data",
            "Test by fraction of the training split.",
            curves.data_fractions(results),
        ),
        *of_plugins.sections(own or {}),
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
        banner=banner_of(results),
        deviations=results.deviations,
    )


def banner_of(results: StudyResults) -> str:
    """What makes all figures of a study meaningless; empty if nothing does."""
    return SMOKE if results.smoke or (results.format == 1 and results.profile == "smoke") else ""


def _differences(results: StudyResults) -> str:
    """What the marks of a forest plot mean, as far as they occur."""
    compared = (*results.comparisons, *results.lifts)
    text = "Differences with their intervals; above 0 the first arm is better. Markers are filled if there is a verdict"
    text += ", square if it is 'the same'." if any(one.verdict == "same" for one in compared) else "."
    if any(one.margin is not None for one in compared):
        text += " Within the blue band a difference counts as none."
    return f"{text} A diamond is the mean over all tasks." if results.answers and len(results.tasks) > 1 else text


def _charts(key: str, title: str, text: str, pictures: Sequence[Picture], *tables: Table) -> Section:
    return Section(key, title, (text,) if pictures else (), tables=tables, pictures=tuple(pictures))


def _one(table: Table | None) -> tuple[Table, ...]:
    return () if table is None else (table,)
