"""Reports of studies: Markdown, CSV and one self-contained page for the browser, made from `results.json` alone."""

from __future__ import annotations

from fptkit.lab.reporting.write import write_reports

__all__ = ["write_reports"]
