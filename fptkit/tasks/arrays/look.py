"""A first look at arrays: the options of the task ``arrays``. NumPy is imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptkit.errors import DataError, UsageError
from fptkit.tasks.arrays.options import ENDINGS, ArraysOptions
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.look import CERTAIN, Choice, Look, classes_seen, entry_of, files_at, files_seen

if TYPE_CHECKING:
    from fptkit.tasks.arrays.files import Array
    from fptkit.tasks.arrays.reader import Read

NPZ = 0.7
"""Score of ``.npz`` files, which `series` reads, too."""


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at npz, npy and safetensors files.

    Args:
        place: a file or folder.
        labels: arrays to predict, if the user names them.

    Raises:
        DataError: a file cannot be read.
    """
    found = files_at(place, ENDINGS)
    if found is None:
        return None
    arrays = _arrays(found.files)
    lines = (
        *files_seen(found),
        *(f"array {name}: {array.dtype} {array.shape}" for name, array in list(arrays.items())[:12]),
    )
    score = NPZ if all(path.suffix.lower() == ".npz" for path in found.files) else CERTAIN
    source = place.parent if place.is_file() and place.suffix.lower() == ".npy" and _parts(place) else None
    options = _named(arrays, labels)
    try:
        read = _read(source or place, options)
    except (DataError, UsageError) as err:
        return Look("arrays", score, "arrays", lines, options, str(err), source=source)
    return _seen(read, score, lines, options, arrays, source)


def _read(place: Path, options: Mapping[str, Choice]) -> Read:
    from fptkit.tasks.arrays.reader import read_source

    chosen: dict[str, Any] = {name: choice.value for name, choice in options.items()}
    return read_source(ArraysOptions(source={"all": (entry_of(place),)}, **chosen))


def _seen(
    read: Read,
    score: float,
    lines: tuple[str, ...],
    options: dict[str, Choice],
    arrays: Mapping[str, Array],
    source: Path | None,
) -> Look:
    """What the arrays are, and their labels."""
    from fptkit.tasks.arrays.preparation import what_they_are

    first = read.splits.get("all", read.splits.get("train"))
    assert first is not None
    if not first.labels:
        rows = [name for name, array in arrays.items() if array.ndim and len(array) == len(first)]
        lacking = f"no array of targets has a usual name, such as y; name it: --labels NAME, of {shown(rows)}"
        return Look("arrays", score, "arrays", lines, options, lacking, source=source)
    kind = what_they_are(first.content, "auto", first.names[0])
    what = f"{kind} of shape {first.content[0].shape}"
    options["read_as"] = Choice(kind, "or sequences, symbols, images, features")
    sizes = ", ".join(f"{name} {len(some):,}" for name, some in read.splits.items())
    classes = [f"target {name}: {classes_seen(cells)}" for name, cells in first.labels.items()][:4]
    seen = (*lines, f"examples: {sizes}; {what}", *classes, *read.notes)
    return Look(
        "arrays", score, f"arrays of {kind}", seen, options, source=source, sections={"head": {"readout": "mean"}}
    )


def _arrays(paths: Sequence[Path]) -> dict[str, Array]:
    from fptkit.tasks.arrays.files import read_arrays

    found: dict[str, Array] = {}
    for path in paths[:8]:
        found |= read_arrays(path)
    return found


def _parts(path: Path) -> list[Path]:
    """The ``.npy`` files beside one, which may be its targets."""
    return [other for other in sorted(path.parent.glob("*.npy")) if other != path and not other.name.startswith(".")]


def _named(arrays: Mapping[str, Array], labels: Sequence[str]) -> dict[str, Choice]:
    """The options ``inputs`` and ``target``, where names are not the usual ones."""
    from fptkit.tasks.arrays.names import LENGTHS, X, Y, classes_in, parted

    options: dict[str, Choice] = {"target": Choice(labels[0] if len(labels) == 1 else list(labels))} if labels else {}
    bases = {name: parted(name)[0] for name in arrays}
    aside = {classes_in(arrays), *labels, *(name for name, base in bases.items() if base in LENGTHS)}
    if not any(base in X for base in bases.values()):
        wide = [name for name, array in arrays.items() if array.ndim > 1 and name not in aside and bases[name] not in Y]
        if wide:
            chosen = max(wide, key=lambda name: arrays[name].size)
            others = sorted({bases[name] for name in wide} - {bases[chosen]})
            why = "the largest array" + (f"; it may be another: {shown(others)}" if others else "")
            options["inputs"] = Choice(bases[chosen], why, bool(others))
    inputs = options["inputs"].value if "inputs" in options else None
    if not labels and not any(base in Y for base in bases.values()):
        flat = sorted(
            {
                bases[name]
                for name, array in arrays.items()
                if array.ndim == 1 and name not in aside and bases[name] != inputs and bases[name] not in X
            }
        )
        if len(flat) == 1:
            options["target"] = Choice(flat[0], "the only array with a value for each example", True)
    return options
