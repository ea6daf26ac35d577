"""The core has no list of names that a plugin cannot extend, except those listed here with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import click
import pytest
from pydantic import BaseModel, Field

from fptkit.cli.main import cli
from fptkit.cli.records import COMMANDS
from fptkit.lab.pretraining import options as pretraining
from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.models import Recipe, RecipeSettings
from fptkit.specs import NOUNS, PLURALS

CLOSED = {
    "TrainOptions.feature_cache": "when the engine caches features: it can decide or must not",
    "TrainOptions.cuda_graphs": "when the engine records steps: it can decide or must not",
    "TrainOptions.shard_frozen": "whether the engine shards frozen weights",
    "Recipe.precision": "number formats that torch, the kernels and the freeze proof know",
    "Recipe.float32_products": "the number formats in which GPUs multiply float32 matrices",
    "Recipe.device": "devices on which the engine is tested",
    "UntilDecided.until": "the one word of this form of seeds",
    "StudySettings.choose": "two designs, whose statistics differ",
    "StudySettings.vary": "the streams of a run's seed",
    "PretrainRecipe.kind": "marks a pretraining recipe; tasks to pretrain on are a plugin's tasks",
    "SyntheticRecipe.kind": "marks a pretraining recipe",
    "TaskPretraining.kind": "marks a pretraining recipe",
    "HeadOptions.readout": "a short form of readout, which takes the name of any head; so does this key in a file",
    "ScheduleOptions.name": "a short form of schedule, which takes the name of any; so does this key in a file",
    "PretrainTrain.optimizer": "the two optimizers whose settings were tuned for packaged weights",
    "PretrainTrain.precision": "number formats that torch and the kernels know",
    "PretrainRecipe.save_dtype": "number formats of safetensors that checkpoints are read from",
    "SyntheticRecipe.save_dtype": "number formats of safetensors that checkpoints are read from",
    "TaskPretraining.save_dtype": "number formats of safetensors that checkpoints are read from",
    "SyntheticData.source": "the procedures and statistics whose bodies the published comparison needs",
    "fptkit export --to": "file formats; each is a writer and a check of its own",
    "fptkit report --format": "forms of one report, all made from the same sections",
}
"""Lists of names that are closed by nature."""

FURTHER = {"list": {"weights", "recipes", "studies"}, "show": {"recipe", "study"}}
"""What commands list and show beside the kinds of the table: entries of sources, and files in folders of recipes."""


def literals(annotation: Any) -> Iterator[tuple[Any, ...]]:
    if get_origin(annotation) is Literal:
        yield get_args(annotation)
    for inner in get_args(annotation):
        yield from literals(inner)


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def closed_fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """Fields with a list of names, at any depth; those of components are the components' own."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        if any(literals(field.annotation)):
            yield f"{model.__name__}.{name}".replace("RecipeSettings.", "Recipe.")
        for inner in models(field.annotation):
            yield from closed_fields(inner, seen)


def choices(command: click.Command, path: str) -> Iterator[tuple[str, list[str]]]:
    """Parameters of a command, and of its subcommands, that take one of some names."""
    for parameter in command.params:
        if isinstance(parameter.type, click.Choice):
            name = parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.name)
            yield f"{path} {name}", list(parameter.type.choices)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in COMMANDS if command is cli else command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from choices(found, f"{path} {name}")


def test_models_of_recipes_and_studies_have_no_other_closed_list() -> None:
    own = [value for value in vars(pretraining).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    seen: set[type[BaseModel]] = set()
    found = {name for model in (Recipe, RecipeSettings, StudySettings, *own) for name in closed_fields(model, seen)}
    assert not found - CLOSED.keys(), "open it by a hook, or list it with the reason"


def test_options_of_commands_have_no_other_closed_list() -> None:
    found = dict(choices(cli, "fptkit"))
    assert set(found.pop("fptkit list kind")) == {*PLURALS, *FURTHER["list"]}
    assert set(found.pop("fptkit show kind")) == {*NOUNS, *FURTHER["show"]}
    assert set(found.pop("fptkit new plugin --kind")) == {*NOUNS}, "every kind has a template"
    assert not found.keys() - CLOSED.keys(), "complete the names of a kind instead, and look them up"


def test_a_closed_list_would_be_found() -> None:
    class Inner(BaseModel):
        kind: tuple[Literal["a", "b"], ...] | None = Field(default=None)

    class Outer(BaseModel):
        inner: list[Inner] = []

    assert list(closed_fields(Outer, set())) == ["Inner.kind"]

    @click.command()
    @click.option("--mode", type=click.Choice(["a", "b"]))
    def command(mode: str) -> None: ...

    assert list(choices(command, "x")) == [("x --mode", ["a", "b"])]


@pytest.mark.parametrize("reason", CLOSED.values())
def test_every_exception_has_a_reason(reason: str) -> None:
    assert len(reason.split()) > 3
