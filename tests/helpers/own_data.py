"""Runs the complete example of a documentation page: its first Python block makes files, its first recipe is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe

PAGES = Path(__file__).parents[2] / "docs" / "data"

MOST_LINES = 15
"""A recipe for own data is no longer than this."""


def first_block(page: str, language: str) -> str:
    """The first fenced block of a language in a page of ``docs/data``."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no {language} block"
    return found[1]


def run_example(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, Any]:
    """Make the files of a page's example, run its recipe in ``folder / "run"``, and return the summary.

    Args:
        page: name of the page, such as ``table.md``.
        folder: an empty folder, which becomes the working folder.
        monkeypatch: changes the working folder for the test.
        overrides: as ``--set`` takes them.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FPTKIT_DATA", str(folder / "cache"))
    exec(first_block(page, "python"), {})
    recipe = first_block(page, "yaml")
    assert len([line for line in recipe.splitlines() if line.strip() and not line.startswith("#")]) <= MOST_LINES
    (folder / "mine.yaml").write_text(recipe, encoding="utf-8")
    return run(RunRequest(load_recipe("mine.yaml", overrides=["threads=1", *overrides]), folder / "run"))


def margin(summary: dict[str, Any]) -> float:
    """Test accuracy above that of the most frequent class, from 0 to 1."""
    accuracy: float = summary["metrics"]["test"]["test"]["accuracy"]
    return accuracy - float(summary["majority_accuracy"]["test"])
