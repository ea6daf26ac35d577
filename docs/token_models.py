"""Tables of the encoders whose blocks run on token vectors, for `generate.py`. Imports no torch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

from fptkit.backbones.huggingface.bodies import BODIES, PARTS, REFUSED, Body
from fptkit.backbones.vit.kinds import KINDS, Kind
from fptkit.backbones.vit.kinds import REFUSED as REFUSED_TIMM

Rows = Iterator[tuple[str, ...]]
Reason = TypeVar("Reason", bound=Hashable)

POSITIONS = {
    "rotary": "rotary, in a line",
    "grid_angles": "rotary, rows and columns",
    "grid_places": "rotary, rows and columns",
    "relative": "relative",
    "relative_once": "relative",
    "encoded": "relative",
    "first_bias": "relative",
    "distances": "biases by distance in rows and columns",
}
"""What blocks get besides tokens, in words."""

OWN = {"vjepa2": "rotary, rows, columns and frames", "timesfm": "none; causal"}
"""Positions that blocks compute themselves."""


def bodies() -> Rows:
    """Model type, part, positions and padding of the models that run."""
    for kind, body in BODIES.items():
        yield f"`{kind}`", "", _positions(body, OWN.get(kind, "")), _padding(body.masking == "apart")
    for kind, parts in PARTS.items():
        for part, body in parts.items():
            yield f"`{kind}`", f"`{part}`", _positions(body, ""), _padding(body.masking == "apart")


def refused_bodies() -> Rows:
    """Model types that are refused, why, and what to use."""
    yield from ((_names(kinds), *reason) for kinds, reason in _grouped(REFUSED.items()))


def timm() -> Rows:
    """Modules of timm that run, with an example, positions and padding."""
    for module, kind in KINDS.items():
        yield f"`{module}`", f"`{kind.example}`", _positions_of(kind), _padding(kind.apart)


def refused_timm() -> Rows:
    """Modules of timm that are refused, and why."""
    yield from ((_names(modules), reason) for modules, reason in _grouped(REFUSED_TIMM.items()))


def _positions(body: Body, own: str) -> str:
    found = [
        "a table" if body.positions else "",
        "a convolution" if body.convolution else "",
        POSITIONS.get(body.given, ""),
        own,
    ]
    text = ", ".join(part for part in found if part) or "none"
    return f"{text}; causal" if body.causal and "causal" not in text else text


def _positions_of(kind: Kind) -> str:
    given = {"rope": "rotary, rows and columns, if the model has them", "bias": POSITIONS["distances"], "mask": ""}
    return ", ".join(part for part in ("a table", given[kind.given]) if part)


def _padding(apart: bool) -> str:
    return "lengths separately" if apart else "masked"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _grouped(items: Iterable[tuple[str, Reason]]) -> Iterator[tuple[list[str], Reason]]:
    groups: dict[Reason, list[str]] = {}
    for name, reason in items:
        groups.setdefault(reason, []).append(name)
    yield from ((names, reason) for reason, names in groups.items())
