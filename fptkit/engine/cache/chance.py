"""Whether the frozen part gives the same output for an example each time; if not, it cannot be cached."""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.interfaces import Batch
from fptkit.model import CrossModalModel
from fptkit.options import Options
from fptkit.recipe.models import Recipe


@torch.no_grad()
def random_features(model: CrossModalModel, recipe: Recipe, batch: Batch) -> str:
    """Why the frozen part's output differs between training and evaluation, or between calls; empty if it does not.

    Compares the output, the buffers, and the states of torch's generators, which every random draw changes. Buffers and
    generators are restored.

    Args:
        model: the complete model.
        recipe: what it was built from, for advice.
        batch: a few examples, on the CPU.
    """
    if model.shuffle_seed is not None:
        return "shuffle_tokens draws a new order of the tokens at each step"
    device = next(model.parameters()).device
    batch = batch.to(device)
    was_training = model.training
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            model.eval()
            evaluated = model.hidden(batch.inputs, batch.lengths)[0]
            model.train()
            before = _generators(device)
            trained = model.hidden(batch.inputs, batch.lengths)[0]
            drawn = any(not torch.equal(*pair) for pair in zip(before, _generators(device), strict=True))
            changed = [name for name, tensor in model.named_buffers() if not torch.equal(tensor, buffers[name])]
        finally:
            for name, tensor in model.named_buffers():
                tensor.copy_(buffers[name])
            model.train(was_training)
    if drawn:
        return f"there is dropout, or another random draw, before the head; {_advice(recipe)}"
    if changed:
        return f"training changes the buffer {changed[0]} of the frozen part"
    if not torch.equal(evaluated, trained):
        return "the output of the frozen part differs between training and evaluation"
    return ""


def _generators(device: torch.device) -> list[Tensor]:
    """The states of torch's generators."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _advice(recipe: Recipe) -> str:
    """The settings that turn randomness off."""
    sections: dict[str, Options] = {"backbone": recipe.backbone.options}
    if recipe.encoder:
        sections["encoder"] = recipe.encoder.options
    found = [
        f"--set {section}.{name}=0"
        for section, options in sections.items()
        for name in type(options).model_fields
        if "dropout" in name and getattr(options, name)
    ]
    return f"to cache features: {' '.join(found)}" if found else "it is in the encoder or the backbone"
