"""A first look at pictures: the options of the task ``images``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptkit.errors import DataError, SourceError
from fptkit.tasks.images.folders import ENDINGS, class_folders, find_pictures
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.look import CERTAIN, Choice, Look, classes_seen, entry_of, files_at, files_seen
from fptkit.tasks.reading.look_tables import Listing, find_listing, guess_target, reading_options
from fptkit.tasks.reading.numbers import short

_SAMPLE = 200
_HEAD = {"head": {"readout": "mean"}}


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at a folder of class folders of pictures, or at a table that lists them.

    Args:
        place: a file or folder.
        labels: columns to predict, if the user names them.

    Raises:
        DataError: a table cannot be read.
    """
    if place.is_file() and place.suffix.lower() in ENDINGS:
        return Look("images", CERTAIN, "a picture", lacking=f"{place} is one picture; name the folder of all of them")
    loose = place.is_dir() and files_at(place, ENDINGS) is not None
    folders = _in_folders(place) if loose else None
    if folders and not folders.lacking:
        return folders
    if listing := find_listing(place, ENDINGS):
        return _listed(listing, labels)
    if folders:
        return folders
    return Look("images", CERTAIN, "pictures", lacking=_no_labels(place)) if loose else None


def _in_folders(place: Path) -> Look | None:
    source = {"all": (entry_of(place),)}
    try:
        found = class_folders(source)
    except (DataError, SourceError):
        return None
    files = found.files.files
    classes = [found.classes[file] for file in files]
    seen = (*files_seen(found.files), classes_seen(classes), *_sizes(files), *found.warnings)
    inner = sorted(set(filter(None, (found.inner[file] for file in files))))
    options = {}
    if len(set(classes)) < 2:
        return Look("images", CERTAIN, "pictures", seen, lacking=_one_class(place, classes[0]))
    if inner:
        options["class_folder"] = Choice("first", f"deepest: folders inside, such as {inner[0]}, are classes", True)
    return Look("images", CERTAIN, "pictures in class folders", seen, options, sections=_HEAD)


def _listed(listing: Listing, labels: Sequence[str]) -> Look:
    seen, column = listing.seen, listing.column
    guess = guess_target(seen, labels, (column,))
    options = {"path": Choice(column), **({"target": guess.choice} if guess.choice else {}), **reading_options(seen)}
    lines = [f"table {listing.path.name}: {seen.rows:,} rows, paths in column '{column}'", *guess.seen]
    cells = seen.filled(column)
    if listing.root is None:
        lacking = f"{listing.path}: there is no file {short(cells[0])} next to the table; correct column '{column}'"
        return Look("images", CERTAIN, "a table of pictures", tuple(lines), lacking=lacking, source=listing.path)
    if listing.root != listing.path.parent:
        options["root"] = Choice(str(listing.root))
    lines += _sizes([listing.root / cell.replace("\\", "/") for cell in cells])
    why = "a table that lists pictures"
    return Look("images", CERTAIN, why, tuple(lines), options, guess.lacking, source=listing.path, sections=_HEAD)


def _sizes(files: Sequence[Path]) -> list[str]:
    """Sizes of some pictures; a damaged one is reported when all are read."""
    from fptkit.tasks.images.pictures import header, in_threads

    some = list(files[:: max(1, len(files) // _SAMPLE)])[:_SAMPLE]
    sizes = {found[0] for found in in_threads(header, some) if found}
    shapes = [f"{width} x {height}" for height, width in sorted(sizes, key=lambda size: (size[0] * size[1], size))]
    return [f"sizes (of {len(some):,} looked at): {shown(shapes)} pixels"] if shapes else []


def _one_class(place: Path, name: str) -> str:
    return f"{place}: all pictures are in one class folder, {name}; classification needs two or more"


def _no_labels(place: Path) -> str:
    count = len(find_pictures({"all": (entry_of(place),)}).files)
    return (
        f"{place}: {count:,} pictures without classes; put them into a folder for each class, or add a table with the "
        "columns path and label"
    )
