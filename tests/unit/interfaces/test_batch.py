"""Batches on their way to a device: lengths are dropped on the host if no token is padding."""

from __future__ import annotations

import pytest
import torch

from fptkit.interfaces import Batch

INPUTS = torch.arange(8.0).reshape(2, 4, 1)
TARGETS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("inputs", "lengths", "kept"),
    [
        (INPUTS, [4, 4], False),
        (INPUTS, [4, 3], True),
        (INPUTS, None, False),
        ({"a": torch.zeros(2, 9, 1), "b": INPUTS}, [4, 4], False),  # lengths are those of the last part
        ({"b": INPUTS, "a": torch.zeros(2, 9, 1)}, [4, 4], True),
        ({"a": INPUTS, "b": INPUTS}, [[4, 4], [4, 4]], True),  # of several parts: left as they are
    ],
)
def test_lengths_go_where_nothing_is_padding(inputs: object, lengths: list[int] | None, kept: bool) -> None:
    batch = Batch(inputs, TARGETS, None if lengths is None else torch.tensor(lengths))
    moved = batch.to("meta")
    assert (moved.lengths is not None) == kept
    assert moved.targets.device.type == "meta"
    assert (batch.without_idle_lengths().lengths is not None) == kept
    assert batch.to("cpu").lengths is batch.lengths, "on a CPU everything stays as it is"


def test_lengths_that_are_on_a_device_are_not_read() -> None:
    there = Batch(INPUTS, TARGETS, torch.tensor([4, 4], device="meta"))
    assert there.without_idle_lengths() is there
