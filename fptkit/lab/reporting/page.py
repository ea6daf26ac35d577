"""A report as one page for the browser: nothing outside it is asked for, and no script is in it."""

from __future__ import annotations

from fptkit.lab.reporting.document import Report
from fptkit.lab.reporting.drawing import RULES, swatch, variables


def to_html(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("fptkit.lab.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return (
        template.render(
            report=report,
            # Pictures escape their own texts; the sheet is ours.
            svg=lambda picture: Markup(picture.svg()),
            swatch=lambda index: Markup(swatch(index)),
            sheet=Markup(variables() + RULES),
        )
        + "\n"
    )
