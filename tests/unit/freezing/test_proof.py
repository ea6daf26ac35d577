"""The freeze proof knows its own digest, and that of earlier versions, which stored vectors in bfloat16, too."""

from __future__ import annotations

import hashlib

import pytest
import torch

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.freezing import FreezeProof, apply_policy
from fptkit.interfaces import Classes, Vectors
from fptkit.model import CrossModalModel, Head
from fptkit.specs import FreezingPolicySpec, FreezingRule

ROLES = ("attn", "mlp")


def frozen_model(*, vectors: torch.dtype, mixed: bool = True) -> CrossModalModel:
    """A small GPT-2 in mixed precision, everything inside frozen, its vectors in a dtype."""
    backbone = random_gpt2(Gpt2Sizes(1, 8, 2, 16), positions=4, seed=0)
    encoder = LinearEncoder(LinearOptions(), input=Vectors(3), width=8)
    model = CrossModalModel(encoder, backbone, Head(Classes(2), 8, readout="last"), mixed=mixed)
    rules = (FreezingRule(role="input"), FreezingRule(role="output"))
    apply_policy(model, FreezingPolicySpec(name="ends", summary="s", rules=rules))
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and any(f".{role}." in name for role in ROLES):
            with torch.no_grad():
                parameter.add_(0.123)  # biases of zero have the same bits in both
            parameter.data = parameter.data.to(torch.bfloat16 if parameter.ndim > 1 else vectors)
    return model


def naive_digest(model: CrossModalModel) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
            digest.update(parameter.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def test_digests_of_now_and_of_earlier_versions_match() -> None:
    now, before = frozen_model(vectors=torch.float32), frozen_model(vectors=torch.bfloat16)
    proof = FreezeProof(now)
    assert proof.digest == naive_digest(now) != naive_digest(before)
    assert proof.matches(naive_digest(now))
    assert proof.matches(naive_digest(before))
    assert not proof.matches("")
    with torch.no_grad():
        next(p for p in before.parameters() if not p.requires_grad and p.ndim == 1).add_(1.0)
    assert not proof.matches(naive_digest(before)), "other values"


@pytest.mark.parametrize("recorded", ["", "None", "0" * 64])
def test_without_mixed_precision_there_is_one_digest(recorded: str) -> None:
    model = frozen_model(vectors=torch.float32, mixed=False)
    assert FreezeProof(model).matches(naive_digest(model))
    assert not FreezeProof(model).matches(naive_digest(frozen_model(vectors=torch.bfloat16, mixed=False)))
    assert not FreezeProof(model).matches(recorded)
