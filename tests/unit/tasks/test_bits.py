"""The bit tasks against their definitions in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fptkit.errors import UnknownNameError
from fptkit.interfaces import SampledEvaluation
from fptkit.seeds import generator_for
from fptkit.tasks.bits import BitMemory, BitXor
from fptkit.tasks.options import BitMemoryOptions, BitXorOptions
from fptkit.testing import check_task


def test_bit_xor_is_the_xor() -> None:
    task = BitXor(BitXorOptions(bits=7), seed=0)
    batch = task.split("train").batch(range(50), generator_for(0, "x"))
    bits = batch.inputs.numpy()
    assert bits.shape == (50, 14, 1)
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0.0, 1.0}
    expected = np.logical_xor(bits[:, :7, 0], bits[:, 7:, 0])
    np.testing.assert_array_equal(batch.targets.numpy(), expected)
    assert (task.max_tokens, task.output.tokens) == (14, 7)


def test_bit_memory_gives_one_string_back_with_bits_masked() -> None:
    task = BitMemory(BitMemoryOptions(strings=3, bits=40, bits_per_token=8, mask_probability=0.25), seed=0)
    batch = task.split("train").batch(range(300), generator_for(0, "x"))
    strings = batch.inputs.numpy().reshape(300, 4, 40)
    answers = batch.targets.numpy().reshape(300, 40)
    assert set(np.unique(strings[:, :3])) == {-1.0, 1.0}
    assert set(np.unique(strings[:, 3])) == {-1.0, 0.0, 1.0}
    signs = 2 * answers - 1
    asked = (strings[:, :3] == signs[:, None]).all(-1)
    np.testing.assert_array_equal(asked.sum(1), 1)  # the answer is one of the strings
    shown = strings[:, 3] != 0
    np.testing.assert_array_equal(strings[:, 3][shown], signs[shown])
    assert abs(1 - shown.mean() - 0.25) < 0.02
    assert asked.mean(0) == pytest.approx([1 / 3] * 3, abs=0.1)


@pytest.mark.parametrize("masked", [0.0, 0.3, 0.5, 1.0])
def test_chance_of_bit_memory_is_that_of_copying_the_shown_bits(masked: float) -> None:
    task = BitMemory(BitMemoryOptions(strings=2, bits=40, bits_per_token=8, mask_probability=masked), seed=0)
    batch = task.split("train").batch(range(2000), generator_for(0, "x"))
    shown = batch.inputs.numpy().reshape(2000, 3, 40)[:, 2]
    guesses = np.where(shown == 0, np.random.default_rng(0).integers(0, 2, shown.shape), shown > 0)
    right = (guesses == batch.targets.numpy().reshape(2000, 40)).mean()
    assert task.chance() == pytest.approx(right, abs=0.01)


def test_chance_of_bit_xor_is_one_half() -> None:
    assert BitXor(BitXorOptions(), seed=0).chance() == 0.5


def test_the_paper_sizes() -> None:
    memory = BitMemory(BitMemoryOptions(), seed=0)
    assert (memory.max_tokens, memory.input.width, memory.output.width, memory.output.tokens) == (120, 50, 100, 20)
    xor = BitXor(BitXorOptions(), seed=0)
    assert (xor.max_tokens, xor.input.width, xor.output.width, xor.output.tokens) == (10, 1, 2, 5)


def test_fixed_splits_do_not_depend_on_the_run() -> None:
    first, second = (BitXor(BitXorOptions(test_size=32), seed=seed).split("test") for seed in (0, 1))
    generator = torch.Generator()
    assert first.size == 32
    assert torch.equal(first.batch(range(32), generator).inputs, second.batch(range(32), generator).inputs)


def test_validation_and_test_differ() -> None:
    task = BitMemory(BitMemoryOptions(bits=50, validation_size=8, test_size=8), seed=0)
    generator = torch.Generator()
    batches = [task.split(name).batch(range(8), generator) for name in ("validation", "test")]
    assert not torch.equal(batches[0].inputs, batches[1].inputs)
    assert batches[0].inputs.dtype == torch.float32


def test_masked_bits_survive_compact_storage() -> None:
    """Fixed splits are stored as int8: -1, 0 and 1 must not change."""
    task = BitMemory(BitMemoryOptions(bits=100, validation_size=5), seed=0)
    drawn, targets = task.draw(5, generator_for(0, "BitMemory", "validation"))
    batch = task.split("validation").batch(range(5), torch.Generator())
    assert torch.equal(batch.inputs, drawn)
    assert torch.equal(batch.targets, targets)


def test_generated_regression_keeps_its_targets() -> None:
    """Real-valued targets must not pass through the compact storage of symbols."""
    from fptkit import testing
    from fptkit.interfaces import Values, Vectors
    from fptkit.options import Options
    from fptkit.tasks.generated import GeneratedTask

    class Sum(GeneratedTask):
        input, output, max_tokens = Vectors(1), Values(1), 4

        def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            inputs = torch.rand((count, 4, 1), generator=generator)
            return inputs, inputs.sum(1)

    task = Sum(Options(), seed=0)
    testing.check_task(task)
    assert task.selection() == ("mean_squared_error", False)
    batch = task.split("validation").batch(range(5), torch.Generator())
    torch.testing.assert_close(batch.targets, batch.inputs.sum(1))
    assert batch.targets.frac().any()


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (BitXor, BitXorOptions(protocol="fpt2021")),
        (BitMemory, BitMemoryOptions(protocol="fpt2021", bits=40, strings=2, bits_per_token=10)),
    ],
)
def test_the_papers_protocol_draws_new_batches_for_each_evaluation(build: type, options: object) -> None:
    task = build(options, seed=0)
    assert task.protocol == "fpt2021"
    assert task.sampled_evaluation == SampledEvaluation(batches=25, size_factor=1, accuracy_factor=1.0)
    for name in ("train", "validation", "test"):
        split = task.split(name)
        assert split.size is None
        first, again, other = (split.batch(range(6), generator_for(0, word)) for word in ("a", "a", "b"))
        assert torch.equal(first.inputs, again.inputs)
        assert not torch.equal(first.inputs, other.inputs)
    assert "25 new batches (D6)" in task.notes[0]
    check_task(task)


def test_clean_evaluates_whole_splits() -> None:
    task = BitXor(BitXorOptions(test_size=3), seed=0)
    assert (task.protocol, task.sampled_evaluation, task.split("test").size, task.notes) == ("clean", None, 3, ())


@pytest.mark.parametrize("protocol", ["clean", "fpt2021"])
def test_an_unknown_split_is_named(protocol: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown split of task BitXor 'tests'"):
        BitXor(BitXorOptions(protocol=protocol), seed=0).split("tests")
