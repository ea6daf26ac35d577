"""Draw the pictures of the documentation as SVG, light and dark in one file.

    python docs/pictures.py

Each picture is at most 520 units wide and its text at least 13 units high, so that it can be read on a phone. Trained
and frozen parts differ in colour, in the line around them and in a letter.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "pictures"

STYLE = """
text { font: 15px system-ui, "DejaVu Sans", sans-serif; fill: #1f2933; }
.small { font-size: 13px; fill: #52606d; }
.bold { font-weight: 600; }
.middle { text-anchor: middle; }
.card { fill: #ffffff; }
.trained { fill: #fde3c0; stroke: #b45309; stroke-width: 2; }
.frozen { fill: #dbe7f3; stroke: #55779a; stroke-width: 1.5; stroke-dasharray: 5 3; }
.plain { fill: #f1f3f5; stroke: #8a97a4; stroke-width: 1; }
.read { fill: #1f2933; stroke: #1f2933; }
.line { fill: none; stroke: #52606d; stroke-width: 1.5; }
.tip { fill: #52606d; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e9ec; }
  .small { fill: #a9b4bf; }
  .card { fill: #1b2026; }
  .trained { fill: #5a3a10; stroke: #f0a94a; }
  .frozen { fill: #22384d; stroke: #7fa6cc; }
  .plain { fill: #2b323a; stroke: #6f7c89; }
  .read { fill: #e6e9ec; stroke: #e6e9ec; }
  .line { stroke: #a9b4bf; }
  .tip { fill: #a9b4bf; }
}
"""


def box(x: float, y: float, width: float, height: float, kind: str, *lines: str) -> str:
    """A rectangle with centred lines of text; the first is set larger."""
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>']
    top = y + height / 2 + 5 - 9 * (len(lines) - 1)
    for number, line in enumerate(lines):
        parts.append(text(x + width / 2, top + 18 * number, line, "middle" if number == 0 else "middle small"))
    return "\n".join(parts)


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(words)}</text>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """An arrow, down or to the right."""
    if x1 == x2:
        tip, y2 = f"M{x2 - 5},{y2 - 8} h10 l-5,8 z", y2 - 6
    else:
        tip, x2 = f"M{x2 - 8},{y2 - 5} v10 l8,-5 z", x2 - 6
    return f'<path d="M{x1},{y1} L{x2},{y2}" class="line"/><path d="{tip}" class="tip"/>'


def legend(y: float) -> str:
    """What the two kinds of boxes mean."""
    return "\n".join(
        [
            f'<rect x="24" y="{y - 13}" width="22" height="16" rx="4" class="trained"/>',
            text(54, y, "T  trained", "small"),
            f'<rect x="150" y="{y - 13}" width="22" height="16" rx="4" class="frozen"/>',
            text(180, y, "F  frozen, as pretrained", "small"),
        ]
    )


def picture(name: str, height: float, label: str, parts: Iterable[str]) -> None:
    """Write a picture of 520 units in width."""
    body = "\n".join(parts)
    (FOLDER / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 {height}" width="520" height="{height}" role="img" '
        f'aria-label="{escape(label)}">\n<style>{STYLE}</style>\n'
        f'<rect width="520" height="{height}" rx="10" class="card"/>\n{body}\n</svg>\n',
        encoding="utf-8",
    )


def architecture() -> None:
    """Raw tokens, encoder, backbone, head."""
    parts = [
        box(24, 20, 472, 52, "plain", "raw tokens", "bits · pixels of a patch · amino acids · cells of a row"),
        arrow(260, 72, 260, 92),
        box(24, 92, 472, 52, "trained", "T  encoder", "one vector of the backbone's width for each token"),
        arrow(260, 144, 260, 164),
        box(24, 164, 472, 36, "trained", "T  + positions"),
        arrow(260, 200, 260, 220),
        '<rect x="24" y="220" width="472" height="186" rx="8" class="plain"/>',
        text(40, 242, "backbone: N blocks, such as GPT-2", "bold"),
        box(44, 254, 360, 28, "trained", "T  norm"),
        box(44, 286, 360, 40, "frozen", "F  attention"),
        box(44, 330, 360, 28, "trained", "T  norm"),
        box(44, 362, 360, 34, "frozen", "F  feed-forward"),
        text(450, 336, "× N", "middle bold"),
        arrow(260, 406, 260, 426),
        box(24, 426, 472, 52, "trained", "T  head", "reads some of the vectors and gives the answer"),
        legend(508),
        text(24, 532, "Policy fpt. A hash before and after training proves what is frozen.", "small"),
    ]
    picture("architecture", 548, "Raw tokens, trained encoder and positions, frozen blocks, trained head", parts)


POLICIES = (
    ("output_only", ("head",)),
    ("output_norm", ("head", "norm")),
    ("fpt", ("head", "norm", "positions", "encoder")),
    ("fpt_attention", ("head", "norm", "positions", "encoder", "attention")),
    ("full", ("head", "norm", "positions", "encoder", "attention", "feed-forward")),
)
"""Policies that are drawn, and what each trains."""

LAYERS = ("encoder", "positions", "norm", "attention", "norm", "feed-forward", "head")


def policies() -> None:
    """What five policies train, on one block."""
    parts = []
    for row, layer in enumerate(LAYERS):
        parts.append(text(16, 96 + 44 * row, layer))
    for column, (name, trained) in enumerate(POLICIES):
        x = 128 + 78 * column
        parts += [text(x + 34, 34 + 18 * line, word, "middle small") for line, word in enumerate(_split(name))]
        for row, layer in enumerate(LAYERS):
            kind, letter = ("trained", "T") if layer in trained else ("frozen", "F")
            parts.append(box(x, 73 + 44 * row, 68, 36, kind, letter))
    parts += [
        '<path d="M120,154 H512 M120,330 H512" class="line" stroke-dasharray="2 4"/>',
        legend(406),
        text(24, 430, "Between the dotted lines: one block, repeated N times.", "small"),
    ]
    picture("policies", 446, "Which layers of a block train under five freezing policies", parts)


def _split(name: str) -> list[str]:
    """A name in at most two lines."""
    first, _, rest = name.partition("_")
    return [first + ("_" if rest else ""), rest]


def readouts() -> None:
    """Which token vectors the head reads."""
    rows = (
        ("last", "the last real token; causal backbones", (4,)),
        ("last_k", "the last k real tokens: several answers", (3, 4)),
        ("mean", "the mean of all real tokens", (0, 1, 2, 3, 4)),
    )
    parts = [text(120, 34, "token vectors", "small"), text(352, 34, "padding", "small")]
    for number, (name, what, read) in enumerate(rows):
        y = 50 + 92 * number
        parts.append(text(24, y + 24, name, "bold"))
        for token in range(7):
            x = 120 + 46 * token
            kind = "read" if token in read else "plain" if token < 5 else "line"
            dashed = ' stroke-dasharray="3 3"' if token >= 5 else ""
            parts.append(f'<rect x="{x}" y="{y}" width="38" height="36" rx="6" class="{kind}"{dashed}/>')
        parts.append(text(120, y + 56, what, "small"))
    parts += [text(24, 336, "Filled: read by the head. Padding is never read and changes no answer.", "small")]
    picture("readouts", 352, "Three read-outs: the last token, the last k tokens, the mean", parts)


def study() -> None:
    """From a question to a verdict."""
    steps = (
        ("plain", "question", "does pretraining help on this task?"),
        ("plain", "arms, with the same budget", "pretrained, and controls such as random weights"),
        ("plain", "runs: arm × learning rate × seed", "each one trained and validated; the test stays unused"),
        ("plain", "each seed chooses its learning rate", "the best on its own validation examples"),
        ("plain", "the test is evaluated once", "for the chosen runs only"),
        ("plain", "paired differences over seeds", "mean, 95 % interval, resolution"),
        ("plain", "verdict", "better · worse · same · undecided · not enough evidence"),
    )
    parts = []
    for number, (kind, title, what) in enumerate(steps):
        y = 20 + 76 * number
        parts.append(box(24, y, 472, 52, kind, title, what))
        if number:
            parts.append(arrow(260, y - 24, 260, y))
    picture("study", 548, "The steps of a study, from the question to the verdict", parts)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for draw in (architecture, policies, readouts, study):
        draw()
