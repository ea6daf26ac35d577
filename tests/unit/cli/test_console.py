"""What a run looks like, on consoles of fixed width."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fptkit.cli.console import ConsoleListener, print_summary
from fptkit.engine.events import RunEnded, RunStarted, SplitTested, StepsDone, Validated

FACTS: dict[str, Any] = {
    "task": {"name": "remote_homology", "protocol": "clean", "source": "simulated", "stand_in": True},
    "backbone": {"name": "gpt2", "weights": "builtin:gpt2_nano", "stand_in": True},
    "encoder": "symbols",
    "readout": "mean",
    "freezing": "fpt",
    "freezing_options": {},
    "parameters": {"total": 3_186_182, "trained": 31_238, "reached": 27_398},
    "device": "cpu",
    "threads": 2,
    "precision": "bfloat16",
    "learning_rate": 0.003,
    "seed": 0,
    "fractions": ["accuracy"],
}
SUMMARY: dict[str, Any] = {
    **FACTS,
    "metrics": {
        "validation": {"loss": 1.25, "accuracy": 0.5},
        "test": {"test_fold_holdout": {"loss": 2.5, "accuracy": 0.125}},
    },
    "majority_accuracy": {"validation": 0.0625, "test_fold_holdout": 0.25},
    "chance_accuracy": 0.125,
    "best_step": 20,
    "steps": 40,
    "seconds": 12.34,
    "examples_per_second": 321.0,
    "peak_memory_mib": 1024.0,
}


def events() -> list[Any]:
    return [
        RunStarted("homology_gpt2", Path("runs/x"), FACTS, ("a note with [brackets] in it",), 0, 40, 16),
        StepsDone(20, 3.5, 99.5),
        Validated(20, {"loss": 1.25, "accuracy": 0.5}, True),
        StepsDone(40, 1.5, 101.0),
        SplitTested("test_fold_holdout", 20, {"loss": 2.5, "accuracy": 0.125}),
        RunEnded(SUMMARY),
    ]


def shown(width: int, *, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, highlight=False, markup=False)
    listener = ConsoleListener(console)
    for event in events():
        listener.handle(event)
    print_summary(SUMMARY, Path("runs/x"), console)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_plain_output_has_no_control_characters_and_fits(width: int) -> None:
    text = shown(width, terminal=False)
    assert "\x1b" not in text
    assert "\r" not in text
    table = text[: text.index("step 20/40")]
    assert max(map(len, table.splitlines())) <= width


def test_stand_ins_are_marked_in_header_and_table() -> None:
    text = shown(140, terminal=False)
    assert "source simulated  STAND-IN" in text
    assert "weights builtin:gpt2_nano  STAND-IN" in text
    assert text.count("not comparable with published figures") == 2


def test_figures_are_shown_as_they_are() -> None:
    text = shown(140, terminal=False)
    assert "3,186,182 in total, 31,238 trained (0.98%), 27,398 reached" in text
    assert "a note with [brackets] in it" in text
    assert "step 20/40  validation: accuracy 50.0%, loss 1.2500  (best so far)" in text
    assert "step 40/40  loss 1.5000 · validation accuracy 50.0% · 101 examples/s" in text
    assert "test      test_fold_holdout: accuracy 12.5%, loss 2.5000" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["split", "loss", "accuracy", "chance", "majority", "class"] in rows
    assert ["test_fold_holdout", "2.5000", "12.5%", "12.5%", "25.0%"] in rows


def test_chance_is_left_out_where_it_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    for chance in ({}, {"chance_accuracy": None}):
        print_summary({**SUMMARY, "majority_accuracy": {}, "chance_accuracy": None} | chance, Path("runs/x"))
        assert "chance" not in capsys.readouterr().out
    without = {key: value for key, value in SUMMARY.items() if key != "chance_accuracy"}
    print_summary(without, Path("runs/x"))
    assert "chance" not in capsys.readouterr().out


def test_a_terminal_gets_a_bar_of_one_line() -> None:
    text = shown(80, terminal=True)
    assert "━" in text
    assert "\x1b[?25h" in text  # the cursor is shown again
    assert "step 20/40  validation: accuracy 50.0%" in text  # stays above the bar
    assert "step 40/40  loss" not in text  # the bar says it


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    listener = ConsoleListener(Console(file=stream), quiet=True)
    for event in events():
        listener.handle(event)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"seed": 0}, "seed 0"),
        ({"seed": 4, "seeds": {"init": 4, "order": 4, "data": 4}}, "seed 4"),
        ({"seed": 4, "seeds": {"init": 4, "order": 0, "data": 7}}, "seed 4 (order 0, data 7)"),
    ],
)
def test_seeds_that_differ_are_shown(facts: dict[str, Any], said: str) -> None:
    stream = io.StringIO()
    listener = ConsoleListener(Console(file=stream, width=140, highlight=False, markup=False))
    listener.handle(RunStarted("homology_gpt2", Path("runs/x"), {**FACTS, **facts}, (), 0, 40, 16))
    assert f"learning rate 0.003, {said}\n" in stream.getvalue()


NOTES = tuple(
    f"note {number} with a good many words, so that it takes more than one line of a terminal" for number in range(12)
)


def on_screen(notes: tuple[str, ...], *, width: int = 80, height: int = 24) -> str:
    """A run on a terminal up to its first steps, as characters."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    listener = ConsoleListener(console)
    listener.handle(RunStarted("homology_gpt2", Path("runs/x"), FACTS, notes, 0, 100_000, 16))
    text = stream.getvalue()
    listener.handle(Validated(50, {"loss": 1.25, "mean_absolute_error": 0.5}, True))
    listener.handle(StepsDone(100, 3.5, 12_345.0))
    listener.close()
    return text + "|" + stream.getvalue()[len(text) :]


def test_the_header_leaves_room_for_the_progress_bar_on_a_small_terminal() -> None:
    header = on_screen(NOTES).partition("|")[0].rstrip("\r\n").splitlines()
    assert len(header) <= 24 - 2
    assert any(line.startswith("note") and line.rstrip().endswith("more in summary.json") for line in header)
    assert "not comparable with published" in "".join(header)  # the warning about fallbacks stays
    whole = on_screen(NOTES, height=100)
    assert all(f"note {number} " in whole for number in range(12))


def test_the_bar_keeps_its_room_on_a_narrow_terminal() -> None:
    def bar(width: int) -> str:
        return next(line for line in reversed(on_screen((), width=width).splitlines()) if "loss 3.5000" in line)

    assert "12,345 examples/s" in bar(140)
    assert "12,345 examples/s" not in bar(80)
    between = re.search(r"100/100000(.*)loss", bar(80))
    assert between is not None
    assert len(between[1]) >= 8 + 2


def test_plain_lines_have_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr("fptkit.cli.console.time.monotonic", lambda: next(seconds))
    lines = [line for line in shown(140, terminal=False).splitlines() if "examples/s" in line]
    assert (
        lines[0].endswith("step 20/40  loss 3.5000 · 100 examples/s · up to 2 s left") or "up to 2 s left" in lines[0]
    )
    assert "left" not in lines[1]  # the last step
