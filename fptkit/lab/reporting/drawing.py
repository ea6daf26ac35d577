"""Small charts as SVG: axes, lines, markers. No library, no script. Colours are CSS variables, so the same picture
works on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from fptkit.lab.reporting.axes import Scale, labels

WIDTH = 380
"""Width of a chart in units; on a phone one unit is about one pixel."""

LEFT, RIGHT, TOP, BOTTOM = 46, 18, 12, 40
"""Margins around the plot, in units."""

LETTER = 6.4
"""Width of a letter of text in a chart, in units; a little more than the average."""

INK = {"surface": ("#ffffff", "#16191f"), "ink": ("#1b1f24", "#e8eaed"), "quiet": ("#59626d", "#a4adb8")}
LINES = {"grid": ("#e3e6ea", "#2b313a"), "axis": ("#8b949e", "#6b7683"), "band": ("#cfe3f2", "#1f3d54")}
SHADE = ("rgba(27,31,36,.45)", "rgba(232,234,237,.45)")
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
"""Colours of text, lines, the edge of a table that scrolls, and arms, as pairs (light page, dark page). Arms also
differ in marker and dashes."""

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
    named = {**INK, **LINES, "shade": SHADE, **{f"s{index}": pair for index, pair in enumerate(SERIES)}}
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
    "svg .dot{fill:var(--surface);stroke:var(--ink);stroke-width:1}"
    "svg .level{stroke:var(--ink);stroke-dasharray:3 3;fill:none}svg .level-name{fill:var(--ink)}"
    "svg .count{fill:var(--c);font-weight:600}"
    "svg .over{paint-order:stroke;stroke:var(--surface);stroke-width:2.5px;stroke-linejoin:round}"
    "svg .margin{fill:var(--band)}svg .range{stroke:var(--ink);stroke-width:1.6;fill:none}"
    "svg .found{fill:var(--ink);stroke:var(--surface);stroke-width:.8}"
    "svg .open{fill:var(--surface);stroke:var(--ink);stroke-width:1.5}"
    "svg .frame{fill:none;stroke:var(--axis)}svg .frozen{fill:var(--surface);stroke:var(--axis)}"
    "svg .cell{fill:var(--c)}svg .outline{fill:none;stroke:var(--axis)}svg .point{fill:var(--c);fill-opacity:.45}"
    + "".join(f".c{index}{{--c:var(--s{index})}}" for index in range(len(SERIES)))
)
"""CSS rules for the classes used in pictures."""


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
        left: margin left of the plot, in units; `vertical` makes room for its labels.
        width: in units; charts with axes have that of all charts.
    """

    key: str
    title: str
    alternative: str
    height: float = 230
    body: list[str] = field(default_factory=list)
    series: tuple[tuple[int, str], ...] = ()
    left: float = LEFT
    width: float = WIDTH

    def add(self, *elements: str) -> None:
        """Append SVG elements; they are drawn on top of the earlier ones."""
        self.body.extend(elements)

    def horizontal(self, *, low: float, high: float, logarithmic: bool = False) -> Scale:
        """A scale for the x axis; ask for the y axis first, whose labels are beside it."""
        return Scale(low, high, self.left, WIDTH - RIGHT, logarithmic)

    def vertical(self, *, low: float, high: float) -> Scale:
        """A scale for the y axis, upwards."""
        y = Scale(low, high, self.height - BOTTOM, TOP)
        self.left = max(LEFT, 22 + LETTER * max(map(len, labels(y.ticks()))))
        return y

    def axes(
        self, x: Scale, y: Scale, *, x_label: str, y_label: str, x_ticks: Sequence[tuple[float, str]] = ()
    ) -> None:
        """Draw grid, axes, ticks and labels.

        Args:
            x: scale of the x axis.
            y: scale of the y axis.
            x_label: below the x axis.
            y_label: left of the y axis.
            x_ticks: as for `ticks_below`.
        """
        bottom = self.height - BOTTOM
        for value, text in zip(y.ticks(), labels(y.ticks()), strict=True):
            at = f"{y(value):.1f}"
            self.add(
                f'<line class="grid" x1="{self.left:g}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>',
                f'<text class="tick" x="{self.left - 6:g}" y="{at}" dy="4" text-anchor="end">{escape(text)}</text>',
            )
        self.add(f'<path class="axis" d="M{self.left:g},{TOP}V{bottom:g}H{WIDTH - RIGHT}"/>')
        self.ticks_below(x, x_ticks)
        self.add(
            f'<text x="{(self.left + WIDTH - RIGHT) / 2:g}" y="{self.height - 6:g}" text-anchor="middle">'
            f"{escape(x_label)}</text>",
            f'<text transform="translate(11,{(TOP + bottom) / 2:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>",
        )

    def ticks_below(self, x: Scale, ticks: Sequence[tuple[float, str]] = ()) -> None:
        """Draw the ticks of the x axis.

        Args:
            x: its scale.
            ticks: pairs of value and text, ascending; round values of the scale if empty. A text that would touch
                another one is left out, but its tick is drawn; the first and the last are kept if they fit both.
        """
        bottom = self.height - BOTTOM
        ticks = ticks or list(zip(x.ticks(), labels(x.ticks()), strict=True))
        places = [(x(value), text) for value, text in ticks]
        for at, _ in places:
            self.add(f'<path class="axis" d="M{at:.1f},{bottom:g}v4"/>')
        for at, text in _apart(places):
            self.add(f'<text class="tick" x="{at:.1f}" y="{bottom + 16:g}" text-anchor="middle">{escape(text)}</text>')

    def levels(self, scale: Scale, levels: Sequence[tuple[str, float]], *, upright: bool = False) -> None:
        """Draw named levels as dashed lines across the plot, and name them above it; an arrow means: outside the scale.

        Args:
            scale: of the axis that shows the values.
            levels: names and values, in the unit of the scale.
            upright: whether it is the x axis.
        """
        names = []
        for name, value in levels:
            within = scale.low <= value <= scale.high
            names.append(f"{name} {value:.1f}{'' if within else ' ↓' if value < scale.low else ' ↑'}")
            if within:
                at, bottom = scale(value), self.height - BOTTOM
                path = f"M{at:.1f},{TOP}V{bottom:g}" if upright else f"M{self.left:g},{at:.1f}H{WIDTH - RIGHT}"
                self.add(f'<path class="level" d="{path}"><title>{escape(names[-1])}</title></path>')
        if names:
            text = escape(", ".join(names))
            self.add(f'<text class="level-name" x="{WIDTH - RIGHT}" y="9" text-anchor="end">{text}</text>')

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
        key = self.key
        return (
            f'<svg{more} viewBox="0 0 {self.width:g} {height:g}" role="img" aria-labelledby="{key}-t {key}-d">'
            f'<title id="{self.key}-t">{escape(self.title)}</title>'
            f'<desc id="{self.key}-d">{escape(self.alternative)}</desc>{body}</svg>'
        )


def _apart(places: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Labels that do not touch: the first, the last if there is room, and those that fit in between."""

    def free(left: tuple[float, str], right: tuple[float, str]) -> bool:
        return right[0] - left[0] >= LETTER / 2 * (len(left[1]) + len(right[1])) + 4

    kept = list(places[:1])
    if len(places) > 1 and not free(kept[0], places[-1]):
        return kept
    for place in places[1:-1]:
        if free(kept[-1], place) and free(place, places[-1]):
            kept.append(place)
    return [*kept, *places[1:][-1:]]


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
