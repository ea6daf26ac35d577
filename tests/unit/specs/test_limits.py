"""Every option that costs memory or time has an upper limit, and all limits are on one page."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from fptkit.lab.pretraining import options as pretraining
from fptkit.lab.studies.options import StudySettings
from fptkit.options import Options
from fptkit.recipe.models import RecipeSettings
from fptkit.registry import load_plugins
from fptkit.specs import KINDS, ComponentSpec, FreezingPolicySpec, limits

Schema = Mapping[str, Any]


def models() -> dict[str, type[BaseModel]]:
    """The options of every built-in component, and the other sections of recipes and studies."""
    registry = load_plugins(selection="")
    found: dict[str, type[BaseModel]] = {"recipe": RecipeSettings, "study": StudySettings}
    for kind in KINDS:
        for entry in registry.entries(kind.record):
            if isinstance(entry.spec, (ComponentSpec, FreezingPolicySpec)):
                found[f"{entry.spec.kind} {entry.spec.name}"] = entry.spec.options_model()
    for name, model in vars(pretraining).items():
        if inspect.isclass(model) and issubclass(model, Options) and model.__module__ == pretraining.__name__:
            found[name] = model
    return found


MODELS = models()


def values(
    schema: Schema, root: Schema, path: str = "", seen: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Schema]]:
    """Path and schema of every value at any depth."""
    if reference := schema.get("$ref"):
        if reference in seen:
            return
        schema, seen = root["$defs"][reference.rpartition("/")[2]], seen | {reference}
    yield path, schema
    for form in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("prefixItems", ())):
        yield from values(form, root, path, seen)
    for name, below in schema.get("properties", {}).items():
        yield from values(below, root, f"{path}.{name}", seen)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from values(schema[key], root, f"{path}[]", seen)


CHECKED_BY_A_FUNCTION = {".blocks.keep", ".attention_window", ".seeds", ".seeds[]"}
"""Integers whose limit a validator of its own states; tried below."""


@pytest.mark.parametrize("name", MODELS)
def test_every_integer_has_an_upper_limit(name: str) -> None:
    root = MODELS[name].model_json_schema()
    unbounded = [
        path
        for path, schema in values(root, root)
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum", "enum"} & schema.keys()
    ]
    assert set(unbounded) <= CHECKED_BY_A_FUNCTION


@pytest.mark.parametrize("name", MODELS)
def test_no_number_may_be_infinite_or_no_number(name: str) -> None:
    root = MODELS[name].model_json_schema()
    paths = {path for path, schema in values(root, root) if schema.get("type") == "number" and "[" not in path}
    accepted = []
    for path in sorted(paths):
        keys = path.strip(".").split(".")
        for number in (math.nan, math.inf, -math.inf):
            content: Any = number
            for key in reversed(keys):
                content = {key: content}
            with pytest.raises(ValidationError) as caught:
                MODELS[name].model_validate(content)
            if not any(fault["loc"][: len(keys)] == tuple(keys) for fault in caught.value.errors()):
                accepted.append((path, number))
    assert accepted == []


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("study", "seeds", 10**9),
        ("study", "seeds", 2**63),
        ("study", "seeds", {"until": "decided", "at_most": 10**7}),
        ("backbone gpt2", "blocks", {"keep": 10**6}),
        ("backbone longformer", "attention_window", 10**8),
        ("backbone random", "blocks", 10**6),
        ("backbone random", "positions", 2**62),
        ("encoder mlp", "hidden", [8] * 5_000),
        ("encoder conv_stem", "kernel", 10**9),
        ("task bit_xor", "bits", 10**9),
        ("task remote_homology", "simulated", {"folds": 10_000, "members_per_family": [1, 10_000]}),
        ("task listops", "train_size", 10**9),
        ("task cifar10", "simulated", {"train": 9_999_999}),
        ("recipe", "threads", 10**9),
        ("recipe", "plugins", ["a.py"] * 200),
        ("recipe", "train", {"batch_size": 10**9}),
        ("recipe", "head", {"hidden": [10**7]}),
        ("freezing policy custom", "train", [{"role": "norm"}] * 2_000),
    ],
)
def test_what_costs_too_much_is_refused(name: str, field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        MODELS[name].model_validate({field: value})
    assert field in {fault["loc"][0] for fault in caught.value.errors()}


def test_limits_differ_from_meaning() -> None:
    assert isinstance(RecipeSettings.model_json_schema()["properties"]["plugins"]["maxItems"], limits.Limit)
    kept = copy.deepcopy({"maximum": limits.BLOCKS})["maximum"]
    assert isinstance(kept, limits.Limit)
    assert pickle.loads(pickle.dumps(limits.BLOCKS)) == limits.BLOCKS == 1_000


def test_every_limit_says_what_it_bounds() -> None:
    assert all(limit > 0 and limit.what and limit.group for limit in limits.LIMITS)
    assert len({limit.what for limit in limits.LIMITS}) == len(limits.LIMITS)
