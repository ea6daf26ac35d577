"""A map of its own for each cell."""

from __future__ import annotations

import numpy as np
import torch

from fptkit.encoders.features import FeatureTokens
from fptkit.encoders.options import FeatureOptions
from fptkit.interfaces import Grid


def test_each_cell_has_its_own_map() -> None:
    torch.manual_seed(0)
    encoder = FeatureTokens(FeatureOptions(), input=Grid((2, 3), 4), width=16)
    inputs = torch.randn(5, 2, 3, 4)
    weight, bias = encoder.weight.detach().numpy(), encoder.bias.detach().numpy()
    wanted = np.zeros((5, 6, 16))
    for example in range(5):
        for cell in range(6):
            numbers = inputs[example, cell // 3, cell % 3].numpy()
            wanted[example, cell] = sum(numbers[c] * weight[cell, c] for c in range(4)) + bias[cell]
    np.testing.assert_allclose(encoder(inputs).detach().numpy(), wanted, atol=1e-5)


def test_maps_are_orthogonal_and_biases_are_as_large() -> None:
    torch.manual_seed(0)
    encoder = FeatureTokens(FeatureOptions(orthogonal_gain=2.0), input=Grid((7, 1), 3), width=64)
    products = encoder.weight @ encoder.weight.transpose(1, 2)
    torch.testing.assert_close(products, 4 * torch.eye(3).expand(7, 3, 3), atol=1e-4, rtol=0)
    assert 1.7 < float(encoder.bias.detach().norm(dim=1).mean()) < 2.3


def test_more_channels_than_the_width() -> None:
    encoder = FeatureTokens(FeatureOptions(), input=Grid((2, 1), 40), width=8)
    assert encoder(torch.zeros(1, 2, 1, 40)).shape == (1, 2, 8)
