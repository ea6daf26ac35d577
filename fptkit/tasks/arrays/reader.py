"""Arrays of a source as examples, by split."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fptkit.errors import DataError, SourceError
from fptkit.interfaces import Examples
from fptkit.sources.identity import is_metadata
from fptkit.tasks.arrays.files import Array, cells, check_finite, read_arrays, text_of
from fptkit.tasks.arrays.hub import read_hub
from fptkit.tasks.arrays.names import Roles, Wanted, classes_in, parted, roles
from fptkit.tasks.arrays.options import ENDINGS, ArraysOptions
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.options import SplitOptions
from fptkit.tasks.reading.paths import children_of, find_files, own_splits, passed_over_notes, places


@dataclass(frozen=True)
class Read:
    """What a source has.

    Args:
        splits: the examples of each split, or all under ``all``.
        classes: names of the classes that the data declare; empty if they declare none.
        notes: what is not used.
        digests: digests of what is not in files, by name.
    """

    splits: Mapping[str, Examples]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digests: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Bundle:
    """Arrays that belong together: those of a file, or of all ``.npy`` files of a folder.

    Args:
        name: what it is called in messages.
        arrays: the arrays by name.
        split: its split, if the place says one.
        classes: names of classes that it declares.
    """

    name: str
    arrays: Mapping[str, Array]
    split: str | None = None
    classes: tuple[str, ...] = ()


def read_source(options: ArraysOptions, wanted: Wanted | None = None) -> Read:
    """Read all entries of ``source``.

    Args:
        options: options of the task.
        wanted: names of the arrays, if they are not those of the options.

    Raises:
        SourceError: there is nothing at a place.
        DataError: a file is damaged, or arrays do not fit together.
        UsageError: an array that the options name does not exist.
    """
    own = options.split.own and options.split.column is None
    wanted = wanted or Wanted(options.inputs, options.target, options.lengths)
    bundles: list[Bundle] = []
    notes: list[str] = []
    digests: dict[str, str] = {}
    for split, entries in options.source.items():
        named = None if split == "all" else split
        local = [entry for entry in entries if not entry.startswith("hf:")]
        found, passed_over = _bundles(local, named, own)
        bundles += found
        notes += passed_over
        for entry in entries:
            if entry.startswith("hf:"):
                hub = read_hub(entry, wanted, config=options.config, revision=options.revision)
                bundles += [Bundle(entry, arrays, named or name, hub.classes) for name, arrays in hub.splits.items()]
                notes += hub.notes
                digests |= hub.digests
    if repeated := [name for name, count in Counter(bundle.name for bundle in bundles).items() if count > 1]:
        notes.append(f"{repeated[0]} is named more than once by the source")
    parts: dict[str, list[Examples]] = {}
    classes: list[tuple[str, ...]] = []
    for bundle in bundles:
        names, splits, unused = _examples(bundle, wanted, options.problem)
        classes.append(names)
        notes += unused
        for name, examples in splits.items():
            parts.setdefault("all" if not own and bundle.split is None else name, []).append(examples)
    if len(set(classes)) > 1:
        raise DataError(f"task.source: the parts of the data declare different classes, such as {shown(classes[0])}")
    if "all" in parts and len(parts) > 1:
        raise DataError("task.source: some arrays name a split and others do not; name the split of each in source")
    if "all" not in parts and "train" not in parts:
        raise DataError(f"task.source: no array is of train; they are of {shown(list(parts))}")
    for name in [] if wanted.unlabelled else _without_targets(parts):
        count = sum(map(len, parts.pop(name)))
        notes.append(f"{count:,} examples of {name} are not used: they have no targets")
    order = [name for name in ("all", "train", "validation") if name in parts]
    splits = {name: Examples.joined(parts[name]) for name in (*order, *sorted(parts.keys() - set(order)))}
    return Read(splits, classes[0], tuple(dict.fromkeys(notes)), digests)


def _without_targets(parts: Mapping[str, Sequence[Examples]]) -> list[str]:
    """The splits besides ``train`` that have no targets at all, if ``train`` has some."""
    known = {name: any(some.labels for some in examples) for name, examples in parts.items()}
    return [name for name, labelled in known.items() if known.get("train") and not labelled]


def read_unlabelled(source: Sequence[str], wanted: Wanted, *, config: str | None, revision: str | None) -> Examples:
    """Read new examples of all entries, of all splits together.

    Raises:
        FptkitError: see `read_source`.
    """
    options = ArraysOptions(
        source={"all": tuple(source)}, config=config, revision=revision, split=SplitOptions(own=False)
    )
    return read_source(options, wanted).splits["all"]


def files(options: ArraysOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    from fptkit.tasks.arrays.hub import hub_files

    if entry.startswith("hf:"):
        return hub_files(entry)
    return find_files({"all": (entry,)}, ENDINGS, own=False).files


def _bundles(entries: Sequence[str], split: str | None, own: bool) -> tuple[list[Bundle], tuple[str, ...]]:
    """The bundles of some entries of one split."""
    single: list[Path] = []
    bundles: list[Bundle] = []
    passed_over: list[Path] = []
    for entry in entries:
        for place in places(entry):
            if place.is_dir():
                found, others = _in_folder(place, split, own)
                bundles += found
                passed_over += others
                if not found:
                    endings = ", ".join(ENDINGS)
                    seen = f"; {', '.join(passed_over_notes(others))}" if others else ""
                    raise SourceError("task.source", [(entry, f"no file {endings} in {place}{seen}")])
            elif place.suffix.lower() not in ENDINGS:
                raise DataError(f"{place}: unknown ending; expected one of {', '.join(ENDINGS)}")
            elif place.suffix.lower() == ".npy":
                single.append(place)
            else:
                bundles.append(Bundle(str(place), read_arrays(place), split))
    if single:
        bundles.append(_single(single, split))
    return bundles, passed_over_notes(passed_over)


def _in_folder(
    folder: Path, split: str | None, own: bool, above: frozenset[str] = frozenset()
) -> tuple[list[Bundle], list[Path]]:
    """The bundles in a folder and those below, and the files that are not read; ``above`` are the folders it is in."""
    real = os.path.realpath(folder)
    if real in above:
        return [], [folder]
    children = [child for child in children_of(folder) if not is_metadata(child)]
    kept = [child for child in children if child.is_dir() or child.suffix.lower() in ENDINGS]
    single = [child for child in kept if child.is_file() and child.suffix.lower() == ".npy"]
    packed = [child for child in kept if child.is_file() and child not in single]
    if single and packed:
        raise DataError(f"{folder}: both .npy files and {packed[0].name}; name those that belong together in source")
    others = [child for child in children if child not in kept or not (child.is_dir() or child.is_file())]
    splits = own_splits([child.stem for child in kept if child not in single], str(folder)) if own else {}
    bundles = [_single(single, split)] if single else []
    bundles += [Bundle(str(file), read_arrays(file), split or splits.get(file.stem)) for file in packed]
    for child in kept:
        if child.is_dir():
            found, further = _in_folder(child, split or splits.get(child.name), own, above | {real})
            bundles += found
            others += further
    return bundles, others


def _single(paths: Sequence[Path], split: str | None) -> Bundle:
    """``.npy`` files as the arrays of one bundle."""
    arrays: dict[str, Array] = {}
    for path in paths:
        for name, array in read_arrays(path).items():
            if name in arrays:
                raise DataError(f"{path}: another file has the name {name}, too; name each split in source")
            arrays[name] = array
    return Bundle(str(paths[0].parent if len(paths) > 1 else paths[0]), arrays, split)


def _examples(bundle: Bundle, wanted: Wanted, problem: str) -> tuple[tuple[str, ...], dict[str, Examples], list[str]]:
    """Classes, examples by split, and notes of a bundle."""
    name = classes_in(bundle.arrays)
    classes = tuple(text_of(bundle.arrays, name)) if name else bundle.classes
    chosen, unused = roles([each for each in bundle.arrays if each != name], wanted, bundle.name)
    notes = [f"arrays of {Path(bundle.name).name} that are not used: {shown(unused)}"] if unused else []
    splits = {}
    for split, some in chosen.items():
        if bundle.split and split not in ("all", bundle.split):
            notes.append(f"{some.x} of {Path(bundle.name).name} is not used: the file is for {bundle.split}")
            continue
        splits[bundle.split or split] = _labelled(bundle, some, classes, problem)
    if not splits:
        raise DataError(f"{bundle.name}: it has no arrays of {bundle.split}, only of {shown(list(chosen))}")
    return classes, splits, notes


def _labelled(bundle: Bundle, chosen: Roles, classes: Sequence[str], problem: str) -> Examples:
    """The examples of one split of a bundle."""
    where = f"{bundle.name}, {chosen.x}"
    content = _cut(bundle, chosen, where)
    labels: dict[str, list[str]] = {}
    for name in chosen.y:
        if problem in ("auto", "tagging") and len(chosen.y) == 1:
            if tags := _tags(bundle, chosen, content, classes):
                labels[parted(name)[0]] = tags
                continue
            if problem == "tagging":
                raise DataError(
                    f"{bundle.name}, {name}: tagging needs a whole number or text for each step of {chosen.x}"
                )
        labels |= _targets(bundle.arrays[name], f"{bundle.name}, {name}", parted(name)[0], len(content), classes)
    return Examples(content, [f"{where}[{row}]" for row in range(len(content))], labels)


def _tags(bundle: Bundle, chosen: Roles, content: Sequence[Array], classes: Sequence[str]) -> list[str]:
    """For each example the labels of its steps in one cell; empty if the target has none for each step."""
    x, y = bundle.arrays[chosen.x], bundle.arrays[chosen.y[0]]
    if isinstance(x, list) or isinstance(y, list):
        rows: list[Array] = list(y)
        if not all(np.ndim(row) == 1 and len(row) == len(array) for row, array in zip(rows, content, strict=True)):
            return []
    elif y.ndim == 2 and x.ndim >= 2 and y.shape == x.shape[:2] and y.shape[1] > 1 and len(x) == len(content):
        rows = [row[: len(array)] for row, array in zip(y, content, strict=True)]
    elif y.ndim == 1 and len(y) == len(x) != len(content):
        rows = np.split(y, np.cumsum(list(map(len, content)))[:-1])
    else:
        return []
    if any(row.dtype.kind not in "biuUS" for row in rows):
        return []
    where = f"{bundle.name}, {chosen.y[0]}"
    return [LIST.join(_step_labels(row, classes, where)) for row in rows]


def _step_labels(row: Array, classes: Sequence[str], where: str) -> list[str]:
    """The labels of an example's steps; if classes are declared, numbers below 0 are no label."""
    if not classes or row.dtype.kind not in "iu":
        return cells(row, where)
    named = _named(cells(row, where), np.maximum(row, 0), classes, where)
    return ["" if number < 0 else name for name, number in zip(named, row, strict=True)]


def has_tags(examples: Examples) -> bool:
    """Whether examples have a label for each step."""
    return any(LIST in cell for some in examples.labels.values() for cell in some)


def _cut(bundle: Bundle, chosen: Roles, where: str) -> list[Array]:
    """The inputs of each example."""
    values = bundle.arrays[chosen.x]
    if isinstance(values, list):
        return values
    if values.dtype.kind not in "biuf":
        raise DataError(f"{where}: {values.dtype} instead of numbers; for text, use the task text")
    if values.ndim < 2 - (chosen.lengths is not None) or not values.size:
        raise DataError(f"{where}: an array of shape {values.shape}; expected (N, ...) with at least one example")
    if chosen.lengths is None:
        return list(values)
    ends = bundle.arrays[chosen.lengths]
    at = f"{bundle.name}, {chosen.lengths}"
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or not len(ends):
        raise DataError(f"{at}: {ends.dtype} of shape {ends.shape}; expected (N,) whole numbers")
    ends = ends.astype(np.int64)
    if parted(chosen.lengths)[0] == "offsets" or (ends[0] == 0 and ends[-1] == len(values)):
        if len(ends) < 2 or ends[0] != 0 or ends[-1] != len(values) or (np.diff(ends) < 1).any():
            raise DataError(f"{at}: offsets must rise from 0 to the {len(values):,} rows of {chosen.x}")
        return [values[start:end] for start, end in itertools.pairwise(ends)]
    if (ends < 1).any():
        raise DataError(f"{at}: the length at [{int(np.argmax(ends < 1))}] is {ends.min()}; it must be at least 1")
    if len(ends) == len(values) and values.ndim >= 2:
        if ends.max() > values.shape[1]:
            raise DataError(f"{at}: a length of {ends.max():,} exceeds the {values.shape[1]:,} steps of {chosen.x}")
        return [row[:end] for row, end in zip(values, ends, strict=True)]
    if ends.sum() != len(values):
        raise DataError(f"{at}: {len(ends):,} lengths with the sum {ends.sum():,}, but {chosen.x} has {values.shape}")
    return np.split(values, np.cumsum(ends)[:-1])


def _targets(array: Array, where: str, name: str, count: int, classes: Sequence[str]) -> dict[str, list[str]]:
    """Cells of a target: a column, or several."""
    if array.ndim < 1 or len(array) != count:
        raise DataError(f"{where}: an array of shape {array.shape}, but there are {count:,} examples")
    if array.ndim > 2:
        raise DataError(f"{where}: an array of shape {array.shape}; expected (N,) or (N, K) targets")
    if array.dtype.kind == "f":
        check_finite([array], [where])
    columns = array.reshape(count, -1).T
    if len(columns) == 1:
        return {name: _named(cells(columns[0], where), columns[0], classes, where)}
    if len(columns) > 1 and array.dtype.kind in "biuf" and _one_hot(array):
        numbers = array.argmax(1)
        return {name: _named(cells(numbers, where), numbers, classes, where)}
    names = classes if len(classes) == len(columns) else [f"{name}_{number + 1}" for number in range(len(columns))]
    return {key: cells(column, where) for key, column in zip(names, columns, strict=True)}


def _one_hot(array: Array) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all())


def _named(texts: list[str], numbers: Array, classes: Sequence[str], where: str) -> list[str]:
    """Indices of declared classes as their names."""
    if not classes or numbers.dtype.kind not in "iu":
        return texts
    if strange := [row for row in range(len(numbers)) if not 0 <= numbers[row] < len(classes)]:
        row = strange[0]
        raise DataError(
            f"{where}[{row}] is {numbers[row]}, but the data declare {len(classes)} classes, 0 to {len(classes) - 1}"
        )
    return [classes[number] for number in numbers]
