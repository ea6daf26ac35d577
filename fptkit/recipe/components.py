"""Sections of a recipe that name a component: the name is looked up, the rest checked against its options model."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fptkit.errors import PluginError, UnknownNameError
from fptkit.options import Options
from fptkit.recipe.check import check_model, without
from fptkit.recipe.models import COMPONENT_LISTS, SECTIONS, Component
from fptkit.recipe.tree import Fault, Node, join
from fptkit.registry import Registry
from fptkit.specs import ComponentSpec, FreezingPolicySpec, Spec

if TYPE_CHECKING:
    from fptkit.freezing.options import FreezingOptions


def check_components(
    tree: Node, registry: Registry, faults: list[Fault], *, unknown_names: bool = True
) -> dict[str, Component | tuple[Component, ...]]:
    """Every component a recipe names, by its key.

    Args:
        tree: the whole recipe.
        registry: where names are looked up.
        faults: faults found are appended.
        unknown_names: false where a plugin of the recipe did not load: unknown names then follow from that.
    """

    def check(node: Node, kind: type[Spec], path: str) -> Component | None:
        return check_component(node, kind, registry, path, faults, unknown_names=unknown_names)

    components: dict[str, Component | tuple[Component, ...]] = {}
    for key, kind in SECTIONS.items():
        node = tree.mapping.get(key)
        if key == "task" and node is None:
            known = ", ".join(registry.names(kind))
            faults.append(Fault(tree.place, key, f"required: a section {{name: ...}}\nknown: {known}"))
        # `encoder: null` leaves the choice to the task, as leaving it out does.
        if node is not None and not (key == "encoder" and node.value is None) and (made := check(node, kind, key)):
            components[key] = made
    for key, kind in COMPONENT_LISTS.items():
        node = tree.mapping.get(key)
        if node is None or node.refused:
            continue
        if not isinstance(node.value, list):
            faults.append(
                Fault(node.place, key, f"expected a list of sections {{name: ...}} that name {_a(kind)} each")
            )
        several = (check(item, kind, join(key, i)) for i, item in enumerate(node.items))
        components[key] = tuple(made for made in several if made)
    return components


def check_component(
    node: Node, kind: type[Spec], registry: Registry, path: str, faults: list[Fault], *, unknown_names: bool = True
) -> Component | None:
    """One section, or None when there were faults.

    Args:
        node: the section.
        kind: record kind the name must be of.
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
        faults.append(Fault(named.place, at, str(err)))
        return None
    options = check_model(without(node, ["name"]), model, path, faults, also_allowed=["name"])
    if options is None:
        return None
    if isinstance(spec, FreezingPolicySpec):
        faults += _misfits(node, spec, cast("FreezingOptions", options), path)
    return Component(name=named.value, options=options)


def _misfits(node: Node, spec: FreezingPolicySpec, options: FreezingOptions, path: str) -> list[Fault]:
    """What a recipe asks of a policy that does not go together with its rules, at the entries that ask it."""
    faults = []
    for keys, message in options.misfits(spec):
        at, dotted = node, path
        for key in keys:
            at, dotted = at.items[key] if isinstance(key, int) else at.mapping[key], join(dotted, key)
        faults.append(Fault(at.place, dotted, message))
    return faults


def _unknown_name(err: UnknownNameError, kind: type[Spec]) -> str:
    suggestion = f" Did you mean '{err.suggestion}'?" if err.suggestion else ""
    lines = [f"unknown {err.kind} '{err.name}'.{suggestion}", _known(kind, err.known)]
    return "\n".join([*lines, err.note] if err.note else lines)


def _a(kind: type[Spec]) -> str:
    return f"{'an' if kind.kind[0] in 'aeiou' else 'a'} {kind.kind}"


def _known(kind: type[Spec], names: tuple[str, ...] | list[str]) -> str:
    return f"known: {', '.join(names) or 'none'} (fptkit list {kind.plural})"
