"""Progress in Python: in a notebook one display for each run or study, which is updated and needs no widgets."""

from __future__ import annotations

import contextlib
import html
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fptkit.api.display import html_table, paragraph
from fptkit.engine.events import Event, FeaturesComputed, Listener, Noted, RunEnded, RunStarted, StepsDone, Validated


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextlib.contextmanager
def run_listener(*, quiet: bool) -> Iterator[Listener]:
    """The listener that shows a run: one display in a notebook, a progress bar or lines on stderr elsewhere."""
    if in_notebook() and not quiet:
        yield NotebookListener()
        return
    from fptkit.cli.console import console_listener

    with console_listener(quiet=quiet) as listener:
        yield listener


class Display:
    """One output of a notebook's cell, whose content can be replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Show HTML in place of what is shown."""
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(text), display_id=True)
        else:
            self._handle.update(HTML(text))


class NotebookListener:
    """Shows a run in a notebook: one display, which is updated. It needs no widgets."""

    def __init__(self) -> None:
        self._display = Display()
        self._start: RunStarted | None = None
        self._step, self._line = 0, ""
        self._validations: list[Mapping[str, Any]] = []
        self._notes: list[str] = []

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        match event:
            case RunStarted():
                self._start, self._step = event, event.step
                self._notes += event.notes
            case FeaturesComputed():
                self._line = f"features of {event.done:,} of {event.total:,} examples"
            case StepsDone():
                self._step = event.step
                self._line = f"loss {event.loss:.4f}, {event.examples_per_second:,.0f} examples/s"
            case Validated():
                best = {"": "best so far" if event.best else ""}
                self._validations.append({"step": event.step, **event.metrics, **best})
            case Noted():
                self._notes.append(f"step {event.step}: {event.text}")
            case RunEnded():
                self._line = str(event.summary["status"])
            case _:
                return
        self._display.show(self._html())

    def _html(self) -> str:
        start = self._start
        if start is None:
            return paragraph(self._line)
        bar = f'<progress value="{self._step}" max="{start.max_steps}" style="width: 20em"></progress>'
        what = f"{start.recipe}: {self._step:,} of {start.max_steps:,} steps"
        return "".join(
            [
                f"<div>{bar} {html.escape(what)}{f' · {html.escape(self._line)}' if self._line else ''}</div>",
                html_table(self._validations, caption="validation") if self._validations else "",
                *(paragraph(f"note: {note}") for note in self._notes),
                paragraph(f"folder: {start.folder}"),
            ]
        )
