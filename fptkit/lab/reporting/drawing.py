"""Small charts as SVG: scales, axes, lines, bars. No library, no script. Colours are CSS variables, so the same picture
works on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 380
"""Width of a chart in units; on a phone one unit is about one pixel."""

LEFT, RIGHT, TOP, BOTTOM = 46, 18, 12, 40
"""Margins around the plot, in units."""

INK = {"surface": ("#ffffff", "#16191f"), "ink": ("#1b1f24", "#e8eaed"), "quiet": ("#59626d", "#a4adb8")}
LINES = {"grid": ("#e3e6ea", "#2b313a"), "axis": ("#8b949e", "#6b7683")}
SERIES = (
    ("#0068a8", "#5bb5ee"),
    ("#c2410c", "#f59352"),
    ("#007a55", "#3fcb9c"),
    ("#a02c8c", "#e08fd6"),
    ("#806400", "#e2c44f"),
    ("#4b5563", "#aeb6c1"),
    ("#00808c", "#58d7e2"),
    ("#d11d6a", "#ff8fb8"),
)
"""Colours of text, lines and arms, as pairs (light page, dark page). Arms also differ in marker and dashes."""

_MARKERS = (
    "M{r},0A{r},{r} 0 1 1 -{r},0A{r},{r} 0 1 1 {r},0Z",  # disc
    "M-{s},-{s}H{s}V{s}H-{s}Z",  # square
    "M0,-{b}L{b},{s}H-{b}Z",  # triangle
    "M0,-{b}L{b},0L0,{b}L-{b},0Z",  # diamond
    "M0,{b}L{b},-{s}H-{b}Z",  # triangle, point down
    "M-{t},-{b}H{t}V-{t}H{b}V{t}H{t}V{b}H-{t}V{t}H-{b}V-{t}H-{t}Z",  # plus
    "M-{b},-{s}L0,{b}L{b},-{s}L0,-{t}Z",  # arrow
)
_DASHES = ("", "7 3", "2 3", "8 3 2 3", "12 3")


def variables() -> str:
    """The colours as CSS: light by default, dark if the reader's system prefers it."""
    named = {**INK, **LINES, **{f"s{index}": pair for index, pair in enumerate(SERIES)}}
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in named.items()) for side in (0, 1))
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"


RULES = (
    "svg text{fill:var(--quiet);font:11px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "svg .name{fill:var(--ink)}svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--axis);fill:none}"
    "svg .line{stroke:var(--c);fill:none;stroke-width:1.8;stroke-linejoin:round}svg .whisker{stroke:var(--c)}"
    "svg .band{fill:var(--c);fill-opacity:.16;stroke:none}svg .bar{fill:var(--c);fill-opacity:.55}"
    "svg .mark{fill:var(--c);stroke:var(--surface);stroke-width:.8}"
    "svg .hollow{fill:var(--surface);stroke:var(--c);stroke-width:1.5}"
    "svg .ring{fill:none;stroke:var(--c);stroke-width:1.6}svg .cross{stroke:var(--c);stroke-width:2;fill:none}"
    "svg .dot{fill:var(--surface);stroke:var(--ink);stroke-width:1}svg .level{stroke:var(--quiet);stroke-dasharray:3 3}"
    + "".join(f".c{index}{{--c:var(--s{index})}}" for index in range(len(SERIES)))
)
"""CSS rules for the classes used in pictures."""


@dataclass(frozen=True)
class Scale:
    """Maps values to positions in the picture.

    Args:
        low: smallest value.
        high: largest value.
        start: position of ``low``, in units.
        end: position of ``high``, in units.
        logarithmic: use a logarithmic scale; ``low`` must be above 0.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        turned: Callable[[float], float] = math.log10 if self.logarithmic else float
        low, high = turned(self.low), turned(self.high)
        return self.start + (self.end - self.start) * (turned(value) - low) / (high - low)

    def ticks(self) -> list[float]:
        """About five round values within the scale."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last - first >= 1:
                apart = max(1, math.ceil((last - first) / 5))
                return [10.0**power for power in range(first, last + 1, apart)]
            decade = 10.0 ** math.floor(math.log10(self.low))
            candidates = [factor * decade for factor in (1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)]
            return [value for value in candidates if self.low * 0.999 <= value <= self.high * 1.001]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough * 0.999)


def around(
    values: Iterable[float],
    *,
    logarithmic: bool = False,
    within: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Ends of a scale that shows all values with a margin.

    Args:
        values: finite, at least one; above 0 if ``logarithmic``.
        logarithmic: whether the scale is logarithmic.
        within: limits that the scale exceeds only if a value does, such as (0, 100) for percent.
    """
    shown = list(values)
    low, high = min(shown), max(shown)
    if logarithmic:
        factor = (high / low) ** 0.08 if high > low else 2.0
        return low / factor, high * factor
    air = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - air, high + air
    if within is not None:
        low, high = max(low, min(within[0], *shown)), min(high, max(within[1], *shown))
    return (low, high) if high > low else (low - 1, high + 1)


def style(index: int) -> str:
    """CSS class of the colour of arm ``index``."""
    return f"c{index % len(SERIES)}"


def dash(index: int) -> str:
    """SVG attribute with the dashes of the line of arm ``index``; empty for a solid line."""
    pattern = _DASHES[index % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def marker(index: int, x: float, y: float, *, radius: float = 3.4, kind: str = "mark", title: str = "") -> str:
    """The marker of arm ``index`` at (x, y); ``kind`` is a CSS class, and the title is shown on hovering."""
    shape = _MARKERS[index % len(_MARKERS)]
    path = shape.format(r=f"{radius:g}", s=f"{radius * 0.9:.3g}", b=f"{radius * 1.25:.3g}", t=f"{radius * 0.45:.3g}")
    return (
        f'<path class="{kind} {style(index)}" transform="translate({x:.1f},{y:.1f})" d="{path}">{_title(title)}</path>'
    )


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


@dataclass
class Picture:
    """A chart being drawn.

    Args:
        key: unique within a page; prefix of ids, and name of the file.
        title: above the chart.
        alternative: text alternative for screen readers, one sentence.
        height: in units.
        body: SVG elements so far.
        series: pairs (index, name) of its arms, for a legend.
    """

    key: str
    title: str
    alternative: str
    height: float = 230
    body: list[str] = field(default_factory=list)
    series: tuple[tuple[int, str], ...] = ()

    def add(self, *elements: str) -> None:
        """Append SVG elements; they are drawn on top of the earlier ones."""
        self.body.extend(elements)

    def horizontal(self, *, low: float, high: float, logarithmic: bool = False) -> Scale:
        """A scale for the x axis."""
        return Scale(low, high, LEFT, WIDTH - RIGHT, logarithmic)

    def vertical(self, *, low: float, high: float) -> Scale:
        """A scale for the y axis, upwards."""
        return Scale(low, high, self.height - BOTTOM, TOP)

    def axes(
        self, x: Scale, y: Scale, *, x_label: str, y_label: str, x_ticks: Sequence[tuple[float, str]] = ()
    ) -> None:
        """Draw grid, axes, ticks and labels.

        Args:
            x: scale of the x axis.
            y: scale of the y axis.
            x_label: below the x axis.
            y_label: left of the y axis.
            x_ticks: pairs of value and text; round values of the scale if empty. A text that would touch the previous
                one is left out, but its tick is drawn.
        """
        bottom = self.height - BOTTOM
        for value in y.ticks():
            at = f"{y(value):.1f}"
            self.add(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>',
                f'<text x="{LEFT - 6}" y="{at}" dy="4" text-anchor="end">{escape(plain(value))}</text>',
            )
        self.add(f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{WIDTH - RIGHT}"/>')
        self.ticks_below(x, x_ticks or [(value, plain(value)) for value in x.ticks()])
        self.add(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{self.height - 6:g}" text-anchor="middle">'
            f"{escape(x_label)}</text>",
            f'<text transform="translate(11,{(TOP + bottom) / 2:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>",
        )

    def ticks_below(self, x: Scale, ticks: Sequence[tuple[float, str]]) -> None:
        """Draw the ticks of the x axis."""
        bottom, free_from = self.height - BOTTOM, -math.inf
        for value, text in ticks:
            at, half = x(value), 3.3 * len(text)
            self.add(f'<path class="axis" d="M{at:.1f},{bottom}v4"/>')
            if at - half >= free_from:
                self.add(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>')
                free_from = at + half + 4

    def line(self, index: int, points: Sequence[tuple[float, float]]) -> None:
        """Draw the line of arm ``index``; a single point draws nothing."""
        if len(points) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            self.add(f'<polyline class="line {style(index)}"{dash(index)} points="{path}"/>')

    def whisker(self, index: int, x: float, low: float, high: float) -> None:
        """Draw a vertical error bar."""
        path = f"M{x:.1f},{low:.1f}V{high:.1f}m-2.5,0h5M{x - 2.5:.1f},{low:.1f}h5"
        self.add(f'<path class="whisker {style(index)}" d="{path}"/>')

    def svg(self) -> str:
        """The picture as an SVG element for a page that has the style sheet."""
        return self._wrapped("".join(self.body), self.height, "")

    def file(self) -> str:
        """The picture as a standalone SVG file with title, legend and style sheet."""
        legend, below = legend_rows(self.series, self.height + 26)
        title = f'<text class="name" x="8" y="15" style="font-weight:600">{escape(shortened(self.title, 56))}</text>'
        body = f'{title}<g transform="translate(0,22)">{"".join(self.body)}</g>{legend}'
        sheet = f"<style>{variables()}{RULES}.paper{{fill:var(--surface)}}</style>"
        height = below + 4
        return self._wrapped(f'{sheet}<rect class="paper" width="100%" height="100%"/>{body}', height, _FILE) + "\n"

    def _wrapped(self, body: str, height: float, more: str) -> str:
        return (
            f'<svg{more} viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="{self.key}-t {self.key}-d">'
            f'<title id="{self.key}-t">{escape(self.title)}</title>'
            f'<desc id="{self.key}-d">{escape(self.alternative)}</desc>{body}</svg>'
        )


_FILE = f' xmlns="http://www.w3.org/2000/svg" width="{WIDTH}"'


def legend_rows(series: Sequence[tuple[int, str]], top: float) -> tuple[str, float]:
    """A legend wrapped to the width of a picture, and the y position of its end."""
    elements, x, y = [], 8.0, top + 8
    for index, name in series:
        shown = shortened(name, 52)
        width = 30 + 6.4 * len(shown) + 14
        if x > 8 and x + width > WIDTH:
            x, y = 8.0, y + 17
        elements.append(f'<g transform="translate({x:.1f},{y - 4:.1f})">{swatch(index)}</g>')
        elements.append(f'<text class="name" x="{x + 30:.1f}" y="{y:.1f}">{escape(shown)}</text>')
        x += width
    return "".join(elements), (y + 6 if series else top)


def swatch(index: int) -> str:
    """Legend symbol of arm ``index``: line and marker, 24 units wide, centred at y = 0."""
    return f'<path class="line {style(index)}"{dash(index)} d="M0,0H24"/>{marker(index, 12, 0)}'


def shortened(text: str, most: int) -> str:
    """Text truncated to ``most`` characters, with an ellipsis if it was longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain(value: float) -> str:
    """Format the value of a tick: ``0.25``, ``1,000``, ``2M``, ``1e-4``."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            unit = 1e3 if prefix == "k" else limit
            return f"{value / unit:.3g}{prefix}"
    return f"{value:,.6g}"
