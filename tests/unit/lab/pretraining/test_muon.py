"""Muon, against the singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from fptkit.lab.pretraining.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
def test_orthogonalize_agrees_with_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalize(matrix[None])[0].float()
    singular = torch.linalg.svdvals(found)
    assert singular.min() > 0.3
    assert singular.max() < 1.3
    assert torch.nn.functional.cosine_similarity(found.flatten(), (u @ v).flatten(), dim=0) > 0.95


def test_muon_updates_query_key_and_value_as_three_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradient = torch.randn(8, 24, generator=generator), torch.randn(8, 24, generator=generator)
    whole = torch.nn.Parameter(start.clone())
    parts = [torch.nn.Parameter(part.clone()) for part in start.chunk(3, 1)]
    whole.grad = gradient
    for part, piece in zip(parts, gradient.chunk(3, 1), strict=True):
        part.grad = piece
    Muon([whole], 0.1, weight_decay=0.1).step()
    Muon(parts, 0.1, weight_decay=0.1).step()
    torch.testing.assert_close(whole.detach(), torch.cat([part.detach() for part in parts], 1))
