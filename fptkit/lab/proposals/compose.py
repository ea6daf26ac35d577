"""The text of a recipe for a user's files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.lab.proposals.choose import Chosen
from fptkit.tasks.reading.look import Choice

WIDTH = 118
"""Columns of a comment, at most."""

SPLIT = "split: {validation: 0.15, test: 0.15, group: COLUMN}   # what the data do not divide themselves"

CONTROL = {"backbone": {"init": "random"}}
"""The profile of the control: random weights in the frozen part."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n", "none")


def compose(
    chosen: Chosen, place: Path, *, command: str, options: Mapping[str, Choice], batch_size: int, steps: int = 400
) -> str:
    """Write the recipe.

    Args:
        chosen: the task.
        place: the file or folder, absolute, so that the recipe runs from any folder.
        command: the command that asked for it, for the first line.
        options: the options of the task.
        batch_size: examples per step.
        steps: training steps.
    """
    look = chosen.look
    head = [f"Written by: {command}", *(f"  {line}" for line in look.seen)]
    others = "".join(f"; or {other.task}: {other.why}" for other in chosen.others)
    lines = [
        *map(_comment, head),
        "task:",
        _option("name", Choice(look.task, f"{look.why}{others}")),
        _option("source", Choice(f"path:{look.source or place}")),
        *(_option(name, choice) for name, choice in options.items()),
        *(() if "split" in options else (f"  {_comment(SPLIT)}",)),
        _comment("Small weights that come with fptkit, for a first look in minutes. Larger: weights: [hf:gpt2]"),
        "backbone: {name: gpt2, weights: [builtin:gpt2_nano], dropout: 0.0}",
        *(f"{section}: {_yaml(dict(values))}" for section, values in look.sections.items()),
        f"train: {{learning_rate: 1e-3, batch_size: {batch_size}, max_steps: {steps}, validate_every: 50}}",
        "profiles:",
        "  "
        + _comment("The same model and budget without pretraining: what it cannot do is what pretraining is worth."),
        f"  control: {_yaml(CONTROL)}",
    ]
    return "\n".join(lines) + "\n"


def _option(name: str, choice: Choice) -> str:
    line = f"  {_yaml(name)}: {_yaml(choice.value)}"
    return f"{line}   # {_one_line(choice.comment)}" if choice.comment else line


def _comment(line: str) -> str:
    return f"# {_one_line(line)[:WIDTH]}".rstrip()


def _one_line(text: str) -> str:
    """Text without line ends and control characters, which would end a comment."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _yaml(value: Any) -> str:
    """A value in the flow style of YAML; text in double quotes, unless it is a plain word."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_yaml(name)}: {_yaml(each)}" for name, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_yaml, value)) + "]"
        case str() if _PLAIN.fullmatch(value.removeprefix("path:/")) and value.lower() not in _WORDS:
            return value
        case str():
            return _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Text in double quotes, with the signs that YAML does not allow as they are written as escapes."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)
