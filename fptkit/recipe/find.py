"""Finding recipes by path or bare name, and listing them without checking them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import UnknownNameError, UsageError
from fptkit.recipe.tree import Fault, Node, read_tree
from fptkit.registry import Registry
from fptkit.specs import RecipeFolderSpec

SUFFIXES = (".yaml", ".yml")

_OF_RUNS = {"task", "encoder", "head"}
_OF_PRETRAINING = {"kind", "data", "model", "tokenizer"}


@dataclass(frozen=True)
class RecipeFile:
    """A recipe in one of the plugins' folders, as a listing shows it.

    Args:
        name: bare name, by which ``fptkit run`` finds it.
        path: the file.
        owner: the plugin it came with.
        kind: ``run`` (``fptkit run``), ``pretrain`` (``fptkit pretrain``), or ``other``.
        description: its ``description``, else its first comment line.
        profiles: names of its profiles.
        problem: why it cannot be read, empty when it can.
    """

    name: str
    path: Path
    owner: str
    kind: str = "other"
    description: str = ""
    profiles: tuple[str, ...] = ()
    problem: str = ""


def recipe_folders(registry: Registry) -> list[Path]:
    """Folders of recipes, in the order of their records' names."""
    return [folder for folder, _ in _owned_folders(registry)]


def list_recipes(registry: Registry) -> list[RecipeFile]:
    """Every recipe of every plugin, by name; a broken file is listed with its problem."""
    found = [_look(path, owner) for folder, owner in _owned_folders(registry) for path in _files(folder)]
    return sorted(found, key=lambda recipe: (recipe.name, recipe.path))


def find_file(path_or_name: str) -> Path | None:
    """The file a path names, with or without its suffix; None when there is none."""
    return next((path for path in _spellings(Path(path_or_name)) if _is(Path.is_file, path)), None)


def find_recipe(path_or_name: str, folders: Sequence[Path]) -> Path:
    """Find a recipe: a path first, else a bare name in ``folders``.

    Args:
        path_or_name: path of a file, or its name, with or without ``.yaml``.
        folders: where bare names are looked up.

    Raises:
        UnknownNameError: there is none.
        UsageError: two folders hold one, or it is the path of a folder.
    """
    if path := find_file(path_or_name):
        return path
    found = [path for folder in folders if (path := find_file(str(folder / path_or_name)))]
    if len(found) > 1:
        raise UsageError(
            f"recipe '{path_or_name}' is in several folders; name one by its path:\n"
            + "\n".join(f"  {path}" for path in found)
        )
    if not found and path_or_name and _is(Path.is_dir, Path(path_or_name)):
        inside = Path(path_or_name) / "recipe.yaml"
        hint = f"; did you mean {inside}?" if _is(Path.is_file, inside) else ""
        raise UsageError(f"{path_or_name} is a folder, not a recipe{hint}")
    if not found:
        names = {path.stem for folder in folders for path in _files(folder)}
        bare = Path(path_or_name).stem if path_or_name.endswith(SUFFIXES) else path_or_name
        note = "(fptkit list recipes)" if bare == path_or_name else f"there is no file '{path_or_name}' either"
        raise UnknownNameError("recipe", bare, names, note)
    return found[0]


def _is(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether the test holds; it does not for a text no file system takes, such as one too long."""
    try:
        return test(path)
    except (OSError, ValueError):
        return False


def _spellings(path: Path) -> Iterator[Path]:
    yield path
    if path.suffix not in SUFFIXES:
        yield from (path.with_name(path.name + suffix) for suffix in SUFFIXES if path.name)


def _files(folder: Path) -> list[Path]:
    return sorted(path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}")) if folder.is_dir() else []


def _owned_folders(registry: Registry) -> Iterator[tuple[Path, str]]:
    for entry in registry.entries(RecipeFolderSpec):
        assert isinstance(entry.spec, RecipeFolderSpec)
        yield entry.spec.folder, entry.owner.described


def _look(path: Path, owner: str) -> RecipeFile:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        return RecipeFile(path.stem, path, owner, problem=f"cannot be read: {err}")
    comment = _first_comment(text)
    faults: list[Fault] = []
    root = read_tree(text, path.name, faults)
    if root is None:
        return RecipeFile(path.stem, path, owner, description=comment, problem=faults[0].message)
    given = root.mapping.get("description")
    description = given.value if given and isinstance(given.value, str) else ""
    profiles = root.mapping.get("profiles")
    return RecipeFile(
        path.stem,
        path,
        owner,
        kind=_kind(root),
        description=" ".join(description.split()) or comment,
        profiles=tuple(profiles.mapping) if profiles else (),
        problem=faults[0].message if faults else "",
    )


def recipe_kind(path: Path) -> str:
    """What a file is for, by the keys of its base: ``run``, ``pretrain`` or, where they do not say, ``other``."""
    try:
        root = read_tree(path.read_text(encoding="utf-8-sig"), path.name, [])
    except (OSError, UnicodeDecodeError):
        return "other"
    return _kind(root) if root else "other"


def _kind(root: Node) -> str:
    keys = set(root.mapping)
    if "task" in keys:
        return "run"
    return "pretrain" if _OF_PRETRAINING & keys and not _OF_RUNS & keys else "other"


def _first_comment(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line.strip("# ") for line in lines if line.startswith("#") and line.strip("# ")), "")
