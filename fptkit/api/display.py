"""Results as HTML tables, lines about a training, and libraries that print too much."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fptkit.engine.events import Event, Noted, Validated


def quiet_libraries() -> None:
    """Turn off progress bars and advice of libraries, unless the environment says otherwise."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def paragraph(text: str) -> str:
    """A line of text as HTML; brackets in it are text."""
    return f'<div style="white-space: pre-wrap">{html.escape(text)}</div>'


def html_table(rows: Sequence[Mapping[str, Any]], *, caption: str = "") -> str:
    """Rows as an HTML table, in the colours of the page around it.

    Args:
        rows: the same keys in each, or some of them.
        caption: its heading; empty for none.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th style="text-align: left">{html.escape(str(name))}</th>' for name in names)
    body = "".join(f"<tr>{_cells(row.get(name) for name in names)}</tr>" for row in rows)
    title = f'<caption style="text-align: left">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(values: Iterable[Any]) -> str:
    return "".join(f'<td style="text-align: left">{html.escape(_shown(value))}</td>' for value in values)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Lines:
    """Prints a line for each validation and note of a training on stderr.

    Args:
        max_steps: its last step.
    """

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps

    def handle(self, event: Event) -> None:
        """See `Listener`."""
        if isinstance(event, Validated):
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in event.metrics.items())
            best = "  (best so far)" if event.best else ""
            print(f"step {event.step}/{self._max_steps}  validation: {shown}{best}", file=sys.stderr)
        elif isinstance(event, Noted):
            print(f"step {event.step}/{self._max_steps}  note: {event.text}", file=sys.stderr)
