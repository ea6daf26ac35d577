"""Records, docs/protocols.md and shipped recipes agree on the paper's protocol."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fptkit.recipe.load import load_recipe
from fptkit.specs import TaskProtocol, TaskSpec
from fptkit.tasks.records import fptkit_tasks

PAGE = Path(__file__).parents[3] / "docs" / "protocols.md"


def fpt2021(task: TaskSpec) -> TaskProtocol | None:
    return next((protocol for protocol in task.protocols if protocol.name == "fpt2021"), None)


TASKS = {task.name: protocol for task in fptkit_tasks() if (protocol := fpt2021(task))}


def documented() -> dict[str, set[str]]:
    """The numbers of each task in the table of the page."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    head = next(row for row in rows if row[0] == "number")
    found: dict[str, set[str]] = {}
    for row in rows:
        if len(row) == len(head) and re.fullmatch(r"D\d+", row[0]):
            for names, cell in zip(head[2:], row[2:], strict=True):
                assert cell in ("", "yes", "noted")
                for name in names.split(", "):
                    found.setdefault(name, set()).update([row[0]] if cell else [])
    return found


def test_the_page_lists_what_each_task_does() -> None:
    assert documented() == {name: {number for number, _ in protocol.faults} for name, protocol in TASKS.items()}


@pytest.mark.parametrize("name", ["bit_xor", "listops", "mnist", "cifar10", "homology"])
def test_the_paper_profile_is_float32_and_reads_the_last_token(name: str) -> None:
    for arm in ("gpt2", "random", "full", "lstm", "vit", "bit_pretrained"):
        recipe = load_recipe(f"{name}_{arm}", profile="paper").recipe
        assert recipe.precision == "float32"
        assert name == "bit_xor" or recipe.head.readout == "last"
        assert load_recipe(f"{name}_{arm}").recipe.precision == "auto"
