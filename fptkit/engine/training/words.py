"""What a recipe named of a training, in words, from the facts of a run. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def parts_in_words(facts: Mapping[str, Any]) -> str:
    """The parts of a training that its recipe named, such as ``optimizer sgd, schedule linear``; empty for none.

    Args:
        facts: of a run, as in ``summary.json``.
    """
    words = []
    for key, given in (facts.get("training_parts") or {}).items():
        names = [one.get("name") for one in given] if isinstance(given, list) else [given.get("name")]
        words.append(f"{key} {', '.join(map(str, names))}")
    return "; ".join(words)
