"""Sections that plugins add to reports. One that fails is left out, and the report says so."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fptkit.errors import PluginError, UserInterrupt
from fptkit.lab.reporting.document import Point, Section, Table, row
from fptkit.lab.studies.results import StudyResults
from fptkit.registry import Entry, Registry, in_use
from fptkit.specs import ReportSection, ReportSectionSpec
from fptkit.specs.guard import author_line

Own = Mapping[str, ReportSection]
"""The sections of plugins, by the name of their record."""


def of_study(results: StudyResults) -> Own:
    """The sections that plugins add to the report of a study."""
    return _made("study", results.model_dump(mode="json"), in_use())


def of_run(summary: Mapping[str, Any], registry: Registry) -> Own:
    """The sections that plugins add to the report of a run.

    Args:
        summary: of ``summary.json``.
        registry: of the plugins.
    """
    return _made("run", summary, registry)


def sections(own: Own) -> Sequence[Section]:
    """Sections of plugins in the form of all others."""
    return [
        Section(
            key=f"plugin-{name}",
            title=made.title,
            paragraphs=tuple(made.text) if made.points or made.tables else (),
            # A section of paragraphs alone would count as empty.
            points=tuple(Point(text) for text in (made.points or (() if made.tables else made.text))),
            tables=tuple(
                Table(one.caption, row(*one.columns), tuple(row(*r) for r in one.rows)) for one in made.tables
            ),
        )
        for name, made in own.items()
    ]


def _made(report: Literal["study", "run"], content: Mapping[str, Any], registry: Registry) -> Own:
    found = {}
    for entry in registry.entries(ReportSectionSpec):
        assert isinstance(entry.spec, ReportSectionSpec)
        if report in entry.spec.reports and (made := _guarded(entry, entry.spec, content)) is not None:
            found[entry.spec.name] = made
    return found


def _guarded(entry: Entry, spec: ReportSectionSpec, content: Mapping[str, Any]) -> ReportSection | None:
    """A section, or in its place why there is none."""
    try:
        made = spec.resolve()(copy.deepcopy(dict(content)))
        if made is None or isinstance(made, ReportSection):
            return made
        raise PluginError(f"it returned {type(made).__name__}, expected fptkit.ReportSection or None")
    except UserInterrupt:
        raise
    except BaseException as err:  # a section is no reason to have no report
        place = author_line(err)
        kind = "" if isinstance(err, PluginError) else f"{type(err).__name__}: "
        why = f"{kind}{err}" + (f" (at {place})" if place else "")
        text = f"The {spec} of plugin {entry.owner.described} failed and is left out: {why}"
        return ReportSection(title=spec.summary[:1].upper() + spec.summary[1:], points=[text])
