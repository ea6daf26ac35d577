"""Train, validation and test: which examples belong to which split, the same on every machine.

The order in which examples are drawn comes from the raw output of NumPy's PCG64, which never changes between versions,
and a stable sort; no function of a library that draws samples is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.seeds import derive_seed
from fptkit.tasks.reading.labels import same_label, shown
from fptkit.tasks.reading.options import SPLIT_NAMES, SplitOptions
from fptkit.tasks.reading.paths import split_of

Rows = NDArray[np.int64]
"""Indices of examples, in ascending order."""


@dataclass(frozen=True)
class Pool:
    """What a split may depend on.

    Args:
        count: N, number of examples.
        classes: (N,) class of each example, for stratification; None without classes.
        groups: (N,) group of each example, if ``split.group`` is set.
        times: (N,) time of each example, if ``split.time`` is set.
        named: name of the split of each example, if ``split.column`` is set.
        what: the data, for messages.
    """

    count: int
    classes: NDArray[np.int64] | None = None
    groups: Sequence[object] | None = None
    times: NDArray[np.float64] | None = None
    named: Sequence[str] | None = None
    what: str = "the data"


@dataclass(frozen=True)
class Division:
    """Which examples are in which split.

    Args:
        rows: indices of the examples of each split; no example is in two.
        note: how they were divided, for the run header.
        drawn: the splits that were drawn, and not given by the source.
    """

    rows: Mapping[str, Rows]
    note: str
    drawn: tuple[str, ...] = ()


def divide(examples: Pool, options: SplitOptions, *, present: Sequence[str] = ()) -> Division:
    """Divide examples into the splits that are not present already.

    Random: examples are drawn by seed, every class in proportion if stratified, so that the numbers of each class in a
    split differ from its share by less than one, except that every class keeps an example in train. By group: groups
    are drawn as a whole, stratified by their most frequent class. By time: the latest examples are test, those before
    validation; examples of the same time stay together. Each split gets at least one example, or group.

    Args:
        examples: what is known about the examples.
        options: shares and method.
        present: splits that the source has of its own, such as ``test``; they are not drawn, and the shares are those
            of the given examples.

    Raises:
        UsageError: a split would be empty, or the method needs something that the data do not have.
    """
    if options.column is not None:
        return _completed(examples, options, _named(examples, options))
    wanted = _missing(present)
    shares = {name: float(getattr(options, name)) for name in wanted}
    if options.time is not None:
        units, how = _by_time(examples, options.time), f"by time ({options.time})"
    else:
        units, how = _drawn(examples, options)
    if len(units.rows) < len(wanted) + 1:
        raise UsageError(
            f"split: {examples.what} has {len(units.rows)} {units.name}, too few for "
            f"{', '.join(['train', *reversed(wanted)])}; add data, or name a source for each split"
        )
    rows = _assign(units, shares, options.train)
    _check_train(examples, rows["train"])
    ordered = {name: rows[name] for name in SPLIT_NAMES if name in rows}
    unused = examples.count - sum(map(len, ordered.values()))
    note = f"{' and '.join(reversed(wanted))} drawn {how}" if wanted else "all splits are the source's own"
    note += f"; {unused:,} examples are not used (split.train)" if unused else ""
    return Division(ordered, note, tuple(reversed(wanted)))


def _missing(present: Sequence[str]) -> list[str]:
    """The splits to draw, the first to be drawn first."""
    tested = any(name == "test" or name.startswith("test_") for name in present)
    return [*([] if tested else ["test"]), *([] if "validation" in present else ["validation"])]


def _completed(examples: Pool, options: SplitOptions, named: Division) -> Division:
    """The splits that a column names, with those that it lacks drawn from train."""
    if not _missing(list(named.rows)):
        return named
    train = named.rows["train"]
    left = Pool(len(train), None if examples.classes is None else examples.classes[train], what=examples.what)
    present = [name for name in named.rows if name != "train"]
    further = divide(left, options.model_copy(update={"column": None}), present=present)
    rows = {**named.rows, **{name: train[some] for name, some in further.rows.items()}}
    order = [*(name for name in SPLIT_NAMES if name in rows), *sorted(rows.keys() - set(SPLIT_NAMES))]
    return Division({name: rows[name] for name in order}, f"{named.note}; {further.note}", further.drawn)


@dataclass(frozen=True)
class _Units:
    """What is assigned as a whole: examples or groups.

    Args:
        rows: the examples of each unit, those for test first and those for train last.
        name: what the units are.
        by_time: whether units that are not used come from the end, the earliest ones. Otherwise they come from before
            train, since the last units include one of every class.
    """

    rows: Sequence[Rows]
    name: str
    by_time: bool = False


def _assign(units: _Units, shares: Mapping[str, float], train: float | None) -> dict[str, Rows]:
    """Cut the units, in their order, into splits of these shares; each gets the units whose middle is in its part."""
    sizes = np.array([len(rows) for rows in units.rows], np.float64)
    middles = np.cumsum(sizes) - sizes / 2
    borders, begin, total = {}, 0, 0.0
    for position, (name, share) in enumerate(shares.items()):
        total += share * sizes.sum()
        end = int(np.searchsorted(middles, total + 1e-9, side="right"))
        left = len(shares) - position  # splits after this one, each of which needs a unit, with train
        end = min(max(end, begin + 1), len(sizes) - left)
        borders[name] = (begin, end)
        begin = end
    borders["train"] = (begin, len(sizes))
    if train is not None and train + sum(shares.values()) < 1 - 1e-9:
        kept = max(1, int(np.searchsorted(middles, total + train * sizes.sum() + 1e-9, side="right")) - begin)
        borders["train"] = (begin, begin + kept) if units.by_time else (max(begin, len(sizes) - kept), len(sizes))
    return {name: np.sort(np.concatenate(units.rows[start:stop])) for name, (start, stop) in borders.items()}


def _drawn(examples: Pool, options: SplitOptions) -> tuple[_Units, str]:
    """Examples or groups in random order, strata interleaved in proportion."""
    stratified = options.stratified is not False and examples.classes is not None
    if options.stratified and examples.classes is None:
        raise UsageError(f"split.stratified: {examples.what} has no classes to stratify by; leave it out")
    seed = options.seed or 0
    if options.group is not None:
        assert examples.groups is not None, "the task reads the groups"
        units = _grouped(examples.groups)
        name, how = f"groups ({options.group})", f"by group ({options.group})"
    else:
        units = list(np.arange(examples.count, dtype=np.int64)[:, None])
        name, how = "examples", "at random"
    strata = np.zeros(len(units), np.int64)
    if stratified:
        assert examples.classes is not None
        strata = np.array([np.bincount(examples.classes[rows]).argmax() for rows in units], np.int64)
        how += ", stratified by class"
    order = _interleaved(np.array([len(rows) for rows in units], np.float64), strata, seed)
    return _Units([units[place] for place in order], name), f"{how}, seed {seed}"


def _interleaved(sizes: NDArray[np.float64], strata: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A random order of units in which any first part has every stratum in proportion; the last of each comes last."""
    keys = np.random.PCG64(derive_seed(seed, "split")).random_raw(len(sizes))
    progress = np.empty(len(sizes))
    shuffled = np.argsort(keys, kind="stable")
    for stratum in np.unique(strata):
        members = shuffled[strata[shuffled] == stratum]
        total = np.cumsum(sizes[members])
        progress[members] = (total - sizes[members] / 2) / total[-1]
        progress[members[-1]] = 1.0  # kept for train
    return shuffled[np.argsort(progress[shuffled], kind="stable")]


def _grouped(groups: Sequence[object]) -> list[Rows]:
    """The examples of each group, in the order of the groups' first examples."""
    found: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(same_label(group), []).append(row)
    return [np.array(rows, np.int64) for rows in found.values()]


def _by_time(examples: Pool, column: str) -> _Units:
    """Examples of the same time together, the latest first."""
    assert examples.times is not None, "the task reads the times"
    if np.isnan(examples.times).any():
        raise UsageError(f"split.time: {examples.what} has examples without a time in column '{column}'; remove them")
    times = np.unique(examples.times)[::-1]
    order = np.argsort(-examples.times, kind="stable")
    ends = np.searchsorted(-examples.times[order], -times, side="right")
    return _Units(np.split(order.astype(np.int64), ends[:-1]), f"different times ({column})", by_time=True)


def _named(examples: Pool, options: SplitOptions) -> Division:
    """The splits that a column names."""
    assert examples.named is not None, "the task reads the column"
    found: dict[str, list[int]] = {}
    for row, name in enumerate(examples.named):
        split = split_of(name.strip())
        if split is None:
            raise UsageError(
                f"split.column: {examples.what}, row {row + 1}: column '{options.column}' has {name!r}, which is no "
                "split; use train, validation (val, valid, dev) and test"
            )
        found.setdefault(split, []).append(row)
    rows = {name: np.array(some, np.int64) for name, some in found.items()}
    if "train" not in rows:
        raise UsageError(f"split.column: no row of column '{options.column}' is train; it has {shown(list(rows))}")
    order = [*(name for name in SPLIT_NAMES if name in rows), *sorted(rows.keys() - set(SPLIT_NAMES))]
    return Division({name: rows[name] for name in order}, f"splits of column '{options.column}'")


def _check_train(examples: Pool, train: Rows) -> None:
    if examples.classes is None or len(train) == 0:
        return
    lost = np.setdiff1d(examples.classes, examples.classes[train])
    if len(lost) and len(train) < len(np.unique(examples.classes)):
        raise UsageError(
            f"split: {len(train)} training examples of {examples.what} cannot hold all "
            f"{len(np.unique(examples.classes))} classes; lower split.validation and split.test, or add data"
        )
