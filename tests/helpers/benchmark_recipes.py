"""Recipes and configurations of models to measure and to estimate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fptkit.recipe.load import LoadedRecipe, load_recipe

BIT_MEMORY = "task: {name: bit_memory, bits: 200, bits_per_token: 50, validation_size: 8, test_size: 8}\n"
SETTINGS = "train: {batch_size: 8, max_steps: 3, validate_every: 3}\nthreads: 1\n"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 64,
}


SMALL: dict[str, dict[str, Any]] = {
    "bert": {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "vocab_size": 50,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50},
    "llama": LLAMA,
    "opt": {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "vocab_size": 50,
    },
    "roberta": {
        "model_type": "roberta",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "vocab_size": 50,
        "max_position_embeddings": 66,
    },
}


def load(folder: Path, text: str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return load_recipe(str(path), overrides=overrides)
