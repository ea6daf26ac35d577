"""Where the noise of results is from: initialisation, order, data, each varied alone."""

from __future__ import annotations

from html import escape

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.axes import Scale, around
from fptkit.lab.reporting.document import Entry, Section, Table, row
from fptkit.lab.reporting.drawing import BOTTOM, LETTER, RIGHT, WIDTH, Picture, shortened
from fptkit.lab.reporting.wording import NOTHING, number, scaled
from fptkit.lab.studies.results import Measure, StudyResults
from fptkit.lab.studies.verdicts import NoiseSource

SOURCES = {
    "init": "initialisation",
    "order": "order of examples, and dropout",
    "data": "training examples",
}

ROW, LEFT = 15, 12
"""Height of a bar, and margin left of the plot, in units of the picture."""


def noise(results: StudyResults) -> Section:
    """Standard deviation of the test result by source, as a table and bars."""
    if not results.noise:
        return Section("noise", "Where the noise comes from")
    rows = tuple(
        (
            Entry(wording.place(one.task, one.data_fraction)),
            Entry(one.arm),
            Entry(SOURCES[one.source]),
            _deviation(results, one),
            Entry(NOTHING if (part := _part(results, one)) is None else wording.share(part)),
            Entry(str(len(one.values))),
        )
        for one in results.noise
    )
    header = row("task", "arm", "source", "standard deviation", "part of the variance", "runs")
    caption = f"Test, standard deviation with its {100 * results.confidence:g} % interval."
    return Section(
        "noise",
        "Where the noise comes from",
        notes=(
            "Each source is varied alone, the others keep the first seed. The seeds behind the verdicts vary all "
            "sources together, except seeds that a recipe fixes and random splits, which are the same in all runs.",
        ),
        tables=(Table(caption, header, rows, names=2),),
        pictures=tuple(_bars(results)),
    )


def _deviation(results: StudyResults, one: NoiseSource) -> Entry:
    metric = _metric(results, one)
    if one.deviation is None:
        return Entry(NOTHING)
    bounds = one.interval if len(one.values) >= wording.LEAST_SEEDS else None
    return Entry(f"{wording.difference(one.deviation, metric)} {wording.interval(bounds, metric)}".strip())


def _metric(results: StudyResults, one: NoiseSource) -> Measure:
    cell = results.cell(one.task, one.arm, one.data_fraction)
    return cell.measure if cell is not None else Measure()


def _part(results: StudyResults, one: NoiseSource) -> float | None:
    """Its variance over the sum of those of all sources of the cell; None if one is unknown, or all are 0."""
    place = (one.task, one.arm, one.data_fraction)
    mine = [other.deviation for other in results.noise if (other.task, other.arm, other.data_fraction) == place]
    known = [deviation for deviation in mine if deviation is not None]
    total = sum(deviation**2 for deviation in known)
    return one.deviation**2 / total if one.deviation is not None and len(known) == len(mine) > 1 and total else None


def _bars(results: StudyResults) -> list[Picture]:
    """A chart for each task and metric: a bar for each arm and source."""
    groups: dict[tuple[str, float, Measure], list[NoiseSource]] = {}
    for one in results.noise:
        if one.deviation is not None:
            groups.setdefault((one.task, one.data_fraction, _metric(results, one)), []).append(one)
    pictures = []
    for index, ((task, fraction, metric), found) in enumerate(groups.items()):
        title = wording.place(task, fraction)
        arms = wording.listed(list(dict.fromkeys(one.arm for one in found)))
        picture = Picture(f"noise-{index}", title, f"{title}: standard deviation by source of noise, for {arms}.")
        _draw(picture, metric, found)
        pictures.append(picture)
    return pictures


def _draw(picture: Picture, metric: Measure, found: list[NoiseSource]) -> None:
    arms = list(dict.fromkeys(one.arm for one in found))
    picture.height = 8 + ROW * (len(found) + len(arms)) + BOTTOM
    ends = [scaled(end, metric) for one in found for end in (one.deviation or 0.0, *(one.interval or ()))]
    x = Scale(0.0, around([0.0, *ends])[1], LEFT + LETTER * max(len(one.source) for one in found) + 6, WIDTH - RIGHT)
    bottom = picture.height - BOTTOM
    for value in x.ticks():
        picture.add(f'<path class="grid" d="M{x(value):.1f},4V{bottom:g}"/>')
    picture.add(f'<path class="axis" d="M{x.start:g},4V{bottom:g}H{WIDTH - RIGHT}"/>')
    top = 8.0
    for arm in arms:
        picture.add(f'<text class="name over" x="{LEFT}" y="{top + 11:g}">{escape(shortened(arm, 54))}</text>')
        top += ROW
        for one in (one for one in found if one.arm == arm):
            _draw_bar(picture, x, top, metric, one)
            top += ROW
    picture.ticks_below(x)
    label = f"standard deviation, {'points' if metric.fraction else metric.name.replace('_', ' ')}"
    picture.add(f'<text x="{WIDTH / 2:g}" y="{picture.height - 6:g}" text-anchor="middle">{escape(label)}</text>')


def _draw_bar(picture: Picture, x: Scale, top: float, metric: Measure, one: NoiseSource) -> None:
    end, middle = x(scaled(one.deviation or 0.0, metric)), top + ROW / 2
    picture.add(
        f'<text x="{x.start - 6:g}" y="{middle + 4:g}" text-anchor="end">{one.source}</text>',
        f'<rect class="bar c0" x="{x.start:g}" y="{top + 2:g}" height="{ROW - 4}" width="{end - x.start:.1f}">'
        f"<title>{escape(one.arm)}, {SOURCES[one.source]}: {number(one.deviation, metric)}</title></rect>",
    )
    if one.interval is not None and len(one.values) >= wording.LEAST_SEEDS:
        low, high = (x(scaled(bound, metric)) for bound in one.interval)
        picture.add(
            f'<path class="axis" d="M{low:.1f},{middle:g}H{high:.1f}M{low:.1f},{middle - 3:g}v6M{high:.1f},'
            f'{middle - 3:g}v6"/>'
        )
