"""The engine's objects are complete after ``__init__``: no method sets an attribute that it does not declare."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fptkit.engine

ENGINE = Path(fptkit.engine.__file__).parent


def set_on_self(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Attributes set on ``self``, and the line of each."""
    for inner in ast.walk(node):
        stored = isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
        if stored and isinstance(inner.value, ast.Name) and inner.value.id == "self":
            yield inner.attr, inner.lineno


def undeclared(text: str) -> list[str]:
    """Attributes that a method sets and neither ``__init__`` nor the class declares."""
    found = []
    for owner in ast.walk(ast.parse(text)):
        if not isinstance(owner, ast.ClassDef):
            continue
        declared = {node.target.id for node in owner.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
        methods = [node for node in owner.body if isinstance(node, ast.FunctionDef)]
        for method in methods:
            if method.name == "__init__":
                declared |= {name for name, _ in set_on_self(method)}
        for method in methods:
            found += [f"{owner.name}.{name}, line {line}" for name, line in set_on_self(method) if name not in declared]
    return found


@pytest.mark.parametrize("file", sorted(ENGINE.rglob("*.py")), ids=lambda file: str(file.relative_to(ENGINE)))
def test_no_attribute_is_first_set_outside_init(file: Path) -> None:
    assert undeclared(file.read_text(encoding="utf-8")) == []


def test_an_attribute_that_a_method_adds_would_be_found() -> None:
    text = (
        "class A:\n    x: int\n    def __init__(self):\n        self.y = 1\n"
        "    def f(self):\n        self.x = self.y = self.z = 2\n"
    )
    assert undeclared(text) == ["A.z, line 6"]
