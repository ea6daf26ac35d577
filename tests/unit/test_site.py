"""The documentation site: its map, its list for language models, its pictures, and the check of the built pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from script_files import load_script

from fptkit.registry import load_plugins
from fptkit.specs import FreezingPolicySpec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

site_map: Any = load_script(DOCS / "site_map.py")
check_site: Any = load_script(DOCS / "check_site.py")
pictures: Any = load_script(DOCS / "pictures.py")
notebook_pages: Any = load_script(DOCS / "notebook_pages.py")


# The map


def test_every_page_has_one_place() -> None:
    owned = [page for pages in site_map.owned().values() for page in pages]
    assert len(owned) == len(set(owned))
    pages = {file.relative_to(ROOT).with_suffix("").as_posix() for file in DOCS.rglob("*.md")}
    assert pages - {"docs/index", *site_map.sections()} <= set(owned)
    for page in ("README", "CONTRIBUTING", "CHANGELOG", "plugins/fptkit-smollm2/README", "docs/notebooks/quick_start"):
        assert page in owned


def test_a_page_that_no_section_lists_still_gets_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "plugins" / "README.md").write_text("# Packages\n")
    (tmp_path / "docs" / "howto.md").write_text("# How-to\n\n| [A](a.md) | b |\n| [Gone](gone.md) | c |\n")
    (tmp_path / "docs" / "results" / "README.md").write_text("# Results\n")
    for name in ("a", "new", "results/figure"):
        (tmp_path / "docs" / f"{name}.md").write_text("# One\n")
    monkeypatch.setattr(site_map, "ROOT", tmp_path)
    site_map.owned.cache_clear()
    try:
        assert site_map.owned()["docs/howto"] == ["docs/a", "docs/new"]
        assert site_map.owned()["docs/results/README"] == ["docs/results/figure"]
        assert "\nA </docs/a>\n/docs/new\n" in site_map.toctree("docs/howto")
        assert site_map.toctree("docs/a") == ""
    finally:
        site_map.owned.cache_clear()


def test_the_list_for_language_models_has_every_page() -> None:
    text = site_map.llms_text()
    assert text.startswith("# fptkit\n\n> fptkit freezes a pretrained sequence model")
    sources = re.findall(r"^- \[[^\]]+\]\(_sources/(.+?)\.txt\)", text, re.MULTILINE)
    assert len(sources) == len(set(sources))
    assert all((ROOT / source).is_file() for source in sources)
    assert {f"docs/{name}.md" for name in ("start", "start/install", "recipes", "howto/gpu")} <= set(sources)


# Pictures


def test_pictures_are_current_and_well_formed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    for draw in (pictures.architecture, pictures.policies, pictures.readouts, pictures.study):
        draw()
    stored = {file.name: file.read_text(encoding="utf-8") for file in (DOCS / "pictures").glob("*.svg")}
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == stored
    for text in stored.values():
        assert ElementTree.fromstring(text).get("aria-label")
        assert "prefers-color-scheme: dark" in text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


@pytest.mark.parametrize(("name", "trained"), pictures.POLICIES)
def test_the_drawn_policies_train_what_the_records_say(name: str, trained: tuple[str, ...]) -> None:
    (spec,) = [
        entry.spec for entry in load_plugins(selection="").entries(FreezingPolicySpec) if entry.spec.name == name
    ]
    drawn = {"head": "output", "encoder": "input", "positions": "position", "feed-forward": "feed_forward"}
    every = {drawn.get(layer, layer) for layer in pictures.LAYERS}
    roles = {rule.role for rule in spec.rules}
    assert {drawn.get(layer, layer) for layer in trained} == (every if roles == {"all"} else roles & every)


# The built pages


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other.html#there">x</a><a href="#here" id="here">x</a><a href="https://example.org">x</a>', None),
        ('<img src="data:image/png;base64,AA==">', None),
        ('<a href="other.html#gone">x</a>', "index.html: other.html#gone leads nowhere"),
        ('<a href="gone.html">x</a>', "index.html: gone.html leads nowhere"),
        ('<a href="#gone">x</a>', "index.html: #gone leads nowhere"),
        ('<img src="gone.png">', "index.html: loads gone.png, which is not there"),
        ('<script src="https://example.org/a.js"></script>', "index.html: loads https://example.org/a.js"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "index.html: loads //example.org/a.css"),
        ("<style>@import 'https://example.org/a.css';</style>", "index.html: loads https://example.org/a.css"),
        ("<style>a { background: url(//example.org/a.png) }</style>", "index.html: loads //example.org/a.png"),
    ],
)
def test_what_the_check_of_a_site_finds(
    body: str, fault: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_site.page_of.cache_clear()
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    assert check_site.main([str(tmp_path)]) == (0 if fault is None else 1)
    assert capsys.readouterr().out == f"{fault or '2 pages: every link leads somewhere'}\n"


def test_a_stylesheet_that_loads_a_font_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@font-face { src: url('https://example.org/font.woff2') }")
    assert list(check_site.faults(tmp_path)) == ["a.css: loads https://example.org/font.woff2"]


def test_a_site_that_was_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_site.main([str(tmp_path)]) == 2
    assert "build the site first" in capsys.readouterr().err


# Notebooks


NOTEBOOK = """# ---
# jupyter: {}
# ---

# %% [markdown]
# # Title
#
# Text.

# %%
a = 1
print("said")
a + 1

# %%
b = 2
"""


def test_a_notebook_becomes_a_page_with_its_outputs(tmp_path: Path) -> None:
    assert notebook_pages.page(NOTEBOOK, tmp_path, "one.py") == (
        "# Title\n\nText.\n\n"
        '```python\na = 1\nprint("said")\na + 1\n```\n\n```text\nsaid\n2\n```\n\n'
        "```python\nb = 2\n```\n"
    )


def test_a_notebook_that_fails_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        notebook_pages.page("# %%\n1 / 0\n", tmp_path, "one.py")


@pytest.mark.parametrize("file", sorted((DOCS / "notebooks").glob("*.py")), ids=lambda file: file.stem)
def test_notebooks_begin_with_a_title(file: Path) -> None:
    first = notebook_pages.cells(file.read_text(encoding="utf-8"))[0]
    assert first.markdown
    assert re.match(r"# \w", first.source)
