"""Roles of arrays by their names."""

from __future__ import annotations

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.tasks.arrays.names import Roles, Wanted, parted, roles


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x_train", ("x", "train")),
        ("X_Test", ("x", "test")),
        ("train_images", ("images", "train")),
        ("val-labels", ("labels", "validation")),
        ("x", ("x", None)),
        ("train", ("train", None)),
        ("latest_x", ("latest_x", None)),
    ],
)
def test_names_and_splits(name: str, expected: tuple[str, str | None]) -> None:
    assert parted(name) == expected


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("x y", {"all": Roles("x", ("y",))}),
        ("X y extra", {"all": Roles("X", ("y",))}),
        ("only", {"all": Roles("only")}),
        (
            "x_train y_train x_test y_test",
            {"train": Roles("x_train", ("y_train",)), "test": Roles("x_test", ("y_test",))},
        ),
        (
            "train_images train_labels test_images test_labels",
            {"train": Roles("train_images", ("train_labels",)), "test": Roles("test_images", ("test_labels",))},
        ),
        ("x y offsets", {"all": Roles("x", ("y",), "offsets")}),
        ("input_ids label lengths classes", {"all": Roles("input_ids", ("label",), "lengths")}),
    ],
)
def test_usual_names(names: str, found: dict[str, Roles]) -> None:
    assert roles(names.split(), Wanted(), "f")[0] == found


def test_given_names() -> None:
    names = ["spectra", "dose", "age", "site", "spectra_test", "dose_test", "age_test"]
    found, unused = roles(names[:4], Wanted("spectra", ("dose", "age")), "f")
    assert found == {"all": Roles("spectra", ("dose", "age"))}
    assert unused == ("site",)


@pytest.mark.parametrize(
    ("names", "wanted", "error", "said"),
    [
        (
            "a b",
            Wanted(),
            DataError,
            "no array is known to have the inputs",
        ),
        ("x x_train", Wanted(), DataError, "both x and x_train"),
        ("x y labels", Wanted(y=("z",)), UsageError, r"task\.target: f has no array 'z'"),
        ("x y", Wanted(x="z"), UsageError, r"task\.inputs: f has no array 'z'"),
        ("x y", Wanted(lengths="n"), UsageError, r"task\.lengths: f has no array 'n'"),
        ("x_train train_x", Wanted(), DataError, "several arrays may be the inputs"),
    ],
)
def test_names_that_do_not_fit(names: str, wanted: Wanted, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        roles(names.split(), wanted, "f")
