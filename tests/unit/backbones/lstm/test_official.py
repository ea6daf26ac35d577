"""The LSTM of the paper's code: its equations in numpy, its draws, its checkpoints; `tests/golden` has that code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from fptkit import testing
from fptkit.backbones.lstm.build import build_lstm, draw_lstm, load_lstm, save_lstm
from fptkit.backbones.lstm.network import LstmBackbone
from fptkit.backbones.lstm.official import SampleNorm
from fptkit.backbones.lstm.options import LstmOptions, LstmSizes
from fptkit.errors import DataError
from fptkit.sources.weights import open_weights

SMALL: dict[str, Any] = {"layers": 2, "width": 12, "variant": "official"}


def built(seed: int = 0, **options: Any) -> LstmBackbone:
    return build_lstm(LstmOptions(**{**SMALL, **options}), positions=5, seed=seed)


def by_the_equations(backbone: LstmBackbone, tokens: np.ndarray) -> np.ndarray:
    """The output for one example, from the state of evaluation. Shapes: (T, H) -> (T, H)."""

    def numbers(tensor: Tensor) -> np.ndarray:
        return tensor.detach().double().numpy()

    def normed(values: np.ndarray, norm: SampleNorm) -> np.ndarray:
        values = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-6)
        return numbers(norm.weight) * values + numbers(norm.bias)

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    for layer in backbone.layers:
        hidden, cell = numbers(layer.start)
        made = []
        for token in tokens:
            from_input = numbers(layer.input_map.weight) @ token + numbers(layer.input_map.bias)
            from_hidden = numbers(layer.hidden_map.weight) @ hidden + numbers(layer.hidden_map.bias)
            mixed = normed(from_input, layer.input_norm) + normed(from_hidden, layer.hidden_norm)
            into, forget, out, candidate = np.split(mixed, 4)
            cell = normed(sigmoid(forget) * cell + sigmoid(into) * np.tanh(candidate), layer.cell_norm)
            hidden = sigmoid(out) * np.tanh(cell)
            made.append(hidden)
        tokens = np.stack(made)
    return tokens


def test_equations() -> None:
    backbone, tokens = built().eval(), torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in backbone.parameters():  # the norms start near zero, which would hide errors
            parameter.mul_(3)
        found = backbone(tokens)
    for ours, given in zip(found, tokens, strict=True):
        np.testing.assert_allclose(ours.numpy(), by_the_equations(backbone, given.double().numpy()), atol=2e-6, rtol=0)


@pytest.mark.parametrize("width", [2, 3, 768])
@pytest.mark.parametrize("size", [1.0, 1e-3, 0.0])
def test_the_norm_has_the_variance_of_a_sample(width: int, size: float) -> None:
    """At 1e-3 the constant added to the variance is as large as the variance."""
    norm, values = SampleNorm(width), size * torch.randn(4, width, generator=torch.Generator().manual_seed(width))
    exact = values.double().numpy()
    deviation = np.sqrt(exact.var(1, ddof=1, keepdims=True) + 1e-6)
    expected = (exact - exact.mean(1, keepdims=True)) / deviation
    np.testing.assert_allclose(norm(values).detach().numpy(), expected, atol=2e-6, rtol=0)


def test_one_number_is_normalised_to_zero() -> None:
    assert SampleNorm(1)(torch.tensor([[5.0]])).tolist() == [[0.0]]


def test_norms_start_within_one_over_the_root_of_their_size() -> None:
    layer = draw_lstm(LstmSizes(1, 256), 0, "official").layers[0]
    for norm, count in ((layer.input_norm, 1024), (layer.hidden_norm, 1024), (layer.cell_norm, 256)):
        for parameter in (norm.weight, norm.bias):
            largest = float(parameter.detach().abs().max())
            assert 0.97 * count**-0.5 < largest <= count**-0.5
            assert float(parameter.detach().mean().abs()) < 0.1 * largest


def test_training_draws_a_state_for_every_batch_from_the_global_generator() -> None:
    backbone, tokens = built(dropout=0.0).train(), torch.zeros(2, 3, 12)
    torch.manual_seed(5)
    first, second = backbone(tokens), backbone(tokens)
    torch.manual_seed(5)
    assert torch.equal(backbone(tokens), first)
    assert not torch.equal(second, first)
    assert not torch.equal(first[0], first[1])  # each example has its own
    states = torch.cat(build_lstm(LstmOptions(variant="official", layers=1), positions=1, seed=0).layers[0].drawn(64))
    assert float(states.std()) == pytest.approx(768**-0.5, rel=0.02)


def test_evaluation_draws_nothing_and_does_not_depend_on_the_batch() -> None:
    backbone, tokens = built().eval(), torch.randn(5, 4, 12, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    together = backbone(tokens)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(torch.cat([backbone(one[None]) for one in tokens]), together)
    assert torch.equal(built().eval()(tokens), together)
    assert not torch.equal(built().layers[0].start, built(seed=1).layers[0].start)
    assert float(built().layers[1].start.abs().min()) > 0
    assert not any("start" in name for name in backbone.state_dict())


def test_every_hidden_state_is_dropped() -> None:
    """Those of the last layer too, unlike in the other variant."""
    torch.manual_seed(0)
    found = built(dropout=0.5).train()(torch.randn(8, 6, 12))
    assert 0.3 < float((found == 0).float().mean()) < 0.7


def test_promises_of_a_backbone() -> None:
    options = LstmOptions(**SMALL)
    testing.check_backbone(lambda tokens: build_lstm(options, positions=tokens, seed=0), options=options)


def test_the_compiled_loop_is_refused() -> None:
    with pytest.raises(
        ValidationError, match="'compiled' computes variant ba2016 only; with variant: official use auto"
    ):
        LstmOptions(variant="official", loop="compiled")


def test_a_folder_of_the_other_variant_is_refused(tmp_path: Path) -> None:
    for variant, other in (("official", "ba2016"), ("ba2016", "official")):
        save_lstm(draw_lstm(LstmSizes(1, 8), 0, variant), tmp_path / variant)  # type: ignore[arg-type]
        weights = f"path:{tmp_path / variant}"
        assert load_lstm(open_weights(weights)).variant == variant
        assert built(weights=weights, variant=variant).weights == weights
        with pytest.raises(DataError, match=f"says variant '{variant}', but backbone.variant is '{other}'.*--set"):
            built(weights=weights, variant=other)


def test_folders_from_before_there_were_two(tmp_path: Path) -> None:
    save_lstm(draw_lstm(LstmSizes(1, 8), 0), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["variant"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert built(weights=f"path:{tmp_path}", variant="ba2016").variant == "ba2016"
    for wrong in ("lstm", 3, None, []):
        (tmp_path / "config.json").write_text(json.dumps({**config, "variant": wrong}))
        with pytest.raises(DataError, match=r"config\.json says variant .*; known: ba2016, official"):
            load_lstm(open_weights(f"path:{tmp_path}"))
