"""JSON Schema and option tables come from the live registry."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from fptkit.backbones.options import Gpt2Options, RandomOptions
from fptkit.errors import RecipeError
from fptkit.freezing.options import FreezingOptions, RuleOptions
from fptkit.options import Options
from fptkit.recipe.dump import recipe_mapping
from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import Recipe, TrainOptions
from fptkit.recipe.schema import describe_options, recipe_json_schema
from fptkit.registry import Plugin, Registry, load_plugins
from fptkit.specs import ROLES, BackboneSpec, EncoderSpec, FreezingPolicySpec, FreezingRule, ListenerSpec, TaskSpec


class Inner(Options):
    depth: int = 1


class Mine(Options):
    inner: Inner = Inner()
    must: str


@pytest.fixture
def registry() -> Registry:
    made = load_plugins(selection="")
    specs = [
        TaskSpec(name="mine", summary="of a plugin", target="a:b", options=Mine),
        TaskSpec(name="lost", summary="options lost", target="a:b", options="nowhere_at_all:Options"),
        EncoderSpec(name="plain", summary="no options", target="a:b", accepts=("vectors",)),
    ]
    made.add(specs, Plugin("mine", "file"))
    return made


def sections(schema: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    section = schema["$defs"][f"section.{key}"]
    found = {each["if"]["properties"]["name"]["const"]: each["then"] for each in section["allOf"]}
    assert section["properties"]["name"]["enum"] == section["then"]["enum"] == list(found)
    return found


def test_every_component_is_a_section(registry: Registry) -> None:
    schema = recipe_json_schema(registry)
    assert json.loads(json.dumps(schema)) == schema
    assert set(sections(schema, "task")) == set(registry.names(TaskSpec))
    assert set(sections(schema, "backbone")) == set(registry.names(BackboneSpec))
    gpt2 = sections(schema, "backbone")["gpt2"]
    assert set(gpt2["properties"]) == {"name", *Gpt2Options.model_fields}
    assert gpt2["additionalProperties"] is False
    assert set(schema["properties"]) == {*Recipe.model_fields, "extends", "profiles"}


def test_a_plugins_models_are_carried_along(registry: Registry) -> None:
    schema = recipe_json_schema(registry)
    mine = sections(schema, "task")["mine"]
    reference = mine["properties"]["inner"]["$ref"].removeprefix("#/$defs/")
    assert schema["$defs"][reference]["properties"]["depth"]["type"] == "integer"
    assert sections(schema, "task")["lost"].get("additionalProperties", True) is True
    assert sections(schema, "encoder")["plain"]["additionalProperties"] is False


def test_every_policy_takes_the_common_options(registry: Registry) -> None:
    rule = FreezingRule(role="norm")
    registry.add([FreezingPolicySpec(name="of_a_plugin", summary="x", rules=(rule,))], Plugin("more", "file"))
    schema = recipe_json_schema(registry)
    policies = sections(schema, "freezing")
    assert {"fpt", "custom", "of_a_plugin"} <= set(policies)
    for name, policy in policies.items():
        own = {"k"} if name == "top_k" else set()
        assert set(policy["properties"]) == {"name", *FreezingOptions.model_fields, *own}
        assert policy["additionalProperties"] is False
        assert policy["properties"]["freeze"]["items"]["enum"] == list(ROLES)
        row = schema["$defs"][policy["properties"]["train"]["items"]["$ref"].removeprefix("#/$defs/")]
        assert row["properties"]["role"]["enum"] == [*ROLES, "all"], name
        assert row["required"] == ["role"]
        assert [form["type"] for form in row["properties"]["blocks"]["oneOf"]] == ["array", "string", "null"]
        multipliers = policy["properties"]["learning_rate_multipliers"]
        assert multipliers["propertyNames"]["enum"] == list(ROLES)
        assert multipliers["additionalProperties"]["exclusiveMinimum"] == 0


def test_every_reference_leads_somewhere(registry: Registry) -> None:
    schema = recipe_json_schema(registry)
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert references
    assert references <= set(schema["$defs"])


def test_listeners_are_a_list_of_what_there_is(registry: Registry) -> None:
    built_in = ["mlflow", "tensorboard", "trackio", "wandb"]
    assert list(sections(recipe_json_schema(registry), "listeners")) == built_in
    registry.add([ListenerSpec(name="beep", summary="x", target="a:b")], Plugin("more", "file"))
    schema = recipe_json_schema(registry)
    assert list(sections(schema, "listeners")) == ["beep", *built_in]
    assert schema["properties"]["listeners"]["items"] == {"$ref": "#/$defs/section.listeners"}


SCHEMA = Draft202012Validator(recipe_json_schema(load_plugins(selection="")))

FAULTS = [
    "{}",
    "task: {name: bit_xr}",
    "task: bit_xr",
    "task: {bits: 3}",
    "task: {name: bit_xor, bitz: 3}",
    "task: {name: bit_xor, bits: many}",
    "task: bit_xor\nbackbone: {name: gpt2, dropout: 2}",
    "task: bit_xor\nbackbone: {name: lstm, weight: 1}",
    "task: bit_xor\nfreezing: {name: fpt, train: [{role: nrm}]}",
    "task: bit_xor\nencoder: {name: linear, hidden: 3}",
    "task: bit_xor\ntrain: {lr: 1}",
    "task: bit_xor\ntrain: {schedule: {name: cosin}}",
    "task: bit_xor\ntrain: {adam_betas: [0.9]}",
    "task: bit_xor\nlisteners: [{name: mlflow, url: x}]",
    "task: bit_xor\nlisteners: [mlfow]",
    "task: bit_xor\ndevice: gpu",
    "task: bit_xor\nshuffle_tokens: 1",
    "tsk: bit_xor",
]


@pytest.mark.parametrize("text", FAULTS)
def test_an_editor_marks_what_validate_reports(text: str) -> None:
    content = yaml.safe_load(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(content)
    reported = {_where(problem.path) for problem in caught.value.problems}
    marked = {tuple(error.absolute_path) for error in SCHEMA.iter_errors(content)}
    assert marked, "the schema finds nothing"
    # A section that is only a name, or has none, is marked as a whole.
    assert all(any(place[: len(where)] == where for place in reported) for where in marked), (marked, reported)
    assert all(
        any(where == place[: len(where)] and len(where) >= len(place) - 1 for where in marked) for place in reported
    )


def _where(path: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path))


@pytest.mark.parametrize("name", ["bit_xor_gpt2", "homology_vit", "listops_lstm"])
def test_whole_recipes_fit_the_schema(name: str) -> None:
    assert list(SCHEMA.iter_errors(recipe_mapping(load_recipe(name).recipe))) == []


def test_option_tables() -> None:
    rows = {row.name: row for row in describe_options(Gpt2Options)}
    assert rows["weights"].type == "text or a list of text (at least 1)"
    assert rows["weights"].default == "[hub:openai-community/gpt2, builtin:gpt2_nano]"
    assert (rows["size"].type, rows["size"].default) == ("nano, base, medium, large, xl", "base")
    assert (rows["dropout"].type, rows["dropout"].default) == ("number >= 0 and < 1", "0.1")
    assert "not fused" in rows["attention_dropout"].description
    rows = {row.name: row for row in describe_options(Mine)}
    assert list(rows) == ["inner", "inner.depth", "must"]
    assert (rows["must"].type, rows["must"].default) == ("text", "")
    assert (rows["inner.depth"].type, rows["inner.depth"].default) == ("integer", "1")
    assert describe_options(Options) == []


@pytest.mark.parametrize("model", [TrainOptions, Gpt2Options, RandomOptions, FreezingOptions, RuleOptions, Recipe])
def test_every_option_says_what_it_is(model: type[Options]) -> None:
    for row in describe_options(model):
        assert row.description, row.name
        assert row.type, row.name
