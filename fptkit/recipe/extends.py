"""``extends:``: a recipe that builds on others (its bases) and gives only what differs.

Bases are merged in order, and the recipe over them; each base may extend further ones. Profiles are merged the same
way, so a recipe inherits the profiles of its bases.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

from fptkit.errors import clipped, nearest
from fptkit.recipe.tree import (
    DATA_ELSEWHERE,
    Fault,
    Faults,
    Node,
    Place,
    is_utf8,
    join,
    read_tree,
    read_value,
    shown_path,
)
from fptkit.specs import limits

SUFFIXES = (".yaml", ".yml")

Folders = Callable[[], Sequence[Path]]
"""Returns the folders in which a base is looked up if it is not next to the file; called only then."""


@dataclass(frozen=True)
class Base:
    """A base that was read.

    Args:
        tree: its content, merged over the files it extends; None if it cannot be used.
        faults: of the file and all it extends.
        sizes: bytes of each of these files, by resolved path.
    """

    tree: Node | None
    faults: tuple[Fault, ...]
    sizes: Mapping[Path, int]


@dataclass
class Bases:
    """The files that one recipe or study extends, each read once.

    Args:
        read: bases by resolved path; recipes of one listing share them.

    Attributes:
        sizes: bytes of each file that this recipe or study consists of.
    """

    read: dict[Path, Base] = field(default_factory=dict)
    sizes: dict[Path, int] = field(default_factory=dict)

    def excess(self) -> str:
        """What is above a limit, empty if nothing is."""
        if len(self.sizes) > limits.BASES + 1:
            return f"more than {limits.BASES} files are extended, directly or through others; merge some of them"
        if sum(self.sizes.values()) > limits.FILE_BYTES:
            return f"together with the files it extends, larger than {limits.FILE_BYTES:,} bytes; {DATA_ELSEWHERE}"
        return ""


def no_folders() -> Sequence[Path]:
    """No further folders: bases must be next to the file."""
    return ()


def read_with_bases(
    path: Path, shown: str, faults: list[Fault], folders: Folders = no_folders, *, read: Bases | None = None
) -> Node | None:
    """Read a file and merge it over those it extends.

    Args:
        path: the file.
        shown: its name in messages.
        faults: faults found are appended, of every file.
        folders: where bases are looked up after the file's own folder.
        read: bases read before; new ones are added, since many files extend the same few.

    Returns:
        One tree without ``extends``, or None if the file itself cannot be used.
    """
    return _read(path, shown, faults, folders, (path.resolve(),), Bases() if read is None else read)


def read_bases(
    fragment: Node, folder: Path, faults: list[Fault], folders: Folders = no_folders, *, read: Bases | None = None
) -> list[Node]:
    """The trees that a mapping extends, in the order of merging.

    Args:
        fragment: the mapping, such as an arm of a study.
        folder: folder of the file that holds it.
        faults: faults found are appended.
        folders: where bases are looked up after ``folder``.
        read: bases read before; new ones are added, since many fragments extend the same few files.
    """
    return _bases(fragment, folder, faults, folders, (), Bases() if read is None else read)


def files_of(path: Path, folders: Folders = no_folders) -> list[Path]:
    """A file and every file it extends, the file itself first; bases that cannot be found or read are left out."""
    found: dict[Path, Path] = {}
    waiting = [path]
    while waiting and len(found) <= limits.BASES:
        file = waiting.pop()
        if file.resolve() in found:
            continue
        found[file.resolve()] = file
        tree = read_file(file, file.name, [])
        names = _names(tree, []) if tree else []
        waiting += [base for name in reversed(names) if (base := find_base(str(name.value), file.parent, folders))]
    return list(found.values())


def text_of(path: Path) -> str:
    """The text of a recipe or study file; its lines end in line feeds.

    Raises:
        OSError: it cannot be read, or is larger than a recipe may be, of which no more is read.
        UnicodeDecodeError: it is not UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(limits.FILE_BYTES + 1)
    if len(content) > limits.FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {limits.FILE_BYTES:,} bytes; {DATA_ELSEWHERE}", str(path))
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def read_file(path: Path, shown: str, faults: list[Fault]) -> Node | None:
    """The tree of one file without its bases; None if it cannot be read."""
    try:
        text = text_of(path)
    except OSError as err:
        faults.append(Fault(Place(shown), "", f"cannot be read: {err.strerror or err}"))
        return None
    except UnicodeDecodeError as err:
        faults.append(Fault(Place(shown), "", f"is not UTF-8 text: byte {err.start} cannot be read"))
        return None
    return read_tree(text, shown, faults)


def _read(
    path: Path, shown: str, faults: list[Fault], folders: Folders, chain: tuple[Path, ...], read: Bases
) -> Node | None:
    own = read_file(path, shown, faults)
    if own is None:
        return None
    read.sizes[path.resolve()] = path.stat().st_size
    return reduce(merge, [*_bases(own, path.parent, faults, folders, chain, read), without_key(own, "extends")])


def _bases(
    own: Node, folder: Path, faults: list[Fault], folders: Folders, chain: tuple[Path, ...], read: Bases
) -> list[Node]:
    layers: list[Node] = []
    for name in _names(own, faults):
        base = find_base(str(name.value), folder, folders)
        if base is None:
            message = f"recipe '{name.value}' was not found next to this file or in a recipe folder"
            faults.append(Fault(name.place, "extends", message))
        elif base.resolve() in chain:
            faults.append(
                Fault(name.place, "extends", f"'{name.value}' extends this file in turn; remove one of the two")
            )
        elif len(chain) > limits.BASE_LEVELS:
            message = f"more than {limits.BASE_LEVELS} levels of files that extend each other; merge some of them"
            faults.append(Fault(name.place, "extends", message))
        else:
            below = _base(base, folders, chain, read)
            faults.extend(below.faults)
            if excess := read.excess():
                faults.append(Fault(name.place, "extends", excess))
                return layers
            if below.tree is not None:
                layers.append(below.tree)
    return layers


def _base(path: Path, folders: Folders, chain: tuple[Path, ...], read: Bases) -> Base:
    """A base, which is read unless it was read before. Its files are counted among those of the recipe."""
    key = path.resolve()
    if key not in read.read:
        inner, found = Bases(read.read, dict(read.sizes)), Faults()
        tree = _read(path, shown_path(path), found, folders, (*chain, key), inner)
        read.read[key] = Base(tree and plugins_made_absolute(tree, path.parent), tuple(found), inner.sizes)
    read.sizes.update(read.read[key].sizes)
    return read.read[key]


def without_key(tree: Node, key: str) -> Node:
    """The mapping without one key."""
    return Node({name: node for name, node in tree.mapping.items() if name != key}, tree.place)


def _names(tree: Node, faults: list[Fault]) -> list[Node]:
    """The entries of ``extends`` that are names."""
    node = tree.mapping.get("extends")
    if node is None or node.refused:
        return []
    entries = node.items if isinstance(node.value, list) else [node]
    if not entries or not all(isinstance(entry.value, str) and entry.value.strip() for entry in entries):
        faults.append(Fault(node.place, "extends", "expected the name of a recipe file, or a list of names"))
    return [entry for entry in entries if isinstance(entry.value, str) and entry.value.strip()]


def find_base(name: str, folder: Path, folders: Folders) -> Path | None:
    """The file a recipe extends: relative to its own folder, else in one of ``folders``."""

    def spelled(inside: Path) -> Path | None:
        try:
            return next((path for suffix in ("", *SUFFIXES) if (path := inside / (name + suffix)).is_file()), None)
        except (OSError, ValueError):  # not a valid path
            return None

    return spelled(folder) or next((path for other in folders() if (path := spelled(other))), None)


def plugins_made_absolute(tree: Node, folder: Path) -> Node:
    """Make paths of plugin files absolute; they are relative to the file that names them."""
    plugins = tree.mapping.get("plugins")
    if plugins is None or not isinstance(plugins.value, list):
        return tree
    entries = [_made_absolute(entry, folder) for entry in plugins.value]
    return Node({**tree.mapping, "plugins": Node(entries, plugins.place)}, tree.place)


def _made_absolute(entry: Node, folder: Path) -> Node:
    if not isinstance(entry.value, str):
        return entry
    try:
        return Node(str((folder / entry.value).resolve()), entry.place)
    except (OSError, ValueError, RuntimeError):  # not a valid path: reported when it is loaded
        return entry


def merge(base: Node, over: Node, *, depth: int = 0) -> Node:
    """Merge ``over`` over ``base``: mappings key by key; anything else is replaced.

    A section that names another component replaces that of ``base``: options of GPT-2 mean nothing to another backbone.

    Args:
        base: tree to change.
        over: tree of changes.
        depth: 0 at the top of a file, where a key ``name`` is a field like any other.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    if depth and _renames(base.mapping, over.mapping):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node, depth=depth + 1) if key in merged else node
    return Node(merged, base.place)


def _renames(base: Mapping[str, Node], over: Mapping[str, Node]) -> bool:
    below, above = base.get("name"), over.get("name")
    return below is not None and above is not None and below.value != above.value


def lay_over(
    base: Node | None,
    *,
    profile: str | None,
    overrides: Sequence[str],
    faults: list[Fault],
    default_names: Mapping[str, str] | None = None,
) -> Node | None:
    """Merge a profile and overrides over the tree of a file.

    Args:
        base: tree of the file and those it extends; None if the file cannot be used.
        profile: name of one of its ``profiles``; None for none.
        overrides: texts of the form ``a.b=value``; later ones win.
        faults: faults found are appended.
        default_names: component of each section for which the file names none.

    Returns:
        One tree without ``profiles``; None if there is no base.
    """
    over = read_overrides(overrides, faults)
    if base is None:
        return None
    profiles = profiles_of(base, faults)
    base = without_key(base, "profiles")
    layers = [named_sections(default_names or {}, base.place), base]
    if profile is not None:
        layers += chosen_profile(profile, profiles, Place(f"--profile {profile}", layer=1), "", faults)
    if over:
        # Merged with each other first, so that `--set backbone.dropout=0 --set backbone.name=random` keeps both.
        layers.append(reduce(merge, over))
    return reduce(merge, layers)


def read_overrides(texts: Sequence[str], faults: list[Fault]) -> list[Node]:
    """The trees of several ``a.b=value``, in their order; faults found are appended."""
    if len(texts) > limits.OVERRIDES:
        place = Place("--set", layer=1)
        faults.append(Fault(place, "", f"given {len(texts):,} times; at most {limits.OVERRIDES:,} are allowed"))
        return []
    return [node for i, text in enumerate(texts, start=1) if (node := read_override(text, i, faults))]


def read_override(text: str, number: int, faults: list[Fault]) -> Node | None:
    """The tree of one ``a.b=value``, split at the first ``=``, so that values may contain more of them.

    Args:
        text: what followed ``--set``.
        number: its position on the command line, from 1.
        faults: faults found are appended.
    """
    if not is_utf8(text):
        readable = text.encode("utf-8", "backslashreplace").decode()
        faults.append(Fault(Place(f"--set {clipped(readable)}", layer=number), "", "is not UTF-8 text"))
        return None
    place = Place(f"--set {clipped(text)}", layer=number)
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        faults.append(Fault(place, "", "expected KEY=VALUE with a dotted key, such as train.seed=1"))
        return None
    if len(keys) > limits.NESTING:
        faults.append(Fault(place, "", f"nested deeper than {limits.NESTING} levels"))
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
    """The lowest layer: sections that only name their default component."""
    return Node({key: Node({"name": Node(name, place)}, place) for key, name in names.items()}, place)


def profiles_of(base: Node, faults: list[Fault]) -> dict[str, Node]:
    """All profiles of a file; each must be a mapping, even if it is not used."""
    node = base.mapping.get("profiles")
    if node is None or node.refused:
        return {}
    if not isinstance(node.value, dict):
        faults.append(Fault(node.place, "profiles", "expected names of profiles, each with the keys it changes"))
        return {}
    if len(node.value) > limits.PROFILES:
        faults.append(Fault(node.place, "profiles", f"more than {limits.PROFILES} profiles; move some to other files"))
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
    """The tree of a profile, in a list; an empty list if there is no such profile.

    Args:
        name: of the profile.
        profiles: all profiles of the file.
        asked_at: place of the request, for the fault.
        path: dotted path of the key that requests it, empty for the command line.
        faults: faults found are appended.
    """
    if name not in profiles:
        hint = nearest(name, profiles)
        message = f"unknown profile '{clipped(name)}'." + (f" Did you mean '{hint}'?" if hint else "")
        known = ", ".join(sorted(profiles)) or "none"
        faults.append(Fault(asked_at, path, f"{message}\nknown: {known}"))
        return []
    # A profile that is not a mapping was reported already; merging it would hide faults of the base.
    return [profiles[name]] if isinstance(profiles[name].value, dict) else []
