"""A first look at tables: kinds of columns and which one is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.look_tables import find_listing, guess_target, reading_options, see_table


def written(folder: Path, header: str, rows: Sequence[str], name: str = "x.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_usual_name_comes_before_a_column_of_few_values(tmp_path: Path) -> None:
    rows = [f"{'xy'[n % 2]},{'ab'[n % 2]},{n}" for n in range(40)]
    guess = guess_target(see_table(written(tmp_path, "group,Label,n", rows)), ())
    assert guess.names == ("Label",)
    assert guess.choice is not None
    assert not guess.choice.doubtful
    assert guess.seen == ("target Label: 2 classes: 'a' 20, 'b' 20",)


def test_the_only_column_of_few_values_is_doubtful(tmp_path: Path) -> None:
    rows = [f"{n / 7:.3f},{'ab'[n % 2]},{n / 3:.2f}" for n in range(40)]
    guess = guess_target(see_table(written(tmp_path, "u,v,w", rows)), ())
    assert guess.names == ("v",)
    assert guess.choice is not None
    assert guess.choice.doubtful


@pytest.mark.parametrize("header", ["u,v", "id,v"])
def test_not_sure(header: str, tmp_path: Path) -> None:
    rows = [f"{n / 7:.3f},{n / 3:.2f}" for n in range(40)]
    guess = guess_target(see_table(written(tmp_path, header, rows)), ())
    assert guess.names == ()
    assert "--labels COLUMN" in guess.lacking


def test_an_identifier_named_label_is_not_predicted(tmp_path: Path) -> None:
    rows = [f"image{n},{'ab'[n % 2]}" for n in range(40)]
    assert guess_target(see_table(written(tmp_path, "label,sort", rows)), ()).names == ("sort",)


def test_a_class_with_missing_cells_is_not_chosen(tmp_path: Path) -> None:
    rows = [f"{'ab'[n % 2] if n else ''},{'cd'[n % 2]},{n}" for n in range(40)]
    guess = guess_target(see_table(written(tmp_path, "u,v,n", rows)), ())
    assert guess.names == ("v",)


def test_what_the_user_names(tmp_path: Path) -> None:
    seen = see_table(written(tmp_path, "a,label", [f"{n},{n % 2}" for n in range(20)]))
    assert guess_target(seen, ("a", "label")).names == ("a", "label")
    with pytest.raises(DataError, match=r"--labels: .*no column 'b'; it has a, label"):
        guess_target(seen, ("b",))


def test_decimal_commas(tmp_path: Path) -> None:
    seen = see_table(written(tmp_path, "a;b", [f"{n},{n % 10};k{n % 3}" for n in range(30)]))
    assert (seen.decimal, seen.of_kind("number"), dict(seen.odd)) == (",", ["a"], {})


def test_a_strange_cell_is_kept_in_mind(tmp_path: Path) -> None:
    rows = [f"{n / 3:.3f},k{n % 3}" for n in range(30)]
    rows[4] = "what,k1"
    seen = see_table(written(tmp_path, "a,b", rows))
    assert seen.odd.keys() == {"a"}
    assert "x.csv:6" in seen.odd["a"]
    assert not seen.is_identifier("a")


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("PassengerId", [5, 3, 9, 1], True),
        ("ring_id", [5, 3, 9, 1], True),
        ("id", [5, 3, 5, 1], False),
        ("humid", [5, 3, 9, 1], False),
        ("paid", [5, 3, 9, 1], False),
        ("price", [5, 3, 9, 1], False),
        ("row", [5.5, 3, 9, 1], False),
    ],
)
def test_identifiers_of_numbers(name: str, values: list[float], expected: bool, tmp_path: Path) -> None:
    seen = see_table(written(tmp_path, f"{name},k", [f"{value},a" for value in values]))
    assert seen.is_identifier(name) is expected


@pytest.mark.parametrize("folder", ["", "images/"])
def test_a_table_that_lists_files(folder: str, tmp_path: Path) -> None:
    rows = [f"{n}.PNG,{n % 2}" for n in range(10)]
    path = written(tmp_path, "file,label", rows)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "0.PNG").touch()
    for place in (path, tmp_path):
        listing = find_listing(place, (".png",))
        assert listing is not None
        assert (listing.path, listing.column, listing.root) == (path, "file", tmp_path / folder)
    assert find_listing(path, (".wav",)) is None


@pytest.mark.parametrize(("cells", "expected"), [("train valid test", True), ("train dev", True), ("test dev", False)])
def test_a_column_that_names_splits(cells: str, expected: bool, tmp_path: Path) -> None:
    words = cells.split()
    rows = [f"{words[n % len(words)]},{'xy'[n % 2]},{n / 7:.2f}" for n in range(42)]
    seen = see_table(written(tmp_path, "part,kind,n", rows))
    assert ("split" in reading_options(seen)) is expected
    if expected:
        assert reading_options(seen)["split"].value == {"column": "part"}
        assert guess_target(seen, ()).names == ("kind",)
