"""The profile ``paper`` of the shipped recipes: what the paper's code does to its models, and only there."""

from __future__ import annotations

import pytest

from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import Recipe
from fptkit.registry import load_plugins

REGISTRY = load_plugins(selection="")


def loaded(name: str, profile: str | None) -> Recipe:
    return load_recipe(name, profile=profile, registry_loader=lambda files: REGISTRY).recipe


ARMS = {
    "gpt2": {"dropout": 0.1, "attention_dropout": 0.1, "init": "pretrained"},
    "bit_pretrained": {"dropout": 0.1, "attention_dropout": 0.1, "init": "pretrained"},
    "random": {"dropout": 0.1, "attention_dropout": 0.1, "init": "flat_0.02", "size": "base"},
    "full": {"dropout": 0.1, "attention_dropout": 0.1, "init": "flat_0.02", "size": "base"},
    "vit": {"dropout": 0.1, "attention_dropout": 0.1},
    "lstm": {"dropout": 0.1, "variant": "official", "size": "paper"},
}


@pytest.mark.parametrize("arm", ARMS)
def test_backbones(arm: str) -> None:
    options = loaded(f"bit_xor_{arm}", "paper").backbone.options.model_dump()
    assert {name: options[name] for name in ARMS[arm]} == ARMS[arm]
    for profile in (None, "nano", "smoke"):
        options = loaded(f"bit_xor_{arm}", profile).backbone.options.model_dump()
        assert (options["dropout"], options.get("attention_dropout", 0.0)) == (0.0, 0.0)
        assert options.get("variant", "ba2016") == "ba2016"


@pytest.mark.parametrize("task", ["bit_memory", "bit_xor", "mnist", "cifar10", "cifar10_lra", "listops", "homology"])
@pytest.mark.parametrize("arm", ["gpt2", "lstm"])
def test_encoders(task: str, arm: str) -> None:
    """Linear ones drop; embeddings of symbols do not."""
    encoder = loaded(f"{task}_{arm}", "paper").encoder
    assert encoder is not None
    expected = ("symbols", None) if task in ("listops", "homology") else ("linear", 0.1)
    assert (encoder.name, getattr(encoder.options, "dropout", None)) == expected
    usual = loaded(f"{task}_{arm}", None).encoder
    assert usual is None or not getattr(usual.options, "dropout", 0.0)


@pytest.mark.parametrize("arm", ["gpt2", "lstm"])
def test_learning_rate(arm: str) -> None:
    assert loaded(f"bit_xor_{arm}", "paper").train.learning_rate == {"gpt2": 1e-3, "lstm": 3e-4}[arm]
