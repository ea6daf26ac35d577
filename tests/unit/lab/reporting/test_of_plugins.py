"""Sections of plugins: their place in a report, and what happens if one fails."""

from __future__ import annotations

from pathlib import Path

from fptkit.lab.reporting.document import Report
from fptkit.lab.reporting.markdown import to_markdown
from fptkit.lab.reporting.of_plugins import of_run, sections
from fptkit.lab.verification.manifest import ReportRecord
from fptkit.registry import load_plugins
from fptkit.specs import ReportSection

CODE = """
import fptkit

def good(summary):
    summary.clear()  # a copy
    return fptkit.ReportSection(title="Good", text=["Well."])

def bad(summary):
    return summary["no such key"]

def wrong(summary):
    return "text"

def silent(summary):
    return None

@fptkit.hookimpl
def fptkit_report_sections():
    made = {"good": good, "bad": bad, "wrong": wrong, "silent": silent}
    return [fptkit.ReportSectionSpec(name=name, summary=f"section {name}", target=made[name]) for name in made]
"""


def test_a_section_that_fails_is_named_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    summary = {"steps": 3}
    made = of_run(summary, load_plugins([tmp_path / "mine.py"], selection=""))
    assert summary == {"steps": 3}
    assert list(made) == ["bad", "good", "wrong"]
    assert made["good"].title == "Good"
    (why,) = made["bad"].points
    assert "report section 'bad' of plugin" in why
    assert "KeyError: 'no such key' (at " in why
    assert 'mine.py:9: return summary["no such key"]' in why
    assert "it returned str, expected fptkit.ReportSection or None" in made["wrong"].points[0]
    text = to_markdown(Report("T", "", "", "", (), sections=tuple(sections(made))))
    assert text.index("## Section bad") < text.index("## Good") < text.index("Well.")


def test_a_manifest_without_sections_is_written_as_before() -> None:
    assert ReportRecord(against=("a",)).model_dump() == {"against": ("a",), "pictures": ""}
    record = ReportRecord(sections={"mine": ReportSection(title="T").dumped()})
    again = ReportRecord.model_validate_json(record.model_dump_json())
    assert ReportSection.loaded(again.sections["mine"]) == ReportSection(title="T")
