"""Execute the notebooks of ``docs/notebooks/`` and turn them into pages with their outputs.

The notebooks are plain Python in the percent format: a cell begins with ``# %%``, and one of text with
``# %% [markdown]``. jupytext and editors read the same files.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START = re.compile(r"^# %%.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    Args:
        markdown: whether it is text.
        source: its text or code.
    """

    markdown: bool
    source: str


def cells(text: str) -> list[Cell]:
    """Return the cells of a notebook; what is above the first one is a header for jupytext."""
    heads = _START.findall(text)
    bodies = [body.strip("\n") for body in _START.split(text)[1:]]
    return [
        Cell(True, re.sub(r"^# ?", "", body, flags=re.MULTILINE)) if "[markdown]" in head else Cell(False, body)
        for head, body in zip(heads, bodies, strict=True)
    ]


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def execute(notebook: list[Cell], folder: Path, name: str) -> list[str]:
    """Run the code of a notebook in a folder.

    Args:
        notebook: its cells.
        folder: working folder.
        name: name of the notebook, for tracebacks.

    Returns:
        What each cell printed on standard output, and the value of its last expression; empty for text.
    """
    names: dict[str, Any] = {"__name__": "notebook"}
    outputs = []
    with _working_in(folder):
        for number, cell in enumerate(notebook):
            outputs.append("" if cell.markdown else _run(cell.source, names, f"{name}, cell {number}"))
    return outputs


def _run(source: str, names: dict[str, Any], where: str) -> str:
    body = ast.parse(source, where).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(ast.Module(body, []), where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
            if value is not None:
                print(repr(value))
    return out.getvalue()


def page(text: str, folder: Path, name: str) -> str:
    """Return a notebook as Markdown: its text, its code, and what the code printed."""
    notebook = cells(text)
    parts = []
    for cell, output in zip(notebook, execute(notebook, folder, name), strict=True):
        parts.append(cell.source if cell.markdown else f"```python\n{cell.source}\n```")
        if output.strip():
            parts.append(f"```text\n{output.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
