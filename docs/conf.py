"""Settings of the documentation site, built by Sphinx from the pages as they are.

    sphinx-build -W --keep-going -c docs . build/site
    python docs/check_site.py build/site

The source folder is the root of the project, so that links between ``docs/``, ``README.md``, ``plugins/`` and the code
lead to the same places as in a checkout. Tables of contents come from the tables of the section pages; see
``site_map.py``.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

import notebook_pages  # noqa: E402
import site_map  # noqa: E402

from fptkit import __version__  # noqa: E402

project = "fptkit"
version = release = __version__
copyright = "the fptkit authors, MIT licence"  # Sphinx reads this name
root_doc = "docs/index"

include_patterns = [
    "docs/**.md",
    "docs/notebooks/*.py",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "plugins/README.md",
    "plugins/*/README.md",
]
exclude_patterns = [".*", "build", "dist", "runs", "fptkit", "recipes", "tests", "benchmarks", "venv", "**/examples"]

extensions = [
    "myst_parser",
    "sphinx_click",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
source_suffix = {".md": "markdown", ".py": "notebook"}
myst_heading_anchors = 6
highlight_language = "text"
smartquotes = False  # options begin with two hyphens
suppress_warnings = ["misc.highlighting_failure"]  # remarks beside commands are no shell; such a block stays plain
napoleon_custom_sections = ["Shapes", "Source", "Checked", "Differences"]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"fptkit {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_search_summary = False  # a page opened from disk may not read others
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]

_PYTHON_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)*[\w./-]+\.py)(?:#L(\d+)(?:-L\d+)?)?\)")
_FOLDER_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)*[\w-]+(?:/[\w-]+)*/?)\)")


class NotebookParser(MystParser):
    """Reads a notebook as a page, with what its code prints."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Execute the notebook in a temporary folder, and parse its text and outputs."""
        with tempfile.TemporaryDirectory() as folder:
            super().parse(notebook_pages.page(inputstring, Path(folder), Path(document["source"]).name), document)


def prepare_page(app: Sphinx, page: str, content: list[str]) -> None:
    """Add the table of contents to a section, and lead links to code to pages of the site."""
    up = "../" * page.count("/")

    def to_code(link: re.Match[str]) -> str:
        name = _source(page, link[2])
        return (
            f'<a href="{up}source/{name}.html{f"#L-{link[3]}" if link[3] else ""}">{link[1]}</a>' if name else link[0]
        )

    def to_folder(link: re.Match[str]) -> str:
        return link[1] if (site_map.file_of(page).parent / link[2]).is_dir() else link[0]

    content[0] = _FOLDER_LINK.sub(to_folder, _PYTHON_LINK.sub(to_code, content[0])) + site_map.toctree(page)


def _source(page: str, link: str) -> str:
    """Return the source file that a page links to, relative to the root; empty for notebooks and what is not there."""
    file = (site_map.file_of(page).parent / link).resolve()
    return file.relative_to(ROOT).as_posix() if file.is_file() and file.parent != DOCS / "notebooks" else ""


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make a page of every source file that some page links to, with an anchor for each line."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", cssclass="highlight")
    links = {
        _source(page, link[2])
        for page in app.env.found_docs
        for link in _PYTHON_LINK.finditer(site_map.file_of(page).read_text(encoding="utf-8"))
    }
    for name in sorted(links - {""}):
        code = highlight((ROOT / name).read_text(encoding="utf-8"), PythonLexer(), formatter)
        yield f"source/{name}", {"title": name, "body": f"<h1>{name}</h1>\n{code}"}, "page.html"


def sections_again(app: Sphinx, *_: Any) -> list[str]:
    """Read the sections in every build: a page that is new or gone changes their tables of contents."""
    return ["docs/index", *site_map.owned()]


def not_of_others(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out members that scikit-learn adds to estimators; their text refers to pages that are not here."""
    return True if getattr(obj, "__module__", "").startswith("sklearn") or name.endswith("_request") else None


def finish(app: Sphinx, failure: Exception | None) -> None:
    """Write ``llms.txt`` beside the pages."""
    if failure is None and app.builder.format == "html":
        (Path(app.outdir) / "llms.txt").write_text(site_map.llms_text(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions above."""
    app.add_source_parser(NotebookParser)
    app.connect("env-get-outdated", sections_again)
    app.connect("autodoc-skip-member", not_of_others)
    app.connect("source-read", prepare_page)
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": False}
