"""Exports a trained backbone as a weights folder that `backbone.weights` loads: config.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fptkit.backbones.gpt2 import Gpt2Backbone
from fptkit.backbones.gpt2_build import FIXED_CONFIG
from fptkit.backbones.vit.checkpoint import save_vit
from fptkit.backbones.vit.kinds import kind_of
from fptkit.backbones.vit.model import VitBackbone
from fptkit.errors import UsageError
from fptkit.files import write_json
from fptkit.interfaces import Backbone
from fptkit.lab.pretraining.next_token import DTYPES, WEIGHTS, write_weights
from fptkit.sources import Unavailable
from fptkit.sources.weights import open_config


@torch.no_grad()
def round_weights(backbone: Backbone, save_dtype: str) -> None:
    """Round the weights, in place, to the values that they have when stored in ``save_dtype``."""
    for parameter in backbone.parameters():
        parameter.copy_(parameter.to(DTYPES[save_dtype]))


def check_exportable(weights: Sequence[str]) -> None:
    """Refuse, before training, weights of timm that cannot be written as `write_backbone` does.

    Args:
        weights: entries of the backbone ``vit``; the first available one counts.

    Raises:
        UsageError: the weights are of another kind than ``VisionTransformer``.
        DataError: the config.json is broken, or timm's model is no backbone.
    """
    for entry in weights:
        if entry == "random":
            return
        try:
            name = open_config(entry).get("architecture")
        except Unavailable:
            continue
        if isinstance(name, str) and not kind_of(name.partition(".")[0], entry).is_plain:
            raise UsageError(
                f"{entry}: weights of {name} can be used but not exported; pretrain a VisionTransformer of timm, such "
                "as vit_base_patch16_224"
            )
        return


def write_backbone(backbone: Backbone, destination: Path, save_dtype: str) -> None:
    """Write config.json and model.safetensors.

    Args:
        backbone: a GPT-2 or a vision transformer.
        destination: the folder; created if missing.
        save_dtype: dtype of the stored weights, a key of `DTYPES`.

    Raises:
        UsageError: backbones of this architecture cannot be exported.
    """
    if isinstance(backbone, VitBackbone) and backbone.kind.is_plain:
        save_vit(backbone, destination, dtype=DTYPES[save_dtype])
        (destination / WEIGHTS).chmod(0o644)  # safetensors creates files that only their owner can read
    elif isinstance(backbone, Gpt2Backbone):
        tensors = {name: tensor.cpu().to(DTYPES[save_dtype]) for name, tensor in backbone.state_dict().items()}
        write_weights(tensors, destination / WEIGHTS)
        write_json(destination / "config.json", _gpt2_config(backbone) | {"dtype": save_dtype})
    else:
        raise UsageError(f"weights of a {type(backbone).__name__} cannot be exported")


def _gpt2_config(backbone: Gpt2Backbone) -> dict[str, Any]:
    """The keys of a published GPT-2 config. There is no word embedding, since the inputs were token vectors."""
    sizes = backbone.sizes
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2Model"],
        "n_layer": sizes.blocks,
        "n_embd": sizes.width,
        "n_head": sizes.heads,
        "n_positions": sizes.positions,
        "vocab_size": 1,  # transformers' GPT2Model needs an embedding; its one row is random, not loaded
        "bos_token_id": None,
        "eos_token_id": None,
        **FIXED_CONFIG,
    }


def describe_backbone(backbone: Backbone) -> str:
    """Architecture and sizes in words."""
    if isinstance(backbone, Gpt2Backbone):
        sizes = backbone.sizes
        kind, heads = "GPT-2", f", {sizes.heads} heads"
    else:
        kind, heads = "vision transformer", ""
        if isinstance(backbone, VitBackbone) and "num_heads" in backbone.architecture.arguments:
            heads = f", {backbone.architecture.arguments['num_heads']} heads"
    return f"A {kind} of {backbone.blocks} blocks, width {backbone.width}{heads} and {backbone.max_positions} positions"
