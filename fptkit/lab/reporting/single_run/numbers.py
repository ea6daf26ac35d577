"""Answers that are numbers: errors of each number, predicted against true values, residuals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fptkit.engine.assessment.records import NumberFigures, NumbersAssessed, SplitAssessed
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.axes import around
from fptkit.lab.reporting.document import Entry, Section, Table, row
from fptkit.lab.reporting.drawing import Picture, marker, shortened
from fptkit.lab.studies.results import Measure

PLOTTED = 4
"""Numbers that have pictures of their own."""

HORIZONS = 6
"""Channels of a forecast that have a picture of their own."""

_STEP = re.compile(r"(.*) \+(\d+)")
"""Name of a number that is a step of a forecast."""

Splits = Sequence[tuple[str, SplitAssessed]]
"""Test splits with their assessments."""

_PLAIN = Measure()


def errors(splits: Splits) -> Section:
    """Errors of the answers to every test split that are numbers."""
    found = [(name, one.answers, one.unit) for name, one in splits if isinstance(one.answers, NumbersAssessed)]
    pictures: list[Picture] = []
    for number, (name, one, _) in enumerate(found):
        pictures += _scatters(number, name, one)
        pictures += _horizons(number, name, one)
    return Section("errors", "Errors", pictures=tuple(pictures), tables=tuple(_table(*one) for one in found))


def _table(name: str, one: NumbersAssessed, unit: bool) -> Table:
    rows = tuple(_row(figures) for figures in one.outputs)
    foot = (
        (row("all", wording.number(one.absolute, _PLAIN), wording.number(one.root, _PLAIN), *[""] * 4),)
        if len(rows) != 1
        else ()
    )
    left_out = [f"{one.left_out:,} examples without finite predictions are left out."] if one.left_out else []
    notes = (
        "MAE: mean absolute error. RMSE: root of the mean squared error. R²: part of the variance of the true values "
        "that is explained; 0 for always predicting their mean. Bias: mean of predicted minus true.",
        "In the unit of the data." if unit else "In the scale of the model, not in the unit of the data.",
        *left_out,
    )
    header = row("number", "MAE", "RMSE", "R²", "bias", "mean of the true values", "their deviation")
    return Table(f"{name}, {wording.counted(one.examples, 'example')}.", header, rows, notes, foot=foot)


def _row(one: NumberFigures) -> tuple[Entry, ...]:
    shown = [wording.number(value, _PLAIN) for value in (one.absolute, one.root)]
    rest = [wording.number(value, _PLAIN) for value in (one.bias, one.mean, one.deviation)]
    return row(one.name, *shown, wording.effect_size(one.r2), *rest)


def _scatters(number: int, name: str, one: NumbersAssessed) -> Iterator[Picture]:
    """Predicted against true values, and the residuals, of the first numbers."""
    for place, (points, figures) in enumerate(zip(one.points[:PLOTTED], one.outputs, strict=False)):
        what = f"{name}: {shortened(figures.name, 30)}"
        if len(points) > 1:
            yield _scatter(f"predicted-{number}-{place}", f"{what}, predicted against true", points)
            residuals = [(predicted, predicted - true) for true, predicted in points]
            yield _residuals(f"residuals-{number}-{place}", f"{what}, residuals", residuals)


def _scatter(key: str, title: str, points: Sequence[tuple[float, float]]) -> Picture:
    picture = Picture(
        key, title, f"{title}, of {len(points):,} examples; the dashed line is a perfect prediction.", height=280
    )
    low, high = around([value for point in points for value in point])
    y = picture.vertical(low=low, high=high)
    x = picture.horizontal(low=low, high=high)
    picture.axes(x, y, x_label="true", y_label="predicted")
    picture.add(f'<path class="level" d="M{x(low):.1f},{y(low):.1f}L{x(high):.1f},{y(high):.1f}"/>')
    for true, predicted in points:
        picture.add(_dot(x(true), y(predicted)))
    return picture


def _residuals(key: str, title: str, points: Sequence[tuple[float, float]]) -> Picture:
    picture = Picture(key, title, f"{title}: predicted minus true, over predicted values.", height=280)
    low, high = around([0.0, *(residual for _, residual in points)])
    left, right = around([predicted for predicted, _ in points])
    y = picture.vertical(low=low, high=high)
    x = picture.horizontal(low=left, high=right)
    picture.axes(x, y, x_label="predicted", y_label="predicted minus true")
    picture.add(f'<path class="level" d="M{x(left):.1f},{y(0):.1f}H{x(right):.1f}"/>')
    for predicted, residual in points:
        picture.add(_dot(x(predicted), y(residual)))
    return picture


def _dot(x: float, y: float) -> str:
    return f'<circle class="point c0" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>'


def forecast_of(names: Sequence[str]) -> dict[str, list[int]]:
    """The places of the steps of each channel of a forecast; empty if the numbers are no forecast.

    Args:
        names: of the numbers; those of a forecast are ``CHANNEL +STEP``.
    """
    channels: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if (found := _STEP.fullmatch(name)) is None:
            return {}
        channels.setdefault(found[1], []).append(place)
    return channels


def _horizons(number: int, name: str, one: NumbersAssessed) -> Iterator[Picture]:
    """Errors of a forecast by its steps, a line for each channel."""
    channels = forecast_of([figures.name for figures in one.outputs])
    lines = {
        channel: [(step, one.outputs[place].root) for step, place in enumerate(places, start=1)]
        for channel, places in list(channels.items())[:HORIZONS]
        if len(places) > 1
    }
    for place, (channel, steps) in enumerate(lines.items()):
        title = f"{name}: {shortened(channel, 30)}, error by step of the forecast"
        picture = Picture(
            f"horizon-{number}-{place}", title, f"{title}: RMSE from {steps[0][1]:.4g} to {steps[-1][1]:.4g}."
        )
        y = picture.vertical(low=0, high=around([error for _, error in steps])[1])
        x = picture.horizontal(low=steps[0][0], high=steps[-1][0])
        picture.axes(x, y, x_label="steps ahead", y_label="RMSE")
        picture.line(0, [(x(step), y(error)) for step, error in steps])
        for step, error in steps[:: max(1, len(steps) // 40)]:
            picture.add(marker(0, x(step), y(error), radius=2.2, title=f"{step} steps ahead: {error:.4g}"))
        yield picture
