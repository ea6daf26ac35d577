"""Word embeddings of transformers' models, found in their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fptkit.backbones.words import find_words
from fptkit.errors import DataError
from fptkit.sources.weights import WeightFolder, open_weights

TINY: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 1, "n_embd": 16, "n_head": 2},
    "bert": {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
    "albert": {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "embedding_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "t5": {"num_layers": 1, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2},
    "bart": {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "scale_embedding": True,
    },
    "llama": {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
}


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("head", [False, True])
def test_the_table_is_what_transformers_looks_up(tmp_path: Path, kind: str, head: bool) -> None:
    from transformers import (
        CONFIG_MAPPING,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
    )

    heads = {"gpt2": AutoModelForCausalLM, "llama": AutoModelForCausalLM, "t5": AutoModelForSeq2SeqLM}
    heads |= {"bart": AutoModelForSeq2SeqLM}
    of_head = heads.get(kind, AutoModelForMaskedLM)
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**TINY[kind], vocab_size=50)
    model = (of_head if head else AutoModel).from_config(config).eval()
    model.save_pretrained(tmp_path)
    words = find_words(open_weights(f"path:{tmp_path}"))
    expected = model.get_input_embeddings()(torch.arange(50))
    torch.testing.assert_close(words.read(), expected, rtol=0, atol=0)
    assert words.shape == tuple(expected.shape)


def folder(path: Path, tensors: dict[str, torch.Tensor], **config: Any) -> WeightFolder:
    from safetensors.torch import save_file

    save_file(tensors, path / "model.safetensors")
    return WeightFolder("path:x", config, path / "model.safetensors")


def test_a_file_with_the_tied_head_alone(tmp_path: Path) -> None:
    tensors = {"lm_head.weight": torch.randn(5, 4)}
    assert find_words(folder(tmp_path, tensors, model_type="gpt2")).shape == (5, 4)
    with pytest.raises(DataError, match="no word embeddings"):
        find_words(folder(tmp_path, tensors, model_type="gpt2", tie_word_embeddings=False))


@pytest.mark.parametrize(
    ("tensors", "config", "fault"),
    [
        ({"h.0.x": torch.zeros(2)}, {"model_type": "gpt2"}, "no word embeddings"),
        ({"wte.weight": torch.zeros(2)}, {"model_type": "gpt2"}, "no word embeddings"),
        ({"x": torch.zeros(2)}, {"architecture": "vit"}, "no language model"),
    ],
)
def test_files_without_words(
    tmp_path: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        find_words(folder(tmp_path, tensors, **config))


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    words = find_words(folder(tmp_path, {"wte.weight": torch.full((3, 2), float("nan"))}, model_type="gpt2"))
    with pytest.raises(DataError, match="NaN or infinity"):
        words.read()


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="not readable as a safetensors file"):
        find_words(WeightFolder("path:x", {"model_type": "gpt2"}, tmp_path / "model.safetensors"))
