"""Every public name has a docstring with an example that runs; so has the page about Python."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import fptkit

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"

WITHOUT_DOCSTRING = {"__version__", "IGNORED", "hookimpl"}
"""A text, a number and an object of pluggy; the page about Python has their examples."""

TRAINING = {"RunResult", "StudyResult", "TrainedModel", "build", "load", "run", "study", "Built"}
"""Examples that train a recipe or load GPT-2; seconds."""

OF_TENSORS = {
    "Accuracy", "ArraySplit", "Backbone", "Batch", "Classes", "Encoder", "FrozenTransformerClassifier",
    "FrozenTransformerRegressor", "GeneratedTask", "Grid", "MeanSquaredError", "Metric", "Mixed", "Split", "Symbols",
    "Task", "TokenClasses", "TrainedModel", "Values", "Vectors", "build", "keep_tokens", "train",
}  # fmt: skip
"""Names whose docstring, or that of a method, gives the shapes of tensors."""

DOCUMENTED = sorted(set(fptkit.__all__) - WITHOUT_DOCSTRING)


def example_of(name: str) -> str:
    """The section ``Example:`` of a docstring, without its indentation; empty if there is none."""
    _, _, after = (inspect.getdoc(getattr(fptkit, name)) or "").partition("\nExample:\n")
    return textwrap.dedent(re.split(r"\n(?=\S)", after)[0])


def run_example(text: str, name: str) -> None:
    example = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert example.examples, f"{name}: no example"
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE).run(example, out=said.append)
    assert result.failed == 0, "".join(said)


@pytest.fixture
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_somewhere")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in TRAINING else []) for name in DOCUMENTED]
)
def test_the_example_of_every_public_name_runs(name: str) -> None:
    run_example(example_of(name), name)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_says_what_it_raises_takes_and_gives(name: str) -> None:
    documented = getattr(fptkit, name)
    text = inspect.getdoc(documented) or ""
    assert text.partition("\n")[0].strip().endswith((".", ":")) or len(text.partition("\n\n")[0]) > 20, text
    body = ast.parse(textwrap.dedent(inspect.getsource(documented))).body[0]
    makers = [
        node
        for node in ([body] if isinstance(body, ast.FunctionDef) else ast.iter_child_nodes(body))
        if isinstance(node, ast.FunctionDef) and (node is body or node.name in ("__init__", "__post_init__"))
    ]
    if any(isinstance(node, ast.Raise) for maker in makers for node in ast.walk(maker)):
        assert "\nRaises:\n" in text, f"{name} raises, but its docstring does not say what"
    if isinstance(body, ast.FunctionDef) and (body.args.args or body.args.kwonlyargs) and name != "keep_tokens":
        assert "\nArgs:\n" in text
        for argument in (*body.args.args, *body.args.kwonlyargs):
            assert re.search(rf"^    (\w+, )*{argument.arg}(, \w+)*: ", text, re.MULTILINE), f"{name}: {argument.arg}"


@pytest.mark.parametrize("name", sorted(OF_TENSORS))
def test_shapes_are_given(name: str) -> None:
    source = inspect.getsource(getattr(fptkit, name))
    assert re.search(r"[Ss]hapes?\b|\([BN], ", source), name


def test_all_names_are_documented_or_excused() -> None:
    assert set(fptkit.__all__) >= WITHOUT_DOCSTRING
    assert set(fptkit.__all__) >= OF_TENSORS | TRAINING
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    assert all(name in code for name in WITHOUT_DOCSTRING)


def test_an_example_that_fails_would_be_found() -> None:
    with pytest.raises(AssertionError, match=r"Expected:\n\s+3\n"):
        run_example(">>> 1 + 1\n3\n", "wrong")
    with pytest.raises(AssertionError, match="no example"):
        run_example("", "nothing")


def run_block(code: str, where: str, names: dict[str, object]) -> int:
    """Execute a block of the page; expressions followed by ``# -> TEXT`` must give it. Returns how many there were."""
    lines, checked = code.splitlines(), 0
    for statement in ast.parse(code).body:
        source = ast.get_source_segment(code, statement) or ""
        *_, wanted = lines[(statement.end_lineno or 1) - 1].rpartition("  # -> ")
        if isinstance(statement, ast.Expr) and "  # -> " in lines[(statement.end_lineno or 1) - 1]:
            assert repr(eval(source, names)) == wanted, f"{where}: {source}"
            checked += 1
        else:
            exec(compile(ast.Module([statement], []), where, "exec"), names)
    assert checked == code.count("# -> "), f"{where}: a result belongs to no expression"
    return checked


@pytest.mark.slow
@pytest.mark.usefixtures("_somewhere")
def test_the_code_of_the_page_runs() -> None:
    """All blocks in their order, as in one session."""
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert sum(run_block(code, f"docs/python.md, block {n}", names) for n, code in enumerate(blocks, start=1)) > 15


def test_a_wrong_result_on_the_page_would_be_found() -> None:
    with pytest.raises(AssertionError, match=r"block 1: a \+ 1"):
        run_block("a = 1\na + 1  # -> 3\n", "block 1", {})
    with pytest.raises(AssertionError, match="belongs to no expression"):
        run_block("a = 1  # -> 1\n", "block 1", {})
