"""Splits of prepared examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Preparation, Symbols, Vectors
from fptkit.tasks.own_data import prepared
from fptkit.tasks.own_data.prepared import PreparedSplit

CHANCE = np.random.default_rng(0)


class Padded(Preparation):
    """Arrays padded to the longest of a batch, by a wrong number that must never be seen."""

    width: int = 2
    symbols: bool = False

    @property
    def input(self) -> Any:
        return Symbols(300, pad=7) if self.symbols else Vectors(self.width)

    @property
    def output(self) -> Classes:
        return Classes(3)

    @property
    def max_tokens(self) -> int:
        return 9

    def prepare(self, examples: Examples) -> Batch:
        lengths = torch.tensor([len(entry) for entry in examples.content])
        rows = [torch.as_tensor(entry) for entry in examples.content]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=299)
        equal = bool((lengths == lengths[0]).all())
        return Batch(padded, torch.tensor([len(name) % 3 for name in examples.names]), None if equal else lengths)


@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_a_batch_has_each_example_and_its_own_padding(
    monkeypatch: pytest.MonkeyPatch, symbols: bool, chunk: int
) -> None:
    monkeypatch.setattr(prepared, "_CHUNK", chunk)
    lengths = [3, 1, 9, 3, 2]
    content = [
        CHANCE.integers(0, 298, n) if symbols else CHANCE.normal(size=(n, 2)).astype(np.float32) for n in lengths
    ]
    split = PreparedSplit(Padded(symbols=symbols), Examples(content, [f"{'x' * n}" for n in range(5)]))
    assert split.size == 5
    assert split.token_counts is not None
    assert split.token_counts.tolist() == lengths
    batch = split.batch([4, 0, 1], torch.Generator())
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [2, 3, 1]
    assert batch.targets.tolist() == [1, 0, 1]
    assert batch.inputs.dtype == (torch.int64 if symbols else torch.float32)
    assert batch.inputs.shape[1] == 3
    for row, index in enumerate([4, 0, 1]):
        np.testing.assert_array_equal(batch.inputs[row, : lengths[index]].numpy(), content[index])
        assert (batch.inputs[row, lengths[index] :] == (7 if symbols else 0)).all()
    assert split.batch([0, 3], torch.Generator()).lengths is None


def test_examples_of_one_length() -> None:
    content = CHANCE.normal(size=(4, 5, 2)).astype(np.float32)
    split = PreparedSplit(Padded(), Examples(content, ["a"] * 4))
    assert split.token_counts is None
    batch = split.batch([2, 1], torch.Generator())
    assert batch.lengths is None
    np.testing.assert_array_equal(batch.inputs.numpy(), content[[2, 1]])


def test_no_examples() -> None:
    with pytest.raises(DataError, match="no examples"):
        PreparedSplit(Padded(), Examples([], []))
