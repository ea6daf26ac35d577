"""Which options decide a result: the marks on fields, and that resume, addresses, tables and schema agree with them."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import fptkit
from fptkit.engine.folder import recipe_for
from fptkit.errors import UsageError
from fptkit.lab.studies.address import address_of
from fptkit.options import Decides, Options, decides, deciding, description_of
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.recipe.models import Component, Recipe
from fptkit.recipe.schema import describe_options, recipe_json_schema
from fptkit.registry import load_plugins
from fptkit.specs import KINDS

NOTHING = {
    "description",
    "plugins",
    "device",
    "threads",
    "listeners",
    "pinned.recipe",
    "pinned.profile",
    "train.activation_checkpointing",
    "train.checkpoint_every",
    "train.cuda_graphs",
    "train.feature_cache",
    "train.feature_cache_gib",
    "train.log_every",
    "train.shard_frozen",
}
"""The options of a recipe itself that decide nothing: a new one is added here after some thought."""

LENGTH = {"train.max_steps", "train.patience"}

NEW_RESULT = {"train.accumulate", "train.compile", "train.evaluation_batch_size", "train.training_sample"}
"""Options that look as if they only cost time, and do decide."""

CANDIDATES = (True, False, 1, 2, 0.5, 0.25, (), (1,), ("x",), "x", "float32", (0.5, 0.5), None)


class Inner(Options):
    size: int = 1
    timeout_s: Annotated[float | None, Decides.NOTHING] = Field(default=3.0, gt=0, description="how long to wait")


class Outer(Options):
    one: Inner = Inner()
    many: tuple[Inner, ...] = (Inner(), Inner(size=2))
    named: dict[str, Inner] = Field(default={"a": Inner(size=3)})
    maybe: Inner | None = Inner(size=4)
    reports: Annotated[Inner, Decides.NOTHING] = Field(default=Inner(), description="what it reports")
    steps: Annotated[int, Decides.LENGTH] = Field(default=5, description="how many")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")


def other_value(field: FieldInfo, value: Any) -> Any:
    """A value that the field takes, and that is not the one it has."""
    choices = [choice for part in _parts(field.annotation) for choice in typing.get_args(part)]
    adapter = TypeAdapter(Annotated[(field.annotation, Field(), *field.metadata)])  # type: ignore[valid-type]
    for candidate in (*choices, *CANDIDATES):
        try:
            found = adapter.validate_python(candidate, strict=isinstance(candidate, bool))
        except (ValidationError, TypeError):
            continue
        if found != value:
            return found
    raise AssertionError(f"no other value for {field}")


def _parts(annotation: Any) -> list[Any]:
    """The literals in an annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return [annotation]
    return [part for argument in typing.get_args(annotation) for part in _parts(argument)]


def leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    """Path, field and value of every option of a model; what a component is made of is left out."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, Component) or (value is None and name == "encoder"):
            continue
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), field, value


def changes(recipe: Recipe) -> Iterator[tuple[tuple[str, ...], Decides, Recipe]]:
    """For every option of a recipe, the recipe with another value for it, unchecked."""
    for path, field, value in leaves(recipe):
        named = Component(name="other")
        if Component in typing.get_args(field.annotation):
            other: Any = (named,) if isinstance(value, tuple) else named
        else:
            other = other_value(field, value)
        yield path, decides(field), changed(recipe, path, other)


def changed(model: Any, path: tuple[str, ...], value: Any) -> Any:
    """A model with one option set, unchecked."""
    name, *rest = path
    inner = changed(getattr(model, name), tuple(rest), value) if rest else value
    return model.model_copy(update={name: inner})


def loaded() -> LoadedRecipe:
    Path("some.yaml").write_text("task: {name: bit_xor}\nbackbone: {name: random, size: nano}\n")
    return load_recipe("some.yaml")


def options_of_components() -> Iterator[tuple[str, Options]]:
    """The default options of every built-in component."""
    given: dict[str, Any] = {
        "huggingface": {"weights": ["hub:someone/model"]},
        "table": {"source": "path:some.csv", "target": "label"},
        "images": {"source": "path:folder"},
        "sequences": {"source": "path:some.fasta"},
        "text": {"source": "path:some.csv"},
        "arrays": {"source": "path:some.npz"},
        "audio": {"source": "path:folder"},
        "series": {"source": "path:some.npz"},
    }
    registry = load_plugins(selection="")
    for kind in (kind.record for kind in KINDS if kind.section):  # those of recipes
        for entry in registry.entries(kind):
            if model := getattr(entry.spec, "options_model", None):
                yield f"{kind.kind} {entry.spec.name}", model()(**given.get(entry.spec.name, {}))


def test_the_name_is_public() -> None:
    assert fptkit.Decides is Decides


def test_values_that_decide_are_included_at_any_depth() -> None:
    of_one, of_all = {"size": 1}, {"size": 1, "timeout_s": 3.0}
    assert deciding(Outer()) == {
        "one": of_one,
        "many": [of_one, {"size": 2}],
        "named": {"a": {"size": 3}},
        "maybe": {"size": 4},
        "steps": 5,
    }
    assert "steps" not in deciding(Outer(), lengths=False)
    assert deciding(Outer(maybe=None))["maybe"] is None
    assert deciding(Component(name="c", options=Outer()))["options"] == deciding(Outer())
    assert Outer().model_dump()["one"] == of_all, "the marks change nothing of what a model says itself"


def test_options_without_a_mark_decide() -> None:
    assert decides(Inner.model_fields["size"]) is Decides.RESULT
    assert deciding(Options()) == {}


def test_tables_and_schema_say_which_options_do_not_decide() -> None:
    rows = {row.name: row for row in describe_options(Outer)}
    assert {name: row.decides for name, row in rows.items() if row.decides != "result"} == {
        "one.timeout_s": "nothing",
        "reports": "nothing",
        "reports.size": "nothing",
        "reports.timeout_s": "nothing",
        "steps": "length",
    }
    assert rows["one.timeout_s"].description == "how long to wait (does not decide the result)"
    assert rows["steps"].description == "how many (a resumed run may change it)"
    schema = Outer.model_json_schema()
    assert schema["$defs"]["Inner"]["properties"]["timeout_s"]["description"] == rows["one.timeout_s"].description
    assert schema["properties"]["steps"]["description"] == rows["steps"].description
    assert "description" not in schema["properties"]["one"]


def test_what_a_recipe_decides() -> None:
    found = {".".join(path): decides(field) for path, field, _ in leaves(loaded().recipe)}
    assert {name for name, mark in found.items() if mark is Decides.NOTHING} == NOTHING
    assert {name for name, mark in found.items() if mark is Decides.LENGTH} == LENGTH
    assert {found[name] for name in NEW_RESULT} == {Decides.RESULT}


def test_addresses_agree_with_the_marks() -> None:
    one = loaded()
    address = address_of(one.recipe, "code", registry=one.registry)
    for path, mark, recipe in changes(one.recipe):
        other = address_of(recipe, "code", registry=one.registry)
        assert (other == address) is (mark is Decides.NOTHING), path


def test_resuming_agrees_with_the_marks(tmp_path: Path) -> None:
    one = loaded()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(one.recipe))
    for path, mark, recipe in changes(one.recipe):
        other = replace(one, recipe=recipe)
        if mark is not Decides.RESULT or path[0] == "pinned":  # what a run has pinned is taken over
            taken = recipe_for(tmp_path / "run", other, resume=True)
            assert taken == other.recipe.model_copy(update={"pinned": one.recipe.pinned}), path
            continue
        with pytest.raises(UsageError, match=f"it differs in {'.'.join(path)}"):
            recipe_for(tmp_path / "run", other, resume=True)


def test_tables_of_the_recipe_agree_with_the_marks() -> None:
    rows = {row.name: row.decides for row in describe_options(Recipe)}
    schema = recipe_json_schema(load_plugins(selection=""))
    for path, field, _ in leaves(loaded().recipe):
        mark = decides(field)
        assert rows[".".join(path)] == mark.value
        if len(path) == 1:
            assert ("(does not decide the result)" in schema["properties"][path[0]]["description"]) is (
                mark is Decides.NOTHING
            ), path


@pytest.mark.parametrize(("component", "options"), list(options_of_components()))
def test_marks_of_components(component: str, options: Options) -> None:
    for path, field, _ in leaves(options):
        expected = Decides.NOTHING if (component, path) == ("backbone lstm", ("loop",)) else Decides.RESULT
        assert decides(field) is expected, path
        kept = deciding(options)
        for name in path[:-1]:
            kept = kept[name]
        assert (path[-1] in kept) is (expected is Decides.RESULT), path


PLUGIN = """
from typing import Annotated
import fptkit
from pydantic import Field

class Fetching(fptkit.Options):
    timeout_s: Annotated[float, fptkit.Decides.NOTHING] = Field(default=10.0, description="how long to wait")
    mirror: Annotated[str, fptkit.Decides.NOTHING] = Field(default="", description="where to fetch from")
    revision: str = Field(default="main", description="what to fetch")

class MineOptions(fptkit.Options):
    fetch: Fetching = Field(default=Fetching(), description="where the weights come from")
    width: int = Field(default=8, description="numbers per token")

@fptkit.hookimpl
def fptkit_backbones():
    return [fptkit.BackboneSpec(name="mine", summary="s", target="nowhere:Mine", options=MineOptions)]
"""


def of_plugin(*overrides: str) -> LoadedRecipe:
    Path("mine.py").write_text(PLUGIN)
    Path("mine.yaml").write_text("plugins: [mine.py]\ntask: {name: bit_xor}\nbackbone: {name: mine}\n")
    return load_recipe("mine.yaml", overrides=overrides)


def test_options_of_a_plugin_have_the_same_say(tmp_path: Path) -> None:
    first = of_plugin()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(first.recipe))
    patient = of_plugin("backbone.fetch.timeout_s=99", "backbone.fetch.mirror=there")
    another = of_plugin("backbone.fetch.revision=v2")
    assert recipe_for(tmp_path / "run", patient, resume=True) == patient.recipe
    with pytest.raises(UsageError, match=r"it differs in backbone\.options\.fetch\.revision\."):
        recipe_for(tmp_path / "run", another, resume=True)
    address, of_patient, of_another = (
        address_of(one.recipe, "code", registry=one.registry) for one in (first, patient, another)
    )
    assert address == of_patient
    assert address != of_another
    schema = recipe_json_schema(first.registry)
    assert schema["$defs"]["backbone.mine.Fetching"]["properties"]["mirror"]["description"] == description_of(
        type(first.recipe.backbone.options.fetch).model_fields["mirror"]  # type: ignore[attr-defined]
    )
