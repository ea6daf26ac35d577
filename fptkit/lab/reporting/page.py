"""A report as one self-contained HTML page: no scripts, no requests to other files or hosts."""

from __future__ import annotations

import re

from fptkit.lab.reporting.document import Report
from fptkit.lab.reporting.drawing import RULES, swatch, variables
from fptkit.lab.reporting.wording import together


def to_html(report: Report) -> str:
    """Render a report as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("fptkit.lab.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["together"] = _unbroken
    template = environment.get_template("report.html.j2")
    return (
        template.render(
            report=report,
            # Safe: pictures escape their own texts, and the style sheet has no text from outside.
            svg=lambda picture: Markup(picture.svg()),  # nosec B704
            swatch=lambda index: Markup(swatch(index)),  # nosec B704
            sheet=Markup(variables() + RULES),  # nosec B704
        )
        + "\n"
    )


def _unbroken(text: str) -> str:
    """Text in which no line breaks within a number; browsers would also break after the hyphen of ``1e-3``."""
    return re.sub(r"(?<=\de)-(?=\d)", "-\N{WORD JOINER}", together(text))
