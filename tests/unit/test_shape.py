"""The shape of the code: no function with many parameters, no long file, and tests that mirror the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE, UNIT = ROOT / "fptkit", ROOT / "tests" / "unit"

MOST_PARAMETERS = 7
MOST_LINES = 400

MANY_PARAMETERS: dict[str, str] = {
    "api/estimators/estimators.py: __init__": "scikit-learn takes the settings of an estimator as keywords of its own",
    "api/runs.py: run": "public; each is an option of the command fptkit run",
    "api/studies.py: study": "public; each is an option of the command fptkit study",
    "api/training.py: train": "public; keywords with defaults, instead of an object to fill in first",
    "backbones/huggingface/fused.py: _attention": "transformers calls it with these",
}
"""Functions that may have more, as ``file: function``, and why. Commands are exempt: their parameters are options."""

LONG_FILES: dict[str, str] = {}
"""Files that may be longer, such as tables, and why."""

OF_THE_WHOLE = {
    "test_answer_pages.py": "the pages of the answers",
    "test_closed_names.py": "lists of names in all models and commands",
    "test_docs.py": "the documentation",
    "test_imports.py": "the direction of imports",
    "test_package.py": "the wheel",
    "test_reading_path.py": "the reading path of the documentation",
    "test_reliability.py": "the page about reliability",
    "test_shape.py": "this file",
    "test_site.py": "the documentation site",
    "test_words.py": "the words of the documentation and the command line",
    "engine/test_attributes.py": "how every file of the engine sets attributes",
    "freezing/test_prepare.py": "the `prepare` function of a policy's record, which several files carry out",
}
"""Files of tests that test no single file or folder of the package, and what they test instead."""

SUFFIXES = (".py", ".c", ".cpp", ".h", ".j2", ".yaml")


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether click makes a command or a group of it."""
    calls = [one.func if isinstance(one, ast.Call) else one for one in function.decorator_list]
    return any(isinstance(call, ast.Attribute) and call.attr in ("command", "group") for call in calls)


def parameters(text: str) -> Iterator[tuple[str, int]]:
    """Every function of a text but commands, by its name, and how many parameters callers see."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_command(node):
            continue
        taken = node.args
        names = [argument.arg for argument in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
        names += [argument.arg for argument in (taken.vararg, taken.kwarg) if argument is not None]
        yield node.name, len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_function_has_many_parameters() -> None:
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}: {name}": count
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, count in parameters(path.read_text(encoding="utf-8"))
        if count > MOST_PARAMETERS
    }
    assert found.keys() == MANY_PARAMETERS.keys(), found


def test_a_function_with_many_parameters_would_be_found() -> None:
    text = """
@click.command()
def command(a, b, c, d, e, f, g, h): ...
class A:
    def method(self, a, b, /, c, d, *rest, e, f, **more): ...
async def few(*, a, b): ...
"""
    assert list(parameters(text)) == [("few", 2), ("method", 8)]


def test_no_file_is_long() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): count
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in SUFFIXES and (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert found.keys() == LONG_FILES.keys(), found


TESTS = sorted(path.relative_to(UNIT).as_posix() for path in UNIT.rglob("test_*.py"))


@pytest.mark.parametrize("test", [test for test in TESTS if test not in OF_THE_WHOLE])
def test_every_unit_test_has_its_file_or_folder(test: str) -> None:
    """``a/test_b.py`` tests ``fptkit/a/b.py``, or all of ``fptkit/a/b/``."""
    tested = PACKAGE / Path(test).parent / Path(test).stem.removeprefix("test_")
    assert tested.with_suffix(".py").is_file() or tested.is_dir(), f"there is no {tested}"


def test_the_exceptions_exist() -> None:
    assert set(TESTS) >= OF_THE_WHOLE.keys()
