"""What a recipe named of a training, in words, from the facts of a run. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_METRICS = ("higher_is_better", "chance")
"""Facts of a metric that are no options."""


def parts_in_words(facts: Mapping[str, Any], *, options: bool = False) -> str:
    """The parts of a training that its recipe named, such as ``optimizer sgd; schedule linear``; empty for none.

    Args:
        facts: of a run, as in ``summary.json``.
        options: whether the options are said, too, as in ``optimizer sgd (momentum 0.9)``.
    """
    words = []
    for key, given in (facts.get("training_parts") or {}).items():
        several = given if isinstance(given, list) else [given]
        words.append(f"{key} {', '.join(_named(one, options=options) for one in several)}")
    return "; ".join(words)


def _named(part: Mapping[str, Any], *, options: bool) -> str:
    given = {key: value for key, value in part.items() if key not in ("name", *_OF_METRICS) and value is not None}
    said = ", ".join(f"{key} {value}" for key, value in given.items()) if options else ""
    return f"{part.get('name')} ({said})" if said else str(part.get("name"))
