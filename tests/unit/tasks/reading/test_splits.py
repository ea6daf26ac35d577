"""Splits against an independent computation, and their promises."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from fptkit.errors import UsageError
from fptkit.tasks.reading.options import SplitOptions
from fptkit.tasks.reading.splits import Division, Pool, divide

CHANCE = np.random.default_rng(1)


def options(**given: object) -> SplitOptions:
    return SplitOptions.model_validate(given)


def counts(division: Division) -> dict[str, int]:
    return {name: len(rows) for name, rows in division.rows.items()}


def naive(classes: list[int], validation: float, test: float, seed: int) -> dict[str, list[int]]:
    """The documented rule in plain Python: keys, strata, progress within a stratum, cut at the shares."""
    text = f"{seed}/split"
    key_seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
    keys = [int(np.random.PCG64(key_seed).random_raw(len(classes))[row]) for row in range(len(classes))]
    drawn = sorted(range(len(classes)), key=lambda row: keys[row])
    progress = {}
    for stratum in set(classes):
        members = [row for row in drawn if classes[row] == stratum]
        for place, row in enumerate(members):
            progress[row] = 1.0 if place == len(members) - 1 else (place + 0.5) / len(members)
    order = sorted(drawn, key=lambda row: progress[row])
    first = int(test * len(order) + 0.5)
    second = int((test + validation) * len(order) + 0.5)
    return {"train": sorted(order[second:]), "validation": sorted(order[first:second]), "test": sorted(order[:first])}


@pytest.mark.parametrize("seed", [0, 1, 2**62])
@pytest.mark.parametrize("size", [20, 101, 333])
def test_stratified_splits_equal_the_naive_ones(seed: int, size: int) -> None:
    classes = CHANCE.choice(4, size, p=[0.6, 0.25, 0.1, 0.05])
    found = divide(Pool(size, classes), options(validation=0.2, test=0.1, seed=seed))
    assert {name: rows.tolist() for name, rows in found.rows.items()} == naive(classes.tolist(), 0.2, 0.1, seed)


def test_known_rows() -> None:
    """The same on every machine: figures of one machine, by the rule above."""
    found = divide(Pool(20), options())
    assert {name: rows.tolist() for name, rows in found.rows.items() if name != "train"} == {
        name: rows for name, rows in naive([0] * 20, 0.15, 0.15, 0).items() if name != "train"
    }
    assert found.note == "validation and test drawn at random, seed 0"


def test_every_example_is_in_one_split_and_classes_in_proportion() -> None:
    classes = CHANCE.integers(0, 7, 1000)
    division = divide(Pool(1000, classes), options(validation=0.15, test=0.25))
    assert sorted(np.concatenate(list(division.rows.values())).tolist()) == list(range(1000))
    assert counts(division) == {"train": 600, "validation": 150, "test": 250}
    for name, share in (("validation", 0.15), ("test", 0.25)):
        inside = np.bincount(classes[division.rows[name]], minlength=7)
        assert (np.abs(inside - share * np.bincount(classes)) <= 1).all()


def test_every_class_keeps_a_training_example() -> None:
    classes = np.array([0] * 30 + list(range(1, 11)))
    division = divide(Pool(40, classes), options(validation=0.3, test=0.3))
    assert set(classes[division.rows["train"]]) == set(range(11))


def test_unstratified_and_without_classes() -> None:
    classes = np.array([0] * 95 + [1] * 5)
    plain = divide(Pool(100, classes), options(stratified=False))
    assert [r.tolist() for r in plain.rows.values()] == [r.tolist() for r in divide(Pool(100), options()).rows.values()]
    with pytest.raises(UsageError, match="no classes to stratify"):
        divide(Pool(100, what="t.csv"), options(stratified=True))


def test_seeds_give_other_splits_and_order_of_options_does_not() -> None:
    one, two = (divide(Pool(100), options(seed=seed)).rows["test"].tolist() for seed in (0, 1))
    assert one != two
    assert divide(Pool(100), options().seeded(1)).rows["test"].tolist() == two


def test_groups_stay_together() -> None:
    groups = [f"p{n}" for n in CHANCE.integers(0, 40, 500)]
    division = divide(Pool(500, groups=groups), options(group="patient", validation=0.2, test=0.2))
    homes = [{groups[row] for row in rows} for rows in division.rows.values()]
    assert sum(map(len, homes)) == len(set(groups))
    for name in ("validation", "test"):
        assert abs(len(division.rows[name]) - 100) <= max(Counter(groups).values())
    assert "by group (patient)" in division.note


def test_the_same_group_written_in_two_ways() -> None:
    groups = ["1", "1.0", "2", " 2", "3", "3", "4", "4"]
    division = divide(Pool(8, groups=groups), options(group="g"))
    for rows in division.rows.values():
        assert len(rows) % 2 == 0


def test_groups_are_stratified_by_their_class() -> None:
    groups = np.repeat(np.arange(100), 5)
    classes = (groups % 4 == 0).astype(np.int64)
    division = divide(Pool(500, classes, groups=groups.tolist()), options(group="g", validation=0.2, test=0.2))
    for rows in division.rows.values():
        assert abs(classes[rows].mean() - 0.25) < 0.05


def test_three_groups_are_enough() -> None:
    division = divide(Pool(300, groups=["a"] * 100 + ["b"] * 100 + ["c"] * 100), options(group="g"))
    assert counts(division) == {"train": 100, "validation": 100, "test": 100}
    with pytest.raises(UsageError, match=r"2 groups \(g\), too few"):
        divide(Pool(4, groups=["a", "a", "b", "b"]), options(group="g"))


def test_by_time_the_latest_are_test_and_equal_times_stay_together() -> None:
    times = np.repeat(np.arange(50.0), 4)
    shuffled = CHANCE.permutation(200)
    division = divide(Pool(200, times=times[shuffled]), options(time="day", validation=0.2, test=0.2))
    spans = [(times[shuffled][rows].min(), times[shuffled][rows].max()) for rows in division.rows.values()]
    assert spans[0][1] < spans[1][0] <= spans[1][1] < spans[2][0]
    assert counts(division) == {"train": 120, "validation": 40, "test": 40}


def test_unused_examples_are_noted() -> None:
    division = divide(Pool(100, times=np.arange(100.0)), options(time="t", train=0.5, validation=0.1, test=0.1))
    assert division.rows["train"].tolist() == list(range(30, 80))
    assert "30 examples are not used" in division.note
    classes = np.array([0] * 90 + list(range(1, 11)))
    few = divide(Pool(100, classes), options(train=0.3, validation=0.1, test=0.1))
    assert counts(few) == {"train": 30, "validation": 10, "test": 10}
    assert set(classes[few.rows["train"]]) == set(range(11))


def test_only_what_is_missing_is_drawn() -> None:
    assert counts(divide(Pool(100), options(validation=0.2), present=["test"])) == {"train": 80, "validation": 20}
    assert counts(divide(Pool(100), options(), present=["test_far"])) == {"train": 85, "validation": 15}
    assert counts(divide(Pool(100), options(), present=["validation", "test"])) == {"train": 100}


def test_a_column_names_the_splits() -> None:
    named = ["train", "Train ", "val", "test", "dev", "test_far"]
    division = divide(Pool(6, named=named), options(column="fold"))
    assert {name: rows.tolist() for name, rows in division.rows.items()} == {
        "train": [0, 1],
        "validation": [2, 4],
        "test": [3],
        "test_far": [5],
    }
    with pytest.raises(UsageError, match="row 2: column 'fold' has 'holdout'"):
        divide(Pool(2, named=["train", "holdout"]), options(column="fold"))
    with pytest.raises(UsageError, match="no row of column 'fold' is train"):
        divide(Pool(1, named=["test"]), options(column="fold"))


def test_splits_that_a_column_lacks_are_drawn_from_train() -> None:
    part = divide(Pool(40, named=["train"] * 30 + ["test"] * 10), options(column="fold", validation=0.2))
    assert counts(part) == {"train": 24, "validation": 6, "test": 10}
    assert part.drawn == ("validation",)
    assert part.rows["test"].tolist() == list(range(30, 40))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_examples(count: int) -> None:
    with pytest.raises(UsageError, match=f"has {count} examples, too few for train, validation, test"):
        divide(Pool(count), options())


def test_small_data_fill_every_split() -> None:
    assert counts(divide(Pool(3), options())) == {"train": 1, "validation": 1, "test": 1}
    assert counts(divide(Pool(5), options())) == {"train": 3, "validation": 1, "test": 1}


def test_more_classes_than_training_examples() -> None:
    with pytest.raises(UsageError, match="cannot hold all 10 classes"):
        divide(Pool(10, np.arange(10)), options(validation=0.3, test=0.3))


def test_missing_times_are_refused() -> None:
    with pytest.raises(UsageError, match="without a time"):
        divide(Pool(4, times=np.array([1, 2, np.nan, 3])), options(time="t"))
