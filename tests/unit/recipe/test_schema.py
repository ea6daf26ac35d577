"""JSON Schema and option tables come from the live registry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fptkit.backbones.options import Gpt2Options, RandomOptions
from fptkit.freezing.options import FreezingOptions, RuleOptions
from fptkit.options import Options
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
    return {section["properties"]["name"]["const"]: section for section in schema["properties"][key]["oneOf"]}


def test_every_component_is_a_section(registry: Registry) -> None:
    schema = recipe_json_schema(registry)
    assert json.loads(json.dumps(schema)) == schema
    assert set(sections(schema, "task")) == set(registry.names(TaskSpec))
    assert set(sections(schema, "backbone")) == set(registry.names(BackboneSpec))
    gpt2 = sections(schema, "backbone")["gpt2"]
    assert set(gpt2["properties"]) == {"name", *Gpt2Options.model_fields}
    assert (gpt2["required"], gpt2["additionalProperties"]) == (["name"], False)
    assert set(schema["properties"]) == {*Recipe.model_fields, "extends", "profiles"}
    assert schema["anyOf"] == [{"required": ["task"]}, {"required": ["extends"]}]


def test_a_plugins_models_are_carried_along(registry: Registry) -> None:
    schema = recipe_json_schema(registry)
    mine = sections(schema, "task")["mine"]
    assert mine["required"] == ["name", "must"]
    reference = mine["properties"]["inner"]["$ref"].removeprefix("#/$defs/")
    assert schema["$defs"][reference]["properties"]["depth"]["type"] == "integer"
    assert sections(schema, "task")["lost"].get("additionalProperties", True) is True
    assert sections(schema, "encoder")["plain"]["additionalProperties"] is False


def test_every_policy_takes_the_same_options(registry: Registry) -> None:
    rule = FreezingRule(role="norm")
    registry.add([FreezingPolicySpec(name="of_a_plugin", summary="x", rules=(rule,))], Plugin("more", "file"))
    schema = recipe_json_schema(registry)
    policies = sections(schema, "freezing")
    assert {"fpt", "custom", "of_a_plugin"} <= set(policies)
    for name, policy in policies.items():
        assert set(policy["properties"]) == {"name", *FreezingOptions.model_fields}
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
    assert recipe_json_schema(registry)["properties"]["listeners"]["items"] == {"type": "object"}
    registry.add([ListenerSpec(name="tracker", summary="x", target="a:b")], Plugin("more", "file"))
    (item,) = recipe_json_schema(registry)["properties"]["listeners"]["items"]["oneOf"]
    assert item["properties"]["name"]["const"] == "tracker"


def test_option_tables() -> None:
    rows = {row.name: row for row in describe_options(Gpt2Options)}
    assert rows["weights"].type == "text or a list of text (at least 1)"
    assert rows["weights"].default == "[hub:openai-community/gpt2, builtin:gpt2_nano]"
    assert (rows["size"].type, rows["size"].default) == ("nano, base, medium, large, xl", "base")
    assert (rows["dropout"].type, rows["dropout"].default) == ("number >= 0 and < 1", "0.1")
    assert "fused attention" in rows["attention_dropout"].description
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
