"""The pages that a new user follows run as they are written, in smoke size: README, Start, How-to, notebooks."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from page_blocks import ROOT, blocks_of, commands_in, ours, parse, run_page, studies_in_this_process
from script_files import load_script

pytest.importorskip("pandas")

DOCS = ROOT / "docs"

PAGES = [ROOT / "README.md", *sorted((DOCS / "start").glob("*.md")), *sorted((DOCS / "howto").glob("*.md"))]
"""The examples of ``docs/data`` train in ``tests/integration/own_data``, that of predict.md in ``inference``."""

FEWEST = {"README.md": 6, "first_run.md": 8, "own_data.md": 9, "comparison.md": 5, "install.md": 3}
"""Commands of ours that run in a page, at least; the others have one."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name in ("README.md", "comparison.md"):  # the reader's own files
        first = next(blocks_of((DOCS / "start" / "own_data.md").read_text(encoding="utf-8"), "own_data.md"))
        exec(first.text, {})
        shutil.copy("new_birds.csv", "labelled_birds.csv")
        (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    ran = run_page(page)
    assert len(ran.commands) >= FEWEST.get(page.name, 1)


@pytest.mark.parametrize("page", load_script(DOCS / "site_map.py").owned()["docs/howto"])
def test_the_commands_of_every_how_to_exist(page: str) -> None:
    """Of pages that run and of those that need a cluster, a hub or hours; also behind launchers of processes."""
    text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    for block in blocks_of(text, page):
        for command in commands_in(block.text) if block.language in ("sh", "") else ():
            words = ours(shlex.split(command, comments=True))
            if words and "NAME" not in command:
                parse(words, f"{block.place}: {command}")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return load_script(DOCS / "notebook_pages.py")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((DOCS / "notebooks").glob("*.py")), ids=lambda file: file.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, pages: Any) -> None:
    cells = pages.cells(notebook.read_text(encoding="utf-8"))
    with studies_in_this_process():
        outputs = pages.execute(cells, tmp_path, notebook.name)
    printed = [output for cell, output in zip(cells, outputs, strict=True) if "print(" in cell.source]
    assert len(printed) >= 3
    assert all(printed)
