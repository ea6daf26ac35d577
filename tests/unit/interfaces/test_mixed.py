"""Mixed inputs of which several parts vary in length: lengths, checks, encoding without gaps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fptkit.encoders.mixed import MixedEncoder
from fptkit.encoders.options import MixedOptions
from fptkit.encoders.shuffle import example_numbers
from fptkit.errors import ShapeError
from fptkit.interfaces import Batch, Classes, Grid, Mixed, Symbols, Task, Values, Vectors, check_batch, encode
from fptkit.interfaces.descriptions import describe, described_input
from fptkit.tasks.listed import ListSplit
from fptkit.testing import check_encoder

WORDS = Symbols(9)
THREE = Mixed(
    {"question": WORDS, "image": Grid((4, 8)), "answer": Vectors(4)},
    tokens={"question": 5, "answer": 4},
    varying=("question", "answer"),
)
LENGTHS = [(5, 2), (1, 4), (3, 1)]


def split_of(kind: Mixed = THREE) -> ListSplit:
    generator = torch.Generator().manual_seed(0)
    examples = [
        {
            "question": torch.randint(1, 9, (question,), generator=generator),
            "image": torch.randn(4, 8, 1, generator=generator),
            "answer": torch.randn(answer, 4, generator=generator),
        }
        for question, answer in LENGTHS
    ]
    return ListSplit(kind, Classes(2), examples, [0, 1, 0])


def batch() -> Batch:
    return split_of().batch([0, 1, 2], torch.Generator())


def encoder(kind: Mixed = THREE) -> MixedEncoder:
    torch.manual_seed(0)
    return MixedEncoder(MixedOptions(), input=kind, width=6)


def test_lengths_have_a_column_for_each_part_that_varies() -> None:
    found = batch()
    assert found.lengths is not None
    assert found.lengths.tolist() == [[question, 32, answer] for question, answer in LENGTHS]
    assert (THREE.columns, THREE.varies, THREE.max_tokens) == (("question", "image", "answer"), True, 41)
    assert THREE.padding(found.inputs, found.lengths).tolist() == [2, 4, 5]
    own = THREE.length_of("answer", found.lengths)
    assert own is not None
    assert own.tolist() == [2, 4, 1]
    assert THREE.length_of("image", found.lengths) is None
    assert split_of().token_counts.tolist() == [39, 37, 36]  # type: ignore[union-attr]
    with pytest.raises(ShapeError, match="several parts vary in length"):
        _ = found.mask


def test_real_tokens_follow_each_other_without_gaps() -> None:
    made, given = encoder().eval(), batch()
    whole, lengths = encode(made, given.inputs, given.lengths)
    assert lengths is not None
    assert lengths.tolist() == [9, 7, 6], "two patches of the grid, and the real tokens of both other parts"
    assert given.lengths is not None
    for row, real in enumerate(lengths.tolist()):
        alone, none = encode(made, THREE.example(given.inputs, row, given.lengths[row]), None)
        assert none is None
        assert alone.shape[1] == real
        torch.testing.assert_close(whole[row, :real], alone[0])


def test_the_encoder_keeps_the_contract() -> None:
    count = MixedEncoder.token_count(MixedOptions(), THREE, THREE.max_tokens)
    check_encoder(encoder, input=THREE, width=6, tokens=THREE.max_tokens, token_count=count)


def test_padding_does_not_decide_the_shuffled_order() -> None:
    given = batch()
    assert given.lengths is not None
    numbers = example_numbers(given.inputs, given.lengths)
    longer = {
        name: torch.cat([part, part[:, :1]], 1) if name != "image" else part for name, part in given.inputs.items()
    }
    assert torch.equal(example_numbers(longer, given.lengths), numbers)
    other = given.lengths - torch.tensor([0, 0, 1])
    assert not (example_numbers(given.inputs, other) == numbers).any()


def test_one_part_that_is_not_the_last() -> None:
    kind = Mixed({"words": WORDS, "place": Vectors(2)}, {"words": 4, "place": 1}, varying=("words",))
    examples = [{"words": [1, 2, 3], "place": [[0.0, 1.0]]}, {"words": [4], "place": [[1.0, 0.0]]}]
    found = ListSplit(kind, Values(1), examples, [[0.5], [1.5]]).batch([0, 1], torch.Generator())
    assert found.lengths is not None
    assert found.lengths.tolist() == [[3, 1], [1, 1]]
    _, lengths = encode(encoder(kind), found.inputs, found.lengths)
    assert lengths is not None
    assert lengths.tolist() == [4, 2]


def test_described_and_read_back() -> None:
    assert described_input(describe(THREE), "x") == THREE
    plain = Mixed({"a": WORDS}, {"a": 3})
    assert "varying" not in describe(plain), "as earlier versions wrote it"
    assert described_input(describe(plain), "x") == plain
    assert Mixed({"a": WORDS}, {"a": 3}, varying=("a",)).columns == ()


@pytest.mark.parametrize("varying", [("image",), ("answer", "question"), ("question", "question"), ("other",)])
def test_parts_that_cannot_vary(varying: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError, match="expected some of these parts, in this order: question, answer"):
        Mixed(THREE.parts, THREE.tokens, varying=varying)


@pytest.mark.parametrize(
    ("lengths", "fault"),
    [
        ([5, 1, 3], r"lengths are \(3,\), expected \(3, 3\)"),
        ([[5, 32, 2], [0, 32, 4], [3, 32, 1]], "an example has no tokens in a part"),
        ([[5, 32, 2], [1, 32, 4], [6, 32, 1]], "a length exceeds the batch's tokens"),
        ([[5, 32, 2], [1, 32, 5], [3, 32, 1]], "a length exceeds the batch's tokens"),
        ([[5, 32, 2], [1, 5, 4], [3, 32, 1]], r"lengths of parts that do not vary must be .*, \[5, 32, 4\]"),
    ],
)
def test_wrong_lengths(lengths: Any, fault: str) -> None:
    task, given = Task(), batch()
    task.input, task.output, task.max_tokens = THREE, Classes(2), THREE.max_tokens
    check_batch(task, given, 3, where="here")
    with pytest.raises(ShapeError, match=f"^here: {fault}"):
        check_batch(task, Batch(given.inputs, given.targets, torch.tensor(lengths)), 3, where="here")


def test_lists_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="2 inputs, but 1 targets"):
        ListSplit(WORDS, Classes(2), [[1], [2]], [0])
    with pytest.raises(ShapeError, match="example 1 has no tokens"):
        ListSplit(WORDS, Classes(2), [[1], []], [0, 1])
    grids = ListSplit(Grid((1, 2)), Classes(2), torch.zeros(3, 1, 2, 1), [0, 1, 0])  # type: ignore[arg-type]
    assert grids.token_counts is None
    assert grids.batch([0, 2], torch.Generator()).lengths is None
