"""Whether the frozen part gives the same for the same example each time: else its output cannot be kept."""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.interfaces import Batch
from fptkit.model import CrossModalModel
from fptkit.options import Options
from fptkit.recipe.models import Recipe


@torch.no_grad()
def random_features(model: CrossModalModel, recipe: Recipe, batch: Batch) -> str:
    """Why the output in training is not the one in evaluation, or not the same each time; empty where it is.

    Told from torch's generators, which any draw moves on, from the output, and from the buffers, all of them put back.

    Args:
        model: the whole model.
        recipe: what it was built from, for advice.
        batch: a few examples, on the CPU.
    """
    if model.shuffle_seed is not None:
        return "shuffle_tokens draws another order of the tokens at each step"
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
        return f"numbers are dropped at random before the head; {_advice(recipe)}"
    if changed:
        return f"training changes {changed[0]} of the frozen part"
    if not torch.equal(evaluated, trained):
        return "the frozen part gives something else in training than in evaluation"
    return ""


def _generators(device: torch.device) -> list[Tensor]:
    """Where torch's generators stand."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _advice(recipe: Recipe) -> str:
    """The settings that switch chance off."""
    sections: dict[str, Options] = {"backbone": recipe.backbone.options}
    if recipe.encoder:
        sections["encoder"] = recipe.encoder.options
    found = [
        f"--set {section}.{name}=0"
        for section, options in sections.items()
        for name in type(options).model_fields
        if "dropout" in name and getattr(options, name)
    ]
    return f"to keep features: {' '.join(found)}" if found else "the encoder or the backbone draws them"
