"""A report as Markdown for GitHub; pictures, if requested, are separate files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fptkit.lab.reporting.document import Entry, Exhibit, Point, Report, Section, Table

_MEANINGFUL = re.compile(r"([\\`*\[\]|#~]|(?<!\w)_|_(?!\w))")


def escaped(text: str) -> str:
    """Escape text for Markdown: one line, without markup or HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MEANINGFUL.sub(r"\\\1", plain)


def to_markdown(report: Report, *, pictures: str = "") -> str:
    """Render a report as Markdown.

    Args:
        report: the report.
        pictures: folder of the pictures relative to the file; empty to leave them out.
    """
    parts = [f"# {escaped(report.title)}"]
    if report.banner:
        parts.append(f"> [!CAUTION]\n> **{escaped(report.banner)}**")
    if report.warnings:
        warnings = "\n".join(f"> - {escaped(text)}" for text in report.warnings)
        parts.append(f"> [!WARNING]\n{warnings}")
    parts += [escaped(text) for text in (report.description,) if text]
    parts += [f"**Question:** {escaped(text)}" for text in (report.question,) if text]
    parts.append(escaped(report.status))
    if report.deviations:
        parts += ["## Deviations from the locked plan", _numbered(report.deviations)]
    for section in report.sections:
        parts += _section(section, pictures)
    return "\n\n".join(parts) + "\n"


def _numbered(texts: Sequence[str]) -> str:
    return "\n".join(f"{number}. {escaped(text)}" for number, text in enumerate(texts, 1))


def _points(points: Sequence[Point]) -> Iterator[str]:
    for point in points:
        yield f"- {escaped(point.text)}"
        yield from (f"  - {escaped(text)}" for text in point.below)


def _section(section: Section, pictures: str) -> list[str]:
    shown = section.pictures if pictures else ()
    if not (section.points or section.tables or section.code or section.exhibits or shown):
        return []
    parts = [f"## {escaped(section.title)}"]
    if shown or not section.pictures:  # its paragraphs explain the pictures
        parts += [escaped(text) for text in section.paragraphs]
    if section.points:
        parts.append("\n".join(_points(section.points)))
    parts += map(escaped, section.notes)
    if section.code:
        fence = "`" * (max(map(len, re.findall("`+", section.code)), default=2) + 1)
        fence = fence if len(fence) > 2 else "```"
        parts.append(f"{fence}sh\n{section.code}\n{fence}")
    parts += [f"![{escaped(picture.alternative)}]({pictures}/{picture.key}.svg)" for picture in shown]
    parts += map(_exhibit, section.exhibits)
    return parts + [part for table in section.tables for part in _table(table)]


def _exhibit(one: Exhibit) -> str:
    """An example of the data as an item of a list, without its picture."""
    cells = ", ".join(f"{name}: {cell}" for name, cell in one.cells)
    return "- " + "; ".join(escaped(text) for text in (one.title, *one.lines, one.text, cells) if text)


def _table(table: Table) -> list[str]:
    def line(entries: tuple[Entry, ...]) -> str:
        return "| " + " | ".join(map(_entry, entries)) + " |"

    lines = [line(table.header), "|" + "---|" * len(table.header), *map(line, (*table.rows, *table.foot))]
    parts = ["\n".join(lines), *map(escaped, table.notes)]
    if table.folded:
        return [f"<details><summary>{escaped(table.caption)}</summary>", *parts, "</details>"]
    return [escaped(table.caption), *parts]


def _entry(entry: Entry) -> str:
    text = escaped(entry.text)
    if entry.link:
        text = f"[{text}]({entry.link})"
    return "<br>".join([text, *map(escaped, entry.details)])
