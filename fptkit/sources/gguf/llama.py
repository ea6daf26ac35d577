"""The Llama family in GGUF files: what the metadata and the tensors are in transformers.

Architectures: ``llama`` (Llama, Mistral, SmolLM2, TinyLlama and others), ``qwen2`` and ``qwen3``. All have RMS norms,
rotary positions and a gated feed-forward layer. Everything else is refused, and so is metadata that could change what
the model computes and that is not understood here.

Source: ggml-org/llama.cpp, ``convert_hf_to_gguf.py`` (names, and the order of the rows of q and k) and
``src/llama-arch.cpp`` (keys); huggingface/transformers, ``models/llama/modeling_llama.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fptkit.errors import DataError
from fptkit.sources.gguf.reader import GgufFile

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURES = ("llama", "qwen2", "qwen3")

OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of modules in GGUF files and in transformers; a test compares them with the library's own map."""

FREQUENCIES = "rope_freqs.weight"
"""Divisors of the rotary frequencies, one for each pair of numbers in a head: Llama 3's long context."""

_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")

_UNDERSTOOD = frozenset(
    (
        "vocab_size",
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "attention.causal",
        "attention.sliding_window",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scale_linear",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.finetuned",
        "expert_count",
        "expert_used_count",
        "tensor_data_layout",
    )
)
"""Keys of the architecture's part of the metadata that are read, or that do not change what is computed."""


def config_of(file: GgufFile, *, entry: str) -> dict[str, Any]:
    """The config.json of the model, as transformers writes it.

    Args:
        file: the opened file.
        entry: the checkpoint, for messages.

    Raises:
        DataError: the model is not of the Llama family, or its metadata lacks a size or has keys that are not
            understood.
    """
    _check_family(file, entry)
    heads, width = _size(file, "attention.head_count", entry), _size(file, "embedding_length", entry)
    if "token_embd.weight" not in file.stored:
        raise DataError(f"{entry}: its tensor token_embd.weight is missing; use a whole model")
    biases = [name for name in file.stored if name.endswith(".bias")]
    config = {
        "model_type": file.architecture,
        "hidden_size": width,
        "num_hidden_layers": _size(file, "block_count", entry),
        "num_attention_heads": heads,
        "num_key_value_heads": _size(file, "attention.head_count_kv", entry, heads),
        "head_dim": _head_size(file, width, heads, entry),
        "intermediate_size": _size(file, "feed_forward_length", entry),
        "max_position_embeddings": _size(file, "context_length", entry),
        "vocab_size": file.shape("token_embd.weight")[0],
        "hidden_act": "silu",
        "rms_norm_eps": float(file.value("attention.layer_norm_rms_epsilon", 1e-5)),
        "rope_theta": float(file.value("rope.freq_base", 10000.0)),
        "tie_word_embeddings": "output.weight" not in file.stored,
        **_scaling(file, entry),
        **_special_tokens(file),
    }
    if file.architecture == "llama":
        config["attention_bias"] = any("attn_output" in name for name in biases)
        config["mlp_bias"] = any("ffn_" in name for name in biases)
        if window := file.value("attention.sliding_window"):
            config |= {"model_type": "mistral", "sliding_window": int(window)}
    return config


def tensors_of(file: GgufFile, *, entry: str) -> Iterator[tuple[str, str, Tensor]]:
    """The tensors as transformers names and orders them: name in transformers, name in the file, numbers in float32.

    Args:
        file: the opened file; `config_of` accepts it.
        entry: the checkpoint, for messages.

    Raises:
        DataError: a tensor is no part of such a model, or cannot be dequantised.
    """
    for name in file.stored:
        if name != FREQUENCIES:
            yield _renamed(name, entry), name, _reordered(file, name)


def _check_family(file: GgufFile, entry: str) -> None:
    if file.architecture not in ARCHITECTURES:
        raise DataError(
            f"{entry}: a GGUF file of the architecture {file.architecture!r}, but only the Llama family is read: "
            f"{', '.join(ARCHITECTURES)}; use the model's own checkpoint with model.safetensors"
        )
    if int(file.value("expert_count") or 0):
        raise DataError(
            f"{entry}: a mixture of experts, which is not read from GGUF files; use the model's own checkpoint"
        )
    if file.value("attention.causal") is False:
        raise DataError(f"{entry}: its attention is not causal; use the model's own checkpoint")
    prefix = f"{file.architecture}."
    keys = sorted(key for key in file.metadata if key.startswith(prefix))
    if unknown := [key for key in keys if key.removeprefix(prefix) not in _UNDERSTOOD]:
        raise DataError(
            f"{entry}: its metadata has {', '.join(unknown)}, which could change what the model computes and is not "
            "understood; use the model's own checkpoint"
        )


def _size(file: GgufFile, key: str, entry: str, default: int | None = None) -> int:
    found = file.value(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        said = "is missing" if found is None else f"is {str(found)[:60]}, expected a whole number of at least 1"
        raise DataError(f"{entry}: {file.architecture}.{key} {said} in its metadata; use another file")
    return found


def _head_size(file: GgufFile, width: int, heads: int, entry: str) -> int:
    """Numbers in a head; all of them are rotated by position."""
    size = _size(file, "attention.key_length", entry, width // heads)
    others = {key: _size(file, key, entry, size) for key in ("attention.value_length", "rope.dimension_count")}
    if wrong := next((key for key, found in others.items() if found != size), None):
        raise DataError(
            f"{entry}: heads of {size} numbers, but {file.architecture}.{wrong} is {others[wrong]}; such models are "
            "not read from GGUF files, use the model's own checkpoint"
        )
    return size


def _scaling(file: GgufFile, entry: str) -> dict[str, Any]:
    """How the rotary positions are stretched beyond the context of pretraining."""
    kind = file.value("rope.scaling.type", "none")
    factor = float(file.value("rope.scaling.factor") or file.value("rope.scale_linear") or 1.0)
    if FREQUENCIES in file.stored:
        divisors = file.numbers(FREQUENCIES).tolist()
        # transformers' longrope divides each frequency by a number of its own, as llama.cpp does.
        return {
            "rope_scaling": {
                "rope_type": "longrope",
                "factor": 1.0,
                "attention_factor": 1.0,
                "short_factor": divisors,
                "long_factor": divisors,
                "original_max_position_embeddings": int(file.value("context_length")),
            }
        }
    if kind == "none" or (kind == "linear" and factor == 1):
        return {}
    if kind == "linear":
        return {"rope_scaling": {"rope_type": "linear", "factor": factor}}
    if kind == "yarn":
        original = _size(file, "rope.scaling.original_context_length", entry)
        scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
        return {"rope_scaling": scaling}
    raise DataError(f"{entry}: rotary positions stretched by {kind!r} are not read; use the model's own checkpoint")


def _special_tokens(file: GgufFile) -> dict[str, int]:
    """Ids of the tokens that begin, end and fill a text."""
    names = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    found = {ours: file.metadata.get(f"tokenizer.ggml.{theirs}") for ours, theirs in names.items()}
    return {name: int(token) for name, token in found.items() if token is not None}


def _renamed(name: str, entry: str) -> str:
    owner, _, kind = name.rpartition(".")
    if owner in OUTSIDE:
        return f"{OUTSIDE[owner]}.{kind}"
    if (inside := _NAME.fullmatch(name)) and inside[2] in IN_BLOCK:
        return f"model.layers.{inside[1]}.{IN_BLOCK[inside[2]]}.{inside[3]}"
    raise DataError(
        f"{entry}: its tensor {name} is no part of a Llama model as transformers has it; use the model's own checkpoint"
    )


def _reordered(file: GgufFile, name: str) -> Tensor:
    """A tensor with its rows as in transformers.

    llama.cpp rotates neighbouring numbers of a head, transformers the first half of a head with the second: in the
    files of ``llama``, the rows of q and k are interleaved accordingly. Those of ``qwen2`` and ``qwen3`` are not.
    """
    tensor = file.tensor(name)
    inside = _NAME.fullmatch(name)
    if file.architecture != "llama" or inside is None or inside[2] not in ("attn_q", "attn_k"):
        return tensor
    heads = file.value("attention.head_count")
    if inside[2] == "attn_k":
        heads = file.value("attention.head_count_kv", heads)
    return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(tensor.shape)
