"""Runs the blocks of a documentation page in their order, as a reader would, in smoke size.

- ``sh``: each ``fptkit`` command runs in this process; a training takes two steps, and a study trains in this process
  too. A block after the comment ``<!-- not run: REASON -->`` is parsed only: commands and their options must exist.
- ``python`` and ``yaml``: a block whose first line is ``# NAME.py`` or ``# NAME.yaml`` becomes that file; other Python
  runs.
- ``python FILE.py`` runs a file that the page made.
- Other programs do not run, but are known: installing names extras and folders that exist.
"""

from __future__ import annotations

import contextlib
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from command_line import fptkit
from scripted_launcher import ScriptedLauncher

from fptkit.cli.main import cli
from fptkit.lab.studies.job import carry_out

ROOT = Path(__file__).parents[2]

SMOKE = ("train.max_steps=2", "train.validate_every=2", "threads=1")
"""What keeps a run of a page short; it changes no file of the page. Shipped recipes get their profile ``smoke`` too."""

SHIPPED = {file.stem for file in (ROOT / "recipes").glob("*.yaml")}

NOT_RUN = ("not run: ", "picture command")
"""Comments above blocks that are parsed only; the picture of README needs a download and ten minutes."""

UNTOUCHED = ("push", "pull", "pretrain", "bench")
"""Commands that are parsed only, everywhere: they need a hub, minutes, or a quiet machine."""

NOT_OURS = ("git", "nvidia-smi", "exec", "hf", "ray", "export", "torchrun", "accelerate", "cd", ".")
"""First words of lines that only readers run."""

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        place: page and line.
        language: of the fence; empty if there is none.
        text: its content.
        mark: the comment in the line above, empty if there is none.
    """

    place: str
    language: str
    text: str
    mark: str


@dataclass
class Ran:
    """What was done with the blocks of a page.

    Args:
        commands: lines that ran.
        parsed: lines of ours that were only parsed.
        others: lines of other programs.
        python: blocks of Python that ran, or became a file.
    """

    commands: list[str] = field(default_factory=list)
    parsed: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    python: list[str] = field(default_factory=list)


def blocks_of(text: str, name: str) -> Iterator[Block]:
    """The blocks of a page in their order."""
    for found in _BLOCK.finditer(text):
        place = f"{name}:{text[: found.start('text')].count(chr(10)) + 1}"
        yield Block(place, found["language"], found["text"], found["mark"] or "")


def commands_in(text: str) -> Iterator[str]:
    """The commands of a shell block, without the remarks beside them."""
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if line.strip() and not line.startswith("#"):
            for command in re.split(r"   +| # | +> ", line.strip())[0].split(" && "):
                yield command.strip()


@contextlib.contextmanager
def studies_in_this_process() -> Iterator[None]:
    """Studies train in this process, one run after the other, instead of starting workers that import torch."""

    def make(*arguments: object, **options: object) -> ScriptedLauncher:
        return ScriptedLauncher(lambda job, number: carry_out(job))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fptkit.lab.studies.launchers.choose.make_launcher", make)
        patch.setattr("fptkit.api.studies.make_launcher", make)
        yield


def run_page(page: Path, *, sizes: tuple[str, ...] = SMOKE) -> Ran:
    """Run a page in the working folder.

    Args:
        page: its file.
        sizes: overrides of every training.
    """
    ran, names = Ran(), {"__name__": "page"}
    for block in blocks_of(page.read_text(encoding="utf-8"), page.name):
        if block.language in ("sh", ""):
            for command in commands_in(block.text):
                run_command(command, block, ran, sizes)
        elif file := re.match(r"# ([\w/]+\.(?:py|yaml))\n", block.text):
            Path(file[1]).write_text(block.text, encoding="utf-8")
            ran.python += [block.place] * (block.language == "python")
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)
            ran.python.append(block.place)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text), block.place
    return ran


def run_command(command: str, block: Block, ran: Ran, sizes: tuple[str, ...]) -> None:
    """Run one line, or parse it if the block is not run."""
    words = shlex.split(command, comments=True)
    started = ours(words)
    if block.mark.startswith(NOT_RUN) or (started and started[0] in UNTOUCHED) or words[0] in NOT_OURS:
        if started is not None:
            parse(started, block.place)
        (ran.others if started is None else ran.parsed).append(command)
    elif started is not None:
        with studies_in_this_process():
            done = fptkit(*started, *shortened(started, sizes))
        assert done.returncode == 0, f"{block.place}: {command}\n{done.stderr}"
        ran.commands.append(command)
    elif re.fullmatch(r"(\.venv/bin/)?python3? \w+\.py", command):
        runpy.run_path(words[1], run_name="__main__")
        ran.commands.append(command)
    else:
        check_other(words, block.place)
        ran.others.append(command)


def ours(words: list[str]) -> list[str] | None:
    """The arguments of fptkit in a line, also behind a launcher of processes; none if it is another program's."""
    if words[0].rpartition("/")[2] == "fptkit":
        return words[1:]
    if words[:2] == ["exec", "fptkit"]:
        return words[2:]
    return words[words.index("fptkit") + 1 :] if "-m" in words and "fptkit" in words else None


def shortened(words: list[str], sizes: tuple[str, ...]) -> list[str]:
    """The options that make a command short."""
    if words[0] == "study" and not {"smoke", "--dry-run", "lock"} & {*words}:
        return ["--set", "budget={steps: 2}"]
    if words[0] != "run":
        return []
    profile = ["--profile", "smoke"] if Path(words[1]).stem in SHIPPED and "--profile" not in words else []
    return [*profile, *(word for text in sizes for word in ("--set", text))]


def parse(words: list[str], place: str) -> None:
    """Check that a command and all of its options exist."""
    command: click.Command = cli
    context = click.Context(cli, info_name="fptkit")
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"{place}: no such command"
        command = found
    command.make_context(str(command.name), words, parent=context, resilient_parsing=words[:1] == ["--version"])


def check_other(words: list[str], place: str) -> None:
    """Check a line of another program: what is installed must exist."""
    program = words[0].rpartition("/")[2]
    assert program in ("pip", "python", "python3", "pytest", "jupytext"), f"{place}: {' '.join(words)}"
    for word in words[2:] if program == "pip" else []:
        folder, _, extras = word.partition("[")
        if folder.startswith("."):
            assert (ROOT / folder).is_dir(), f"{place}: {word}"
            known: Any = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            for extra in filter(None, extras.rstrip("]").split(",")):
                assert re.search(rf"^{extra} = \[", known, re.MULTILINE), f"{place}: no extra '{extra}'"
