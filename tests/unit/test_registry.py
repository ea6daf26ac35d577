"""The registry: all records of a plugin or none, and errors that name the owners."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fptkit.errors import PluginError, UnknownNameError
from fptkit.options import Options
from fptkit.registry import Plugin, Registry
from fptkit.specs import (
    CLEAN,
    BackboneSpec,
    EncoderSpec,
    FreezingPolicySpec,
    FreezingRule,
    RecipeFolderSpec,
    TaskProtocol,
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


NORM = FreezingRule(role="norm")


def encoder(accepts: Any) -> EncoderSpec:
    return EncoderSpec(name="ant", summary="a", target="a:b", accepts=accepts)


def policy(rules: Any) -> FreezingPolicySpec:
    return FreezingPolicySpec(name="ant", summary="a", rules=rules)


def recipe_folder(folder: Any) -> RecipeFolderSpec:
    return RecipeFolderSpec(name="ant", summary="a", folder=folder)


def task_of(protocols: Any) -> TaskSpec:
    return TaskSpec(name="ant", summary="a", target="a:b", protocols=protocols)


def rule_of(multiplier: Any) -> FreezingRule:
    return FreezingRule(role="norm", learning_rate_multiplier=multiplier)


def rule_on(blocks: Any) -> FreezingRule:
    return FreezingRule(role="norm", blocks=blocks)


@pytest.mark.parametrize(
    ("make", "value", "message"),
    [
        (
            encoder,
            "vectors",
            r"accepts is 'vectors', expected a tuple of input kinds, of vectors, symbols, grid and mixed",
        ),
        (encoder, (), "accepts is empty"),
        (encoder, ("vectors", "images"), "accepts names 'images'; input kinds are vectors, symbols, grid and mixed"),
        (encoder, (1,), r"accepts is \(1,\)"),
        (encoder, None, "accepts is None"),
        (policy, NORM, "rules is FreezingRule.*, expected a tuple of FreezingRule"),
        (policy, ({"role": "norm"},), "expected a tuple of FreezingRule"),
        (policy, ["norm"], "expected a tuple of FreezingRule"),
        (policy, [], "nothing would train"),
        (recipe_folder, 3, "folder is 3, expected a path"),
        (recipe_folder, None, "folder is None, expected a path"),
        (recipe_folder, "", "folder is '', expected a path"),
        (task_of, "clean", "protocols is 'clean', expected a tuple of fptkit.TaskProtocol"),
        (task_of, (None,), r"protocols is \(None,\)"),
        (rule_of, 0.0, "multiplier is 0.0, expected a finite number above 0"),
        (rule_of, -1, "multiplier is -1"),
        (rule_of, math.nan, "multiplier is nan"),
        (rule_of, math.inf, "multiplier is inf"),
        (rule_of, "2", "multiplier is '2'"),
        (rule_of, True, "multiplier is True"),
        (rule_of, None, "multiplier is None"),
        (rule_on, 3, "blocks is 3, expected a tuple of integers"),
        (rule_on, (0, "last"), "blocks is"),
    ],
)
def test_a_bad_field_is_refused_when_the_record_is_made(
    make: Callable[[Any], object], value: Any, message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        make(value)


@pytest.mark.parametrize("field", ["summary", "reference", "licence", "extra"])
def test_what_listings_print_must_be_text(field: str) -> None:
    values: dict[str, Any] = {"name": "ant", "summary": "a", "target": "a:b", field: 3}
    with pytest.raises(PluginError, match=f"{field} is 3, expected text"):
        TaskSpec(**values)


def test_options_must_be_a_class_or_its_place() -> None:
    with pytest.raises(PluginError, match=r"is not a subclass of fptkit\.Options"):
        TaskSpec(name="ant", summary="a", target="a:b", options={"size": 3})  # type: ignore[arg-type]


def test_lists_become_tuples_and_text_becomes_a_path() -> None:
    assert encoder(["symbols", "vectors"]).accepts == ("symbols", "vectors")
    assert policy([NORM]).rules == (NORM,)
    assert task_of([CLEAN, TaskProtocol(name="paper")]).protocols == (CLEAN, TaskProtocol(name="paper"))
    assert rule_on([0, -1]).blocks == (0, -1)
    assert recipe_folder("some/recipes").folder == Path("some/recipes")
    assert recipe_folder(Path("recipes")).folder == Path("recipes")


def test_records_without_options_take_none() -> None:
    assert task("ant").options_model() is Options
