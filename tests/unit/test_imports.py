"""Imports go one way, file by file, and the light half loads no heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from fptkit import registry

PACKAGE = Path(__file__).parents[2] / "fptkit"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "seeds", "options", "files"),
    ("specs",),
    ("hookspecs",),
    # The package itself holds the names plugin authors import: specs and hooks at once, the rest at first use.
    ("",),
    ("registry",),
    ("interfaces", "numerics", "sources"),
    ("layers",),
    ("encoders", "backbones", "tasks"),
    ("model",),
    ("freezing",),
    ("recipe",),
    ("engine",),
    ("inference",),
    ("lab",),
    ("testing",),
    ("api", "cli"),
    ("__main__",),
)
"""Parts of the package from the bottom up. A file imports from its own floor and those below, never from one above."""

INNER_FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lab": (
        ("benchmarking", "pretraining", "proposals"),
        ("published", "studies"),
        ("reporting",),
        ("reproduction", "verification"),
    ),
}
"""Floors within a part."""

RECORDS = [f"{part}.records" for part in registry.RECORDS]

HEAVY = ("torch", "numpy", "transformers", "timm")


def files_of(package: Path) -> dict[str, Path]:
    """Every file of the package by its dotted name, ``fptkit`` left out."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = files_of(PACKAGE)


def imports(tree: ast.AST, known: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Line and file of every import of fptkit: at the top, inside functions, and those for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(name.name, "") for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            names = [(str(node.module), name.name) for name in node.names]
        else:
            continue
        for module, name in names:
            package, _, inner = module.partition(".")
            if package == "fptkit":
                longer = f"{inner}.{name}".strip(".")
                yield node.lineno, longer if longer in known else inner


def graph_of(texts: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """For every file, the files it imports and the line of the first such import."""
    graph: dict[str, dict[str, int]] = {}
    for file, text in texts.items():
        graph[file] = {}
        for line, imported in imports(ast.parse(text), texts):
            if imported != file:
                graph[file].setdefault(imported, line)
    return graph


def circles(graph: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Pairs of files that can each be reached from the other, with the line that leads back."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for file in graph.get(waiting.pop(), ()):
                if file not in seen:
                    seen.add(file)
                    waiting.append(file)
        reached[start] = seen
    return [
        f"{file}, line {line}, imports {imported}, which leads back to it"
        for file, imported_files in graph.items()
        for imported, line in imported_files.items()
        if file in reached.get(imported, ())
    ]


def floor_of(file: str) -> tuple[int, int]:
    """The floor of a file's part, and the floor within it."""
    part, _, rest = file.partition(".")
    outer = next(number for number, parts in enumerate(FLOORS) if part in parts)
    inner = rest.partition(".")[0]
    return outer, next((n for n, names in enumerate(INNER_FLOORS.get(part, ())) if inner in names), 0)


def climbs(graph: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Imports from a floor above."""
    found = []
    for file, imported_files in graph.items():
        if file == "":  # offers what lies above it by name, at first use
            continue
        for imported, line in imported_files.items():
            if floor_of(imported) > floor_of(file):
                found.append(f"{file}, line {line}, imports {imported}")
    return found


GRAPH = graph_of({name: path.read_text(encoding="utf-8") for name, path in FILES.items()})


def test_the_top_level_is_small() -> None:
    top = {file.partition(".")[0] for file in FILES}
    assert len(top - {""}) + 1 <= 25, sorted(top)


def test_every_part_has_a_floor() -> None:
    parts = {file.partition(".")[0] for file in FILES}
    assert parts == {part for floor in FLOORS for part in floor}, "a new part of the package needs its place in FLOORS"


def test_no_file_imports_from_a_floor_above() -> None:
    assert climbs(GRAPH) == []


def test_no_files_import_each_other() -> None:
    # The package itself offers what lies above it by name, at first use, and files above it read its version.
    assert circles({**GRAPH, "": {}}) == []


def test_records_import_nothing_but_records() -> None:
    for file in RECORDS:
        assert set(GRAPH[file]) <= {"hookspecs", "specs"}, file


def test_nothing_but_python_api_and_command_line_imports_the_lab() -> None:
    importers = {
        file
        for file, imported_files in GRAPH.items()
        if not file.startswith(("lab", "api", "cli.")) and any(name.startswith("lab") for name in imported_files)
    }
    assert importers == set()


def test_components_know_neither_engine_nor_command_line() -> None:
    components = ("backbones", "encoders", "freezing", "interfaces", "layers", "model", "numerics", "sources", "tasks")
    for file, imported_files in GRAPH.items():
        if file.partition(".")[0] in components:
            assert not {name.partition(".")[0] for name in imported_files} & {"engine", "lab", "cli"}, file


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import fptkit.engine.run", ["model, line 1, imports engine.run"]),
        ("from fptkit.cli import shared", ["model, line 1, imports cli.shared"]),
        ("from fptkit.engine import build", ["model, line 1, imports engine.build"]),
        ("def f():\n    from fptkit.engine.run import run", ["model, line 2, imports engine.run"]),
        ("if TYPE_CHECKING:\n    import fptkit.engine.run", ["model, line 2, imports engine.run"]),
        ("from fptkit.interfaces.task import Task\nimport torch", []),
    ],
)
def test_an_import_from_above_would_be_found(text: str, found: list[str]) -> None:
    texts = {"engine.run": "", "cli.shared": "", "engine.build": "", "interfaces.task": "", "model": text}
    assert climbs(graph_of(texts)) == found


def test_a_circle_would_be_found() -> None:
    texts = {"a": "import fptkit.b", "b": "def f():\n    from fptkit.c import d", "c": "from fptkit import a", "e": ""}
    assert circles(graph_of(texts)) == [
        "a, line 1, imports b, which leads back to it",
        "b, line 2, imports c, which leads back to it",
        "c, line 1, imports a, which leads back to it",
    ]


def light_files() -> list[str]:
    """What listings, ``--help`` and recipe checks may import."""
    light = {"", "errors", "files", "hookspecs", "options", "registry", "seeds", "sources", "sources.choice", "specs"}
    return [
        file
        for file in FILES
        if file != "cli.console"  # imported by a run, after torch
        and (
            file in light
            or file.partition(".")[0] in ("recipe", "cli", "specs")
            or (
                file.endswith((".options", ".records"))
                and not file.startswith("engine")
                and not file.startswith("lab.published")
            )
        )
    ]


def test_the_light_half_loads_nothing_heavy() -> None:
    light = light_files()
    assert {"recipe.load", "cli.run", "backbones.options", "lab.pretraining.options", "tasks.records"} <= set(light)
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    if loaded: sys.exit(f'{name} loads {loaded}')\n"
    )
    names = [f"fptkit.{file}".rstrip(".") for file in light]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
