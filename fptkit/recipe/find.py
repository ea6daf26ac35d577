"""Find recipes by path or bare name, and list them without checking them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fptkit.errors import RecipeError, UnknownNameError, UsageError
from fptkit.files import RECIPE
from fptkit.recipe.extends import SUFFIXES, Bases, files_of, read_with_bases, text_of
from fptkit.recipe.tree import Fault, Faults, Node, shown_path
from fptkit.registry import Registry
from fptkit.specs import RecipeFolderSpec

_OF_RUNS = {"task", "encoder", "head"}
_OF_PRETRAINING = {"kind", "data", "model", "tokenizer"}

STUDIES = "studies"
"""Folder of studies in a folder of recipes."""


@dataclass(frozen=True)
class ReadFile:
    """A recipe or study file, read once, with its bases.

    Args:
        path: the file.
        tree: its content, merged over the files it extends; None if it cannot be used.
        faults: of the file and all it extends.
        bases: folders in which files that it, its tasks or its arms extend are looked up after its own folder.
        read: extended files read so far; later ones are added.
    """

    path: Path
    tree: Node | None
    faults: tuple[Fault, ...] = ()
    bases: Sequence[Path] = ()
    read: Bases = field(default_factory=Bases)

    @property
    def kind(self) -> str:
        """Its kind, by its keys: ``run``, ``pretrain``, ``study``, else ``other``."""
        return _kind(self.tree) if self.tree else "other"

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of its profiles, including those of the files it extends."""
        node = self.tree.mapping.get("profiles") if self.tree else None
        return tuple(node.mapping) if node else ()


def read_recipe_file(path: Path, folders: Sequence[Path] = (), *, read: Bases | None = None) -> ReadFile:
    """Read a recipe or study with all it extends.

    Args:
        path: the file.
        folders: folders of recipes, in which bases are looked up after the file's own folder.
        read: extended files read before; new ones are added.
    """
    faults: list[Fault] = Faults()
    bases = base_folders(folders)
    read = Bases() if read is None else Bases(read.read)  # the files are counted anew
    tree = None
    with contextlib.suppress(RecipeError):  # too many faults; they are among those of the file
        tree = read_with_bases(path, shown_path(path), faults, lambda: bases, read=read)
    return ReadFile(path, tree, tuple(faults), bases, read)


@dataclass(frozen=True)
class RecipeFile:
    """A recipe in one of the plugins' folders, as a listing shows it.

    Args:
        name: bare name, by which ``fptkit run`` finds it.
        path: the file.
        owner: the plugin it belongs to.
        kind: ``run`` (``fptkit run``), ``pretrain`` (``fptkit pretrain``), ``study`` (``fptkit study``), or ``other``.
        description: its ``description``, else its first comment line.
        task: name of its task, empty if it names none.
        backbone: name of its backbone.
        freezing: name of its freezing policy.
        profiles: names of its profiles.
        problem: why it cannot be read, empty if it can.
    """

    name: str
    path: Path
    owner: str
    kind: str = "other"
    description: str = ""
    task: str = ""
    backbone: str = ""
    freezing: str = ""
    profiles: tuple[str, ...] = ()
    problem: str = ""


def recipe_folders(registry: Registry) -> list[Path]:
    """Folders of recipes, in the order of their records' names."""
    return [folder for folder, _ in _owned_folders(registry)]


def base_folders(folders: Sequence[Path]) -> list[Path]:
    """Folders in which bases are looked up after a file's own folder: recipe folders, then their studies."""
    return [*folders, *(folder / STUDIES for folder in folders)]


def list_recipes(registry: Registry) -> list[RecipeFile]:
    """Every recipe of every plugin, sorted by kind, task and name; a broken file is listed with its problem."""
    found = _look_at_all(registry)
    order = ("run", "pretrain", "study", "other")
    return sorted(found, key=lambda recipe: (order.index(recipe.kind), recipe.task, recipe.name, recipe.path))


def list_studies(registry: Registry) -> list[RecipeFile]:
    """Every study of every plugin, sorted by name; a broken file is listed with its problem."""
    return sorted(_look_at_all(registry, STUDIES), key=lambda study: (study.name, study.path))


def _look_at_all(registry: Registry, inside: str = "") -> list[RecipeFile]:
    """Every file of every plugin's folder, or of a folder ``inside`` it; bases are read only once."""
    owned = list(_owned_folders(registry))
    folders = [folder for folder, _ in owned]
    read = Bases()
    return [
        _look(read_recipe_file(path, folders, read=read), owner)
        for folder, owner in owned
        for path in _files(folder / inside)
    ]


def recipe_texts(path: Path, registry: Registry) -> list[tuple[Path, str]]:
    """A recipe or study and the files it extends, each with its text; the recipe first.

    Raises:
        UsageError: one of them cannot be read.
    """
    try:
        return [(file, text_of(file)) for file in files_of(path, lambda: base_folders(recipe_folders(registry)))]
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} cannot be read: {getattr(err, 'strerror', None) or err}") from err


def find_file(path_or_name: str) -> Path | None:
    """The file at a path, with or without its suffix; None if there is none."""
    return next((path for path in _spellings(Path(path_or_name)) if _is(Path.is_file, path)), None)


def find_recipe(path_or_name: str, folders: Sequence[Path]) -> Path:
    """Find a recipe: a path first, else a bare name in ``folders``.

    Args:
        path_or_name: path of a file, or its name, with or without ``.yaml``.
        folders: where bare names are looked up.

    Raises:
        UnknownNameError: no such file or recipe exists.
        UsageError: several folders hold one of that name, or it is the path of a folder.
    """
    if path := find_file(path_or_name) or _find_in(folders, path_or_name):
        return path
    if path_or_name and _is(Path.is_dir, Path(path_or_name)):
        inside = Path(path_or_name) / RECIPE
        hint = f"; did you mean {inside}?" if _is(Path.is_file, inside) else ""
        raise UsageError(f"{path_or_name} is a folder, not a recipe{hint}")
    names = {path.stem for folder in folders for path in _files(folder)}
    bare = Path(path_or_name).stem if path_or_name.endswith(SUFFIXES) else path_or_name
    note = "(fptkit list recipes)" if bare == path_or_name else f"the file '{path_or_name}' does not exist either"
    raise UnknownNameError("recipe", bare, names, note)


def find_study(path_or_name: str, folders: Sequence[Path]) -> Path:
    """Find a study, or a recipe to study.

    Args:
        path_or_name: path of a file, or the name of a study or else of a recipe, with or without ``.yaml``.
        folders: folders of recipes, with studies in their ``studies``.

    Raises:
        UnknownNameError: no such file, study or recipe exists.
        UsageError: several folders hold one of that name, or it is the path of a folder.
    """
    studies = [folder / STUDIES for folder in folders]
    if path := find_file(path_or_name) or _find_in(studies, path_or_name):
        return path
    try:
        return find_recipe(path_or_name, folders)
    except UnknownNameError as err:
        names = {path.stem for folder in studies for path in _files(folder)}
        note = err.note.replace("(fptkit list recipes)", "(fptkit list studies, fptkit list recipes)")
        raise UnknownNameError("study or recipe", err.name, {*names, *err.known}, note) from None


def _find_in(folders: Sequence[Path], name: str) -> Path | None:
    """The file of this bare name in one of the folders.

    Raises:
        UsageError: several folders hold one.
    """
    found = [path for folder in folders if (path := find_file(str(folder / name)))]
    if len(found) > 1:
        raise UsageError(
            f"recipe '{name}' is in several folders; name one by its path:\n" + "\n".join(f"  {path}" for path in found)
        )
    return found[0] if found else None


def _is(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether the test holds; false for text that is not a valid path, such as one too long."""
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


def _look(file: ReadFile, owner: str) -> RecipeFile:
    path, root = file.path, file.tree
    problem = file.faults[0].message if file.faults else ""
    if root is None:
        return RecipeFile(path.stem, path, owner, description=_first_comment(path), problem=problem)
    return RecipeFile(
        path.stem,
        path,
        owner,
        kind=file.kind,
        description=" ".join(_text(root, "description").split()) or _first_comment(path),
        task=_text(root, "task", "name"),
        backbone=_text(root, "backbone", "name"),
        freezing=_text(root, "freezing", "name"),
        profiles=file.profiles,
        problem=problem,
    )


def _text(node: Node | None, *keys: str) -> str:
    """The text at ``keys``, empty if there is none."""
    for key in keys:
        node = node.mapping.get(key) if node else None
    return node.value if node and isinstance(node.value, str) else ""


def _kind(root: Node) -> str:
    keys = set(root.mapping)
    if "arms" in keys or ("tasks" in keys and "task" not in keys):
        return "study"
    if "kind" in keys:  # only pretraining recipes have it, and those on a task have a task as well
        return "pretrain"
    if "task" in keys:
        return "run"
    return "pretrain" if _OF_PRETRAINING & keys and not _OF_RUNS & keys else "other"


def _first_comment(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
    lines = (line.strip() for line in text.splitlines())
    return next((line.strip("# ") for line in lines if line.startswith("#") and line.strip("# ")), "")
