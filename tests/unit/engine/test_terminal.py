"""Control characters are shown instead of obeyed, and a reader that is gone ends no run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table

from fptkit.engine import terminal
from fptkit.engine.terminal import console, data_output, is_lost, lost_output, outlive_readers
from fptkit.errors import Problem, RecipeError, UnknownNameError, visible

HOSTILE = "a\x1b]0;title\x07\x1b[31mb\x9b2J\u202ec\rd\ud800\x00\x7f"

SHOWN = r"a\x1b]0;title\x07\x1b[31mb\x9b2J\u202ec\rd\ud800\x00\x7f"


def test_what_a_terminal_obeys_is_shown() -> None:
    assert visible(HOSTILE) == SHOWN
    plain = "text\twith a tab,\na second line, ümläuts, 日本語, 🙂 and ½"
    assert visible(plain) == plain


@contextlib.contextmanager
def pipe() -> Iterator[int]:
    """Standard output of a command in a pipe; its end that reads."""
    reading, writing = os.pipe()
    before, stream = sys.stdout, os.fdopen(writing, "w", encoding="utf-8")
    sys.stdout = stream
    try:
        terminal.take_over()
        assert isinstance(sys.stdout, terminal.Output)
        sys.stdout.others = None  # what a test prints counts as the command's
        yield reading
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.close()
        sys.stdout = before
        stream.close()


def test_a_stream_of_a_command() -> None:
    with pipe() as reading:
        print(HOSTILE)
        data_output().write("as it is: \x1b\n")
        sys.stdout.flush()
        assert os.read(reading, 1_000).decode() == f"{SHOWN}\nas it is: \x1b\n"
        os.close(reading)


def test_what_others_print_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pipe() as reading:
        sys.stdout.others = sys.stderr  # type: ignore[attr-defined]
        print("of a plugin")
        exec("print('of fptkit')", {"__name__": "fptkit.cli"})
        sys.stdout.flush()
        assert os.read(reading, 1_000).decode() == "of fptkit\n"
    assert capsys.readouterr().err == "of a plugin\n"


def test_a_reader_that_is_gone() -> None:
    with pipe() as reading:
        os.close(reading)
        outlive_readers()
        for _ in range(3):
            print("x" * 100_000)
        sys.stdout.flush()
        assert lost_output() == ""  # nobody wants it: no failure of the run


def test_a_command_without_files_ends_when_its_reader_is_gone() -> None:
    with pipe() as reading:
        os.close(reading)
        with pytest.raises(BrokenPipeError) as caught:
            print("x" * 100_000, flush=True)
        assert is_lost(caught.value)
        assert not is_lost(BrokenPipeError())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_disk_that_is_full() -> None:
    before = sys.stdout
    with open("/dev/full", "w", encoding="utf-8") as full:
        try:
            sys.stdout = full
            terminal.take_over()
            assert isinstance(sys.stdout, terminal.Output)
            sys.stdout.others = None
            outlive_readers()
            print("x", flush=True)
            print("y", flush=True)
            assert lost_output() == "standard output cannot be written: No space left on device"
            sys.stdout.close()
        finally:
            sys.stdout = before


def test_closed_streams() -> None:
    before = sys.stdout
    try:
        sys.stdout = None  # type: ignore[assignment]
        terminal.take_over()
        with sys.stdout:
            print("nowhere")
            assert not sys.stdout.isatty()
    finally:
        sys.stdout = before


def test_progress_bars_of_libraries_keep_their_control_characters() -> None:
    with pipe() as reading:
        exec(compile("import sys; sys.stdout.write('\\r 10 %')", "bar", "exec"), {"__name__": "tqdm.std"})
        sys.stdout.flush()
        assert os.read(reading, 100) == b"\r 10 %"
        os.close(reading)


def test_a_console_shows_what_it_prints_and_keeps_its_own() -> None:
    screen = io.StringIO()
    out = console(file=screen, force_terminal=True, width=300, color_system="standard")
    table = Table("name")
    table.add_row(HOSTILE.replace("\r", ""))
    out.print(table, style="bold")
    out.print(HOSTILE)
    with Progress(console=out) as bar:
        bar.add_task(HOSTILE)
        print("beside the bar \x07")  # Rich puts itself before the stream meanwhile
        console(stderr=True).print("on the other stream \x07")
    text = screen.getvalue()
    assert "\x1b[1m" in text  # its own
    for forbidden in ("\x1b]", "\x1b[31mb", "\x07", "\x9b", "\u202e", "\x00", "\ud800"):
        assert forbidden not in text
    assert r"\x1b]0;title" in text
    assert "beside the bar" in text


def test_errors_show_them() -> None:
    problem = Problem(f"{HOSTILE}.yaml:1", f"{HOSTILE}\nkey", f"first {HOSTILE}\nsecond\rthird")
    lines = str(RecipeError([problem])).splitlines()
    assert lines[1] == rf"{SHOWN}.yaml:1  {SHOWN}\nkey: first {SHOWN}"
    assert lines[2].strip() == r"second\rthird"
    assert len(lines) == 3
    assert str(UnknownNameError("task", "a\nb" + "c" * 500, ["x"])).splitlines()[0].endswith("ccc...'.")
