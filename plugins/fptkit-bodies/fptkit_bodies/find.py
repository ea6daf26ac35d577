"""Where the weights of a body are. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fptkit.sources import Unavailable

BODIES = {
    "english": "English prose",
    "brackets": "nested brackets of 32 types (Dyck language)",
    "stack": "traces of a stack, and sorting",
    "automaton": "rows of the cellular automaton of rule 110",
    "recall": "copies, and values looked up by key",
    "markov": "symbols from a Markov chain",
    "bit_memory": "bits to remember",
}
"""What each body was pretrained on. The eighth, pretrained on nothing, is ``backbone.init: random``."""

FILES = ("model.safetensors", "config.json", "measurement.json", "README.md")
"""Files of a body."""

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the bodies, a folder for each."""


def check_body(place: str) -> None:
    """Raise ``ValueError`` if no body has this name."""
    if place not in BODIES:
        raise ValueError(f"unknown body '{place}'\nknown: {', '.join(BODIES)}")


def open_body(place: str) -> Path:
    """The folder with ``config.json`` and ``model.safetensors`` of a body.

    Args:
        place: name of the body, a key of `BODIES`.

    Raises:
        Unavailable: this copy of the package does not hold its weights.
    """
    folder = WEIGHTS / place
    if not (folder / "model.safetensors").is_file():
        raise Unavailable(
            f"bodies:{place}: this copy of fptkit-bodies holds no such weights; make them with its make.py, or with "
            f"'fptkit pretrain body_{place} --output DIR' and name path:DIR"
        )
    return folder


def body_config(place: str) -> dict[str, Any]:
    """The content of a body's ``config.json``.

    Args:
        place: name of the body, a key of `BODIES`.

    Raises:
        Unavailable: as `open_body`.
    """
    config: dict[str, Any] = json.loads((open_body(place) / "config.json").read_text("utf-8"))
    return config


def known_bodies() -> Iterator[tuple[str, str, str]]:
    """Entry, summary and status of each body."""
    for name, summary in BODIES.items():
        there = (WEIGHTS / name / "model.safetensors").is_file()
        yield (
            f"bodies:{name}",
            f"GPT-2, 4 x 256, pretrained on {summary}",
            "in the package" if there else "not made yet",
        )
