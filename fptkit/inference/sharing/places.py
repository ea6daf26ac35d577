"""What is shared names no folder of the machine it comes from: paths are cut to their last part."""

from __future__ import annotations

import contextlib
import getpass
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fptkit.recipe.dump import dump_mapping
from fptkit.recipe.find import read_recipe_file
from fptkit.recipe.tree import Node

_ENTRY = "path:"

_ABSOLUTE = re.compile(
    r"(?<![\w.:/\\~])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"`,;:|()<>\[\]{}]+[/\\])+(?=[^\s/\\])|(?<!\w)~[/\\](?=\w)"
)
"""The folders of an absolute path inside a text, up to its last part."""

_ENTRY_INSIDE = re.compile(r"(?<=\bpath:)[^\s,;'\"]*[/\\](?=[^\s,;'\"/\\])")
"""The folders of an entry ``path:…`` inside a text."""


def without_folders(content: Any, known: Iterable[str] = ()) -> Any:
    """A copy of plain data in which every path is cut to its last part.

    Entries ``path:FOLDER/NAME`` become ``path:NAME``, absolute paths become names, also inside of texts.

    Args:
        content: text, numbers, lists and mappings, as JSON has them.
        known: paths that occur in texts and may have spaces.
    """
    return _cut(content, lambda text: _cut_text(_without(text, known)))


def without_known(content: Any, known: Iterable[str]) -> Any:
    """A copy of plain data in which only these paths are cut to their last part, such as data that may look like
    paths."""
    return _cut(content, lambda text: _without(text, known))


def paths_in(content: Any) -> list[str]:
    """All paths that are values of their own in plain data: entries ``path:…``, and absolute paths."""
    if isinstance(content, str):
        if content.startswith(_ENTRY):
            return [content.removeprefix(_ENTRY)]
        return [content] if _is_absolute(content) else []
    if isinstance(content, Mapping):
        return [path for value in content.values() for path in paths_in(value)]
    return [path for value in content for path in paths_in(value)] if isinstance(content, (list, tuple)) else []


def recipe_content(path: Path) -> dict[str, Any]:
    """The content of a resolved recipe, as plain data."""
    tree = read_recipe_file(path, ()).tree
    return {} if tree is None else {key: _plain(node) for key, node in tree.mapping.items()}


def recipe_text(content: Mapping[str, Any], original: Path) -> str:
    """A recipe with other content under the comments at the top of the original.

    Args:
        content: the content.
        original: file of the original.
    """
    lines = original.read_text(encoding="utf-8").splitlines()
    return dump_mapping(content, [line.removeprefix("#").strip() for line in lines if line.startswith("#")])


def traces_of_machine(text: str) -> list[str]:
    """What a text says of this machine or its user: home and working folder, the user's name in a path.

    Args:
        text: of a file that is shared.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a process without an account
        user = ""
    places = {str(Path.cwd())}
    with contextlib.suppress(RuntimeError):  # no home folder is known
        places.add(str(Path.home()))
    found = [place for place in places if len(place) > 5 and place in text]
    if user and re.search(rf"[/\\]{re.escape(user)}[/\\]", text):
        found.append(user)
    return found


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(inner) for key, inner in node.value.items()}
    return [_plain(inner) for inner in node.value] if isinstance(node.value, list) else node.value


def _cut(content: Any, cut: Callable[[str], str]) -> Any:
    if isinstance(content, str):
        return cut(content)
    if isinstance(content, Mapping):
        return {cut(key) if isinstance(key, str) else key: _cut(value, cut) for key, value in content.items()}
    return [_cut(value, cut) for value in content] if isinstance(content, (list, tuple)) else content


def _without(text: str, known: Iterable[str]) -> str:
    for path in sorted(known, key=len, reverse=True):
        if _last(path) != path:
            text = text.replace(path, _last(path))
    return text


def _cut_text(text: str) -> str:
    if "\n" not in text:
        if text.startswith(_ENTRY):
            return _ENTRY + _last(text.removeprefix(_ENTRY))
        if _is_absolute(text):
            return _last(text)
    return _ABSOLUTE.sub("", _ENTRY_INSIDE.sub("", text))


def _is_absolute(text: str) -> bool:
    """Whether a text is one path with folders; a slash alone, such as a separator, is none, nor is a sentence."""
    if re.search(r"[:;,.!?]\s", text):
        return False
    if text.startswith(("~/", "~\\")) or PureWindowsPath(text).drive:
        return len(text) > 3
    return text.startswith("/") and len(PurePosixPath(text).parts) > 2


def _last(path: str) -> str:
    """The last part of a path of any system."""
    kind = PureWindowsPath if "\\" in path or PureWindowsPath(path).drive else PurePosixPath
    return kind(path).name or path
