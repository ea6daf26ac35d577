"""What runs out of memory, the next number of micro-batches, and what is put back or together."""

from __future__ import annotations

import pytest
import torch

from fptkit.engine.memory import KeptBuffers, Pieces, finer, is_out_of_memory, smaller
from fptkit.interfaces import Batch


def test_what_says_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60, dtype=torch.uint8)  # an exbibyte: no machine has it
    assert is_out_of_memory(real.value), real.value
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("an illegal memory access was encountered"))
    assert not is_out_of_memory(OSError(12, "DefaultCPUAllocator: can't allocate memory"))


@pytest.mark.parametrize(
    ("size", "expected"), [(8, [2, 4, 8]), (12, [2, 4, 12]), (9, [3, 9]), (7, [7]), (50, [2, 5, 10, 25, 50])]
)
def test_more_parts_are_what_the_recipe_may_say(size: int, expected: list[int]) -> None:
    found, parts = [], 1
    while parts < size:
        parts = finer(parts, size)
        found.append(parts)
    assert found == expected


def test_buffers_are_put_back_where_they_were() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
    model[1].register_buffer("none", None)
    model[1].register_buffer("passing", torch.zeros(1), persistent=False)
    kept = KeptBuffers(model)
    model(torch.randn(5, 3))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    mean = model[0].running_mean
    kept.note()
    model(torch.randn(5, 3))
    model[0].running_mean = torch.ones(3)
    kept.put_back()
    assert model[0].running_mean is mean
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_pieces_are_put_together_in_order() -> None:
    batch, pieces, seen = Batch(torch.randn(5, 2, 3), torch.arange(5)), Pieces(), []

    def forward(piece: Batch) -> torch.Tensor:
        seen.append(len(piece))
        if len(piece) > 2:
            raise MemoryError
        return piece.targets * 2

    assert pieces.through(forward, batch).tolist() == [0, 2, 4, 6, 8]
    assert (seen, pieces.count) == ([5, 2, 3, 1, 1, 1, 2], 4)
    part, made = smaller(batch, forward)
    assert (part.targets.tolist(), made.tolist()) == ([0, 1], [0, 2])
