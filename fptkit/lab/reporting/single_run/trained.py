"""What trained: parameters by role and block, a picture of the model, and the proof that the rest did not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Point, Section, Table, row
from fptkit.lab.reporting.drawing import WIDTH, Picture
from fptkit.lab.reporting.single_run.read import RunFiles

_NAMES = {"feed_forward": "feed-forward", "input": "encoder", "output": "head"}
"""Roles whose name says little."""

_FLOW = ("norm", "attention", "recurrent", "feed_forward", "adapter", "embedding", "position", "other")
"""Order of the roles in a picture of a block."""

_AFTER = ("norm", "output")
"""Roles outside the blocks that come after them."""

_BEFORE = {"input": 0, "embedding": 1, "position": 2}
"""Order of those that come before."""

MOST = 4
"""Groups of unlike blocks that are drawn; a policy that treats more of them differently is in the table alone."""


@dataclass(frozen=True)
class Part:
    """Parameters of one role in some blocks, or outside the blocks.

    Args:
        role: the role.
        first: first of the blocks; None outside the blocks.
        last: last of them.
        total: number of parameters in each block.
        trained: how many of them train in each block.
    """

    role: str
    first: int | None
    last: int | None
    total: int
    trained: int

    @property
    def blocks(self) -> int:
        """How many times it occurs."""
        return 1 if self.first is None or self.last is None else self.last - self.first + 1

    @property
    def name(self) -> str:
        """The role in words."""
        return _NAMES.get(self.role, self.role)


def trained(files: RunFiles) -> Section:
    """Counts by role and block, the picture, and the proof."""
    counts = files.summary.get("parameters") or {}
    if not counts.get("total"):
        return Section("trained", "What trained")
    parts = _in_order(parts_of(files.summary))
    share = wording.share(counts.get("trained", 0) / counts["total"])
    points = [
        Point(
            f"{counts.get('trained', 0):,} of {counts['total']:,} parameters train ({share}); "
            f"{counts.get('reached', 0):,} got a gradient other than zero from the first batch."
        ),
        *_proof(files),
    ]
    notes = () if parts else ("Counts by role and block are not recorded: an older version of fptkit made the run.",)
    return Section(
        "trained",
        "What trained",
        points=tuple(points),
        notes=notes,
        tables=(_table(parts),) if parts else (),
        pictures=(_picture(parts),) if parts else (),
    )


def parts_of(summary: Mapping[str, Any]) -> list[Part]:
    """The counts in a summary; empty if an older version wrote it."""
    return [Part(**one) for one in summary.get("parameter_parts", ())]


def _in_order(parts: Sequence[Part]) -> list[Part]:
    """From input to output, as in the picture."""
    order = {role: place for place, role in enumerate(_FLOW)}

    def key(part: Part) -> tuple[int, int, int]:
        if part.first is None:
            return (_AFTER.index(part.role) + 2 if part.role in _AFTER else 0), 0, _BEFORE.get(part.role, 9)
        return 1, part.first, order.get(part.role, len(order))

    return sorted(parts, key=key)


def _proof(files: RunFiles) -> Iterator[Point]:
    frozen = files.model.get("frozen") or {}
    counts = files.summary["parameters"]
    if counts["total"] == counts.get("trained"):
        yield Point("Nothing is frozen, so there is nothing to prove.")
    elif frozen.get("digest"):
        yield Point(
            f"Proof: after training, the digest of all frozen tensors was that from before: {frozen['digest'][:16]}…"
        )
    else:
        yield Point("The frozen tensors were not compared yet: that happens when training ends.")


def _table(parts: Sequence[Part]) -> Table:
    rows = [
        row(part.name, _where(part), f"{part.blocks * part.total:,}", f"{part.blocks * part.trained:,}", _state(part))
        for part in parts
    ]
    header = row("role", "where", "parameters", "trained", "")
    return Table("Parameters by role and block.", header, tuple(rows), names=2, opened=True)


def _where(part: Part) -> str:
    """The blocks, counted from 0 as in recipes."""
    if part.first is None or part.last is None:
        return "outside the blocks"
    return f"block {part.first}" if part.blocks == 1 else f"blocks {part.first}–{part.last}"


def _state(part: Part) -> str:
    return "trains" if part.trained == part.total else "trains in part" if part.trained else "frozen"


_LEFT, _ROW, _GAP = 8, 21, 5


def _picture(parts: Sequence[Part]) -> Picture:
    """The model from top to bottom: what is before the blocks, groups of like blocks, what is after them."""
    outside = [part for part in parts if part.first is None]
    before = [part for part in outside if part.role not in _AFTER]
    after = [part for part in outside if part.role in _AFTER]
    groups = _groups(parts)
    said = ", ".join(f"{part.name} {_where(part)} {_state(part)}" for part in parts)
    picture = Picture("model", "The model, from input to output", f"Trained and frozen parts: {said}.")
    top = _stack(picture, before, 4.0, _LEFT, WIDTH - 2 * _LEFT)
    if len(groups) > MOST:
        top = _frame(picture, top, f"{wording.counted(sum(len(own) for own, _ in groups), 'block')}, see the table", [])
    else:
        for own, mine in groups:
            name = f"block {own[0]}" if len(own) == 1 else f"blocks {own[0]}–{own[-1]}, each"
            top = _frame(picture, top, name, mine)
    picture.height = _stack(picture, after, top, _LEFT, WIDTH - 2 * _LEFT) + 24
    _legend(picture, picture.height - 18)
    return picture


def _groups(parts: Sequence[Part]) -> list[tuple[range, list[Part]]]:
    """Consecutive blocks of the same parts, in the order of `_FLOW`."""
    inside = [part for part in parts if part.first is not None and part.last is not None]
    starts = sorted(
        {part.first for part in inside if part.first is not None} | {(part.last or 0) + 1 for part in inside}
    )
    found = []
    for start, end in pairwise(starts):
        mine = [part for part in inside if (part.first or 0) <= start <= (part.last or 0)]
        if mine:
            found.append((range(start, end), mine))
    return found


def _stack(picture: Picture, parts: Sequence[Part], top: float, left: float, width: float) -> float:
    """Parts below each other; returns the y position below them."""
    for part in parts:
        _box(picture, part, top, left, width)
        top += _ROW + _GAP
    return top


def _frame(picture: Picture, top: float, name: str, parts: Sequence[Part]) -> float:
    height = 22 + len(parts) * (_ROW + _GAP) + (4 if parts else 0)
    picture.add(
        f'<rect class="frame" x="{_LEFT}" y="{top:g}" width="{WIDTH - 2 * _LEFT}" height="{height:g}" rx="4"/>',
        f'<text class="name" x="{_LEFT + 8}" y="{top + 15:g}">{escape(name)}</text>',
    )
    _stack(picture, parts, top + 22, _LEFT + 10, WIDTH - 2 * _LEFT - 20)
    return top + height + _GAP


def _box(picture: Picture, part: Part, top: float, left: float, width: float) -> None:
    """A part: filled if it trains, empty if it is frozen; a part that trains in part is filled by its share."""
    share = part.trained / part.total if part.total else 0.0
    picture.add(f'<rect class="frozen" x="{left:g}" y="{top:g}" width="{width:g}" height="{_ROW}" rx="3"/>')
    if share:
        filled = max(6.0, width * share)
        picture.add(f'<rect class="bar c0" x="{left:g}" y="{top:g}" width="{filled:.1f}" height="{_ROW}" rx="3"/>')
    state = f"{_state(part)}, {wording.amount(part.total)}"
    picture.add(
        f'<text class="name" x="{left + 8:g}" y="{top + 14.5:g}">{escape(part.name)}</text>',
        f'<text class="name" x="{left + width - 8:g}" y="{top + 14.5:g}" text-anchor="end">{escape(state)}</text>',
    )


def _legend(picture: Picture, top: float) -> None:
    for left, kind, text in ((_LEFT, "bar c0", "trains"), (90, "frozen", "frozen")):
        picture.add(
            f'<rect class="{kind}" x="{left}" y="{top:g}" width="16" height="12" rx="2"/>',
            f'<text x="{left + 22}" y="{top + 10:g}">{text}</text>',
        )
