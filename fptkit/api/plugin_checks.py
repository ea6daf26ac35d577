"""The contract suite over everything that plugins bring, for ``fptkit plugins --check``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from fptkit import testing
from fptkit.encoders.choice import encoded_tokens
from fptkit.engine.build import build_component
from fptkit.engine.events import Listener
from fptkit.errors import FptkitError, UnknownNameError, UserInterrupt
from fptkit.interfaces import Backbone, Grid, InputKind, Symbols, Task, Vectors
from fptkit.options import Options
from fptkit.recipe.find import read_recipe_file, recipe_folders
from fptkit.recipe.load import load_read_recipe
from fptkit.registry import Entry, Plugin, Registry
from fptkit.seeds import seeded
from fptkit.specs import (
    KINDS,
    BackboneSpec,
    ComponentSpec,
    EncoderSpec,
    FreezingPolicySpec,
    ListenerSpec,
    RecipeFolderSpec,
    Spec,
    TaskSpec,
)
from fptkit.specs.guard import author_line, fault_of

_INPUTS: Mapping[str, InputKind] = {
    "vectors": Vectors(3),
    "symbols": Symbols(7),
    "grid": Grid(size=(8, 8), channels=3),
}
"""The input that an encoder is checked with, by kind; a mixed one has no example."""

_TOKENS, _WIDTH, _POSITIONS = 12, 16, 9

Result = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Checked:
    """The result of one check.

    Args:
        plugin: name of the plugin.
        component: the component in words; empty for the plugin itself.
        check: what was checked.
        result: how it ended.
        reason: why it failed or was skipped.
    """

    plugin: str
    component: str
    check: str
    result: Result
    reason: str = ""


class _Skipped(Exception):
    """A check that cannot be made, with the reason."""


def check_plugins(registry: Registry, name: str = "") -> Iterator[Checked]:
    """Import every target of all plugins, build it with its default options, and check the contracts.

    Args:
        registry: the registry.
        name: check one plugin: its name, its distribution, or the stem of its file; empty for all but fptkit itself.

    Yields:
        One result for each check; those of a plugin that did not load, or was left out, first.

    Raises:
        UnknownNameError: there is no such plugin.
    """
    plugins = [plugin for plugin in registry.plugins if plugin.origin != "builtin"]
    if name:
        known = {word for plugin in plugins for word in _names(plugin)}
        if name not in known:
            raise UnknownNameError("plugin", name, known)
        plugins = [plugin for plugin in plugins if name in _names(plugin)]
    for plugin in plugins:
        yield _loaded(plugin)
        for kind in KINDS:
            for entry in registry.entries(kind.record):
                if entry.owner is plugin:
                    yield from _check_entry(entry, registry)


def _names(plugin: Plugin) -> set[str]:
    return {plugin.name, plugin.distribution, *([Path(plugin.name).stem] if plugin.origin == "file" else [])} - {""}


def _loaded(plugin: Plugin) -> Checked:
    result: Result = {"loaded": "ok", "failed": "failed"}.get(plugin.status, "skipped")  # type: ignore[assignment]
    return Checked(_shown(plugin), "", "loads", result, plugin.reason)


def _shown(plugin: Plugin) -> str:
    return Path(plugin.name).name if plugin.origin == "file" else plugin.name


def _check_entry(entry: Entry, registry: Registry) -> Iterator[Checked]:
    for check, carry_out in _checks_of(entry.spec, registry).items():
        result, reason = _outcome(carry_out)
        yield Checked(_shown(entry.owner), str(entry.spec), check, result, reason)


def _outcome(carry_out: Callable[[], object]) -> tuple[Result, str]:
    try:
        carry_out()
    except _Skipped as err:
        return "skipped", str(err)
    except UserInterrupt:
        raise
    except BaseException as err:  # code of a plugin may raise anything
        if fault := fault_of(err):
            return "failed", str(fault)
        if isinstance(err, AssertionError | FptkitError):
            return "failed", str(err)
        place = author_line(err)
        return "failed", f"{type(err).__name__}: {err}" + (f" (at {place})" if place else "")
    return "ok", ""


def _checks_of(spec: Spec, registry: Registry) -> dict[str, Callable[[], object]]:
    """The checks of a record, by name."""
    match spec:
        case TaskSpec():
            return {"options": partial(testing.check_options, spec), "contract": partial(_check_task, spec)}
        case EncoderSpec():
            checks: dict[str, Callable[[], object]] = {"options": partial(testing.check_options, spec)}
            return checks | {f"{kind}": partial(_check_encoder, spec, kind, registry) for kind in spec.accepts}
        case BackboneSpec():
            return {
                "options": partial(testing.check_options, spec),
                "float32": partial(_check_backbone, spec, testing.check_backbone),
                "bfloat16": partial(_check_backbone, spec, testing.check_mixed_precision),
            }
        case FreezingPolicySpec():
            return {"roles": partial(testing.trained_roles, spec)}
        case ListenerSpec():
            return {"options": partial(testing.check_options, spec), "events": partial(_check_listener, spec)}
        case RecipeFolderSpec():
            return {"recipes": partial(_check_recipes, spec, registry)}
    return {}


def _defaults(spec: ComponentSpec) -> Options:
    """The default options.

    Raises:
        _Skipped: an option has no default.
    """
    try:
        return spec.options_model()()
    except ValidationError as err:
        missing = ", ".join(str(error["loc"][0]) for error in err.errors() if error["loc"])
        raise _Skipped(f"no default for: {missing}; check it in a test of your own, with fptkit.testing") from err


def _check_task(spec: TaskSpec) -> None:
    with seeded(0):
        task = build_component(spec, _defaults(spec), seed=0, pinned=None)
        assert isinstance(task, Task), f"{spec}: {type(task).__name__} is not a subclass of fptkit.Task"
        testing.check_task(task)


def _check_encoder(spec: EncoderSpec, kind: str, registry: Registry) -> None:
    if kind not in _INPUTS:
        raise _Skipped("a mixed input has no example; check it in a test of your own, with fptkit.testing")
    input, options = _INPUTS[kind], _defaults(spec)
    raw = input.fixed_tokens or _TOKENS
    count = encoded_tokens(spec, options, input, raw, registry=registry)
    build = partial(build_component, spec, options, input=input, width=_WIDTH)
    testing.check_encoder(build, input=input, width=_WIDTH, tokens=raw, token_count=count)


def _check_backbone(spec: BackboneSpec, check: Callable[..., None]) -> None:
    options = _defaults(spec)

    def build(positions: int) -> Backbone:
        with seeded(0):
            backbone: Backbone = build_component(spec, options, positions=positions, seed=0, pinned=None)
        assert isinstance(backbone, Backbone), f"{spec}: {type(backbone).__name__} is not a subclass of fptkit.Backbone"
        return backbone

    check(build, tokens=_POSITIONS)


def _check_listener(spec: ListenerSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        listener: Listener = build_component(spec, _defaults(spec), folder=Path(folder))
        testing.check_listener(listener)
        with contextlib.suppress(AttributeError):
            listener.close()  # type: ignore[attr-defined]  # Windows removes no open file


def _check_recipes(spec: RecipeFolderSpec, registry: Registry) -> None:
    assert spec.folder.is_dir(), f"{spec}: there is no folder {spec.folder}"
    arguments: dict[str, Any] = {"profile": None, "overrides": (), "given": ()}
    folders = recipe_folders(registry)
    for path in sorted(spec.folder.glob("*.yaml")):
        file = read_recipe_file(path, folders)
        if file.kind == "run":
            load_read_recipe(file, registry, **arguments)
