"""The pages that a new user follows run as they are written, in smoke size: README, Start, How-to, notebooks."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml
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


@pytest.mark.parametrize(
    ("language", "text", "error", "said"),
    [
        ("sh", "fptkit list nothing", AssertionError, "page.md:2: fptkit list nothing"),
        ("sh", "fptkit validate gone.yaml", AssertionError, "page.md:2: fptkit validate gone.yaml"),
        ("sh", "pip install '.[nothing]'", AssertionError, "no extra 'nothing'"),
        ("sh", "pip install ./nowhere", AssertionError, "./nowhere"),
        ("sh", "rm gone.yaml", AssertionError, "rm gone.yaml"),
        ("sh", "fptkit bench bit_xor_gpt2 --wrong", click.NoSuchOption, "--wrong"),
        ("sh", "torchrun --nproc-per-node 2 -m fptkit run a --wrong", click.NoSuchOption, "--wrong"),
        ("python", "1 / 0", ZeroDivisionError, "division"),
        ("yaml", "a: [", yaml.YAMLError, "expected"),
    ],
)
def test_what_is_wrong_on_a_page_is_found(
    language: str, text: str, error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(f"```{language}\n{text}\n```\n")
    with pytest.raises(error, match=re.escape(said)):
        run_page(tmp_path / "page.md")


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
