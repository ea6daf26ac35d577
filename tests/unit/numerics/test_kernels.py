"""The loops in C against NumPy, loop by loop, and what happens where they are unavailable or turned off."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax as numpy_softmax
from torch import Tensor
from torch._subclasses import FakeTensorMode

from fptkit.errors import UsageError
from fptkit.numerics import compiler, kernels, loops

OPERATORS = torch.ops.fptkit
HALF = 1 / 256
"""The largest relative error of rounding to bfloat16."""


@pytest.fixture(autouse=True, scope="module")
def _available() -> None:
    """This machine has a compiler; the tests must not pass just because there is none."""
    assert kernels.why_not() is None


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def wide(tensor: Tensor) -> np.ndarray:
    """Numbers of a tensor as NumPy's float64."""
    return tensor.double().numpy()


def halves(*shape: int, spread: float = 1.0) -> Tensor:
    return (spread * torch.randn(shape)).bfloat16()


# GELU


def numpy_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("shape", [(0,), (1,), (5, 7), (3, 4099)])
def test_gelu(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    inputs = halves(*shape, spread=2)
    found = OPERATORS.gelu(inputs)
    assert found.dtype == torch.bfloat16
    np.testing.assert_allclose(wide(found), numpy_gelu(wide(inputs)), rtol=HALF, atol=1e-6)


def test_every_number_of_bfloat16_goes_through_gelu_and_back() -> None:
    """All 65,536 of them: large ones are unchanged or become 0, NaN stays NaN."""
    inputs = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    found, slopes = OPERATORS.gelu(inputs), OPERATORS.gelu_backward(torch.ones_like(inputs), inputs)
    near, large, small = inputs.abs() < 100, inputs >= 100, (inputs <= -100) & inputs.isfinite()
    np.testing.assert_allclose(wide(found[near]), numpy_gelu(wide(inputs[near])), rtol=HALF, atol=1e-6)
    given = inputs[near].double().requires_grad_()
    torch.nn.functional.gelu(given, approximate="tanh").sum().backward()
    np.testing.assert_allclose(wide(slopes[near]), given.grad.numpy(), rtol=HALF, atol=2e-6)
    assert torch.equal(found[large], inputs[large])  # infinity among them
    assert set(slopes[large & inputs.isfinite()].tolist()) == {1.0}
    assert not found[small].any()
    assert not slopes[small].any()
    assert bool(found[inputs.isnan()].isnan().all())
    assert bool(slopes[inputs.isnan()].isnan().all())


def test_gradients_of_gelu_are_scaled_by_the_incoming_gradient() -> None:
    torch.manual_seed(0)
    inputs, grads = halves(33, 129), halves(33, 129)
    slopes = OPERATORS.gelu_backward(torch.ones_like(inputs), inputs)
    np.testing.assert_allclose(
        wide(OPERATORS.gelu_backward(grads, inputs)), wide(grads) * wide(slopes), rtol=2 * HALF, atol=1e-6
    )


# Layer norm


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (65, 100), (2, 33, 768)])
def test_layer_norm_and_its_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    width = shape[-1]
    inputs, stream = 3 * torch.randn(shape) + 1, torch.randn(shape)
    weight, bias, grads = torch.randn(width), torch.randn(width), halves(*shape)
    normed, standard, scale = OPERATORS.layer_norm(inputs, weight, bias, 1e-5)

    x = wide(inputs)
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    standardised = (x - x.mean(-1, keepdims=True)) / deviation
    np.testing.assert_allclose(wide(standard), standardised, rtol=HALF, atol=1e-4)
    np.testing.assert_allclose(wide(normed), standardised * wide(weight) + wide(bias), rtol=HALF, atol=1e-4)
    np.testing.assert_allclose(wide(scale), 1 / deviation[..., 0], rtol=1e-4)

    given, weight_grad, bias_grad = OPERATORS.layer_norm_backward(grads, stream, standard, scale, weight)
    g, z = wide(grads) * wide(weight), wide(standard)
    expected = wide(stream) + wide(scale)[..., None] * (
        g - g.mean(-1, keepdims=True) - z * (g * z).mean(-1, keepdims=True)
    )
    np.testing.assert_allclose(wide(given), expected, rtol=1e-4, atol=1e-4)
    rows = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(wide(weight_grad), (wide(grads) * z).sum(rows), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(wide(bias_grad), wide(grads).sum(rows), rtol=1e-4, atol=1e-3)


# Dropout


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (0, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (3, (0xA4093822, 0x299F31D0), None),
        (700, (0xFFFFFFFF, 0xFFFFFFFF), None),
    ],
)
def test_random_numbers_are_philox(counter: int, key: tuple[int, int], expected: str | None) -> None:
    """The first is among the published known answers; the others follow from the same generator written in Python."""
    seed = torch.from_numpy(np.array(key, np.uint32).view(np.int32))
    words = torch.empty(3, 1024, dtype=torch.int32)
    loops.call("draw_chunks", seed, words, len(words))
    chunk, place = divmod(counter, 256)
    found = words.numpy().view(np.uint32).reshape(3, 4, 256)[chunk, :, place]
    assert list(found) == philox((counter, 0, 0, 0), key)
    if expected:
        assert " ".join(f"{word:08x}" for word in found) == expected


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox-4x32-10 as Salmon et al. 2011 define it."""
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        one, two = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (two >> 32) ^ b ^ first, two & 0xFFFFFFFF, (one >> 32) ^ d ^ second, one & 0xFFFFFFFF
        first, second = (first + 0x9E3779B9) & 0xFFFFFFFF, (second + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]


def test_the_python_generator_gives_the_other_published_answers() -> None:
    """Random123, ``kat_vectors``."""
    ones = 0xFFFFFFFF
    assert philox((ones,) * 4, (ones, ones)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    digits_of_pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox(digits_of_pi, (0xA4093822, 0x299F31D0)) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.mark.parametrize("count", [1, 2047, 2048, 5000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_numbers_are_kept_by_their_random_value(count: int, dtype: torch.dtype) -> None:
    """In all four loops, so that forward and backward agree."""
    torch.manual_seed(0)
    seed, kept = torch.tensor([-123456789012345678]), 40_000
    chunks = -(-count // 2048)
    words = torch.empty(chunks, 1024, dtype=torch.int32)
    loops.call("draw_chunks", seed, words, chunks)
    stays = torch.from_numpy(words.numpy().view(np.uint16).reshape(-1)[:count] < kept)
    scale = 65536 / kept
    stream, inputs = torch.randn(count), torch.randn(count)
    tolerance = {"rtol": HALF if dtype == torch.bfloat16 else 1e-6, "atol": 1e-6}

    dropped = OPERATORS.dropped(inputs, seed, kept, dtype)
    assert dropped.dtype == dtype
    np.testing.assert_allclose(wide(dropped), np.where(stays, wide(inputs) * scale, 0), **tolerance)
    branch = inputs.to(dtype)
    added = OPERATORS.add_dropped(stream, branch, seed, kept)
    np.testing.assert_allclose(
        wide(added), wide(stream) + np.where(stays, wide(branch) * scale, 0), rtol=1e-5, atol=1e-5
    )


# Softmax


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("tokens", [1, 5, 63, 64, 65, 120, 200])
def test_softmax_and_its_gradient(tokens: int, causal: bool, dropout: bool) -> None:
    torch.manual_seed(0)
    scores, scale = halves(3, tokens, tokens, spread=8), 0.125
    unseen = np.triu(np.ones((tokens, tokens), bool), 1) & causal
    expected = numpy_softmax(np.where(unseen, -np.inf, wide(scores) * scale), -1)
    weights = scores.clone()
    OPERATORS.softmax_(weights, scale, causal)
    np.testing.assert_allclose(wide(weights), expected, rtol=HALF, atol=1e-7)
    assert not weights[torch.from_numpy(unseen).expand(3, -1, -1)].any()

    given = halves(3, tokens, tokens)
    factor = torch.where(torch.rand(given.shape) < 0.75, 4 / 3, 0.0) if dropout else torch.ones(given.shape)
    dropped = (weights * factor).bfloat16()
    g, w = wide(given) * factor.numpy(), wide(weights)
    expected_grads = w * (g - (w * g).sum(-1, keepdims=True)) * scale
    grads = given.clone()
    OPERATORS.softmax_backward_(grads, weights, dropped, scale, causal)
    np.testing.assert_allclose(wide(grads), expected_grads, rtol=HALF, atol=1e-4)


def test_softmax_of_rows_far_apart() -> None:
    """Weights that are nearly 0 do not become something else, nor do scores of any size overflow."""
    scores = torch.tensor([[[3e38, -3e38, 0.0], [0.0, -200.0, 0.0], [-3e38, -3e38, -3e38]]]).bfloat16()
    OPERATORS.softmax_(scores, 1.0, False)
    expected = [[[1, 0, 0], [0.5, 0, 0.5], [1 / 3] * 3]]
    np.testing.assert_allclose(wide(scores), expected, rtol=HALF, atol=1e-18)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_not_hidden(bad: float) -> None:
    """A loss that is not finite ends a run, so nothing may hide it. Infinity minus infinity is NaN."""
    scores = torch.zeros(1, 70, 70).bfloat16()
    scores[0, 40, 7] = bad
    OPERATORS.softmax_(scores, 0.5, True)
    assert bool(scores[0, 40, :41].isnan().any())
    assert bool(scores[0, 41].isfinite().all())


# All of them


@pytest.mark.usefixtures("threads")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    inputs, grads, stream = halves(70, 300), halves(70, 300), torch.randn(70, 300)
    weight, seed = torch.randn(300), torch.tensor([7])

    def everything() -> list[Tensor]:
        normed, standard, scale = OPERATORS.layer_norm(stream, weight, weight, 1e-5)
        weights = inputs[None, :, :70].clone()
        OPERATORS.softmax_(weights, 0.3, True)
        return [
            OPERATORS.gelu(inputs),
            OPERATORS.gelu_backward(grads, inputs),
            normed,
            *OPERATORS.layer_norm_backward(grads, stream, standard, scale, weight),
            OPERATORS.add_dropped(stream, inputs, seed, 60_000),
            weights,
        ]

    torch.set_num_threads(1)
    alone = everything()
    torch.set_num_threads(3)
    for found, expected in zip(everything(), alone, strict=True):
        assert torch.equal(found, expected)


def test_tensors_without_values_get_their_shapes() -> None:
    with FakeTensorMode():
        inputs, stream, weight = torch.empty(4, 5, dtype=torch.bfloat16), torch.empty(4, 5), torch.empty(5)
        seed = torch.empty(1, dtype=torch.int64)
        assert OPERATORS.gelu(inputs).dtype == torch.bfloat16
        assert OPERATORS.gelu_backward(inputs, inputs).shape == (4, 5)
        normed, standard, scale = OPERATORS.layer_norm(stream, weight, weight, 1e-5)
        assert (normed.dtype, standard.dtype, scale.shape) == (torch.bfloat16, torch.bfloat16, (4,))
        given, weight_grad, bias_grad = OPERATORS.layer_norm_backward(inputs, stream, standard, scale, weight)
        assert (given.shape, weight_grad.shape, bias_grad.shape) == ((4, 5), (5,), (5,))
        assert OPERATORS.dropped(stream, seed, 9, torch.bfloat16).dtype == torch.bfloat16
        assert OPERATORS.add_dropped(stream, inputs, seed, 9).dtype == torch.float32
        OPERATORS.softmax_(inputs[None], 1.0, True)
        OPERATORS.softmax_backward_(inputs[None], inputs[None], inputs[None], 1.0, True)


# How they are loaded


@pytest.fixture
def untried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that did not use them yet, on a machine that never compiled them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caches = (compiler._library_or_reason, loops.load, kernels.why_not)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_without_a_compiler(untried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernels.missed() is None  # nobody has asked
    assert not kernels.run_on(torch.zeros(1))
    assert kernels.missed() == kernels.why_not() == "no C compiler was found ($CC, cc, gcc, clang)"


def test_turned_off(untried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_KERNELS", "off")
    assert not kernels.run_on(torch.zeros(1))
    assert kernels.missed() == "FPTKIT_KERNELS=off turns compiled kernels off"


def test_a_switch_of_unknown_value_is_an_error(untried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_KERNELS", "of")
    with pytest.raises(UsageError, match="FPTKIT_KERNELS: unknown value 'of'"):
        kernels.run_on(torch.zeros(1))


@pytest.mark.slow
def test_a_library_that_runs_in_other_threads_is_refused(untried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert "but torch in 99" in str(kernels.why_not())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_they_start_no_threads_of_their_own() -> None:
    """Counted in a process of its own, where torch's threads exist before the loops are loaded."""
    script = """if True:
        import os, torch
        from fptkit.numerics import kernels
        torch.set_num_threads(3)
        torch.randn(1 << 20).exp()
        before = len(os.listdir("/proc/self/task"))
        assert kernels.why_not() is None
        torch.ops.fptkit.gelu(torch.zeros(1 << 20, dtype=torch.bfloat16))
        assert torch.ops.fptkit.gelu(torch.zeros(3, dtype=torch.bfloat16)).shape == (3,)
        print(before, len(os.listdir("/proc/self/task")))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before >= 3
    assert after == before


def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    gcc = shutil.which("gcc") or shutil.which("cc")
    assert gcc
    command = [gcc, *loops.LOOPS.options, "-Wall", "-Wextra", "-Werror", "-c", str(loops.LOOPS.path)]
    done = subprocess.run([*command, "-o", str(tmp_path / "loops.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
