"""The registry: all records of a plugin or none, and errors that name the owners."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fptkit.errors import PluginError, UnknownNameError
from fptkit.options import Options
from fptkit.plugins import Plugin
from fptkit.registry import Registry
from fptkit.specs import (
    BackboneSpec,
    ComponentSpec,
    EncoderSpec,
    FreezingPolicySpec,
    FreezingRule,
    Spec,
    TaskSpec,
)


def task(name: str) -> TaskSpec:
    return TaskSpec(name=name, summary="a task", target="nowhere:build")


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.add([task("zebra"), task("ant")], Plugin("first", "distribution", "first_package", "1.0"))
    return made


def test_entries_come_by_name_with_their_owner(registry: Registry) -> None:
    assert registry.names(TaskSpec) == ["ant", "zebra"]
    assert [entry.spec.name for entry in registry.entries(TaskSpec)] == ["ant", "zebra"]
    assert registry.entry(TaskSpec, "ant").owner.name == "first"
    assert registry.get(TaskSpec, "ant").name == "ant"


def test_kinds_have_names_of_their_own(registry: Registry) -> None:
    backbone = BackboneSpec(name="ant", summary="a backbone", target="nowhere:build")
    registry.add([backbone], Plugin("second", "file"))
    assert registry.get(BackboneSpec, "ant") is backbone
    assert registry.get(TaskSpec, "ant").summary == "a task"
    assert registry.names(EncoderSpec) == []


def test_a_taken_name_names_both_owners_and_adds_nothing(registry: Registry) -> None:
    second = Plugin("second", "distribution", "second_package", "2.1")
    with pytest.raises(PluginError) as caught:
        registry.add([task("bee"), task("ant")], second)
    assert str(caught.value) == (
        "task 'ant' is registered by both first (first_package 1.0) and second (second_package 2.1)"
    )
    assert registry.names(TaskSpec) == ["ant", "zebra"]


def test_a_name_given_twice_by_one_plugin_adds_nothing(registry: Registry) -> None:
    with pytest.raises(PluginError, match=r"task 'bee' is given twice by second \(p 2\)"):
        registry.add([task("bee"), task("bee")], Plugin("second", "distribution", "p", "2"))
    assert registry.names(TaskSpec) == ["ant", "zebra"]


def test_a_subclass_of_a_record_is_listed_under_its_kind(registry: Registry) -> None:
    @dataclass(frozen=True, kw_only=True)
    class LabelledTaskSpec(TaskSpec):
        label: str = ""

    labelled = LabelledTaskSpec(name="labelled", summary="a task", target="nowhere:build", label="x")
    registry.add([labelled], Plugin("second", "file"))
    assert registry.get(TaskSpec, "labelled") is labelled
    with pytest.raises(PluginError, match="registered by both"):
        registry.add([task("labelled")], Plugin("third", "file"))


def test_an_unknown_name_has_its_fields(registry: Registry) -> None:
    registry.plugins.append(Plugin("broken", "distribution", status="failed", reason="ImportError: no"))
    registry.plugins.append(Plugin("quiet", "distribution", status="blocked", reason="left out"))
    with pytest.raises(UnknownNameError) as caught:
        registry.get(TaskSpec, "zebar")
    error = caught.value
    assert (error.kind, error.name, error.known, error.suggestion) == ("task", "zebar", ("ant", "zebra"), "zebra")
    assert error.note == "plugin broken did not load: ImportError: no"
    assert error.exit_code == 2
    assert str(error).splitlines() == [
        "unknown task 'zebar'. Did you mean 'zebra'?",
        "known: ant, zebra",
        "plugin broken did not load: ImportError: no",
    ]


def test_an_unknown_name_of_an_empty_kind(registry: Registry) -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry.get(BackboneSpec, "gpt2")
    assert str(caught.value) == "unknown backbone 'gpt2'.\nknown: none"


@pytest.mark.parametrize("name", ["", "Big", "two words", "dash-ed", "1st", "_hidden", "ünicode"])
def test_names_no_recipe_could_use(name: str) -> None:
    with pytest.raises(PluginError, match="use lower-case letters"):
        task(name)


def test_records_that_say_too_little() -> None:
    with pytest.raises(PluginError, match="the summary is empty"):
        TaskSpec(name="ant", summary="  ", target="nowhere:build")
    with pytest.raises(PluginError, match=r"target 'nowhere' is not of the form 'package\.module:attribute'"):
        TaskSpec(name="ant", summary="a", target="nowhere")
    with pytest.raises(PluginError, match="cannot be called"):
        TaskSpec(name="ant", summary="a", target=3)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="options 'x' is not of the form"):
        TaskSpec(name="ant", summary="a", target="a:b", options="x")
    with pytest.raises(PluginError, match="nothing would train"):
        FreezingPolicySpec(name="ant", summary="a", rules=())
    with pytest.raises(PluginError, match="unknown role 'atention'"):
        FreezingRule(role="atention")
    with pytest.raises(PluginError, match="must be above 0"):
        FreezingRule(role="norm", learning_rate_multiplier=0.0)


def test_records_without_options_take_none() -> None:
    assert task("ant").options_model() is Options


def test_every_kind_of_record_says_what_it_is() -> None:
    kinds = [kind for kind in _subclasses(Spec) if kind is not ComponentSpec and kind.__module__ == "fptkit.specs"]
    assert len(kinds) == 6
    assert len({kind.kind for kind in kinds}) == len({kind.plural for kind in kinds}) == 6


def _subclasses(kind: type[Spec]) -> list[type[Spec]]:
    return [found for child in kind.__subclasses__() for found in (child, *_subclasses(child))]
