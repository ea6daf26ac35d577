"""The map of the documentation site, read from its pages: which page belongs to which section.

A section is a page whose tables begin their rows with a link, ``| [Title](page.md) | what it answers |``. The first
section that lists a page owns it. A page of ``docs/`` that no section lists still gets a place, so a new page never
breaks the build; a test demands a row for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SECTIONS = (
    "docs/start",
    "docs/tutorials",
    "docs/howto",
    "docs/explanation",
    "docs/reference",
    "docs/results/README",
    "docs/LOG",
)
"""Pages in the sidebar, in order; those that do not exist are left out."""

NESTED = ("plugins/README",)
"""Pages further down that own the pages in their tables."""

_ROW = re.compile(r"^\| \[([^\]]+)\]\(([^)#\s]+)\) \| (.*?) \|", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A row of a section's table.

    Args:
        title: text of the link.
        page: name of the page, relative to the root of the project, without ending.
        summary: what the page answers, in Markdown.
    """

    title: str
    page: str
    summary: str


def file_of(page: str) -> Path:
    """Return the file of a page; notebooks are Python files."""
    return ROOT / f"{page}{'.py' if page.startswith('docs/notebooks/') else '.md'}"


def rows(section: str) -> list[Row]:
    """Return the rows of a section's tables that lead to pages."""
    found = []
    for title, link, summary in _ROW.findall(file_of(section).read_text(encoding="utf-8")):
        target = (file_of(section).parent / link).resolve()
        if target.suffix in (".md", ".py") and target.exists():
            found.append(Row(title, target.relative_to(ROOT).with_suffix("").as_posix(), summary))
    return found


def sections() -> list[str]:
    """Return the sections that exist."""
    return [section for section in SECTIONS if file_of(section).exists()]


@cache
def owned() -> dict[str, list[str]]:
    """Return the pages of each section, each page once."""
    taken = {"docs/index", *sections()}
    pages: dict[str, list[str]] = {}
    for section in (*sections(), *NESTED):
        pages[section] = []
        for row in rows(section):
            if row.page not in taken:
                taken.add(row.page)
                pages[section].append(row.page)
    for file in sorted((ROOT / "docs").rglob("*.md")):
        page = file.relative_to(ROOT).with_suffix("").as_posix()
        if page not in taken:
            pages["docs/results/README" if page.startswith("docs/results/") else "docs/howto"].append(page)
    return pages


def toctree(page: str) -> str:
    """Return the table of contents of a page in MyST, empty for a page that owns none."""
    titles = {row.page: row.title for row in reversed(rows(page))} if page in owned() else {}
    children = sections() if page == "docs/index" else owned().get(page, [])
    entries = "".join(f"{titles[child]} </{child}>\n" if child in titles else f"/{child}\n" for child in children)
    return f"\n\n```{{toctree}}\n:hidden:\n\n{entries}```\n" if entries else ""


def llms_text() -> str:
    """Return ``llms.txt``: every page with its summary, in the form of https://llmstxt.org."""
    index = file_of("docs/index").read_text(encoding="utf-8")
    summary = " ".join(index.split("\n\n")[1].split())
    parts = [f"# fptkit\n\n> {_plain(summary)}\n"]
    for section in (*sections(), *NESTED):
        title = file_of(section).read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        of_pages = {row.page: row for row in reversed(rows(section))}
        lines = [f"- [{title}](_sources/{section}.md.txt)"] if section in SECTIONS else []
        for page in owned()[section]:
            row = of_pages.get(page, Row(Path(page).name, page, ""))
            lines.append(
                f"- [{row.title}](_sources/{page}{file_of(page).suffix}.txt): {_plain(row.summary)}".rstrip(": ")
            )
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Return Markdown without links."""
    return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", text)
