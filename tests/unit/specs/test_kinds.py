"""The one table of kinds: complete, without contradictions, and what hooks, recipes and commands are read from."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from fptkit import hookspecs
from fptkit.cli.main import cli
from fptkit.recipe.models import COMPONENT_LISTS, DEFAULT_NAMES, REQUIRED, SECTIONS, Component, Recipe, RecipeSettings
from fptkit.registry import load_plugins
from fptkit.specs import HOOKS, KINDS, NOUNS, PLURALS, ComponentSpec, Spec, TargetSpec, TaskSpec, kind_of


def _subclasses(kind: type[Spec]) -> list[type[Spec]]:
    return [found for child in kind.__subclasses__() for found in (child, *_subclasses(child))]


def test_every_record_has_one_row() -> None:
    records = {
        kind
        for kind in _subclasses(Spec)
        if kind not in (ComponentSpec, TargetSpec)
        and kind.__module__.startswith("fptkit.specs")
        and not kind.__name__.startswith("_")
    }
    assert records == {kind.record for kind in KINDS}
    assert len(records) == len(KINDS)


@pytest.mark.parametrize("column", ["hook", "noun", "plural", "section"])
def test_no_name_is_given_twice(column: str) -> None:
    names = [name for kind in KINDS if (name := getattr(kind, column))]
    assert names
    assert len(set(names)) == len(names)
    assert len({kind.record.kind for kind in KINDS}) == len(KINDS)


def test_every_hook_is_specified_and_every_specified_hook_has_a_kind() -> None:
    specified = {name for name, value in vars(hookspecs).items() if name.startswith("fptkit_") and callable(value)}
    assert specified == set(HOOKS) == {kind.hook for kind in KINDS}
    for name, record in HOOKS.items():
        assert inspect.signature(getattr(hookspecs, name)).return_annotation == f"list[{record.__name__}]"


def test_recipes_have_a_field_for_every_section() -> None:
    """The fields are written out for type checkers; here they are held to the table."""
    sections = {kind.section: kind for kind in KINDS if kind.section}
    assert set(Recipe.model_fields) - set(RecipeSettings.model_fields) == set(sections)
    assert list(SECTIONS) + list(COMPONENT_LISTS) == list(sections)
    for name, kind in sections.items():
        field = Recipe.model_fields[name]
        if kind.many:
            assert get_args(field.annotation) == (Component, ...)
        elif kind.required or kind.default:  # a default is laid beneath the recipe, so that the field is always there
            assert field.annotation is Component
        else:
            assert set(get_args(field.annotation)) == {Component, type(None)}
        assert field.is_required() == (name in REQUIRED or name in DEFAULT_NAMES)


def test_defaults_are_components_that_are_there() -> None:
    registry = load_plugins(selection="")
    for kind in KINDS:
        if kind.default:
            assert registry.get(kind.record, kind.default)


@pytest.mark.parametrize(("command", "words"), [("show", NOUNS), ("list", PLURALS)])
def test_commands_take_the_words_of_the_table(command: str, words: dict[str, object]) -> None:
    found = cli.commands.get(command) or cli.get_command(None, command)  # type: ignore[arg-type]
    assert found is not None
    (argument,) = [parameter for parameter in found.params if parameter.name == "kind"]
    assert list(argument.type.choices)[: len(words)] == list(words)  # type: ignore[attr-defined]


def test_the_row_of_a_record_or_of_a_plugins_subclass() -> None:
    class LabelledTaskSpec(TaskSpec):
        pass

    assert kind_of(TaskSpec) is kind_of(LabelledTaskSpec) is NOUNS["task"]
    with pytest.raises(KeyError, match="ComponentSpec"):
        kind_of(ComponentSpec)


def test_a_further_kind_is_a_row_and_its_hook(tmp_path: Path) -> None:
    """With a row and a hook, plugins are loaded and listed by them; nothing else is changed."""
    code = """
import sys, types
from dataclasses import dataclass
from typing import ClassVar
import fptkit.hookspecs as hookspecs
import fptkit.specs.base as base

@dataclass(frozen=True, kw_only=True)
class PaletteSpec(base.ComponentSpec):
    kind: ClassVar[str] = "palette"

source = open(sys.modules["fptkit.specs.base"].__file__.replace("base.py", "kinds.py")).read()
row = 'Kind(record=PaletteSpec, hook="fptkit_palettes", noun="palette", plural="palettes"),'
source = source.replace("KINDS = (", "KINDS = (" + row)
module = sys.modules["fptkit.specs.kinds"]
module.PaletteSpec = PaletteSpec
exec(compile(source, module.__file__, "exec"), vars(module))
for name in ("Kind", "KINDS", "HOOKS", "NOUNS", "PLURALS", "kind_of"):
    setattr(sys.modules["fptkit.specs"], name, getattr(module, name))

def fptkit_palettes(): ...
hookspecs.fptkit_palettes = hookspecs.hookspec(fptkit_palettes)
open("palettes.py", "w").write('''
import fptkit, __main__
@fptkit.hookimpl
def fptkit_palettes():
    return [__main__.PaletteSpec(name="grey", summary="shades of grey", target="a:b")]
''')
from fptkit.cli.main import main
main(["list", "palettes", "--plugin", "palettes.py"])
"""
    environment = {**os.environ, "FPTKIT_PLUGINS": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "grey" in done.stdout
    assert "shades of grey" in done.stdout
