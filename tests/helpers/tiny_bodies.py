"""Tiny models of transformers without ``inputs_embeds``, one for each line of the table, and their references.

A reference is the library's own forward pass with the outputs of its embedding replaced by given vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, BLOCKS, HEADS, SIDE = 64, 2, 4, 4
TOKENS = SIDE * SIDE

_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS, "intermediate_size": 96}
_IMAGE = {**_SIZES, "image_size": 32, "patch_size": 8}
_TEXT = {**_SIZES, "vocab_size": 99, "max_position_embeddings": 20}
_DECODER = {"decoder_layers": 1, "decoder_attention_heads": HEADS, "decoder_ffn_dim": 96}
_ENCODER = {"encoder_layers": BLOCKS, "encoder_attention_heads": HEADS, "encoder_ffn_dim": 96}
_SAMPLES = {"conv_dim": (32, 32), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}
_NEAR = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
_SPEECH = {**_SIZES, **_SAMPLES, **_NEAR}
_RELATIVE = {"use_relative_position_bias": True, "use_absolute_position_embeddings": False}
_MAE = {f"decoder_{key}": value for key, value in {**_SIZES, "num_hidden_layers": 1}.items()}
_SPECIAL = {"vocab_size": 99, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}


def _without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _two(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "text_config": {**(text or _TEXT), "projection_dim": 32},
        "vision_config": {**(vision or _IMAGE), "projection_dim": 32},
        "projection_dim": 32,
    }


_PATCHES = {**_without(_IMAGE, "image_size"), "num_patches": TOKENS}

CONFIGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            *("aimv2_vision_model", "chinese_clip_vision_model", "clip_vision_model", "deit", "dinov2", "dinov3_vit"),
            *("dinov2_with_registers", "dpt", "idefics3_vision", "ijepa", "mlcd", "mlcd_vision_model", "pixio"),
            *("pixtral", "sapiens2", "siglip_vision_model", "smolvlm_vision", "tipsv2_vision_model", "vit", "vit_msn"),
        ),
        _IMAGE,
    ),
    "beit": {**_IMAGE, **_RELATIVE},
    "data2vec-vision": {**_IMAGE, **_RELATIVE},
    "internvl_vision": {**_IMAGE, "image_size": (32, 32), "patch_size": (8, 8)},
    "siglip2_vision_model": _PATCHES,
    "vit_mae": {**_IMAGE, **_MAE, "mask_ratio": 0.0},
    "videomae": {**_IMAGE, **_MAE, "num_frames": 2, "use_mean_pooling": False},
    "vivit": {**_without(_IMAGE, "patch_size"), "tubelet_size": [2, 8, 8], "num_frames": 2},
    "vjepa2": {
        **_without(_SIZES, "intermediate_size"),
        "crop_size": 32,
        "patch_size": 8,
        "frames_per_clip": 2,
        "mlp_ratio": 2.0,
        "pred_hidden_size": WIDTH,
        "pred_num_hidden_layers": 1,
        "pred_num_attention_heads": HEADS,
    },
    "audio-spectrogram-transformer": {**_SIZES, "max_length": 46, "num_mel_bins": 46},
    **dict.fromkeys(
        ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm"), _SPEECH
    ),
    "wav2vec2-bert": {**_SIZES, "feature_projection_input_dim": 16},
    "lasr_encoder": {
        **_SIZES,
        "num_key_value_heads": HEADS,
        "num_mel_bins": 16,
        "subsampling_conv_channels": 16,
        "conv_kernel_size": 9,
    },
    "parakeet_encoder": {
        **_SIZES,
        "num_key_value_heads": HEADS,
        "num_mel_bins": 16,
        "subsampling_conv_channels": 16,
        "conv_kernel_size": 9,
    },
    "moonshine": {
        **_without(_SIZES, "num_hidden_layers", "num_attention_heads"),
        "encoder_num_hidden_layers": BLOCKS,
        "encoder_num_attention_heads": HEADS,
        "vocab_size": 99,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": HEADS,
    },
    "qwen2_audio_encoder": {**_ENCODER, "d_model": WIDTH, "max_source_positions": TOKENS, "num_mel_bins": 16},
    "voxtral_encoder": {**_SIZES, "max_source_positions": TOKENS, "num_mel_bins": 16},
    "whisper": {
        **_ENCODER,
        **_DECODER,
        **_SPECIAL,
        "d_model": WIDTH,
        "max_source_positions": TOKENS,
        "max_target_positions": 20,
        "num_mel_bins": 16,
    },
    "speech_to_text": {
        **_ENCODER,
        **_DECODER,
        **_SPECIAL,
        "d_model": WIDTH,
        "max_source_positions": 20,
        "max_target_positions": 20,
        "input_feat_per_channel": 16,
        "conv_channels": 32,
    },
    "speecht5": {**_ENCODER, **_DECODER, **_SAMPLES, **_NEAR, "hidden_size": WIDTH, "vocab_size": 99},
    "patchtst": {
        "d_model": WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "ffn_dim": 96,
        "context_length": 2 * TOKENS,
        "patch_length": 2,
        "patch_stride": 2,
        "num_input_channels": 2,
    },
    "time_series_transformer": {
        **_ENCODER,
        **_DECODER,
        "d_model": WIDTH,
        "prediction_length": 4,
        "context_length": TOKENS,
        "lags_sequence": [1],
    },
    "timesfm": {**_SIZES, "head_dim": 16},
    "timesfm2_5": {**_SIZES, "head_dim": 16, "num_key_value_heads": HEADS},
    "clip_text_model": _TEXT,
    "esmc": _without(_TEXT, "max_position_embeddings"),
    **dict.fromkeys(("altclip", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2", "owlvit", "siglip"), _two()),
    "siglip2": _two(vision=_PATCHES),
}
"""One tiny config for each model type; images of 32 x 32 pixels have 16 patches."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "beit, shared biases": ("beit", {**_IMAGE, "use_shared_relative_position_bias": True}),
    "beit, a table": ("beit", {**_IMAGE, "use_absolute_position_embeddings": True}),
    "data2vec-vision, shared biases": ("data2vec-vision", {**_IMAGE, "use_shared_relative_position_bias": True}),
    "dinov2, gated": ("dinov2", {**_IMAGE, "use_swiglu_ffn": True}),
    "hubert, last norm": ("hubert", {**_SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "wav2vec2, last norm": ("wav2vec2", {**_SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "wavlm, last norm": ("wavlm", {**_SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "wav2vec2-conformer, rotary": ("wav2vec2-conformer", {**_SPEECH, "position_embeddings_type": "rotary"}),
    "wav2vec2-bert, relative": ("wav2vec2-bert", {**CONFIGS["wav2vec2-bert"], "position_embeddings_type": "relative"}),
    "patchtst, layer norms": ("patchtst", {**CONFIGS["patchtst"], "norm_type": "layernorm", "use_cls_token": True}),
    "videomae, no last norm": ("videomae", {**CONFIGS["videomae"], "use_mean_pooling": True}),
}
"""Further configs, by the options of which the computation depends."""


def no_biases(model: nn.Module) -> None:
    """Set the biases of the stems to zero: an embedding of zeros is then its positions."""
    for name, module in model.named_modules():
        if "embeddings" in name.split(".") and isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.data.zero_()


def run(module: Any, name: str, output: Any) -> None:
    """Let a submodule return ``output``, whatever its input is."""
    child = module.get_submodule(name)
    child.forward = lambda *args, **kwargs: output


def _pixels(kind: str, model: Any, batch: int) -> dict[str, Any]:
    if kind in ("videomae", "vivit"):
        return {"pixel_values": torch.zeros(batch, 2, 3, 32, 32)}
    if kind == "vjepa2":
        return {"pixel_values_videos": torch.zeros(batch, 2, 3, 32, 32)}
    if kind == "audio-spectrogram-transformer":
        return {"input_values": torch.zeros(batch, 46, 46)}
    if kind.startswith("siglip2"):
        shapes, patches = torch.tensor([[SIDE, SIDE]] * batch), torch.zeros(batch, TOKENS, 3 * 64)
        return {"pixel_values": patches, "spatial_shapes": shapes, "pixel_attention_mask": torch.ones(batch, TOKENS)}
    return {"pixel_values": torch.zeros(batch, 3, 32, 32)}


def image_reference(kind: str, model: Any, tokens: Tensor) -> Tensor:
    """The library's forward pass of an image or text model, with its own positions."""
    text = hasattr(model.embeddings, "token_embedding")
    ids = {"input_ids": torch.zeros(tokens.shape[:2], dtype=torch.long)}
    given = ids if text else _pixels(kind, model, len(tokens))
    embeddings: Any = model.embeddings
    if text:
        positions = embeddings.position_embedding.weight[: tokens.shape[1]]
    else:
        positions = _tensor(_embedded(kind, embeddings, given))[:1, -TOKENS:]
    embedded = tokens + positions
    if kind == "vit_mae":
        embedded = (embedded, None, None)
    if kind == "data2vec-vision":
        embedded = (embedded, (SIDE, SIDE))
    if kind == "dpt":
        from transformers.models.dpt.modeling_dpt import BaseModelOutputWithIntermediateActivations

        embedded = BaseModelOutputWithIntermediateActivations(last_hidden_states=embedded)
    run(model, "embeddings", embedded)
    return model(**given).last_hidden_state


def _embedded(kind: str, embeddings: Any, given: dict[str, Any]) -> Any:
    if kind == "vit_mae":
        return embeddings(
            given["pixel_values"], noise=torch.arange(float(TOKENS))[None].repeat(len(given["pixel_values"]), 1)
        )
    if kind.startswith("siglip2"):
        return embeddings(given["pixel_values"], given["spatial_shapes"])
    if kind in ("idefics3_vision", "smolvlm_vision"):
        return embeddings(given["pixel_values"], torch.ones(len(given["pixel_values"]), SIDE, SIDE, dtype=torch.bool))
    if kind in ("videomae",):
        return embeddings(given["pixel_values"], None)
    return embeddings(*given.values())


def _tensor(embedded: Any) -> Tensor:
    if isinstance(embedded, Tensor):
        return embedded
    return embedded[0] if isinstance(embedded, tuple) else embedded.last_hidden_states


def _mlcd(kind: str, model: Any, tokens: Tensor) -> Tensor:
    model.class_pos_emb.data = model.class_pos_emb.data[:0]  # the angles of the class token
    return image_reference(kind, model, tokens)


def _without_class_token(kind: str, model: Any, tokens: Tensor) -> Tensor:
    """BEiT: the biases of the library without those of the class token."""
    for module in model.modules():
        if type(module).__name__.endswith("RelativePositionBias"):
            own = type(module).forward

            def cut(*args: Any, module: Any = module, own: Any = own, **further: Any) -> Tensor:
                bias = own(module, (SIDE, SIDE))
                return bias[..., 1:, 1:]

            module.forward = cut
    return image_reference(kind, model, tokens)


def _one_by_one(kind: str, model: Any, tokens: Tensor) -> Tensor:
    """Pixtral joins the images of a batch to one sequence."""
    found = []
    for row in tokens:
        run(model, "patch_conv", row.T.unflatten(1, (SIDE, SIDE))[None])
        found.append(model(torch.zeros(1, 3, 32, 32)).last_hidden_state)
    return torch.cat(found)


def _encoder(kind: str, model: Any, tokens: Tensor) -> Tensor:
    return model.encoder(tokens.clone()).last_hidden_state


def _stem_of_two(kind: str, model: Any, tokens: Tensor) -> Tensor:
    """Whisper and its like: GELU follows the second convolution, so the tokens are passed through it."""
    encoder = model.encoder if kind == "whisper" else model
    encoder.conv1.forward = lambda given: given
    run(encoder, "conv2", _before_gelu(tokens).transpose(1, 2))
    if hasattr(encoder, "avg_pooler"):
        encoder.avg_pooler = nn.Identity()
    length = TOKENS * encoder.conv1.stride[0] * encoder.conv2.stride[0]
    return encoder(torch.zeros(len(tokens), 16, length)).last_hidden_state


def _subsampled(kind: str, model: Any, tokens: Tensor) -> Tensor:
    scale = getattr(model, "input_scale", 1.0)
    run(model, "subsampling" if kind == "parakeet_encoder" else "subsampler", tokens / scale)
    return model(torch.zeros(len(tokens), 64, 16)).last_hidden_state


def _moonshine(kind: str, model: Any, tokens: Tensor) -> Tensor:
    encoder = model.encoder
    for name in ("conv1", "groupnorm", "conv2"):
        run(encoder, name, torch.zeros(1))
    run(encoder, "conv3", _before_gelu(tokens).transpose(1, 2))
    return encoder(torch.zeros(len(tokens), 10)).last_hidden_state


def _before_gelu(tokens: Tensor) -> Tensor:
    """A tensor that GELU maps to ``tokens``, which must not be less than -0.1."""
    low, high = torch.full_like(tokens, -0.75).double(), torch.full_like(tokens, 50.0).double()
    for _ in range(70):
        middle = (low + high) / 2
        above = nn.functional.gelu(middle) > tokens
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low.float()


def _speech_to_text(kind: str, model: Any, tokens: Tensor) -> Tensor:
    encoder = model.encoder
    run(encoder, "conv", tokens / encoder.embed_scale)
    return encoder(torch.zeros(len(tokens), 4, 16)).last_hidden_state


def _speecht5(kind: str, model: Any, tokens: Tensor) -> Tensor:
    return model.encoder.wrapped_encoder(tokens).last_hidden_state


def _patchtst(kind: str, model: Any, tokens: Tensor) -> Tensor:
    run(model.encoder, "embedder", tokens[:, None])
    hidden = model.encoder(torch.zeros(1)).last_hidden_state
    return hidden[:, 0, -tokens.shape[1] :]


def _patchtst_with_class_token(kind: str, model: Any, tokens: Tensor) -> Tensor:
    encoder = model.encoder
    run(encoder, "embedder", None)
    run(encoder, "positional_encoder", (tokens + encoder.positional_encoder.position_enc[1:])[:, None])
    return encoder(torch.zeros(1)).last_hidden_state[:, 0]


def _series(kind: str, model: Any, tokens: Tensor) -> Tensor:
    run(model.encoder, "value_embedding", tokens)
    return model.encoder(inputs_embeds=tokens).last_hidden_state


def _timesfm(kind: str, model: Any, tokens: Tensor) -> Tensor:
    batch, length = len(tokens), tokens.shape[1] * model.config.patch_length
    run(model, "input_ff_layer", tokens.clone())
    if kind == "timesfm2_5":
        return model(torch.zeros(batch, length)).last_hidden_state
    run(model, "freq_emb", torch.zeros(batch, 1, WIDTH))
    padding, frequency = torch.zeros(batch, length), torch.zeros(batch, 1, dtype=torch.long)
    return model(torch.zeros(batch, length), padding, frequency).last_hidden_state


def _esmc(kind: str, model: Any, tokens: Tensor) -> Tensor:
    run(model, "embed_tokens", tokens)
    return model(torch.zeros(tokens.shape[:2], dtype=torch.long)).last_hidden_state


def _vjepa2(kind: str, model: Any, tokens: Tensor) -> Tensor:
    run(model.encoder, "embeddings", tokens)
    return model.encoder(torch.zeros(1)).last_hidden_state


Reference = Callable[[str, Any, Tensor], Tensor]

REFERENCES: dict[str, Reference] = {
    **dict.fromkeys(("mlcd", "mlcd_vision_model"), _mlcd),
    **dict.fromkeys(("beit", "data2vec-vision"), _without_class_token),
    "pixtral": _one_by_one,
    **dict.fromkeys(
        ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wav2vec2-conformer"),
        _encoder,
    ),
    "wavlm": _encoder,
    **dict.fromkeys(("qwen2_audio_encoder", "voxtral_encoder", "whisper"), _stem_of_two),
    **dict.fromkeys(("lasr_encoder", "parakeet_encoder"), _subsampled),
    "moonshine": _moonshine,
    "speech_to_text": _speech_to_text,
    "speecht5": _speecht5,
    "patchtst": _patchtst,
    "time_series_transformer": _series,
    **dict.fromkeys(("timesfm", "timesfm2_5"), _timesfm),
    "esmc": _esmc,
    "vjepa2": _vjepa2,
}
"""References of models whose embedding is not one module; the others have `image_reference`."""


def reference(name: str, kind: str, model: Any, tokens: Tensor) -> Tensor:
    """The library's output for the tokens (B, 16, D).

    Args:
        name: name of the model's case.
        kind: model type.
        model: the library's model; its embedding is changed.
        tokens: not less than -0.1, so that models with GELU behind their stem reach them.
    """
    if name == "patchtst, layer norms":
        return _patchtst_with_class_token(kind, model, tokens)
    return REFERENCES.get(kind, image_reference)(kind, model, tokens)
