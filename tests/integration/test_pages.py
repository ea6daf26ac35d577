"""The pages that a new user follows run as they are written: README, Start and How-to, in smoke size."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_blocks import ROOT, run_page

pytest.importorskip("pandas")

DOCS = ROOT / "docs"

PAGES = [
    ROOT / "README.md",
    *sorted((DOCS / "start").glob("*.md")),
    *sorted((DOCS / "howto").glob("*.md")),
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_page(page)
    assert ran.commands or ran.parsed
