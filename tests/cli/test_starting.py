"""What a command shows from its first moment: on a terminal, in a pipe, and not with --quiet or --json."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY, fptkit

from fptkit.engine.terminal import Output


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_a_pipe_gets_a_line_for_each_activity_before_the_header(tiny: Path) -> None:
    done = fptkit("run", "tiny.yaml", "--output", "run", cwd=tiny.parent)
    before = done.stderr.partition("recipe  ")[0].splitlines()
    assert before[:2] == ["reading recipe tiny.yaml", "importing torch"]
    assert "opening the data of task bit_xor" in before
    assert "building backbone random" in before
    assert len(before) == len(set(before))


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_nothing_is_shown_with(tiny: Path, option: str) -> None:
    done = fptkit("run", "tiny.yaml", "--output", "run", option, cwd=tiny.parent)
    assert "reading recipe" not in done.stderr
    assert "importing torch" not in done.stderr


def test_a_study_shows_it_too(tiny: Path) -> None:
    done = fptkit("study", "tiny.yaml", "--set", "train.max_steps=x", cwd=tiny.parent)
    assert done.stderr.startswith("reading study tiny.yaml\nerror: ")
    assert not fptkit("study", "tiny.yaml", "--dry-run", cwd=tiny.parent).stderr


def test_on_a_terminal_the_line_disappears_before_anything_else_is_shown(tmp_path: Path) -> None:
    text = on_terminal("run", "nothing-like-this", cwd=tmp_path)
    assert text.startswith("reading recipe nothing-like-this\r\x1b[2Kerror: unknown recipe")
    assert text.count("reading recipe") == 1


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    text = on_terminal("run", "nothing-like-this", cwd=tmp_path, term="dumb")
    assert text.startswith("reading recipe nothing-like-this\r\nerror: ")


class Screen(io.BytesIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_every_text_on_the_same_terminal_removes_the_line_first() -> None:
    screen = Screen()
    err = Output(io.TextIOWrapper(screen, encoding="utf-8"))
    out = Output(io.TextIOWrapper(screen, encoding="utf-8"), others=err)
    err.show_status("importing torch")
    err.show_status("opening")
    err.write("a warning\n")
    err.show_status("opening")
    out.write_as_it_is("a result\n")
    out.flush()
    err.show_status("")
    err.flush()
    gone = "\r\x1b[2K"
    assert screen.getvalue().decode() == f"importing torch{gone}opening{gone}a warning\nopening{gone}a result\n"


def on_terminal(*arguments: str, cwd: Path, term: str = "xterm") -> str:
    """What a command writes to stderr, if that is a terminal."""
    main, other = pty.openpty()
    command = [sys.executable, "-m", "fptkit", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=other, env={**os.environ, "TERM": term}
    ) as process:
        os.close(other)
        found = b""
        try:
            while piece := os.read(main, 4096):
                found += piece
        except OSError:  # Linux's way of saying that the other end is closed
            pass
        process.wait(60)
    os.close(main)
    return found.decode()
