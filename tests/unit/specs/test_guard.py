"""Which errors are faults of a plugin, and what a fault says."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from fptkit.errors import DataError, Interrupted, PluginError, PluginFault, ShapeError, UserInterrupt
from fptkit.specs import CommandSpec, FreezingPolicySpec, FreezingRule, TaskSpec
from fptkit.specs import guard as guards
from fptkit.specs.guard import author_line, claim, during, fault_of, owner_of, plugin_faults

SOURCE = """
import fptkit.errors


class Part:
    def call(self, act):
        return act()


class Subclass(Part):
    pass


def function(act):
    return act()


def wrap(act):
    try:
        act()
    except Exception as err:
        raise RuntimeError("wrapped") from err
"""


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of a plugin, with one record that names its class."""
    module = types.ModuleType("author_of_a_plugin")
    exec(compile(SOURCE, "author.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(guards, "_OWNERS", {})
    rules = (FreezingRule(role="output"),)
    claim(
        "author 1.0", module.__name__, [FreezingPolicySpec(name="p", summary="s", rules=rules, prepare=module.function)]
    )
    return module


def raising(err: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise err

    return act


def caught(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as found:  # noqa: PT011  # any error
        act()
    return found.value


@pytest.mark.parametrize(
    ("err", "problem", "remedy"),
    [
        (ValueError("no"), "raised ValueError: no", "Correct the plugin"),
        (SystemExit(0), "called sys.exit(0)", "must not end the process"),
        (SystemExit(), "called sys.exit()", "must not end the process"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt", "must not end the process"),
        (GeneratorExit(), "raised GeneratorExit", "must not end the process"),
        (MemoryError(), "raised MemoryError", "allocate less"),
        (ModuleNotFoundError("no", name="a.b"), "raised ModuleNotFoundError: no", "pip install a"),
        (OSError(28, "full"), "raised OSError: [Errno 28] full", "Correct the plugin"),
        (UserWarning("old"), "raised UserWarning: old", "Warnings are errors"),
        (ValueError("first\nsecond"), "raised ValueError: first", "Correct the plugin"),
        (ValueError("x" * 1000), f"raised ValueError: {'x' * 300}...", "Correct the plugin"),
    ],
)
def test_whatever_plugin_code_raises_is_its_fault(author: Any, err: BaseException, problem: str, remedy: str) -> None:
    fault = fault_of(caught(lambda: author.Part().call(raising(err))))
    assert fault is not None
    assert (fault.plugin, fault.call, fault.problem, fault.exit_code) == ("author 1.0", "Part.call", problem, 1)
    assert fault.place == "author.py:7"
    assert remedy in fault.remedy
    assert len(str(fault).splitlines()) <= 4


def test_the_component_is_that_of_the_code(author: Any) -> None:
    fault = fault_of(caught(lambda: author.function(raising(ValueError()))))
    assert fault is not None
    assert (fault.component, fault.call) == ("freezing policy 'p'", "function")


def test_what_a_library_puts_around_an_error_is_looked_through(author: Any) -> None:
    def library() -> None:
        try:
            author.Part().call(raising(ValueError("inner")))
        except ValueError as err:
            raise RuntimeError("outer") from err

    fault = fault_of(caught(library))
    assert fault is not None
    assert fault.problem == "raised ValueError: inner"


def test_stop_iteration_in_a_generator_of_ours(author: Any) -> None:
    def ours() -> Iterator[None]:
        yield author.Part().call(raising(StopIteration()))

    fault = fault_of(caught(lambda: list(ours())))
    assert fault is not None
    assert (fault.call, fault.problem) == ("Part.call", "raised StopIteration")


@pytest.mark.parametrize(
    "err", [UserInterrupt(), DataError("x.csv is empty"), ShapeError("no"), PluginFault("p", "", "f", "x")]
)
def test_ctrl_c_and_errors_of_fptkit_stay_what_they_are(author: Any, err: BaseException) -> None:
    assert fault_of(caught(lambda: author.Part().call(raising(err)))) is None


def test_an_error_without_a_plugin_is_none() -> None:
    assert fault_of(caught(raising(ValueError()))) is None
    assert author_line(caught(raising(ValueError()))) == ""


def test_a_plugin_cannot_claim_that_the_run_was_interrupted(author: Any) -> None:
    exec(compile("def interrupt():\n    raise fptkit.errors.Interrupted(2, 0, 'x')", "author.py", "exec"), vars(author))
    fault = fault_of(caught(author.interrupt))
    assert fault is not None
    assert "raised Interrupted" in fault.problem
    ours = caught(lambda: author.Part().call(raising(Interrupted(2, 0, "x"))))
    assert fault_of(ours) is None, "fptkit's own, passed through plugin code"


def test_the_innermost_context_counts(author: Any) -> None:
    with pytest.raises(PluginFault) as found, plugin_faults(), during(split="train", step=0), during(step=2, example=5):
        author.Part().call(raising(ValueError()))
    assert found.value.context == "split train, training step 3, example 5"
    assert isinstance(found.value.__cause__, ValueError)


def test_an_error_of_fptkit_about_a_component_names_its_plugin(author: Any) -> None:
    with pytest.raises(PluginError) as found, plugin_faults(), during(of=author.Part(), example=3):
        raise PluginError("Part: wrong")
    assert str(found.value) == "Part: wrong\n  plugin author 1.0, example 3"
    with pytest.raises(PluginError) as other, plugin_faults(), during(of=object(), example=3):
        raise PluginError("object: wrong")
    assert str(other.value) == "object: wrong"


def test_an_error_of_our_own_code_names_the_components_in_use() -> None:
    with pytest.raises(PluginFault) as found, plugin_faults(["author 1.0 (task 't')"]):
        raise TypeError("no")
    assert "plugin author 1.0 (task 't'): something that it returned cannot be used" in str(found.value)
    assert "test_guard.py" in found.value.place
    with pytest.raises(TypeError), plugin_faults():
        raise TypeError("no")
    with pytest.raises(OSError, match="full"), plugin_faults(["author"]):
        raise OSError("full")


def test_owners(author: Any) -> None:
    assert [owner_of(thing) for thing in (author.Part(), author.Part, author.Subclass(), author.function)] == [
        "author 1.0"
    ] * 4
    assert [owner_of(thing) for thing in (object(), ValueError, raising)] == ["", "", ""]


def test_fptkit_and_libraries_are_never_code_of_a_plugin(author: Any) -> None:
    spec = FreezingPolicySpec(name="q", summary="s", rules=(FreezingRule(role="output"),), prepare="torch.nn:Linear")
    claim("other", "json", [spec])
    assert owner_of(spec) == ""
    assert set(guards._OWNERS) == {"author_of_a_plugin"}


def test_a_command_is_code_of_its_function(author: Any) -> None:
    """And not of click, whose own errors would be the plugin's."""
    command, group = click.command("say")(author.wrap), click.Group("all")
    claim("author 1.0", "says", [CommandSpec(name=one.name, summary="s", target=one) for one in (command, group)])
    assert set(guards._OWNERS) == {"author_of_a_plugin", "says"}
    assert fault_of(caught(lambda: command.main(["--wrong"], standalone_mode=False))) is None


@pytest.mark.parametrize("order", [("Part", "Subclass"), ("Subclass", "Part")])
def test_a_fault_belongs_to_the_component_of_the_class_itself(author: Any, order: tuple[str, str]) -> None:
    """Not to that of its base class, whichever record comes first."""
    specs = [TaskSpec(name=name.lower(), summary="s", target=getattr(author, name)) for name in order]
    claim("author 1.0", author.__name__, specs)
    for name in order:
        fault = fault_of(caught(lambda name=name: getattr(author, name)().call(raising(ValueError("no")))))
        assert fault is not None
        assert fault.component == f"task '{name.lower()}'"
