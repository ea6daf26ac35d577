"""What plugins may import, as ``docs/plugins/api.md`` lists it: the names are there, and the packages keep to them."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fptkit
from fptkit.cli.new import TEMPLATES

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "plugins" / "api.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(fptkit[\w.]*)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
PUBLIC = {
    module: {name for name in re.findall(r"`([\w.]+)`", names) if "." not in name and name != "fptkit"}
    for module, names, _ in ROWS
}
SOURCES = sorted(
    file for file in (ROOT / "plugins").glob("*/fptkit_*/**/*.py") if "build" not in file.relative_to(ROOT).parts
)


def foreign(text: str) -> Iterator[str]:
    """What a source takes of fptkit beyond the public names: by import, by dotted use, or named in text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_fptkit(node.module or ""):
            yield from (
                f"{node.module}.{alias.name}"
                for alias in node.names
                if alias.name not in PUBLIC.get(str(node.module), ())
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_fptkit(alias.name) and alias.name not in PUBLIC)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fptkit":
            if node.attr not in PUBLIC["fptkit"] and f"fptkit.{node.attr}" not in {*PUBLIC, "fptkit.engine"}:
                yield f"fptkit.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, _, name = node.value.partition(":")
            named = re.fullmatch(r"fptkit(\.\w+)+(:\w+)?", node.value)
            if named and (module not in PUBLIC or (name and name not in PUBLIC[module])):
                yield node.value


def _is_fptkit(module: str) -> bool:
    return module == "fptkit" or module.startswith("fptkit.")


def test_the_list_names_what_is_there() -> None:
    assert len(PUBLIC) == 49
    for module, names in PUBLIC.items():
        assert names, module
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"docs/plugins/api.md: {module} has no {name}"


@pytest.mark.parametrize("module", ["fptkit", "fptkit.testing"])
def test_type_checkers_see_the_table_of_names(module: str) -> None:
    """These packages import their names at first use; type checkers read the same from a block of their own."""
    package = importlib.import_module(module)
    source = ROOT.joinpath(*module.split("."), "__init__.py").read_text(encoding="utf-8")
    (block,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "written twice, a name is exported for type checkers"
            seen[alias.name] = str(node.module)
    assert seen == package._HOME_OF
    assert PUBLIC[module] == set(package.__all__) == {*seen, *(["__version__"] if package is fptkit else [])}
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'TaskSpce'"):
        _ = package.TaskSpce


@pytest.mark.parametrize("module", ["fptkit.errors", "fptkit.engine.events", "fptkit.seeds"])
def test_modules_made_for_authors_are_listed_completely(module: str) -> None:
    loaded = importlib.import_module(module)
    own = {name for name, value in vars(loaded).items() if getattr(value, "__module__", "") == module}
    assert {name for name in own if not name.startswith("_")} <= PUBLIC[module]


@pytest.mark.slow
def test_light_modules_are_light() -> None:
    light = [module for module, _, word in ROWS if word == "yes"]
    assert len(light) == 29
    names = [f"{module}.{name}" for module, _, word in ROWS for name in re.findall(r"`(\w+)`", word)]
    assert {"fptkit.Options", "fptkit.testing.check_command"} <= set(names)
    imports = ["import sys, fptkit.testing", *(f"import {module}" for module in light), *names]
    code = "; ".join([*imports, "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"])
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT / "plugins")))
def test_packages_import_public_names_only(file: Path) -> None:
    assert list(foreign(file.read_text(encoding="utf-8"))) == []


def test_every_package_is_looked_at() -> None:
    packages = {path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml")}
    assert packages == {file.relative_to(ROOT / "plugins").parts[0] for file in SOURCES}
    assert "fptkit-spoken-digits" in packages


@pytest.mark.parametrize(
    "file", sorted(TEMPLATES.rglob("*.py.template")), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_templates_import_public_names_only(file: Path) -> None:
    text = re.sub(r"\$\{?\w+\}?", "placeholder", file.read_text(encoding="utf-8"))
    assert list(foreign(text)) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "plugins").glob("*.md")), ids=lambda page: page.name)
def test_pages_for_authors_show_public_names_only(page: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        assert list(foreign(code)) == [], code


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from fptkit.model import CrossModalModel", "fptkit.model.CrossModalModel"),
        ("from fptkit.interfaces import check_batch", "fptkit.interfaces.check_batch"),
        ("from fptkit import registry", "fptkit.registry"),
        ("def late():\n    from fptkit.engine.run import run", "fptkit.engine.run.run"),
        ("import fptkit.engine.loop", "fptkit.engine.loop"),
        ("import fptkit\nfptkit.registry.Registry()", "fptkit.registry"),
        ("TARGET = 'fptkit.tasks.bits:BitXor'", "fptkit.tasks.bits:BitXor"),
        ("import importlib\nimportlib.import_module('fptkit.model')", "fptkit.model"),
    ],
)
def test_what_is_not_public_is_found(text: str, found: str) -> None:
    assert list(foreign(text)) == [found]


@pytest.mark.parametrize(
    "text",
    [
        "from fptkit import Task, hookimpl",
        "from fptkit.seeds import generator_for",
        "import fptkit.errors\nfptkit.errors.DataError('x')",
        "from fptkit_model import anything",
        "from . import fptkit",
        "ENTRY = 'fptkit'",
    ],
)
def test_what_is_public_passes(text: str) -> None:
    assert list(foreign(text)) == []
