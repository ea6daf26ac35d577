"""The forward pass of pretraining, against that of transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from pretraining_recipes import language_recipe as make_recipe

from fptkit.lab.pretraining.gpt2_forward import Gpt2Forward
from fptkit.lab.pretraining.next_token import make_config, make_model


def test_forward_pass_has_the_logits_and_gradients_of_transformers() -> None:
    config = make_config(
        make_recipe(Path("x"), model={"blocks": 2, "width": 32, "heads": 2, "positions": 600}).model, 300
    )
    model = make_model(config, 0)
    with torch.no_grad():
        for parameter in model.parameters():  # fresh biases are zero and would hide their absence
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    inputs = torch.randint(300, (2, 601), generator=torch.Generator().manual_seed(2))
    x, y = inputs[:, :-1], inputs[:, 1:]  # 600 tokens: three pieces of queries, the last one short
    ours = Gpt2Forward(model, torch.float32)
    logits = model(x).logits
    torch.testing.assert_close(ours.logits(x), logits, atol=1e-5, rtol=1e-4)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
    expected = torch.autograd.grad(loss, list(model.parameters()))
    found = torch.autograd.grad(ours.loss(x, y), list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)
