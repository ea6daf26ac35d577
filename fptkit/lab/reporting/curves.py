"""The curves of a report: over learning rates, over steps, over fractions of the data."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fptkit.lab.reporting.axes import Scale, around
from fptkit.lab.reporting.drawing import BOTTOM, Picture, marker, style
from fptkit.lab.reporting.rates import chosen_words
from fptkit.lab.reporting.small_multiples import Numbered, by_metric, limits, per_task, shown_levels, span_of
from fptkit.lab.reporting.wording import LEAST_SEEDS, mean_and_sem, number, rate, scaled, share, unit
from fptkit.lab.studies.results import CellResult, Measure, RateResult, StudyResults


def learning_rates(results: StudyResults) -> list[Picture]:
    """Charts of validation against learning rate; chosen rate, edge of the grid and divergence are marked."""
    return per_task(
        results,
        "rates",
        lambda cell: len(cell.rates) > 1,
        _draw_rates,
        "validation of each learning rate, the chosen ones ringed",
    )


def _draw_rates(picture: Picture, metric: Measure, cells: Numbered) -> None:
    tried = sorted({one.learning_rate for _, cell in cells for one in cell.rates})
    spans = [
        span_of(one.validation, metric) for _, cell in cells for one in cell.rates if one.validation.mean is not None
    ]
    low, high = around([end for span in spans for end in span] or [0.0], within=limits(metric))
    y = picture.vertical(low=low, high=high)
    left, right = around(tried, logarithmic=True)
    x = picture.horizontal(low=left, high=right, logarithmic=True)
    picture.axes(
        x, y, x_label="learning rate", y_label=f"validation {unit(metric)}", x_ticks=[(one, rate(one)) for one in tried]
    )
    for index, cell in cells:
        _draw_rates_of(picture, x, y, index, cell)
    picture.levels(y, shown_levels(cells))


def _draw_rates_of(picture: Picture, x: Scale, y: Scale, index: int, cell: CellResult) -> None:
    shown = [one for one in cell.rates if one.validation.mean is not None]
    picture.line(index, [(x(one.learning_rate), y(scaled(one.validation.mean or 0, cell.measure))) for one in shown])
    for one in shown:
        _draw_rate(picture, x(one.learning_rate), y, (index, cell), one)
    for one in cell.rates:
        if one.diverged:
            # Offset, so that the crosses of several arms at one rate stay apart.
            across, at = x(one.learning_rate) + 3 * (index % 5 - 2), picture.height - BOTTOM - 6
            picture.add(
                f'<path class="cross {style(index)}" d="M{across - 4:.1f},{at - 4:g}l8,8m0,-8l-8,8">'
                f"<title>{escape(cell.arm)}: {one.diverged} diverged at {rate(one.learning_rate)}</title></path>"
            )


def _draw_rate(picture: Picture, across: float, y: Scale, numbered: tuple[int, CellResult], one: RateResult) -> None:
    """The validation at one rate, ringed if a seed chose it."""
    index, cell = numbered
    low, high = span_of(one.validation, cell.measure)
    picture.whisker(index, across, y(low), y(high))
    given_up = one.steps < max(other.steps for other in cell.rates)
    said = f"{cell.arm} at {rate(one.learning_rate)}: {mean_and_sem(one.validation, cell.measure)}"
    said += f" after {one.steps:,} steps" if given_up else ""
    choice = chosen_words(cell, one.learning_rate)
    at = y(scaled(one.validation.mean or 0.0, cell.measure))
    kind = "hollow" if given_up else "mark"
    picture.add(marker(index, across, at, kind=kind, title=f"{said}, {choice}" if choice else said))
    if choice:
        picture.add(_ring(index, across, at, _outwards(cell, one.learning_rate)))
    count = list(cell.chosen_rates.values()).count(one.learning_rate)
    if 0 < count < len(cell.chosen_rates):
        picture.add(f'<text class="count over {style(index)}" x="{across + 8:.1f}" y="{at - 6:.1f}">{count}</text>')


def _outwards(cell: CellResult, chosen: float) -> int:
    """Direction of the arrow at a chosen rate at the edge of the grid: -1, 1, or 0 for none."""
    all_chosen = cell.chosen_rates.values() or [chosen]
    if cell.at_edge in ("low", "both") and chosen == min(all_chosen):
        return -1
    return 1 if cell.at_edge in ("high", "both") and chosen == max(all_chosen) else 0


def _ring(index: int, x: float, y: float, turn: int) -> str:
    """A ring at a chosen rate, with an arrow to the left or right if it is at that edge of the grid."""
    ring = f'<circle class="ring {style(index)}" cx="{x:.1f}" cy="{y:.1f}" r="7.5"/>'
    if not turn:
        return ring
    return (
        ring + f'<path class="cross {style(index)}" d="M{x + turn * 10:.1f},{y - 4:.1f}l{turn * 5},4l{-turn * 5},4"/>'
    )


def convergence(results: StudyResults) -> list[Picture]:
    """Charts of validation against steps at the chosen learning rate; a band shows the standard error over seeds."""
    return per_task(
        results,
        "steps",
        lambda cell: len(cell.curve) > 1,
        _draw_convergence,
        "validation over training steps at the chosen learning rate",
    )


def _draw_convergence(picture: Picture, metric: Measure, cells: Numbered) -> None:
    points = [point for _, cell in cells for point in cell.curve]
    errors = {index: _has_errors(cell) for index, cell in cells}
    ends = [
        scaled(point.mean + sign * (point.sem or 0 if errors[index] else 0), metric)
        for index, cell in cells
        for point in cell.curve
        for sign in (-1, 1)
    ]
    low, high = around(ends, within=limits(metric))
    y = picture.vertical(low=low, high=high)
    x = picture.horizontal(low=0, high=max(point.step for point in points))
    picture.axes(x, y, x_label="training steps", y_label=f"validation {unit(metric)}")
    for index, cell in cells:
        if errors[index]:
            upper = [(x(one.step), y(scaled(one.mean + (one.sem or 0), metric))) for one in cell.curve]
            lower = [(x(one.step), y(scaled(one.mean - (one.sem or 0), metric))) for one in reversed(cell.curve)]
            outline = " ".join(f"{across:.1f},{up:.1f}" for across, up in upper + lower)
            picture.add(f'<polygon class="band {style(index)}" points="{outline}"/>')
    for index, cell in cells:
        line = [(x(one.step), y(scaled(one.mean, metric))) for one in cell.curve]
        picture.line(index, line)
        said = f"{cell.arm}: {number(cell.curve[-1].mean, metric)} at step {cell.curve[-1].step:,}"
        picture.add(marker(index, *line[-1], title=said))
    picture.levels(y, shown_levels(cells))


def _has_errors(cell: CellResult) -> bool:
    """Whether the curve has standard errors, of enough seeds to be shown."""
    return len(cell.steps) >= LEAST_SEEDS and any(point.sem for point in cell.curve)


def data_fractions(results: StudyResults) -> list[Picture]:
    """Charts of the test metric against the fraction of the training data; none if the study has only one."""
    fractions = sorted({cell.data_fraction for cell in results.cells})
    if len(fractions) < 2:
        return []
    pictures = []
    for row, task in enumerate(results.tasks):
        cells = [
            (results.arms.index(cell.arm), cell)
            for cell in results.cells
            if cell.task == task and cell.main is not None and cell.main.mean is not None
        ]
        for column, (metric, found) in enumerate(by_metric(cells)):
            arms = tuple(sorted({(index, cell.arm) for index, cell in found}))
            picture = Picture(
                key=f"share-{row}-{column}",
                title=task,
                alternative=f"{task}: test by fraction of the data, for {', '.join(name for _, name in arms)}.",
                series=arms,
            )
            _draw_fractions(picture, metric, found, fractions)
            pictures.append(picture)
    return pictures


def _draw_fractions(picture: Picture, metric: Measure, cells: Numbered, fractions: Sequence[float]) -> None:
    ends = [end for _, cell in cells if cell.main for end in span_of(cell.main, metric)]
    low, high = around(ends, within=limits(metric))
    left, right = around(fractions, logarithmic=True)
    y = picture.vertical(low=low, high=high)
    x = picture.horizontal(low=left, high=right, logarithmic=True)
    ticks = [(one, share(one)) for one in fractions]
    picture.axes(x, y, x_label="fraction of the training data", y_label=f"test {unit(metric)}", x_ticks=ticks)
    for index in sorted({index for index, _ in cells}):
        mine = sorted((cell for number, cell in cells if number == index), key=lambda cell: cell.data_fraction)
        line = [
            (x(one.data_fraction), y(scaled(one.main.mean, metric)))
            for one in mine
            if one.main and one.main.mean is not None
        ]
        picture.line(index, line)
        for cell, at in zip(mine, line, strict=True):
            if cell.main is None:
                continue
            picture.whisker(index, at[0], *(y(end) for end in span_of(cell.main, metric)))
            said = f"{cell.arm}: {mean_and_sem(cell.main, metric)} with {share(cell.data_fraction)}"
            picture.add(marker(index, *at, title=said))
    picture.levels(y, shown_levels(cells))
