"""Encoders, heads and the whole model: shapes, initialisation, and that padding never changes a prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions, SymbolOptions
from fptkit.encoders.symbols import SymbolEncoder
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, Batch, Classes, Encoder, Symbols, Values, Vectors, keep_tokens
from fptkit.model import CrossModalModel, Head, batch_for, default_readout

SIZES = Gpt2Sizes(blocks=2, width=16, heads=2, positions=20)


def test_linear_encoder_is_orthogonal_with_gain_and_zero_bias() -> None:
    encoder = LinearEncoder(LinearOptions(), input=Vectors(5), width=16)
    weight, bias = encoder.map[0].weight, encoder.map[0].bias
    torch.testing.assert_close(weight.T @ weight, 1.41**2 * torch.eye(5), atol=1e-5, rtol=0)
    assert torch.count_nonzero(bias) == 0
    assert encoder(torch.randn(3, 7, 5)).shape == (3, 7, 16)


def test_hidden_layers_of_encoders_and_head() -> None:
    encoder = LinearEncoder(LinearOptions(hidden=(8, 9)), input=Vectors(5), width=16)
    assert [tuple(p.shape) for p in encoder.parameters() if p.ndim == 2] == [(8, 5), (9, 8), (16, 9)]
    symbols = SymbolEncoder(SymbolOptions(hidden=(8, 9)), input=Symbols(11), width=16)
    assert [tuple(p.shape) for p in symbols.parameters() if p.ndim == 2] == [(11, 8), (9, 8), (16, 9)]
    assert symbols(torch.randint(0, 11, (3, 7))).shape == (3, 7, 16)
    head = Head(Classes(4), 16, readout="mean", hidden=(8,))
    assert head(torch.randn(3, 7, 16), None).shape == (3, 4)


def test_symbol_encoder_is_a_table() -> None:
    encoder = SymbolEncoder(SymbolOptions(), input=Symbols(11), width=16)
    symbols = torch.tensor([[3, 0, 10]])
    assert torch.equal(encoder(symbols)[0], encoder.table.weight[symbols[0]])


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (Classes(10), (3, 10)),
        (Classes(2, tokens=5), (3, 5, 2)),
        (Classes(2, tokens=4, per_token=6), (3, 4, 6, 2)),
        (Values(3), (3, 3)),
        (Values(3, tokens=2), (3, 2, 3)),
    ],
)
def test_logits_have_the_shape_the_output_says(output: Classes | Values, shape: tuple[int, ...]) -> None:
    head = Head(output, 16, readout="last_k" if output.tokens > 1 else "last")
    inputs = torch.randn(3, 9, 16)
    keep = head.positions(inputs, torch.tensor([9, 6, 5]))
    assert keep.shape == (3, output.tokens)
    assert head(torch.randn(3, output.tokens, 16), None).shape == shape


def test_read_out_positions_are_the_last_real_tokens() -> None:
    inputs, lengths = torch.zeros(3, 9, 2), torch.tensor([9, 6, 3])
    assert Head(Classes(2), 16, readout="last").positions(inputs, lengths).tolist() == [[8], [5], [2]]
    positions = Head(Classes(2, tokens=3), 16, readout="last_k").positions(inputs, lengths)
    assert positions.tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    assert Head(Classes(2), 16, readout="last").positions(inputs, None).tolist() == [[8], [8], [8]]


def test_the_mean_is_over_real_tokens() -> None:
    head = Head(Classes(3), 16, readout="mean")
    hidden, lengths = torch.randn(2, 6, 16), torch.tensor([6, 2])
    expected = np.stack([hidden[0].numpy().mean(0), hidden[1, :2].numpy().mean(0)])
    torch.testing.assert_close(head(hidden, lengths), head.map(torch.tensor(expected)))


def test_default_readout() -> None:
    assert default_readout(Classes(2, tokens=3), causal=True) == "last_k"
    assert default_readout(Classes(2), causal=True) == "last"
    assert default_readout(Classes(2), causal=False) == "mean"


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_a_read_out_of_one_token_is_not_enough_for_several(readout: str) -> None:
    with pytest.raises(ShapeError, match="reads 5; use last_k or auto"):
        Head(Classes(2, tokens=5), 16, readout=readout)


@pytest.mark.parametrize("readout", ["last", "mean", "last_k"])
def test_padding_never_changes_a_prediction(readout: str) -> None:
    """A batch of one, a batch of many, other padding and other padding symbols: the same logits."""
    output = Classes(3, tokens=2 if readout == "last_k" else 1)
    encoder = SymbolEncoder(SymbolOptions(), input=Symbols(9), width=16)
    model = CrossModalModel(encoder, random_gpt2(SIZES, positions=20, seed=0), Head(output, 16, readout=readout)).eval()
    examples = [torch.randint(1, 9, (length,)) for length in (13, 4, 20, 7)]
    alone = torch.cat([model(example[None]) for example in examples])
    for width, pad in ((20, 0), (20, 8)):
        padded = torch.full((4, width), pad)
        for row, example in zip(padded, examples, strict=True):
            row[: len(example)] = example
        together = model(padded, torch.tensor([13, 4, 20, 7]))
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_mask_follows_the_lengths() -> None:
    batch = Batch(torch.zeros(2, 3, 1), torch.zeros(2), torch.tensor([3, 1]))
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    assert Batch(torch.zeros(2, 3, 1), torch.zeros(2)).mask is None


def test_bfloat16_is_near_float32() -> None:
    torch.manual_seed(0)
    encoder = LinearEncoder(LinearOptions(), input=Vectors(5), width=16)
    model = CrossModalModel(encoder, random_gpt2(SIZES, positions=20, seed=0), Head(Classes(3), 16, readout="last"))
    model.eval()
    inputs = torch.randn(4, 12, 5)
    exact = model(inputs)
    for name, parameter in model.named_parameters():
        if ".attn." in name or ".mlp." in name:
            parameter.data = parameter.data.bfloat16()
    model.mixed = True
    rounded = model(inputs)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.03, rtol=0.03)


class EveryOther(Encoder):
    """Keeps tokens 0, 2, 4 ..."""

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Linear(5, 16)

    def encoded_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        return (lengths + 1) // 2

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        encoded: torch.Tensor = self.map(inputs[:, ::2])
        return encoded


class AddsTheMean(Backbone):
    """Every token sees all real tokens, unlike in GPT-2."""

    width = 16

    def forward(
        self, tokens: torch.Tensor, lengths: torch.Tensor | None = None, keep: torch.Tensor | None = None
    ) -> torch.Tensor:
        assert lengths is not None
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        mean = (tokens * real[:, :, None]).sum(1, keepdim=True) / lengths[:, None, None]
        return keep_tokens(tokens + mean, keep)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("readout", ["last", "mean", "last_k"])
def test_read_out_and_masks_follow_the_encoded_lengths(readout: str, causal: bool) -> None:
    """The model over every other token is the same as the plain model over inputs with only these tokens."""
    head = Head(Classes(3, tokens=2 if readout == "last_k" else 1), 16, readout=readout)
    backbone = random_gpt2(SIZES, positions=20, seed=0) if causal else AddsTheMean()
    encoder = EveryOther()
    inputs, lengths = torch.randn(3, 12, 5), torch.tensor([12, 7, 4])
    thinned = CrossModalModel(encoder, backbone, head).eval()(inputs, lengths)
    plain = CrossModalModel(encoder.map, backbone, head).eval()(inputs[:, ::2], torch.tensor([6, 4, 2]))
    torch.testing.assert_close(thinned, plain)


def test_fewer_tokens_than_answers_are_an_error() -> None:
    model = CrossModalModel(
        EveryOther(), random_gpt2(SIZES, positions=20, seed=0), Head(Classes(2, tokens=3), 16, readout="last_k")
    )
    assert model(torch.randn(2, 12, 5), torch.tensor([12, 5])).shape == (2, 3, 2)
    for lengths in (torch.tensor([12, 4]), None):
        with pytest.raises(ShapeError, match="makes 2 tokens per example, but the task reads 3 out"):
            model(torch.randn(2, 12 if lengths is not None else 4, 5), lengths)
    # For an accelerator this is found on the host, before the batch leaves it.
    batch = Batch(torch.randn(2, 12, 5), torch.zeros(2, 3, dtype=torch.int64), torch.tensor([12, 4]))
    with pytest.raises(ShapeError, match="makes 2 tokens per example, but the task reads 3 out"):
        batch_for(model, batch, torch.device("meta"))
    assert batch_for(nn.Identity(), batch, torch.device("meta")).targets.device.type == "meta"
