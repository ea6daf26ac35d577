"""Where the blocks of models without ``inputs_embeds`` are: encoders of images, video, audio and time series.

One line for each model type of transformers. To add a model type, find the list of its blocks in the library's forward
pass, the modules before and after them, and its position table, and run
``tests/unit/backbones/huggingface/test_bodies.py`` with a line for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fptkit.errors import DataError, FptkitError

Masking = Literal["attention", "added", "apart"]
Given = Literal[
    "",
    "rotary",
    "grid_angles",
    "grid_places",
    "relative",
    "relative_once",
    "distances",
    "first_bias",
    "encoded",
    "paddings",
]


@dataclass(frozen=True)
class Body:
    """The part of a model that works on a sequence of tokens.

    Paths are those of modules in the library's model. The parts before them, which turn pixels or samples into tokens,
    are left out, and so are class and register tokens, poolers and heads.

    Args:
        blocks: list of blocks.
        before: modules between the tokens and the blocks, in their order, such as a norm.
        after: modules after the blocks, which give the last hidden state.
        positions: table of positions that is added to the tokens: a parameter, an embedding or a plain tensor.
        class_rows: rows of the table before those of the patches, for class tokens: a number, or a key of the config.
        convolution: a convolution over neighbouring tokens, whose output is added to the tokens.
        dropout: key of the config with the dropout probability of the tokens before the blocks.
        part: path of the model that the other paths start at.
        words: word embedding, whose mean norm is reported.
        masking: how padding is kept out. attention: by the mask of attention; added: by a mask that is added to biases;
            apart: the blocks accept no mask, so examples of different
            lengths run one after the other.
        given: what the blocks get besides tokens; see `fptkit.backbones.huggingface.body`.
        provider: path of the module that computes it.
        causal: a token sees only itself and earlier tokens.
        moved_if: key of the config; if it is set there, the modules of ``before`` run after the blocks.
        channels: the blocks work on (B, C, T, D), with C = 1.
        unless: key of the config; if it is set there, the model adds positions that it computes, and is refused.
    """

    blocks: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    positions: str = ""
    class_rows: int | str = 0
    convolution: str = ""
    dropout: str = ""
    part: str = ""
    words: str = ""
    masking: Masking = "attention"
    given: Given = ""
    provider: str = ""
    causal: bool = False
    moved_if: str = ""
    channels: bool = False
    unless: str = ""


_TABLE = "embeddings.position_embeddings"
_ROW = "embeddings.position_embedding"


def _vit(blocks: str = "layers", class_rows: int | str = 1, norm: str = "layernorm", **further: Any) -> Body:
    fields: dict[str, Any] = {"positions": _TABLE, "dropout": "hidden_dropout_prob", "after": (norm,), **further}
    return Body(blocks, class_rows=class_rows, **fields)


def _tower(after: tuple[str, ...] = (), **further: Any) -> Body:
    return Body("encoder.layers", after=after, **{"positions": _ROW, **further})


def _speech(moved_if: str = "do_stable_layer_norm", **further: Any) -> Body:
    fields: dict[str, Any] = {
        "before": ("encoder.layer_norm",),
        "convolution": "encoder.pos_conv_embed",
        "dropout": "hidden_dropout",
        **further,
    }
    return Body("encoder.layers", moved_if=moved_if, **fields)


def _spectrogram(**further: Any) -> Body:
    fields: dict[str, Any] = {"positions": "embed_positions", "dropout": "dropout", "after": ("layer_norm",), **further}
    return Body("layers", **fields)


_CLIP_VISION = _tower(before=("pre_layrnorm",), class_rows=1)
_CLIP_TEXT = _tower(("final_layer_norm",), words="embeddings.token_embedding", causal=True)
_SIGLIP_VISION = _tower(("post_layernorm",))
_SIGLIP_TEXT = _tower(("final_layer_norm",), words="embeddings.token_embedding")
_CONFORMER = Body(
    "encoder.layers",
    after=("encoder.layer_norm",),
    dropout="hidden_dropout",
    masking="apart",
    given="relative",
    provider="encoder.embed_positions",
)


def _parts(text: Body | None, vision: Body) -> dict[str, Body]:
    of_text = {} if text is None else {"text": _inside("text_model", text)}
    return {**of_text, "vision": _inside("vision_model", vision)}


def _inside(part: str, body: Body) -> Body:
    return Body(**{**vars(body), "part": part})


BODIES: Mapping[str, Body] = {
    # images
    "aimv2_vision_model": _tower(("rms_norm",), unless="is_native"),
    "beit": _vit(masking="added", given="distances"),
    "chinese_clip_vision_model": _CLIP_VISION,
    "clip_vision_model": _CLIP_VISION,
    "data2vec-vision": _vit("encoder.layer", masking="apart", given="distances"),
    "deit": _vit(class_rows=2),
    "dinov2": _vit("encoder.layer"),
    "dinov2_with_registers": _vit("encoder.layer"),
    "dinov3_vit": Body("model.layer", after=("norm",), given="grid_angles", provider="rope_embeddings"),
    "dpt": _vit("encoder.layer", masking="apart"),
    "idefics3_vision": _tower(("post_layernorm",)),
    "ijepa": _vit(class_rows=0),
    "internvl_vision": _vit("encoder.layer", masking="apart"),
    "mlcd": Body("encoder.layers", before=("pre_layrnorm",), given="grid_places", provider="vision_rotary_embedding"),
    "mlcd_vision_model": Body(
        "encoder.layers", before=("pre_layrnorm",), given="grid_places", provider="vision_rotary_embedding"
    ),
    "pixio": _vit(class_rows="n_cls_tokens"),
    "pixtral": Body(
        "transformer.layers", before=("ln_pre",), given="grid_places", provider="patch_positional_embedding"
    ),
    "sapiens2": Body("model.layer", after=("norm",), given="grid_angles", provider="rope_embeddings"),
    "siglip2_vision_model": _SIGLIP_VISION,
    "siglip_vision_model": _SIGLIP_VISION,
    "smolvlm_vision": _tower(("post_layernorm",)),
    "tipsv2_vision_model": _vit("encoder.layer", dropout=""),
    "vit": _vit(),
    "vit_mae": _vit(dropout=""),
    "vit_msn": _vit(),
    # video
    "videomae": _vit("encoder.layer", class_rows=0, dropout="", masking="apart"),
    "vivit": _vit(),
    "vjepa2": Body("encoder.layer", after=("encoder.layernorm",), masking="apart"),
    # audio
    "audio-spectrogram-transformer": _vit(class_rows=2),
    "data2vec-audio": _speech("", masking="apart"),
    "hubert": _speech(),
    "lasr_encoder": Body(
        "layers", after=("out_norm",), dropout="dropout", masking="apart", given="rotary", provider="rotary_emb"
    ),
    "moonshine": Body("layers", part="encoder", after=("layer_norm",), given="rotary", provider="rotary_emb"),
    "parakeet_encoder": Body(
        "layers", dropout="dropout", masking="apart", given="encoded", provider="encode_positions"
    ),
    "qwen2_audio_encoder": _spectrogram(),
    "speech_to_text": _spectrogram(part="encoder", positions="embed_positions.weights", class_rows=2),
    "speecht5": Body(
        "layers",
        part="encoder.wrapped_encoder",
        before=("layer_norm",),
        dropout="hidden_dropout",
        given="relative_once",
        provider="embed_positions",
    ),
    "unispeech": _speech(),
    "unispeech-sat": _speech(),
    "voxtral_encoder": _spectrogram(),
    "wav2vec2": _speech(),
    "wav2vec2-bert": Body(
        "encoder.layers",
        dropout="hidden_dropout",
        masking="apart",
        given="relative",
        provider="encoder.embed_positions",
    ),
    "wav2vec2-conformer": _CONFORMER,
    "wavlm": _speech(masking="apart", given="first_bias"),
    "whisper": _spectrogram(part="encoder"),
    # time series
    "patchtst": Body(
        "encoder.layers",
        positions="encoder.positional_encoder.position_enc",
        class_rows="use_cls_token",
        masking="apart",
        channels=True,
    ),
    "time_series_transformer": _spectrogram(part="encoder", before=("layernorm_embedding",), after=()),
    "timesfm": Body("layers", masking="added", causal=True, given="paddings", unless="use_positional_embedding"),
    "timesfm2_5": Body("layers", causal=True, given="rotary", provider="rotary_emb"),
    # text without inputs_embeds
    "clip_text_model": _CLIP_TEXT,
    "esmc": Body("layers", after=("norm",), words="embed_tokens", given="rotary", provider="rotary_emb"),
}
"""Models of one sequence, by model type."""

PARTS: Mapping[str, Mapping[str, Body]] = {
    "altclip": _parts(None, _CLIP_VISION),
    "blip": {"vision": _inside("vision_model", _tower(("post_layernorm",), class_rows=1, masking="apart"))},
    "chinese_clip": _parts(None, _CLIP_VISION),
    "clip": _parts(_CLIP_TEXT, _CLIP_VISION),
    "clipseg": _parts(_CLIP_TEXT, _CLIP_VISION),
    "metaclip_2": _parts(_CLIP_TEXT, _CLIP_VISION),
    "owlvit": _parts(_CLIP_TEXT, _tower(before=("pre_layernorm",), class_rows=1)),
    "siglip": _parts(_SIGLIP_TEXT, _SIGLIP_VISION),
    "siglip2": _parts(_SIGLIP_TEXT, _SIGLIP_VISION),
}
"""Models that combine several, by model type and the name of the part; the recipe chooses one."""

_GRID = "its blocks work on a grid of rows and columns, in stages of different size"
_CONVOLUTIONS = "it is a convolutional network and has no sequence of tokens"
_VIT_INSTEAD = "use a model whose blocks see all tokens, such as vit, dinov2 or siglip_vision_model"
_SPEECH_INSTEAD = "use wav2vec2, hubert or whisper"
_SERIES_INSTEAD = "use patchtst, time_series_transformer or timesfm"

REFUSED: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        (
            *("swin", "swinv2", "swin2sr", "donut-swin", "maskformer-swin", "hiera", "cvt", "segformer", "glpn", "pvt"),
            *("pvt_v2", "levit", "dinat", "focalnet", "poolformer", "mobilevit", "mobilevitv2", "swiftformer"),
            *("sam2_hiera_det_model", "sam2_vision_model", "clap_audio_model"),
        ),
        (_GRID, _VIT_INSTEAD),
    ),
    **dict.fromkeys(
        (
            *("convnext", "convnextv2", "dinov3_convnext", "resnet", "regnet", "bit", "efficientnet", "mobilenet_v1"),
            *("mobilenet_v2", "textnet", "hgnet_v2"),
        ),
        (_CONVOLUTIONS, _VIT_INSTEAD),
    ),
    **dict.fromkeys(
        ("sam_vision_model", "sam_hq_vision_model", "sam3_vit_model", "vitdet"),
        ("its blocks take a grid of rows and columns, cut into windows", _VIT_INSTEAD),
    ),
    "timesformer": (
        "its blocks take frames of equal size and attend over space and time in turn",
        "use vivit or videomae",
    ),
    "yolos": (
        "it adds a table of positions again between its blocks, one row for each patch of an image",
        _VIT_INSTEAD,
    ),
    "sew": ("its blocks work on half as many tokens, between a pooling and an upsampling", _SPEECH_INSTEAD),
    "sew-d": ("its blocks work on half as many tokens, between a pooling and an upsampling", _SPEECH_INSTEAD),
    "informer": ("its attention chooses keys at random and its convolutions halve the sequence", _SERIES_INSTEAD),
    "autoformer": ("its blocks replace attention by correlations of one fixed length", _SERIES_INSTEAD),
    "patchtsmixer": ("its blocks are linear maps over a fixed number of tokens", _SERIES_INSTEAD),
    "perceiver": ("its blocks see an array of its own, and the tokens only once", "use bert or vit"),
}
"""Model types that cannot run on a sequence of tokens: why, and what works instead."""


def find_body(config: Any, part: str | None, where: str, fault: type[FptkitError] = DataError) -> Body | None:
    """Return where the blocks of a model are; None for a model that is reached by its ``inputs_embeds``.

    Args:
        config: the library's config.
        part: option ``part`` of the recipe.
        where: name of the config.json in error messages.
        fault: class of errors.

    Raises:
        FptkitError: of class ``fault``: the model cannot run on tokens, or ``part`` does not fit it.
    """
    kind = config.model_type
    if kind in REFUSED:
        reason, instead = REFUSED[kind]
        raise fault(f"{where}: a model of type {kind} does not accept token vectors: {reason}; {instead}")
    if kind in PARTS:
        if part is None or part not in PARTS[kind]:
            known = " or ".join(PARTS[kind])
            raise fault(
                f"{where}: a model of type {kind} combines several models; choose one by backbone.part: {known}"
            )
        return PARTS[kind][part]
    if part is not None:
        raise fault(f"{where}: a model of type {kind} has no parts to choose from; leave backbone.part out")
    body = BODIES.get(kind)
    if body is not None and body.unless and getattr(config, body.unless):
        raise fault(
            f"{where}: a model of type {kind} with {body.unless} adds positions that fptkit does not compute; use a "
            f"{kind} without it, or another model"
        )
    return body
