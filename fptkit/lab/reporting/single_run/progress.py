"""Curves of a run: loss, validation metric and learning rate over steps, with the chosen step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fptkit.lab.reporting.axes import around
from fptkit.lab.reporting.document import Section
from fptkit.lab.reporting.drawing import BOTTOM, LETTER, RIGHT, TOP, WIDTH, Picture, marker
from fptkit.lab.reporting.single_run.read import RunFiles
from fptkit.lab.reporting.small_multiples import limits
from fptkit.lab.reporting.wording import number, rate, scaled, unit
from fptkit.lab.studies.results import Measure

MOST = 300
"""Points of a curve; more are averaged."""

Curve = list[tuple[float, float]]
"""Pairs of step and value."""

TRAIN, VALIDATION = (0, "training"), (1, "validation")


def progress(files: RunFiles) -> Section:
    """A picture of each curve that the metrics file has."""
    return Section(
        "curves",
        "Training",
        paragraphs=("The dashed line marks the step whose tensors were tested: the best one on validation.",),
        pictures=tuple(_pictures(files)),
    )


def _pictures(files: RunFiles) -> Iterator[Picture]:
    best = files.summary.get("best_step")
    train, validation = _curve(files, "train", "loss"), _curve(files, "validation", "loss")
    loss = [(one, curve) for one, curve in ((TRAIN, train), (VALIDATION, validation)) if curve]
    if loss:
        yield _picture("loss", "loss", Measure("loss"), loss, best)
    metric = files.metric
    if metric.name != "loss" and (curve := _curve(files, "validation", metric.name)):
        levels = _levels(files) if metric.name in files.summary.get("accuracies", ()) else []
        yield _picture(
            "metric", f"validation {metric.name.replace('_', ' ')}", metric, [(VALIDATION, curve)], best, levels
        )
    if rates := _curve(files, "train", "learning_rate"):
        yield _picture("rate", "learning rate", Measure("learning rate"), [(TRAIN, rates)], best)


def _curve(files: RunFiles, split: str, key: str) -> Curve:
    """The values of a split over steps, averaged if they are many; those that are not finite are left out."""
    found = [
        (float(line["step"]), float(line[key]))
        for line in files.of_split(split)
        if isinstance(line.get(key), int | float) and isinstance(line.get("step"), int) and math.isfinite(line[key])
    ]
    each = math.ceil(len(found) / MOST)
    parts = [found[start : start + each] for start in range(0, len(found), each or 1)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _levels(files: RunFiles) -> list[tuple[str, float]]:
    chance = files.summary.get("chance_accuracy")
    majority = (files.summary.get("majority_accuracy") or {}).get("validation")
    named = (("chance", chance), ("most frequent class", majority))
    return [(name, 100 * level) for name, level in named if level is not None]


def _picture(
    key: str,
    title: str,
    metric: Measure,
    curves: Sequence[tuple[tuple[int, str], Curve]],
    best: int | None,
    levels: Sequence[tuple[str, float]] = (),
) -> Picture:
    names = tuple(name for name, _ in curves)
    last = "; ".join(f"{name} ends at {number(curve[-1][1], metric)}" for (_, name), curve in curves)
    picture = Picture(f"curve-{key}", title, f"{title} over training steps: {last}.", series=names)
    values = [scaled(value, metric) for _, curve in curves for _, value in curve]
    # A constant rate would otherwise get a scale of its last digits.
    low, high = (0.0, 1.15 * max(values)) if key == "rate" else around(values, within=limits(metric))
    y = picture.vertical(low=low, high=high)
    x = picture.horizontal(low=0, high=max(1.0, *(step for _, curve in curves for step, _ in curve)))
    picture.axes(x, y, x_label="training steps", y_label=unit(metric))
    for (index, name), curve in curves:
        line = [(x(step), y(scaled(value, metric))) for step, value in curve]
        picture.line(index, line)
        if len(line) <= 40:
            for (step, value), at in zip(curve, line, strict=True):
                said = rate(value) if key == "rate" else number(value, metric)
                picture.add(marker(index, *at, radius=2.4, title=f"{name}, step {step:,.0f}: {said}"))
    picture.levels(y, levels)
    if best is not None and 0 <= best <= x.high:
        nearest = [min(curve, key=lambda point: abs(point[0] - best))[1] for _, curve in curves]
        high_there = sum(y(scaled(value, metric)) for value in nearest) / len(nearest) < y((low + high) / 2)
        _mark_step(picture, x(best), f"step {best:,}", below=high_there)
    return picture


def _mark_step(picture: Picture, at: float, name: str, *, below: bool) -> None:
    """The chosen step as a dashed line, with its name at one of its ends."""
    bottom = picture.height - BOTTOM
    left = at + LETTER * len(name) + 6 > WIDTH - RIGHT
    picture.add(
        f'<path class="level" d="M{at:.1f},{TOP}V{bottom:g}"/>',
        f'<text class="level-name over" x="{at + (-5 if left else 5):.1f}" y="{bottom - 6 if below else TOP + 12:g}" '
        f'text-anchor="{"end" if left else "start"}">{name}</text>',
    )
