"""Labels of symbols: what counts as none, and what is refused."""

from __future__ import annotations

import pytest
import torch

from fptkit.errors import DataError
from fptkit.interfaces import IGNORED, Examples
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.sequences.tags import Tags, fit_tags


def examples(*cells: str) -> Examples:
    names = [f"f:{number}" for number in range(1, len(cells) + 1)]
    return Examples(["x"] * len(cells), names, {"tag": list(cells)})


def test_classes_of_characters_lists_and_parts() -> None:
    for cells, separator in ((["HCH", "CE"], None), ([f"H{LIST}C", "E"], None), (["H|C", "E"], "|")):
        tags, notes, _ = fit_tags(examples(*cells), separator, ("?",))
        assert tags.names == ("C", "E", "H")
        assert notes[-1].startswith("target: 3 classes, one for each symbol")


def test_targets_of_a_batch() -> None:
    tags, notes, _ = fit_tags(examples("HC?", "C", "-H"), None, ("?", "-"))
    assert notes[-1] == "2 of 6 symbols have no label and do not count"
    found = tags.padded(examples("HC?", "C", "-H"), [3, 1, 2], 3)
    assert found.tolist() == [[1, 0, IGNORED], [0, IGNORED, IGNORED], [IGNORED, 1, IGNORED]]
    assert tags.padded(examples("HCH"), [3], 2).tolist() == [[1, 0]]  # cut
    unlabelled = Examples(["xy", "x"], ["a", "b"])
    assert tags.padded(unlabelled, [2, 1], 2).tolist() == [[0, 0], [0, IGNORED]]
    assert sorted(tags.encode(examples("HC?", "C", "-H")).tolist()) == [0, 0, 1, 1]


def test_the_most_frequent_class_of_train() -> None:
    tags, _, _ = fit_tags(examples("HCC"), None, ())
    assert tags.majority({"train": torch.tensor([0, 0, 1]), "test": torch.tensor([1, 1, 0, 1])}) == {
        "train": pytest.approx(2 / 3),
        "test": 0.25,
    }


@pytest.mark.parametrize(
    ("cells", "lengths", "fault"),
    [
        (("HH",), [3], "^f:1: 2 labels for 3 symbols; tagging needs one for each, '[?]' for none"),
        (("HC", "??"), [2, 2], "^f:2: no symbol has a label"),
        (("HC", "HX"), [2, 2], "^f:2: unknown label 'X' at symbol 2; the model knows C, H"),
    ],
)
def test_labels_that_do_not_fit(cells: tuple[str, ...], lengths: list[int], fault: str) -> None:
    tags = Tags(columns=("tag",), names=("C", "H"), separator="", unlabelled=("?",))
    with pytest.raises(DataError, match=fault):
        tags.padded(examples(*cells), lengths, max(lengths))


@pytest.mark.parametrize(("cells", "fault"), [(("HH", "H"), "one class"), (("HC", ""), "^f:2: the target 'tag' is")])
def test_labels_from_which_nothing_is_learnt(cells: tuple[str, ...], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        fit_tags(examples(*cells), None, ("?",))
