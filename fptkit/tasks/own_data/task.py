"""The base of tasks with users' files: from files to prepared splits, the same story for every format."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import UnknownNameError, UsageError
from fptkit.interfaces import Examples, GivenMetrics, Preparation, Shown, Split, Task
from fptkit.tasks.own_data.prepared import PreparedSplit
from fptkit.tasks.own_data.target import Target, fit_target
from fptkit.tasks.reading.cautions import class_warnings, size_warnings
from fptkit.tasks.reading.columns import read_column
from fptkit.tasks.reading.delimited import UNLABELLED
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.reading.numbers import MISSING
from fptkit.tasks.reading.options import SplitOptions, TargetOptions
from fptkit.tasks.reading.paths import SourceFiles, find_files, shown_source
from fptkit.tasks.reading.splits import Pool, divide

FoundTarget: TypeAlias = tuple[Any, tuple[str, ...], tuple[str, ...]]
"""What is predicted, a `Target` or a format's own of the same form; notes and warnings about it."""


class OwnDataTask(Task):
    """Base of tasks that read a user's files.

    A format sets `name` and `endings`, and implements `read_split` and `fit`. Its `Preparation` does the rest, in
    training and later in prediction. The order is:

    1. `find`: the files of each split, and what is passed over.
    2. `read_split`: the files of a split as `Examples`, with labels as they are written.
    3. `fptkit.tasks.reading.splits.divide`: splits that the source does not have.
    4. `fptkit.tasks.own_data.target.fit_target`: what is predicted.
    5. `fit`: the preparation, measured on the training examples.
    6. `PreparedSplit`: the prepared examples of each split.

    Args:
        options: options of the format.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used, since all paths are read.

    Raises:
        SourceError: a file or folder does not exist, or has no file of this format.
        DataError: a file is damaged or does not follow the rules for reading.
        UsageError: the options do not fit the data.
    """

    name: ClassVar[str]
    """Registered name of the task."""

    endings: ClassVar[tuple[str, ...]]
    """Endings of the files that are read, in lower case."""

    deep: ClassVar[bool] = True
    """Whether files in folders below are read, too."""

    target: Any
    """What is predicted: a `Target`, or a format's own of the same form."""

    def __init__(self, options: TargetOptions, *, seed: int, pinned: str | None = None) -> None:
        files = self.find(options)
        self._declared: tuple[str, ...] = ()
        read = {split: self.read_split(files, split, options) for split in files.splits}
        _check_labelled(read)
        examples, rows, note = _divided(read, options.split, self._classes_of(read, options), what=self.name)
        self.source = shown_source(options.source)
        self._declared = tuple(self.declared_classes(files, options))
        self.target, target_notes, target_warnings = self.find_target(examples, rows["train"], options)
        preparation = self.fit(examples, rows["train"], self.target, options)
        self.preparation = preparation
        self.input, self.output, self.max_tokens = preparation.input, preparation.output, preparation.max_tokens
        parts = {name: examples.take(some) for name, some in rows.items()}
        self._splits = {name: self.make_split(preparation, some, name, options) for name, some in parts.items()}
        self.test_splits = tuple(name for name in rows if name == "test" or name.startswith("test_"))
        self._tested = {name: parts[name] for name in self.test_splits}
        targets = {name: self.target.encode(some) for name, some in parts.items()}
        self.majority_accuracy = self.target.majority(targets)
        sizes = {name: len(some) for name, some in rows.items()}
        self.notes = (
            f"examples: {', '.join(f'{name} {size:,}' for name, size in sizes.items())}; {note}",
            *target_notes,
            *files.notes,
            *dict.fromkeys(note for some in read.values() for note in some.notes),
            *_overlap_notes(parts, self.key_of),
            *self.further_notes(preparation, parts),
        )
        numbers = {name: values.numpy() for name, values in targets.items()}
        absent = class_warnings(numbers, self.target.names) if self.target.kind in ("classes", "tags") else ()
        self.warnings = (*target_warnings, *size_warnings(sizes), *absent)

    def find(self, options: TargetOptions) -> SourceFiles:
        """The files of each split; by default all with one of `endings`. Overridden for sources of another kind.

        Args:
            options: options of the format.

        Raises:
            SourceError: there is nothing at a place, or no file of this format.
            DataError: own splits are ambiguous.
        """
        own = options.split.own and options.split.column is None
        return find_files(options.source, self.endings, own=own, deep=self.deep)

    @abstractmethod
    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """Read the files of one split, ``files.splits[split]``, with labels. Subclasses implement it.

        Columns that ``options.split`` names must be in the examples' ``columns``.

        Args:
            files: all files of the source.
            split: name of the split, or ``all``.
            options: options of the format.

        Raises:
            FptkitError: a file cannot be read.
        """

    def find_target(
        self, everything: Examples, train: Sequence[int] | NDArray[np.int64], options: TargetOptions
    ) -> FoundTarget:
        """Find what is predicted; by default by `fptkit.tasks.own_data.target.fit_target`. Overridden for others.

        Args:
            everything: labelled examples of all splits.
            train: indices of the training examples.
            options: options of the format.
        """
        lists = any(LIST in cell for cells in everything.labels.values() for cell in cells)
        if lists and options.separator is None:
            options = options.model_copy(update={"separator": LIST})
        return fit_target(
            everything,
            train,
            options,
            declared=self._declared,
            missing=getattr(options, "missing", ("",)),
            decimal=getattr(options, "decimal", "."),
        )

    @abstractmethod
    def fit(self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions) -> Preparation:
        """Make the preparation. Subclasses implement it.

        Everything that is measured (means, vocabularies, frequencies) comes from training examples alone. Only what
        must hold for all, such as the kind of a column or the longest example, may come from all.

        Args:
            examples: the examples of all splits.
            train: indices of the training examples.
            target: what is predicted; a part of the preparation.
            options: options of the format.
        """

    def make_split(self, preparation: Preparation, examples: Examples, name: str, options: TargetOptions) -> Split:
        """Make a split of examples; by default prepared once and kept in memory. Overridden for augmentation.

        Args:
            preparation: what `fit` returned.
            examples: the examples of the split.
            name: name of the split.
            options: options of the format.
        """
        return PreparedSplit(preparation, examples)

    def declared_classes(self, files: SourceFiles, options: TargetOptions) -> Sequence[str]:
        """Classes that the data declare, in their order; by default none."""
        return ()

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """Further lines for the run header; by default none."""
        return ()

    def key_of(self, content: object) -> int:
        """A number that is the same for examples of the same content, by which examples in two splits are found.

        Args:
            content: an entry of ``Examples.content``.
        """
        return _key(content)

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or one of ``test_splits``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError(f"split of task {self.name}", name, self._splits)
        return self._splits[name]

    def show(self, split: str, index: int) -> Shown | None:
        """See `fptkit.Task.show`; test examples are shown as they were read."""
        examples = self._tested.get(split)
        if examples is None or self.preparation is None:
            return None
        shown = self.preparation.show(examples.content[index])
        return None if shown is None else replace(shown, name=examples.names[index])

    def metrics(self) -> GivenMetrics:
        """Return new metrics of the target."""
        return self.target.metrics()

    def _classes_of(self, read: Mapping[str, Examples], options: TargetOptions) -> NDArray[np.int64] | None:
        """Class of each example that may be divided, for stratification; None if the target is not one class."""
        pool = read.get("all", read.get("train"))
        assert pool is not None, "sources without train are refused by their options"
        target, _, _ = self.find_target(pool, range(len(pool)), options)
        return target.encode(pool).numpy() if target.kind == "classes" else None


def _divided(
    read: Mapping[str, Examples], options: SplitOptions, classes: NDArray[np.int64] | None, *, what: str
) -> tuple[Examples, dict[str, NDArray[np.int64]], str]:
    """All examples, the rows of each split, and how they were divided."""
    pool = read.get("all", read.get("train"))
    assert pool is not None
    own = [name for name in read if name not in ("all", "train")]
    examples = Examples.joined([pool, *(read[name] for name in own)])
    known = Pool(
        count=len(pool),
        classes=classes,
        groups=_column(pool, options.group, "split.group"),
        times=_times(pool, options.time),
        named=_column(pool, options.column, "split.column"),
        what=f"task {what}",
    )
    division = divide(known, options, present=own)
    rows = dict(division.rows)
    start = len(pool)
    for name in own:
        rows[name] = np.arange(start, start + len(read[name]))
        start += len(read[name])
    order = ["train", "validation", *(name for name in rows if name not in ("train", "validation"))]
    note = f"{division.note}; {', '.join(own)} as in the source" if own and division.drawn else division.note
    return examples, {name: rows[name] for name in order}, note


def _check_labelled(read: Mapping[str, Examples]) -> None:
    """Check that the splits of a source have the labels that its training examples have.

    Raises:
        UsageError: one lacks them.
    """
    wanted = read.get("all", read.get("train"))
    for split, examples in read.items():
        if wanted is not None and (lacking := [name for name in wanted.labels if name not in examples.labels]):
            file = examples.names[0].rpartition(":")[0] if len(examples) else split
            raise UsageError(f"{file}: split {split} has no labels '{lacking[0]}', which train has; {UNLABELLED}")


def _column(examples: Examples, name: str | None, option: str) -> Sequence[str] | None:
    if name is None:
        return None
    if name not in examples.columns:
        has = ", ".join(examples.columns) or "none"
        raise UsageError(f"{option}: the data have no column '{name}'; their columns are {has}")
    return examples.columns[name]


def _times(examples: Examples, name: str | None) -> NDArray[np.float64] | None:
    cells = _column(examples, name, "split.time")
    if cells is None or name is None:
        return None
    column = read_column(name, cells, examples.names.__getitem__, missing=MISSING)
    if column.kind not in ("number", "date"):
        raise UsageError(f"split.time: column '{name}' has neither numbers nor dates, such as {column.cells[0]!r}")
    return np.array(column.numbers, np.float64)


def _overlap_notes(parts: Mapping[str, Examples], key_of: Callable[[object], int]) -> list[str]:
    """Notes about examples that are in train and in another split, too: the model may know them by heart."""
    seen = set(map(key_of, parts["train"].content))
    notes = []
    for name, some in parts.items():
        if name != "train" and (shared := sum(key_of(entry) in seen for entry in some.content)):
            notes.append(f"{shared:,} of {len(some):,} examples of {name} have the same content as one of train")
    return notes


def _key(content: object) -> int:
    if isinstance(content, np.ndarray):
        return hash((content.shape, tuple(content) if content.dtype == object else content.tobytes()))
    try:
        return hash(content)
    except TypeError:  # lists and mappings
        return hash(repr(content))
