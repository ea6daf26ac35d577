"""Charts of the results: arms side by side as bars, and cost against accuracy."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from fptkit.lab.reporting.axes import Scale, around
from fptkit.lab.reporting.drawing import BOTTOM, LETTER, RIGHT, TOP, WIDTH, Picture, marker, shortened, style
from fptkit.lab.reporting.small_multiples import Numbered, limits, per_task, shown_levels, span_of
from fptkit.lab.reporting.spending import training_flops, training_seconds
from fptkit.lab.reporting.wording import amount, duration, error_of, mean_and_sem, scaled, unit
from fptkit.lab.studies.results import CellResult, Costs, Measure, StudyResults


def bars(results: StudyResults) -> list[Picture]:
    """Bar charts of the test metric: a bar from zero for each arm, with standard error and single seeds."""
    return per_task(
        results,
        "bars",
        lambda cell: cell.main is not None and cell.main.mean is not None,
        _draw_bars,
        "test of each arm with standard error and single seeds",
    )


ROW = 32
"""Height of a bar and the arm's name above it, in units of the picture."""


def _draw_bars(picture: Picture, metric: Measure, cells: Numbered) -> None:
    picture.height = TOP + ROW * len(cells) + BOTTOM
    picture.series = ()  # every bar is named
    estimates = [cell.main for _, cell in cells if cell.main is not None]
    ends = [scaled(value, metric) for one in estimates for value in one.values]
    ends += [end for one in estimates for end in span_of(one, metric)]
    low, high = (0.0, 100.0) if metric.fraction else around([0.0, *ends])
    x = Scale(min(low, *ends), max(high, *ends), 10, WIDTH - RIGHT)
    bottom = picture.height - BOTTOM
    for value in x.ticks():
        picture.add(f'<path class="grid" d="M{x(value):.1f},{TOP}V{bottom:g}"/>')
    for row, (index, cell) in enumerate(cells):
        _draw_bar(picture, x, TOP + ROW * row, index, cell)
    picture.levels(x, shown_levels(cells), upright=True)
    for row, (_, cell) in enumerate(cells):
        _name_bar(picture, x, TOP + ROW * row, cell)
    picture.add(f'<path class="axis" d="M{x.start:g},{bottom:g}H{WIDTH - RIGHT}"/>')
    picture.ticks_below(x)
    split = next((cell.test_split for _, cell in cells), "test")
    picture.add(
        f'<text x="{WIDTH / 2:g}" y="{picture.height - 6:g}" text-anchor="middle">'
        f"{escape(split.replace('_', ' '))} {escape(unit(metric))}</text>"
    )


def _draw_bar(picture: Picture, x: Scale, top: float, index: int, cell: CellResult) -> None:
    estimate, metric = cell.main, cell.measure
    if estimate is None or estimate.mean is None:
        return
    zero, end, middle = x(max(0.0, x.low)), x(scaled(estimate.mean, metric)), top + 20
    value = mean_and_sem(estimate, metric)
    picture.add(
        f'<rect class="bar {style(index)}" x="{min(zero, end):.1f}" y="{top + 14:g}" height="12" '
        f'width="{abs(end - zero):.1f}"><title>{escape(cell.arm)}: {escape(value)}</title></rect>',
    )
    if error_of(estimate) is not None:
        low, high = (x(one) for one in span_of(estimate, metric))
        picture.add(f'<path class="axis" d="M{low:.1f},{middle:g}H{high:.1f}m0,-3v6M{low:.1f},{middle - 3:g}v6"/>')
    picture.add(
        *(
            f'<circle class="dot" cx="{x(scaled(one, metric)):.1f}" cy="{middle:g}" r="2.2"/>'
            for one in (estimate.values if len(estimate.values) > 1 else ())
        )
    )


def _name_bar(picture: Picture, x: Scale, top: float, cell: CellResult) -> None:
    """Name and figure above a bar, on top of the lines that cross it."""
    value = mean_and_sem(cell.main, cell.measure)
    room = int((x.end - x.start) / LETTER) - len(value) - 2
    picture.add(
        f'<text class="name over" x="{x.start:g}" y="{top + 9:g}">{escape(shortened(cell.arm, room))}</text>',
        f'<text class="name over" x="{x.end:g}" y="{top + 9:g}" text-anchor="end">{escape(value)}</text>',
    )


def _operations(count: float) -> str:
    return amount(count, "FLOP")


def costs_in_flops(results: StudyResults) -> list[Picture]:
    """Charts of the test metric against the floating-point operations of one training."""
    return _cost(results, "operations", training_flops, "floating-point operations of one training", _operations)


def costs_in_seconds(results: StudyResults, costs: Costs) -> list[Picture]:
    """Charts of the test metric against the seconds of one training, on whichever machines the runs were made."""
    seconds = training_seconds(results, costs)
    return _cost(
        results,
        "time",
        lambda cell: seconds.get((cell.task, cell.arm, cell.data_fraction)),
        "seconds of one training",
        duration,
    )


def _cost(
    results: StudyResults,
    kind: str,
    cost: Callable[[CellResult], float | None],
    label: str,
    written: Callable[[float], str],
) -> list[Picture]:
    def draw(picture: Picture, metric: Measure, cells: Numbered) -> None:
        spans = [span_of(cell.main, metric) for _, cell in cells if cell.main]
        low, high = around([end for span in spans for end in span], within=limits(metric))
        ends = around([cost(cell) or 1.0 for _, cell in cells], logarithmic=True)
        y = picture.vertical(low=low, high=high)
        x = picture.horizontal(low=ends[0], high=ends[1], logarithmic=True)
        picture.axes(x, y, x_label=label, y_label=f"test {unit(metric)}")
        for index, cell in cells:
            spent = cost(cell)
            if cell.main is None or cell.main.mean is None or spent is None:
                continue
            said = f"{cell.arm}: {mean_and_sem(cell.main, metric)} for {written(spent)}"
            picture.whisker(index, x(spent), *(y(end) for end in span_of(cell.main, metric)))
            picture.add(marker(index, x(spent), y(scaled(cell.main.mean, metric)), radius=5, title=said))
        picture.levels(y, shown_levels(cells))

    def wanted(cell: CellResult) -> bool:
        return cell.main is not None and cell.main.mean is not None and bool(cost(cell))

    return per_task(results, kind, wanted, draw, f"test against {label}", told_apart=kind)
