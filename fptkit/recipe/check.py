"""Check a tree against a pydantic model; faults are in fptkit's own words, with line numbers."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

from fptkit.errors import PluginError, UnknownNameError, clipped, nearest
from fptkit.options import Options
from fptkit.recipe.models import COMPONENT_LISTS, DEFAULT_NAMES, REQUIRED, SECTIONS, Component
from fptkit.recipe.tree import Fault, Node, join, plain
from fptkit.recipe.words import Schema, expected, keys_of, members, schema_at, shown
from fptkit.registry import Registry
from fptkit.specs import ComponentSpec, FreezingPolicySpec, Spec, kind_of, limits
from fptkit.specs.guard import name_component

if TYPE_CHECKING:
    from fptkit.freezing.options import FreezingOptions


AnyModel = TypeVar("AnyModel", bound=BaseModel)

_CONTAINERS = {
    "tuple_type": list,
    "set_type": list,
    "frozen_set_type": list,
    "model_type": dict,
    "model_attributes_type": dict,
    "dataclass_type": dict,
    "dataclass_exact_type": dict,
}

_SAID_BY_SCHEMA = {
    "enum",
    "greater_than",
    "greater_than_equal",
    "int_from_float",
    "int_parsing",
    "float_parsing",
    "bool_parsing",
    "less_than",
    "less_than_equal",
    "literal_error",
    "missing",
    "string_pattern_mismatch",
    "string_too_short",
    "too_short",
}
"""Errors, in addition to those of type, that the words made from the schema describe completely."""


def check_model(
    node: Node, model: type[AnyModel], path: str, faults: list[Fault], *, also_allowed: Sequence[str] = ()
) -> AnyModel | None:
    """Make a model from a mapping of the tree.

    Strict: text and booleans are not numbers, and fractions are not integers. Lists become tuples.

    Args:
        node: the mapping.
        model: the model.
        path: dotted path of the mapping, empty for the top of the file.
        faults: faults found are appended.
        also_allowed: keys that belong to the mapping but not to the model; listed if a key is unknown.

    Returns:
        The model, or None if there were faults.
    """
    try:
        return _validate(model, plain(node))
    except _Unfit as unfit:
        schema = _schema(model)
        inside = {error["loc"][:depth] for error in unfit.errors for depth in range(len(error["loc"]))}
        for error in unfit.errors:
            if error["type"] == "too_short" and error["loc"] in inside:
                continue  # pydantic counts only the entries that passed
            keys, complete = _walk(node, error["loc"])
            at = _node_at(node, keys)
            if at.refused:
                continue
            if error["type"] == "missing":
                keys = (*keys, *complete)
            elif error["type"] == "extra_forbidden":
                at, keys = _node_at(node, keys), keys[:-1]
            message = describe(error, schema, keys, also_allowed=() if keys else also_allowed)
            fault = Fault(at.place, _dotted(path, keys), message)
            if fault not in faults:
                faults.append(fault)
        return None


class _Unfit(Exception):
    def __init__(self, errors: Sequence[ErrorDetails]) -> None:
        self.errors = errors


def _validate(model: type[AnyModel], value: Any) -> AnyModel:
    """Validate strictly, but with lists and mappings for tuples and models.

    pydantic's strict mode does this for JSON, except after a "before" validator, where it refuses a list for a tuple.
    Such errors are dropped, and a second, lax validation finds the errors they hide.

    Raises:
        _Unfit: with all errors.
    """
    text = json.dumps(value)
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as err:
        strict = [error for error in err.errors(include_url=False) if not _is_container(error)]
    try:
        made = model.model_validate_json(text)
    except ValidationError as err:
        raise _Unfit([*strict, *err.errors(include_url=False)]) from None
    if strict:
        raise _Unfit(strict)
    return made


def _is_container(error: ErrorDetails) -> bool:
    wanted = _CONTAINERS.get(error["type"])
    return wanted is not None and isinstance(error["input"], wanted)


@functools.lru_cache(maxsize=256)
def _schema(model: type[BaseModel]) -> Schema:
    """Kept, since a study checks one model for each of its cells."""
    try:
        return model.model_json_schema()
    except PydanticUserError:  # a plugin's own type that JSON Schema cannot express
        return {}


def describe(error: ErrorDetails, root: Schema, keys: Sequence[str | int], *, also_allowed: Sequence[str] = ()) -> str:
    """The message for one of pydantic's errors.

    Args:
        error: as ``ValidationError.errors`` gives it.
        root: JSON Schema of the model.
        keys: path of the fault; for an unknown key, the mapping that holds it.
        also_allowed: further keys to list if a key is unknown.
    """
    kind = error["type"]
    schema = schema_at(root, keys)
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), [*also_allowed, *keys_of(schema, root)])
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"]) or "is not allowed"
    if kind == "finite_number":
        return f"expected a finite number, got {shown(error['input'])}"
    if kind == "less_than_equal" and isinstance(_limit_of(schema, root, "maximum"), limits.Limit):
        return f"at most {error['ctx']['le']:,} is allowed, got {shown(error['input'])}"
    if kind == "too_long":
        return f"at most {error['ctx']['max_length']:,} entries are allowed, got {shown(error['input'])}"
    wanted = expected(schema, root)
    if kind == "missing" and not isinstance(error["loc"][-1], int):
        return f"required: {wanted}" if wanted else "required"
    if wanted and (kind.endswith("_type") or kind in _SAID_BY_SCHEMA):
        return f"expected {wanted}, got {shown(error['input'])}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(error['input'])}"


def _limit_of(schema: Schema, root: Schema, key: str) -> Any:
    """The bound called ``key`` of a value, which may be one of several forms."""
    return next((member[key] for member in members(schema, root) if key in member), None)


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """The message for an unknown key."""
    return _unknown_key(key, tuple(allowed))


@functools.lru_cache(maxsize=1024)
def _unknown_key(key: str, allowed: tuple[str, ...]) -> str:
    """Kept, since all cells of a study repeat the faults of their base."""
    hint = nearest(key, allowed)
    suggestion = f" Did you mean '{hint}'?" if hint else ""
    return f"unknown key '{clipped(key)}'.{suggestion}\nallowed: {', '.join(allowed) or 'none'}"


def _walk(node: Node, loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], tuple[str | int, ...]]:
    """The keys of ``loc`` that exist in the tree, and the last one if it does not.

    pydantic puts names of union members between the keys; they are not in the tree and are skipped.
    """
    keys: list[str | int] = []
    for key in loc:
        child = _child(node, key)
        if child is not None:
            node = child
            keys.append(key)
    ends_outside = bool(loc) and isinstance(loc[-1], str) and (not keys or keys[-1] != loc[-1])
    return tuple(keys), (loc[-1],) if ends_outside else ()


def _child(node: Node, key: str | int) -> Node | None:
    if isinstance(key, int):
        return node.items[key] if key < len(node.items) else None
    return node.mapping.get(key)


def _node_at(node: Node, keys: Sequence[str | int]) -> Node:
    for key in keys:
        child = _child(node, key)
        assert child is not None, keys
        node = child
    return node


def _dotted(path: str, keys: Sequence[str | int]) -> str:
    for key in keys:
        path = join(path, key)
    return path


def without(node: Node, keys: Sequence[str]) -> Node:
    """The mapping without some keys."""
    return Node({key: child for key, child in node.mapping.items() if key not in keys}, node.place)


def check_components(
    tree: Node, registry: Registry, faults: list[Fault], *, unknown_names: bool = True
) -> dict[str, Component | tuple[Component, ...]]:
    """Every component a recipe names, by its key.

    Args:
        tree: the complete recipe.
        registry: where names are looked up.
        faults: faults found are appended.
        unknown_names: false if a plugin of the recipe failed to load, which may be why names are unknown.
    """

    def check(node: Node, kind: type[Spec], path: str) -> Component | None:
        return check_component(node, kind, registry, path, faults, unknown_names=unknown_names)

    components: dict[str, Component | tuple[Component, ...]] = {}
    for key, kind in SECTIONS.items():
        node = tree.mapping.get(key)
        if key in REQUIRED and node is None:
            known = ", ".join(registry.names(kind))
            faults.append(Fault(tree.place, key, f"required: a section {{name: ...}}\nknown: {known}"))
        # `encoder: null` leaves the choice to the task, as leaving it out does.
        left_open = node is None or (node.value is None and key not in {*REQUIRED, *DEFAULT_NAMES})
        if node is not None and not left_open and (made := check(node, kind, key)):
            components[key] = made
    for key, kind in COMPONENT_LISTS.items():
        node = tree.mapping.get(key)
        if node is None or node.refused:
            continue
        if not isinstance(node.value, list):
            faults.append(Fault(node.place, key, f"expected a list of sections {{name: ...}}, each naming {_a(kind)}"))
        if len(node.items) > limits.LISTENERS:
            faults.append(Fault(node.place, key, f"expected at most {limits.LISTENERS} sections"))
            continue
        several = (check(item, kind, join(key, i)) for i, item in enumerate(node.items))
        components[key] = tuple(made for made in several if made)
    return components


def check_component(
    node: Node, kind: type[Spec], registry: Registry, path: str, faults: list[Fault], *, unknown_names: bool = True
) -> Component | None:
    """Check one section; None if there were faults.

    Args:
        node: the section.
        kind: record class of the component.
        registry: where the name is looked up.
        path: dotted path of the section.
        faults: faults found are appended.
        unknown_names: whether an unknown name is a fault.
    """
    if node.refused:
        return None
    if not isinstance(node.value, dict):
        example = node.value if isinstance(node.value, str) else "..."
        faults.append(Fault(node.place, path, f"expected a section that names {_a(kind)}: {{name: {example}}}"))
        return None
    named = node.mapping.get("name", Node(None, node.place))
    if named.refused:
        return None
    at = join(path, "name")
    if not isinstance(named.value, str):
        faults.append(Fault(named.place, at, f"required: the name of {_a(kind)}\n{_known(kind, registry.names(kind))}"))
        return None
    try:
        spec = registry.get(kind, named.value)
        model = spec.options_model() if isinstance(spec, (ComponentSpec, FreezingPolicySpec)) else Options
    except UnknownNameError as err:
        if unknown_names:
            faults.append(Fault(named.place, at, _unknown_name(err, kind)))
        return None
    except PluginError as err:
        name_component(err)
        faults.append(Fault(named.place, at, str(err)))
        return None
    options = check_model(without(node, ["name"]), model, path, faults, also_allowed=["name"])
    if options is None:
        return None
    if isinstance(spec, FreezingPolicySpec):
        faults += _misfits(node, spec, cast("FreezingOptions", options), path)
    return Component(name=named.value, options=options)


def _misfits(node: Node, spec: FreezingPolicySpec, options: FreezingOptions, path: str) -> list[Fault]:
    """Options of a policy that contradict its rules, as faults at the entries that cause them."""
    faults = []
    for keys, message in options.misfits(spec):
        at, dotted = node, path
        for key in keys:
            at, dotted = at.items[key] if isinstance(key, int) else at.mapping[key], join(dotted, key)
        faults.append(Fault(at.place, dotted, message))
    return faults


def _unknown_name(err: UnknownNameError, kind: type[Spec]) -> str:
    suggestion = f" Did you mean '{err.suggestion}'?" if err.suggestion else ""
    lines = [f"unknown {err.kind} '{clipped(err.name)}'.{suggestion}", _known(kind, err.known)]
    return "\n".join([*lines, err.note] if err.note else lines)


def _a(kind: type[Spec]) -> str:
    return f"{'an' if kind.kind[0] in 'aeiou' else 'a'} {kind.kind}"


def _known(kind: type[Spec], names: tuple[str, ...] | list[str]) -> str:
    return f"known: {', '.join(names) or 'none'} (fptkit list {kind_of(kind).plural})"
