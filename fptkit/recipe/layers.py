"""A file with those it extends, the chosen profile and the overrides of the command line, laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

from fptkit.errors import nearest
from fptkit.recipe.extends import Folders, merge, no_folders, read_with_bases, without_key
from fptkit.recipe.tree import MAX_DEPTH, Fault, Node, Place, is_utf8, join, read_value


def read_layers(
    path: Path,
    *,
    shown: str,
    profile: str | None,
    overrides: Sequence[str],
    faults: list[Fault],
    default_names: Mapping[str, str] | None = None,
    folders: Folders = no_folders,
) -> Node | None:
    """Read a file and lay a profile and overrides over it.

    Args:
        path: the file.
        shown: its name in messages.
        profile: which of its ``profiles``, None for the base alone.
        overrides: texts of the form ``a.b=value``, each over those before it.
        faults: faults found are appended.
        default_names: component of a section for which the file names none.
        folders: where files it extends are looked up after its own folder.

    Returns:
        One tree without ``profiles``, or None when the file gives nothing to go on with.
    """
    over = [node for i, text in enumerate(overrides, start=1) if (node := read_override(text, i, faults))]
    base = read_with_bases(path, shown, faults, folders)
    if base is None:
        return None
    profiles = profiles_of(base, faults)
    base = without_key(base, "profiles")
    layers = [named_sections(default_names or {}, base.place), base]
    if profile is not None:
        layers += chosen_profile(profile, profiles, Place(f"--profile {profile}", layer=1), "", faults)
    if over:
        # Laid over each other first, so that `--set backbone.dropout=0 --set backbone.name=random` keeps both.
        layers.append(reduce(merge, over))
    return reduce(merge, layers)


def read_override(text: str, number: int, faults: list[Fault]) -> Node | None:
    """The tree of one ``a.b=value``; split at the first ``=``, so that values may hold further ones.

    Args:
        text: what followed ``--set``.
        number: its position on the command line, from 1.
        faults: faults found are appended.
    """
    if not is_utf8(text):
        readable = text.encode("utf-8", "backslashreplace").decode()
        faults.append(Fault(Place(f"--set {readable}", layer=number), "", "is not UTF-8 text"))
        return None
    place = Place(f"--set {text}", layer=number)
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        faults.append(Fault(place, "", "expected KEY=VALUE with a dotted key, such as train.seed=1"))
        return None
    if len(keys) > MAX_DEPTH:
        faults.append(Fault(place, "", f"nested deeper than {MAX_DEPTH} levels"))
        return None
    if keys[0] == "profiles":
        message = "profiles cannot be set by --set; set the value itself (--set train.seed=1), or change the file"
        faults.append(Fault(place, "", message))
        return None
    node = read_value(value, place, ".".join(keys), faults)
    for key in reversed(keys):
        node = node and Node({key: node}, place)
    return node


def named_sections(names: Mapping[str, str], place: Place) -> Node:
    """The lowest layer: sections that only name their component."""
    return Node({key: Node({"name": Node(name, place)}, place) for key, name in names.items()}, place)


def profiles_of(base: Node, faults: list[Fault]) -> dict[str, Node]:
    """All profiles of a file, each checked to be a mapping, chosen or not."""
    node = base.mapping.get("profiles")
    if node is None or node.refused:
        return {}
    if not isinstance(node.value, dict):
        faults.append(Fault(node.place, "profiles", "expected names of profiles, each with the keys it changes"))
        return {}
    for name, profile in node.value.items():
        path = join("profiles", name)
        if not isinstance(profile.value, dict) and not profile.refused:
            faults.append(Fault(profile.place, path, "expected the keys this profile changes (a mapping)"))
        elif "profiles" in profile.mapping:
            faults.append(Fault(profile.mapping["profiles"].place, path, "a profile cannot hold profiles"))
    return node.value


def chosen_profile(
    name: str, profiles: Mapping[str, Node], asked_at: Place, path: str, faults: list[Fault]
) -> list[Node]:
    """The layer of a profile; none where there is no such profile.

    Args:
        name: which.
        profiles: those there are.
        asked_at: where it was asked for.
        path: dotted path of the key that asks for it, empty for the command line.
        faults: faults found are appended.
    """
    if name not in profiles:
        hint = nearest(name, profiles)
        message = f"unknown profile '{name}'." + (f" Did you mean '{hint}'?" if hint else "")
        known = ", ".join(sorted(profiles)) or "none"
        faults.append(Fault(asked_at, path, f"{message}\nknown: {known}"))
        return []
    # A profile that is no mapping has its fault already; laying it over the base would hide the rest.
    return [profiles[name]] if isinstance(profiles[name].value, dict) else []
