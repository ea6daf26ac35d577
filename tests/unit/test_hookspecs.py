"""Every hook has an example in its docstring, and the example is a plugin that loads and keeps its promises."""

from __future__ import annotations

import inspect
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fptkit import hookspecs, testing
from fptkit.api.training_checks import training_checks
from fptkit.interfaces import Vectors
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.specs import (
    HOOKS,
    BackboneSpec,
    CommandSpec,
    ComponentSpec,
    ControlSpec,
    DataSetSpec,
    EncoderSpec,
    FreezingPolicySpec,
    LauncherSpec,
    ListenerSpec,
    PublishedSpec,
    ReportSectionSpec,
    SearchSpec,
    Spec,
    TaskSpec,
    WeightSourceSpec,
    kind_of,
)


def example_of(hook: str) -> str:
    """The code after ``Example::`` in a hook's docstring; empty if there is none."""
    _, marker, code = (inspect.getdoc(getattr(hookspecs, hook)) or "").partition("Example::\n")
    return textwrap.dedent(code).strip() + "\n" if marker else ""


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_an_example_that_is_a_plugin(hook: str, tmp_path: Path) -> None:
    code = example_of(hook)
    assert f"@hookimpl\ndef {hook}():" in code, f"{hook} needs an example in its docstring"
    file = tmp_path / "example.py"
    file.write_text(code, encoding="utf-8")
    registry = load_plugins([file], selection="")
    plugin = registry.plugins[-1]
    assert (plugin.status, plugin.hooks) == ("loaded", (hook,))
    (spec,) = [entry.spec for entry in registry.entries(HOOKS[hook]) if entry.owner is plugin]
    assert kind_of(type(spec)).hook == hook
    keeps_its_promises(spec, tmp_path)


def keeps_its_promises(spec: Spec, folder: Path) -> None:
    """The contract checks of its kind."""
    if isinstance(spec, TaskSpec):
        testing.check_task(spec.resolve()(spec.options_model()(), seed=0, pinned=None))
    elif isinstance(spec, BackboneSpec):
        options = spec.options_model()()
        testing.check_backbone(lambda positions: spec.resolve()(options, positions=positions, seed=0, pinned=None))
    elif isinstance(spec, EncoderSpec):
        testing.check_encoder(
            lambda: spec.resolve()(spec.options_model()(), input=Vectors(3), width=16), input=Vectors(3), width=16
        )
    elif isinstance(spec, ListenerSpec):
        testing.check_listener(spec.resolve()(spec.options_model()(), folder=folder))
    elif isinstance(spec, FreezingPolicySpec):
        assert spec.rules
    elif isinstance(spec, ReportSectionSpec):
        assert testing.check_report_section(spec, {"seconds": 2.0, "peak_memory_mib": 500.0})
    elif isinstance(spec, DataSetSpec):
        testing.check_data_set(spec, archive_of_flowers(folder))
    elif isinstance(spec, ControlSpec):
        recipe = load_recipe("bit_xor_gpt2", overrides=["backbone.dropout=0.1"]).recipe
        assert testing.check_control(spec, recipe) == {"backbone": {"dropout": 0.0}}
    elif isinstance(spec, SearchSpec):
        assert testing.check_search(spec) == 1e-2
    elif check := CHECKS.get(type(spec)):
        check(spec)
    elif isinstance(spec, ComponentSpec):
        checks = training_checks(spec, lambda one: one.options_model()())
        for check in checks.values():
            check()


CHECKS: dict[type[Spec], Callable[..., None]] = {
    WeightSourceSpec: testing.check_weight_source,
    CommandSpec: testing.check_command,
    PublishedSpec: testing.check_published,
    LauncherSpec: testing.check_launcher,
}


def archive_of_flowers(folder: Path) -> Path:
    """An archive like that of the example of data sets."""
    (folder / "iris.data").write_text("1,2,3,4,setosa\n" * 150)
    with tarfile.open(folder / "iris.tar.gz", "w:gz") as packed:
        packed.add(folder / "iris.data", "iris.data")
    return folder / "iris.tar.gz"


def test_a_missing_example_would_be_found() -> None:
    assert "from fptkit import" in example_of("fptkit_tasks")
    assert (inspect.getdoc(load_plugins) or "").partition("Example::\n")[1] == ""
