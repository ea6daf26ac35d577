"""Small GGUF files of models that transformers draws, written by the library ``gguf`` as llama.cpp's converter does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
SIZES |= {"vocab_size": 60, "max_position_embeddings": 128}


def draw(model_type: str, **further: Any) -> Any:
    """A causal language model with weights large enough that every tensor matters."""
    from transformers import AutoConfig, AutoModelForCausalLM

    given = {"num_key_value_heads": 2, "tie_word_embeddings": False, **SIZES, **further}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **given)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3)
    return model


def write(
    path: Path,
    model: Any,
    architecture: str,
    *,
    kind: str = "F32",
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, numpy.ndarray] | None = None,
    leave_out: Sequence[str] = (),
) -> Path:
    """Write a model.

    Args:
        path: the file.
        model: from `draw`.
        architecture: its name in GGUF.
        kind: how matrices are stored: F32, F16, BF16, or a quantisation such as Q8_0.
        metadata: further keys and values, or others for the same keys; a value None leaves the key out.
        extra: further tensors.
        leave_out: names of tensors that are left out.
    """
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**_metadata(model.config, architecture), **(metadata or {})}.items():
        _add(writer, key, value)
    architectures = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[architecture], model.config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        owner, _, last = name.rpartition(".")
        stored = f"{names.get_name(owner)}.{last}"
        if stored not in leave_out:
            _store(gguf, writer, stored, _as_llama_cpp(name, tensor, model.config, architecture), kind)
    for name, numbers in (extra or {}).items():
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(config: Any, architecture: str) -> dict[str, Any]:
    of = f"{architecture}."
    return {
        of + "vocab_size": config.vocab_size,
        of + "context_length": config.max_position_embeddings,
        of + "embedding_length": config.hidden_size,
        of + "block_count": config.num_hidden_layers,
        of + "feed_forward_length": config.intermediate_size,
        of + "attention.head_count": config.num_attention_heads,
        of + "attention.head_count_kv": config.num_key_value_heads,
        of + "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        of + "rope.freq_base": float(rope_theta(config)),
        of + "rope.dimension_count": head_size(config),
        **({of + "attention.key_length": config.head_dim} if architecture == "qwen3" else {}),
        **({of + "attention.value_length": config.head_dim} if architecture == "qwen3" else {}),
    }


def rope_theta(config: Any) -> float:
    """Base of the rotary frequencies; transformers 5 keeps it in another place."""
    parameters = getattr(config, "rope_parameters", None)
    return parameters["rope_theta"] if parameters else config.rope_theta


def head_size(config: Any) -> int:
    """Numbers in a head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _add(writer: Any, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _as_llama_cpp(name: str, tensor: torch.Tensor, config: Any, architecture: str) -> torch.Tensor:
    """A tensor with its rows as llama.cpp wants them. Source: llama.cpp, ``LlamaModel.permute``."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if architecture != "llama" or heads is None:
        return tensor
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _store(gguf: Any, writer: Any, name: str, tensor: torch.Tensor, kind: str) -> None:
    numbers = tensor.float().contiguous().numpy()
    if tensor.ndim == 1 or kind == "F32":
        writer.add_tensor(name, numbers)
    elif kind == "F16":
        writer.add_tensor(name, numbers.astype(numpy.float16))
    else:
        wanted = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quantize(numbers, wanted), raw_dtype=wanted)
