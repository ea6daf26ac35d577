"""What a run prints: a header, a progress bar or plain lines, a final table.

Header and progress go to stderr, the final table to stdout. Progress bars are shown on terminals only; elsewhere, a few
lines without control characters report the progress.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fptkit.engine.events import Event, FeaturesComputed, Noted, RunEnded, RunStarted, SplitTested, StepsDone, Validated
from fptkit.engine.terminal import console as make_console

PLAIN_LINES = 20
"""Lines about training steps in a run without a terminal, in addition to one per validation."""

FEATURE_LINES = 4
"""Lines about computed features in a run without a terminal."""

STAND_IN = "STAND-IN"


@contextlib.contextmanager
def console_listener(*, quiet: bool = False, console: Console | None = None) -> Iterator[ConsoleListener]:
    """A listener that writes to stderr; its progress bar is removed at the end, even after an error."""
    listener = ConsoleListener(console or make_console(stderr=True), quiet=quiet)
    try:
        yield listener
    finally:
        listener.close()


class ConsoleListener:
    """Prints a run's events.

    Attributes:
        started: whether there was any event.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._progress: Progress | None = None
        self._bar: Any = None
        self._max_steps = 0
        self._fractions: Collection[str] = ()
        self._validation = ""
        self._reported_step = 0
        self._reported_features = 0
        self.started = False

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        self.started = True
        if self._quiet:
            return
        match event:
            case RunStarted():
                self._start(event)
            case FeaturesComputed():
                self._features_computed(event)
            case StepsDone():
                self._steps_done(event)
            case Validated():
                self._validated(event)
            case Noted():
                _say(self._console, f"step {event.step}/{self._max_steps}  note: {event.text}")
            case SplitTested():
                _say(self._console, f"test      {event.split}: {describe_metrics(event.metrics, self._fractions)}")
            case RunEnded():
                self.close()

    def close(self) -> None:
        """Remove the progress bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self, event: RunStarted) -> None:
        self._max_steps = event.max_steps
        self._fractions = event.facts["fractions"]
        self._reported_step = event.step
        print_header(self._console, event)
        if not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[report]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=event.max_steps, completed=event.step, report="starting")
        self._progress.start()

    def _features_computed(self, event: FeaturesComputed) -> None:
        report = f"features of {event.done:,} of {event.total:,} examples"
        line = event.done * FEATURE_LINES // event.total
        if self._progress is not None:
            self._progress.update(self._bar, report=report)
        elif line > self._reported_features:
            self._reported_features = line
            _say(self._console, report)

    def _steps_done(self, event: StepsDone) -> None:
        report = f"loss {event.loss:.4f}{self._validation} · {_speed(event.examples_per_second)}"
        if self._progress is not None:
            self._progress.update(self._bar, completed=event.step, report=report)
        elif event.step - self._reported_step >= self._max_steps / PLAIN_LINES:
            self._reported_step = event.step
            _say(self._console, f"step {event.step}/{self._max_steps}  {report}")

    def _validated(self, event: Validated) -> None:
        shown = {name: value for name, value in event.metrics.items() if name != "loss"} or event.metrics
        self._validation = f" · validation {describe_metrics(shown, self._fractions, short=True)}"
        best = "  (best so far)" if event.best else ""
        metrics = describe_metrics(event.metrics, self._fractions)
        _say(self._console, f"step {event.step}/{self._max_steps}  validation: {metrics}{best}")


def print_header(console: Console, event: RunStarted) -> None:
    """Print what is about to run, and on which device; fallback sources (stand-ins) are marked."""
    facts = event.facts
    task, backbone, counts = facts["task"], facts["backbone"], facts["parameters"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    fraction = counts["trained"] / counts["total"]
    policy = facts["freezing"] + (" (changed by the recipe)" if facts["freezing_options"] else "")
    rows: list[tuple[str, str | Text]] = [
        ("recipe", event.recipe),
        ("task", _marked(f"{task['name']}, protocol {task['protocol']}, source {task['source']}", task["stand_in"])),
        ("backbone", _marked(f"{backbone['name']}, weights {backbone['weights']}", backbone["stand_in"])),
        ("freezing", f"{policy}; encoder {facts['encoder']}, read-out {facts['readout']}"),
        (
            "parameters",
            f"{counts['total']:,} in total, {counts['trained']:,} trained ({fraction:.2%}), "
            f"{counts['reached']:,} reached by the first batch's gradient",
        ),
        ("machine", f"{_processes(facts)}{facts['threads']} threads, frozen weights in {facts['precision']}"),
        (
            "training",
            f"{event.max_steps:,} steps of {event.batch_size}, learning rate {facts['learning_rate']:g}, "
            f"seed {_seeds(facts)}",
        ),
        ("folder", str(event.folder)),
    ]
    if event.step:
        rows.append(("resumed", f"at step {event.step}"))
    for name, value in rows:
        table.add_row(name, value)
    for note in event.notes:
        table.add_row("note", note)
    for warning in facts.get("warnings", ()):
        table.add_row(Text("warning", style="bold yellow"), warning)
    if task["stand_in"] or backbone["stand_in"]:
        table.add_row(Text("stand-in", style="bold yellow"), Text(stand_in_warning(facts), style="bold yellow"))
    _print_trimmed(console, table)


def _processes(facts: Mapping[str, Any]) -> str:
    """The device, and the number of processes if several train together."""
    count = facts.get("processes", 1)
    return f"{facts['device']}, " + (f"{count} processes, " if count > 1 else "")


def _seeds(facts: Mapping[str, Any]) -> str:
    """The seed, and those of single sources of randomness that differ from it."""
    seed = facts["seed"]
    apart = [f"{name} {own}" for name, own in facts.get("seeds", {}).items() if own != seed]
    return f"{seed} ({', '.join(apart)})" if apart else str(seed)


def _print_trimmed(console: Console, table: Table) -> None:
    """Print a table; outside a terminal without trailing spaces."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    _say(console, "\n".join(line.rstrip() for line in captured.get().splitlines()))


def stand_in_warning(facts: Mapping[str, Any]) -> str:
    """One sentence about the fallbacks in use: what was not the first choice."""
    which = [name for name in ("task", "backbone") if facts[name]["stand_in"]]
    what = {"task": f"data ({facts['task']['source']})", "backbone": f"weights ({facts['backbone']['weights']})"}
    which_ones = " and ".join(what[name] for name in which)
    return f"fallback {which_ones} in use: not comparable with published figures"


def print_summary(summary: Mapping[str, Any], folder: Path, console: Console | None = None) -> None:
    """Print the final table on stdout."""
    console = console or make_console()
    _print_trimmed(console, _splits_table(summary))
    _say(
        console,
        f"best step {summary['best_step']:,} of {summary['steps']:,}; {summary['seconds']:.1f} s of training, "
        f"{_speed(summary['examples_per_second'])}, peak memory {summary['peak_memory_mib']:,.0f} MiB",
    )
    if summary["task"]["stand_in"] or summary["backbone"]["stand_in"]:
        _say(console, Text(f"{STAND_IN}: {stand_in_warning(summary)}", style="bold yellow"))
    _say(console, f"all files are in {folder}")


def _splits_table(summary: Mapping[str, Any]) -> Table:
    """The metrics of every split, beside what an accuracy is without learning."""
    metrics, fractions = summary["metrics"], summary["fractions"]
    majority, chance = summary["majority_accuracy"], summary.get("chance_accuracy")
    trained_on = {"train": metrics["train"]} if "train" in metrics else {}
    splits = {**trained_on, "validation": metrics["validation"], **metrics["test"]}
    names = list(dict.fromkeys(name for values in splits.values() for name in values))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("split", no_wrap=True)
    levels = [*(["chance"] if chance is not None else ()), *(["majority class"] if majority else ())]
    for name in (*names, *levels):
        table.add_column(name.replace("_", " "), justify="right")
    for split, values in splits.items():
        row = [split, *(_number(values[name], name in fractions) if name in values else "" for name in names)]
        if chance is not None:
            row.append(_number(chance, True))
        if majority:
            row.append(_number(majority[split], True) if split in majority else "")
        table.add_row(*row)
    return table


def _say(console: Console, text: str | Text) -> None:
    """Print a line; outside a terminal it is never wrapped, for grep."""
    console.print(text, soft_wrap=not console.is_terminal)


def describe_metrics(metrics: Mapping[str, float], fractions: Collection[str], *, short: bool = False) -> str:
    """``accuracy 93.1 %, loss 0.2134``; ``short`` leaves the loss out if there are other metrics.

    Args:
        metrics: values by name.
        fractions: names of those shown in percent.
    """
    ordered = sorted(metrics.items(), key=lambda item: item[0] == "loss")
    return ", ".join(
        f"{name.replace('_', ' ')} {_number(value, name in fractions)}"
        for name, value in ordered[: 1 if short else None]
    )


def _number(value: float, fraction: bool) -> str:
    return f"{value:.1%}" if fraction else f"{value:.4f}"


def _speed(examples_per_second: float) -> str:
    return (
        f"{examples_per_second:,.0f} examples/s"
        if examples_per_second >= 10
        else f"{examples_per_second:.2f} examples/s"
    )


def _marked(text: str, stand_in: bool) -> Text:
    marked = Text(text)
    if stand_in:
        marked.append(f"  {STAND_IN}", style="bold yellow")
    return marked
