"""The random source of symbols, against counts and long walks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretraining_recipes import synthetic_recipe as make_recipe
from pydantic import ValidationError

from fptkit.lab.pretraining.options import SyntheticData
from fptkit.lab.pretraining.synthetic import SymbolSource, SyntheticObjective


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_independent_symbols_follow_zipf(exponent: float) -> None:
    source = SymbolSource(SyntheticData(source="iid", vocabulary=5, zipf_exponent=exponent))
    weights = [1 / rank**exponent for rank in range(1, 6)]
    expected = [weight / sum(weights) for weight in weights]
    np.testing.assert_allclose(source.stationary, expected, rtol=1e-12)
    entropy = sum(-p * math.log(p) for p in expected)
    assert source.entropy_rate == pytest.approx(entropy, rel=1e-12)
    symbols = source.sample(4, 20_000, np.random.default_rng(0))
    assert symbols.shape == (4, 20_000)
    np.testing.assert_allclose(np.bincount(symbols.ravel(), minlength=5) / symbols.size, expected, atol=0.01)
    pairs = np.bincount(symbols[:, :-1].ravel() * 5 + symbols[:, 1:].ravel(), minlength=25) / symbols[:, 1:].size
    np.testing.assert_allclose(pairs.reshape(5, 5), np.outer(expected, expected), atol=0.01)


def test_markov_chain_against_counts_and_a_long_walk() -> None:
    source = SymbolSource(SyntheticData(vocabulary=6, temperature=0.5, seed=3))
    transitions = source.transitions
    assert transitions is not None
    np.testing.assert_allclose(transitions.sum(1), 1.0, rtol=1e-12)
    walked = np.full(6, 1 / 6)
    for _ in range(500):  # where the chain ends up from anywhere
        walked = walked @ transitions
    np.testing.assert_allclose(source.stationary, walked, rtol=1e-9)
    symbols = source.sample(8, 30_000, np.random.default_rng(0))
    counts = np.bincount(symbols[:, :-1].ravel() * 6 + symbols[:, 1:].ravel(), minlength=36).reshape(6, 6)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), transitions, atol=0.02)
    first = np.bincount(source.sample(60_000, 1, np.random.default_rng(1)).ravel(), minlength=6) / 60_000
    np.testing.assert_allclose(first, source.stationary, atol=0.01)


def test_entropy_rate_is_that_of_pairs_less_that_of_symbols() -> None:
    """H(X, Y) - H(X), and the mean surprise on a long sequence."""
    source = SymbolSource(SyntheticData(vocabulary=7, temperature=0.4))
    assert source.transitions is not None
    pairs = [
        float(source.stationary[i] * source.transitions[i, j])
        for i in range(7)
        for j in range(7)
        if source.transitions[i, j] > 0
    ]
    of_pairs = -sum(p * math.log(p) for p in pairs)
    of_symbols = -sum(float(p) * math.log(p) for p in source.stationary)
    assert source.entropy_rate == pytest.approx(of_pairs - of_symbols, rel=1e-9)
    assert source.unigram_entropy == pytest.approx(of_symbols, rel=1e-12)
    symbols = source.sample(1, 100_000, np.random.default_rng(0))[0]
    assert source.nats(symbols).mean() == pytest.approx(source.entropy_rate, abs=0.02)


def test_temperature_sets_how_much_can_be_known() -> None:
    rates = [SymbolSource(SyntheticData(vocabulary=50, temperature=t)).entropy_rate for t in (0.05, 0.3, 1.0, 100.0)]
    assert rates == sorted(rates)
    assert rates[0] < 0.5
    assert rates[-1] == pytest.approx(math.log(50), abs=1e-3)


def test_symbols_stay_in_the_vocabulary_at_the_ends_of_chance() -> None:
    class Extremes:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.where(np.indices(shape).sum(0) % 2, 1.0 - 2.0**-53, 0.0)

    for options in ({"source": "iid"}, {"source": "markov"}):
        source = SymbolSource(SyntheticData(vocabulary=9, **options))
        symbols = source.sample(2, 10, Extremes())  # type: ignore[arg-type]
        assert set(symbols.ravel().tolist()) == {0, 8}


def test_batches_depend_on_seed_and_step_alone_and_are_not_the_held_out_symbols() -> None:
    objective, other = SyntheticObjective(make_recipe(), ""), SyntheticObjective(make_recipe(), "")
    x, y = objective.batch(3, cooling=True)
    assert x.shape == y.shape == (4, 32)
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert torch.equal(x, other.batch(3, cooling=True)[0])
    assert not torch.equal(x, objective.batch(4, cooling=True)[0])
    assert not torch.equal(x, SyntheticObjective(make_recipe({"seed": 1}), "").batch(3, cooling=True)[0])
    windows = {tuple(row) for row in np.lib.stride_tricks.sliding_window_view(objective.held_out, 32).tolist()}
    assert not windows & {tuple(row) for row in x.tolist()}


@pytest.mark.parametrize(
    "data", [{"temperature": 0.01}, {"vocabulary": 1}, {"vocabulary": 5000}, {"zipf_exponent": -1.0}, {"source": "ar"}]
)
def test_sources_that_cannot_be(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SyntheticData.model_validate(data)


def test_sequences_longer_than_the_position_table() -> None:
    with pytest.raises(ValidationError, match=r"longer than model\.positions 16"):
        make_recipe(model={"blocks": 1, "width": 32, "heads": 2, "positions": 16})


def test_the_page_lists_every_option_of_the_source() -> None:
    page = (Path(__file__).parents[4] / "docs" / "pretraining.md").read_text("utf-8")
    for name, field in SyntheticData.model_fields.items():
        default = f"{field.default}"
        assert f"| `data.{name}` | `{default}` |" in page
