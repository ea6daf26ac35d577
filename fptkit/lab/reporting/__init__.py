"""Study reports as Markdown, CSV and one self-contained HTML page, made from `results.json` and `costs.json`."""

from __future__ import annotations

from fptkit.lab.reporting.write import write_reports

__all__ = ["write_reports"]
