"""Imports go one way, and the light half loads no heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "fptkit"

RANKS: tuple[tuple[str, ...], ...] = (
    ("errors", "seeds", "options", "signals", "sources", "specs"),
    # The package itself holds the names plugin authors import: specs and hooks at once, the rest at first use.
    ("hookspecs", "builtin", ""),
    ("registry", "plugins", "code_version"),
    ("recipe",),
    # precision is no component, but build and pretraining ask it which format the processor multiplies; it needs errors
    # only.
    (
        "interfaces",
        "layers",
        "eight_bit",
        "heads",
        "model",
        "freezing",
        "kernels",
        "backbones",
        "encoders",
        "tasks",
        "download",
        "data_sets",
        "precision",
    ),
    ("build",),
    ("engine",),
    # A pretraining on a task is a run of the engine; what follows is the export of its backbone.
    ("pretraining", "benchmarking"),
    ("published", "studies"),
    ("reporting",),
    # testing holds the contracts of every kind, listeners of the engine's events included.
    ("cli", "__main__", "testing"),
)
"""Each may import from its own row and from those above."""

RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}

COMPONENTS = ("backbones", "encoders", "freezing", "heads", "interfaces", "layers", "model", "tasks")

HEAVY = ("torch", "numpy", "transformers", "timm")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def part_of(module: str) -> str:
    """The part of the package a module belongs to: ``recipe`` for ``fptkit.recipe.load``."""
    return module.partition(".")[2].partition(".")[0]


def imports(tree: ast.AST, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Line and module of every import of fptkit, those inside functions included, those for type checkers not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from imports(other, known)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name.split(".")[0] == "fptkit")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            if (node.module or "").split(".")[0] == "fptkit":
                for name in node.names:
                    inner = f"{node.module}.{name.name}"
                    yield node.lineno, inner if inner in known else str(node.module)
        yield from imports(node, known)


def wrong_arrows(module: str, tree: ast.AST) -> list[str]:
    rank = RANK[part_of(module)]
    return [
        f"{module}, line {line}, imports {imported}"
        for line, imported in imports(tree, MODULES)
        if RANK[part_of(imported)] > rank
    ]


def test_every_part_has_a_rank() -> None:
    parts = {part_of(module) for module in MODULES}
    assert parts == set(RANK), "a new part of the package needs its place in RANKS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert wrong_arrows(module, ast.parse(MODULES[module].read_text(encoding="utf-8"))) == []


def test_components_know_neither_engine_nor_command_line() -> None:
    for module, path in MODULES.items():
        if part_of(module) in COMPONENTS:
            for line, imported in imports(ast.parse(path.read_text(encoding="utf-8")), MODULES):
                assert part_of(imported) not in ("engine", "cli"), f"{module}, line {line}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import fptkit.engine.run", ["fptkit.model, line 1, imports fptkit.engine.run"]),
        ("from fptkit.cli import shared", ["fptkit.model, line 1, imports fptkit.cli.shared"]),
        ("from fptkit import build", ["fptkit.model, line 1, imports fptkit.build"]),
        ("def f():\n    from fptkit.engine.run import run", ["fptkit.model, line 2, imports fptkit.engine.run"]),
        ("if TYPE_CHECKING:\n    import fptkit.engine.run\nelse:\n    x = 1", []),
        ("from fptkit.recipe.models import Recipe\nimport torch", []),
    ],
)
def test_a_wrong_arrow_would_be_found(text: str, found: list[str]) -> None:
    assert wrong_arrows("fptkit.model", ast.parse(text)) == found


def light_modules() -> list[str]:
    """What listings, ``--help`` and recipe checks may import."""
    alone = {
        "",
        "code_version",
        "errors",
        "specs",
        "hookspecs",
        "registry",
        "plugins",
        "builtin",
        "options",
        "sources",
        "seeds",
    }
    return [
        module
        for module in MODULES
        if module != "fptkit.cli.console"  # imported by a run, after torch
        and (part_of(module) in {*alone, "recipe", "cli"} or module.endswith(".options"))
    ]


def test_the_light_half_loads_nothing_heavy() -> None:
    light = light_modules()
    assert {"fptkit.recipe.load", "fptkit.cli.run", "fptkit.backbones.options", "fptkit.pretraining.options"} <= set(
        light
    )
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    if loaded: sys.exit(f'{name} loads {loaded}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *light], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
