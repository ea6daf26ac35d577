"""Encoders against naive loops and torch's own layers: which numbers a token reads, lengths, padding, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from fptkit.encoders.conv_stem import ConvStem
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.mlp import MlpEncoder
from fptkit.encoders.options import ConvStemOptions, LinearOptions, MlpOptions, Patches1dOptions, Patches2dOptions
from fptkit.encoders.patches import Patches1d, Patches2d
from fptkit.errors import ShapeError
from fptkit.interfaces import Encoder, Grid, Vectors
from fptkit.testing import check_encoder

GRID = Grid((8, 12), channels=3)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def affine(linear: nn.Module, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A linear layer by hand."""
    assert isinstance(linear, nn.Linear)
    return values @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


# Patches of tokens


def naive_patches(example: NDArray[np.float32], patch: int, stride: int) -> NDArray[np.float32]:
    """Patches of one example (L, F), added until every token was read."""
    rows, start = [], 0
    while True:
        row = np.zeros((patch, example.shape[1]), np.float32)
        there = example[start : start + patch]
        row[: len(there)] = there
        rows.append(row.reshape(-1))
        if start + patch >= len(example):
            return np.stack(rows)
        start += stride


@pytest.mark.parametrize(("patch", "stride"), [(4, None), (4, 2), (5, 3), (1, None), (30, 7)])
def test_patches1d_are_those_of_a_loop_and_read_no_padding(patch: int, stride: int | None) -> None:
    encoder = Patches1d(Patches1dOptions(patch=patch, stride=stride), input=Vectors(3), width=16)
    inputs, lengths = numbers(4, 21, 3), torch.tensor([21, 1, 13, 8])
    padded = inputs.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = math.nan
    encoded, counts = encoder(padded, lengths), encoder.encoded_lengths(lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = affine(encoder.map[0], naive_patches(inputs[row, :length].numpy(), patch, stride or patch))
        assert int(counts[row]) == len(expected)
        torch.testing.assert_close(encoded[row, : len(expected)].detach().numpy(), expected, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(encoded).all()


@pytest.mark.parametrize(("patch", "stride"), [(4, 4), (4, 2), (5, 3), (16, 8)])
def test_patches1d_counts_for_every_length(patch: int, stride: int) -> None:
    options = Patches1dOptions(patch=patch, stride=stride)
    encoder = Patches1d(options, input=Vectors(1), width=2)
    counts = encoder.encoded_lengths(torch.arange(1, 60)).tolist()
    assert counts == [len(naive_patches(np.zeros((length, 1), np.float32), patch, stride)) for length in range(1, 60)]
    assert counts == [Patches1d.token_count(options, Vectors(1), length) for length in range(1, 60)]


def test_patches1d_starts_orthogonal_as_linear_does() -> None:
    weight = Patches1d(Patches1dOptions(patch=2), input=Vectors(3), width=16).map[0].weight
    torch.testing.assert_close(weight.T @ weight, 1.41**2 * torch.eye(6), atol=1e-5, rtol=0)


# Dropout


def test_dropout_of_the_output_and_of_hidden_layers() -> None:
    """As in kzl/universal-computation: after every map, none in evaluation, and the last output with no ReLU."""
    for options, build in (
        (LinearOptions(hidden=(64,), dropout=0.5), lambda o: LinearEncoder(o, input=Vectors(6), width=200)),
        (ConvStemOptions(channels=(8,), stride=1, dropout=0.5), lambda o: ConvStem(o, input=Vectors(6), width=200)),
        (Patches1dOptions(patch=1, dropout=0.5), lambda o: Patches1d(o, input=Vectors(6), width=200)),
        (Patches2dOptions(patch=1, dropout=0.5), lambda o: Patches2d(o, input=Grid((5, 5), 6), width=200)),
    ):
        encoder, inputs = (
            build(options),
            numbers(*((2, 5, 5, 6) if isinstance(options, Patches2dOptions) else (2, 25, 6))),
        )
        dropped = [module.p for module in encoder.modules() if isinstance(module, nn.Dropout)]
        hidden = getattr(options, "hidden", ())
        assert dropped == [0.5] * (1 + len(hidden))
        kept, still = encoder.train()(inputs), encoder.eval()(inputs)
        assert 0.4 < float((kept == 0).float().mean()) < 0.6
        assert bool((still != 0).all())
        if not hidden:
            torch.testing.assert_close(kept[kept != 0], 2 * still[kept != 0])


def test_without_dropout_an_encoder_has_the_modules_it_had() -> None:
    encoder = LinearEncoder(LinearOptions(), input=Vectors(6), width=8)
    assert [type(module) for module in encoder.map] == [nn.Linear]


# Patches of a grid


@pytest.mark.parametrize("patch", [4, (2, 3), (8, 12), 1, [4, 6]])
def test_patches2d_are_those_of_torch(patch: Any) -> None:
    options = Patches2dOptions(patch=patch)
    encoder = Patches2d(options, input=GRID, width=16)
    inputs, sides = numbers(2, 8, 12, 3), options.sides
    cut = nn.functional.unfold(inputs.movedim(-1, 1), sides, stride=sides)  # (B, C * patch, T), channels first
    cut = cut.unflatten(1, (3, -1)).permute(0, 3, 2, 1).flatten(2)
    torch.testing.assert_close(encoder(inputs), encoder.map(cut))
    assert Patches2d.token_count(options, GRID, GRID.max_tokens) == cut.shape[1]


def test_patches2d_are_the_tokens_of_the_image_tasks() -> None:
    """A patch's numbers are in the order of the paper's code, so its weights mean the same."""
    inputs = numbers(1, 8, 8, 2)
    encoder = Patches2d(Patches2dOptions(patch=4, orthogonal_gain=1), input=Grid((8, 8), 2), width=32)
    nn.init.eye_(encoder.map[0].weight)
    assert torch.equal(encoder(inputs)[0, 1], inputs[0, :4, 4:].reshape(-1))


@pytest.mark.parametrize("patch", [5, (4, 5), (3, 4)])
def test_a_patch_that_does_not_divide_the_grid_is_an_error(patch: Any) -> None:
    options = Patches2dOptions(patch=patch)
    for call in (
        lambda: Patches2d(options, input=GRID, width=16),
        lambda: Patches2d.token_count(options, GRID, GRID.max_tokens),
    ):
        with pytest.raises(ShapeError, match=r"do not divide the grid of 8 x 12; set encoder.patch to \[rows, col"):
            call()


# Convolutions


def naive_stem(encoder: ConvStem, example: NDArray[np.float32], before: int) -> NDArray[np.float32]:
    """The stem over one example (L, F) without padding, one product after another."""
    hidden = example
    for layer in encoder.convolutions:
        assert isinstance(layer, nn.Conv1d)
        weight, bias = layer.weight.detach().numpy(), layer.bias
        assert bias is not None
        outputs = []
        for start in range(0, len(hidden), encoder.stride):
            value = bias.detach().numpy().astype(np.float64)
            for offset in range(encoder.kernel):
                place = start - before + offset
                if 0 <= place < len(hidden):
                    value = value + weight[:, :, offset] @ hidden[place]
            outputs.append([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in value])
        hidden = np.array(outputs, np.float32)
    return affine(encoder.map[0], hidden)


@pytest.mark.parametrize(
    ("kernel", "stride", "causal", "before"),
    [(3, 2, False, 1), (3, 2, True, 1), (3, 1, False, 1), (3, 1, True, 2), (4, 2, False, 1), (5, 2, True, 3)],
)
def test_conv_stem_is_that_of_a_loop_over_each_example_alone(
    kernel: int, stride: int, causal: bool, before: int
) -> None:
    options = ConvStemOptions(channels=(4, 5), kernel=kernel, stride=stride, causal=causal)
    encoder = ConvStem(options, input=Vectors(3), width=16)
    inputs, lengths = numbers(4, 19, 3), torch.tensor([19, 1, 12, 7])
    padded = inputs.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = math.nan
    encoded, counts = encoder(padded, lengths), encoder.encoded_lengths(lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = naive_stem(encoder, inputs[row, :length].numpy(), before)
        assert int(counts[row]) == len(expected) == ConvStem.token_count(options, Vectors(3), length)
        torch.testing.assert_close(encoded[row, : len(expected)].detach().numpy(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (5, 1)])
def test_conv_stem_over_a_grid_is_torchs_padded_convolution(size: tuple[int, int]) -> None:
    grid = Grid(size, channels=3)
    options = ConvStemOptions(channels=(4, 5))
    encoder = ConvStem(options, input=grid, width=16)
    inputs = numbers(2, *size, 3)
    hidden = inputs.movedim(-1, 1)
    for layer in encoder.convolutions:
        assert isinstance(layer, nn.Conv2d)
        hidden = nn.functional.gelu(nn.functional.conv2d(hidden, layer.weight, layer.bias, stride=2, padding=1))
    expected = encoder.map(hidden.flatten(2).transpose(1, 2))
    torch.testing.assert_close(encoder(inputs), expected, atol=1e-5, rtol=1e-5)
    assert ConvStem.token_count(options, grid, grid.max_tokens) == expected.shape[1]


@pytest.mark.parametrize(("kernel", "stride", "layers"), [(3, 2, 2), (2, 2, 3), (4, 3, 2), (3, 1, 2)])
def test_a_causal_stem_sees_its_own_stretch_and_nothing_later(kernel: int, stride: int, layers: int) -> None:
    options = ConvStemOptions(channels=(6,) * layers, kernel=kernel, stride=stride, causal=True)
    encoder = ConvStem(options, input=Vectors(2), width=8)
    inputs = numbers(1, 40, 2).requires_grad_()
    stretch = stride**layers
    for token, encoded in enumerate(encoder(inputs)[0]):
        (reached,) = torch.autograd.grad(encoded.square().sum(), inputs, retain_graph=True)
        places = reached[0].abs().sum(-1).nonzero().flatten().tolist()
        assert set(range(token * stretch, min((token + 1) * stretch, 40))) <= set(places)
        assert max(places) < (token + 1) * stretch


def test_a_stem_that_is_not_causal_sees_later_tokens() -> None:
    encoder = ConvStem(ConvStemOptions(channels=(6,), stride=1), input=Vectors(2), width=8)
    inputs = numbers(1, 9, 2).requires_grad_()
    (reached,) = torch.autograd.grad(encoder(inputs)[0, 3].square().sum(), inputs)
    assert reached[0].abs().sum(-1).nonzero().flatten().tolist() == [2, 3, 4]


def test_a_causal_stem_over_a_grid_is_refused() -> None:
    options = ConvStemOptions(causal=True)
    for call in (
        lambda: ConvStem(options, input=GRID, width=16),
        lambda: ConvStem.token_count(options, GRID, GRID.max_tokens),
    ):
        with pytest.raises(ShapeError, match="causal is for vectors"):
            call()


# The perceptron


def test_mlp_is_its_layers_by_hand() -> None:
    encoder = MlpEncoder(MlpOptions(hidden=(6,), activation="tanh", norm=True), input=Vectors(3), width=16).eval()
    inputs = numbers(2, 5, 3)
    hidden = affine(encoder.map[0], inputs.numpy())
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / np.sqrt(hidden.var(-1, keepdims=True) + 1e-5)
    expected = affine(encoder.map[-1], np.tanh(hidden))
    torch.testing.assert_close(encoder(inputs).detach().numpy(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("activation", "layer"), [("gelu", nn.GELU), ("relu", nn.ReLU), ("silu", nn.SiLU), ("tanh", nn.Tanh)]
)
def test_mlp_has_the_activation_asked_for_after_each_hidden_layer(activation: Any, layer: type[nn.Module]) -> None:
    encoder = MlpEncoder(MlpOptions(hidden=(6, 7), activation=activation), input=Vectors(3), width=16)
    assert [type(part) for part in encoder.map] == [
        nn.Linear,
        layer,
        nn.Dropout,
        nn.Linear,
        layer,
        nn.Dropout,
        nn.Linear,
    ]


def test_mlp_drops_in_training_only() -> None:
    encoder = MlpEncoder(MlpOptions(dropout=0.5), input=Vectors(3), width=16)
    inputs = numbers(2, 5, 3)
    assert not torch.equal(encoder(inputs), encoder(inputs))
    encoder.eval()
    assert torch.equal(encoder(inputs), encoder(inputs))


# Options


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (Patches1dOptions, {"patch": 4, "stride": 5}, "stride 5 is above patch 4"),
        (Patches1dOptions, {"patch": 0}, "greater than or equal to 1"),
        (Patches2dOptions, {"patch": [4]}, "patch"),
        (Patches2dOptions, {"patch": [4, 0]}, "greater than or equal to 1"),
        (ConvStemOptions, {"kernel": 2, "stride": 3}, "stride 3 is above kernel 2"),
        (ConvStemOptions, {"channels": []}, "at least 1 item"),
        (MlpOptions, {"hidden": []}, "at least 1 item"),
        (MlpOptions, {"dropout": 1.0}, "less than 1"),
        (MlpOptions, {"activation": "step"}, "'gelu', 'relu', 'silu' or 'tanh'"),
    ],
)
def test_invalid_options_are_refused(model: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model(**given)


@pytest.mark.parametrize(("size", "channels"), [((0, 4), 1), ((4, 4), 0), ((4, 4, 4), 1), ((4,), 1), ((4.5, 4), 1)])
def test_a_grid_that_cannot_be_is_refused(size: Any, channels: int) -> None:
    with pytest.raises(ShapeError, match="size must be two integers of at least 1"):
        Grid(size, channels)


# The contract check, over sound encoders and over ones that break one promise each


VECTORS = Vectors(3)


@pytest.mark.parametrize(
    ("target", "options", "input"),
    [
        (Patches1d, Patches1dOptions(), VECTORS),
        (Patches1d, Patches1dOptions(patch=7, stride=3, hidden=(5,)), VECTORS),
        (Patches2d, Patches2dOptions(patch=(2, 4)), GRID),
        (ConvStem, ConvStemOptions(), VECTORS),
        (ConvStem, ConvStemOptions(kernel=5, stride=3, causal=True), VECTORS),
        (ConvStem, ConvStemOptions(kernel=2, channels=(4, 5, 6)), GRID),
        (MlpEncoder, MlpOptions(norm=True, dropout=0.1), VECTORS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_encoders_keep_their_promises(target: Any, options: Any, input: Vectors | Grid) -> None:
    tokens = target.token_count(options, input, input.max_tokens if isinstance(input, Grid) else 50)
    check_encoder(lambda: target(options, input=input, width=16), input=input, width=16, token_count=tokens)


class Halves(Encoder):
    """Pairs of tokens, summed. Subclasses break it."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 16)

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        return (lengths + 1) // 2

    def clean(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return inputs
        return inputs * (torch.arange(inputs.shape[1]) < lengths[:, None])[:, :, None]

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        inputs = self.clean(inputs, lengths)
        inputs = nn.functional.pad(inputs, (0, 0, 0, inputs.shape[1] % 2))
        encoded: Tensor = self.map(inputs.unflatten(1, (-1, 2)).sum(2))
        return encoded


class ReadsPadding(Halves):
    def clean(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        return inputs


class CountsWrongly(Halves):
    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        return lengths // 2


class Shrinks(Halves):
    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        return torch.where(lengths == 50, 25, 26 - (lengths + 1) // 2)


class KnowsTheBatch(Halves):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs, lengths) + inputs.mean()


class IsRestless(Halves):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs, lengths) + torch.rand(1)


class IsIdle(Halves):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(3))


class IsDouble(Halves):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs, lengths).double()


class MixesTokens(nn.Module):
    """Says that it maps each token by itself, since it is no `Encoder`, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 16)

    def forward(self, inputs: Tensor) -> Tensor:
        encoded: Tensor = self.map(inputs + inputs.roll(-1, 1))
        return encoded


def test_a_sound_encoder_of_fewer_tokens_passes() -> None:
    check_encoder(Halves, input=VECTORS, width=16, token_count=25)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (ReadsPadding, "ReadsPadding: an example alone differs from the same in a padded batch"),
        (CountsWrongly, "CountsWrongly: an example of one token becomes 0"),
        (Shrinks, "Shrinks: a longer example becomes fewer tokens"),
        (KnowsTheBatch, "KnowsTheBatch: an example depends on the others of its batch"),
        (IsRestless, "IsRestless: two evaluations of one batch differ"),
        (IsIdle, "IsIdle: no gradient reaches idle"),
        (IsDouble, "IsDouble: gave torch.float64, expected float32"),
        (MixesTokens, "MixesTokens: an example alone differs from the same in a padded batch"),
    ],
)
def test_a_broken_encoder_is_found(broken: type[nn.Module], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_encoder(broken, input=VECTORS, width=16)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_count": 24}, "encoded_lengths makes 25 of 50, token_count 24"),
        ({"width": 15}, r"gave \(3, 25, 16\), expected \(3, 25, 15\)"),
    ],
)
def test_a_count_or_width_of_another_kind_is_found(change: dict[str, int], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_encoder(Halves, **{"input": VECTORS, "width": 16, **change})  # type: ignore[arg-type]


def test_a_grid_encoder_whose_tokens_are_not_those_it_said_is_found() -> None:
    encoder = Patches2d(Patches2dOptions(), input=GRID, width=16)
    with pytest.raises(AssertionError, match=r"gave \(3, 6, 16\), expected \(3, 7, 16\)"):
        check_encoder(lambda: encoder, input=GRID, width=16, token_count=7)
    with pytest.raises(AssertionError, match="give token_count"):
        check_encoder(lambda: encoder, input=GRID, width=16)
