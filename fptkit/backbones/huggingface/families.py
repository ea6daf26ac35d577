"""What fptkit knows about single model types of transformers, beyond what their configs and modules say.

Most model types need no entry: what they are is measured when they are built. Light: imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fptkit.specs.freezing import Role


@dataclass(frozen=True)
class Knowledge:
    """What is known about a model type.

    Args:
        body: name of the submodule that maps token vectors to token vectors; empty: the model itself.
        embeddings: name of the module that turns words of a smaller width into the blocks' input. If the widths
            differ, it is left out, with its positions, and token vectors enter behind it.
        projection: name of the linear map from the smaller width to that of the blocks, if it is not in
            ``embeddings``; left out likewise.
        left_out: names of linear maps that belong to the words, such as a projection behind the last block.
        beside: names of module lists that hold further parts of each block, if a block is not one module.
        roles: roles of parameters whose modules do not say what they are for, by pattern of their names.
        settings: keys of the config that fptkit sets.
        note: what a user must know, for the run header.
    """

    body: str = ""
    embeddings: str = ""
    projection: str = ""
    left_out: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    roles: Mapping[str, Role] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


_FULL_ATTENTION = Knowledge(
    settings={"attention_type": "original_full"},
    note="full attention in place of its sparse one, whose blocks are chosen at random outside torch's generators",
)
_XLM = Knowledge(beside=("attentions", "layer_norm1", "ffns", "layer_norm2"))
_PROJECTED = Knowledge(embeddings="embeddings", projection="embeddings_project")
_MAPPED = Knowledge(embeddings="embeddings", projection="encoder.embedding_hidden_mapping_in")
_BOX = "its layout positions are those of a box of zeros for every token"

KNOWN: dict[str, Knowledge] = {
    "albert": _MAPPED,
    "big_bird": _FULL_ATTENTION,
    "bigbird_pegasus": _FULL_ATTENTION,
    "convbert": _PROJECTED,
    "deberta": Knowledge(embeddings="embeddings"),
    "deberta-v2": Knowledge(embeddings="embeddings"),
    "doge": Knowledge(roles={"*_residual": "other"}),
    "dory": Knowledge(roles={"*.lambda_[12]": "other"}),
    "dpr": Knowledge(body="question_encoder.bert_model"),
    "electra": _PROJECTED,
    "embedding_gemma2_text": Knowledge(left_out=("embedding_projection",)),
    "flaubert": _XLM,
    "layoutlm": Knowledge(note=_BOX),
    "lilt": Knowledge(note=_BOX),
    "mistral_large4_text": Knowledge(roles={"rotary_emb.alpha": "other"}),
    "mobilebert": Knowledge(embeddings="embeddings"),
    # Its capacity counts the tokens of a whole batch, so that an example would depend on the others in training.
    "nllb-moe": Knowledge(settings={"expert_capacity": 2**30}, note="no expert leaves tokens out for lack of capacity"),
    "opt": Knowledge(projection="decoder.project_in", left_out=("decoder.project_out",)),
    "pegasus_x": Knowledge(roles={"embed_global.weight": "embedding"}),  # tokens that all others see
    "rembert": _MAPPED,
    "roformer": _PROJECTED,
    # Against overflow in float16, it divides its weights in place for evaluation, and multiplies them for training.
    "rwkv": Knowledge(settings={"rescale_every": 0}),
    "squeezebert": Knowledge(roles={"*.post_attention.conv1d.*": "attention"}),
    "xlm": _XLM,
    "zaya": Knowledge(roles={"input_hidden_states_*": "other"}),
}

_DETECTION = "it detects objects in feature maps of an image; use a vision model such as vit"
_IMAGES = "it needs an image along with the tokens"
_SPEECH = "it combines models of text and speech"

REFUSED: dict[str, str] = {
    "blt": "it combines models of bytes and of patches of bytes; use llama",
    "bros": "its attention needs the place of every token on a page; use bert",
    "canine": "it hashes characters, and its blocks shorten the sequence; use bert",
    "chameleon": "it contains a model that turns images into tokens; use llama",
    "conditional_detr": _DETECTION,
    "csm": "it combines two decoders of audio codes; use llama",
    "d_fine": _DETECTION,
    "dab-detr": _DETECTION,
    "deformable_detr": _DETECTION,
    "deimv2": _DETECTION,
    "detr": _DETECTION,
    "dbrx": "its experts do not run in bfloat16; use mixtral",
    "deepseek_v4": "its first blocks choose their experts by the number of a word; use deepseek_v3",
    "fsmt": "for token vectors, the library counts its positions by their first number; use marian or m2m_100",
    "funnel": "its blocks shorten the sequence, so that padding changes real tokens; use bert or electra",
    "git": _IMAGES + "; use bert or gpt2",
    "gradium_phonon_tts": "it generates speech by a second model; use llama",
    "higgs_audio_v2": "it embeds audio codes inside the model; use llama",
    "hrm_text": "it runs two lists of blocks in turns, so that a block has no single place; use llama",
    "ibert": "its linear maps simulate integers; use roberta, which has the same architecture",
    "idefics": _IMAGES + "; use llama",
    "layoutlmv2": _IMAGES + "; use layoutlm or bert",
    "layoutlmv3": _IMAGES + " and the place of every token on a page; use layoutlm or roberta",
    "lxmert": _IMAGES + "; use bert",
    "mra": "without its CUDA kernels, which the library downloads, its attention returns nothing; use nystromformer",
    "nemotron3_diarization": "it separates speakers by several models; use nemotron3_diarization_audio",
    "nemotron3_5_transcribe_word_timestamp": "it lengthens the sequence; use nemotron3_5_transcribe_asr_audio",
    "phi4_multimodal": "it combines models of text, images and speech; use phi3",
    "pi0": "it controls robots by several models; use gemma",
    "pocket_tts": "it generates speech by a second model; use llama",
    "reformer": "its blocks return twice the width, for reversible layers; use longformer or big_bird",
    "rt_detr": _DETECTION,
    "rt_detr_v2": _DETECTION,
    "seamless_m4t": _SPEECH + "; use nllb-moe or m2m_100",
    "seamless_m4t_v2": _SPEECH + "; use nllb-moe or m2m_100",
    "table-transformer": _DETECTION,
    "udop": "its attention needs the place of every token on a page; use t5",
    "vilt": _IMAGES + "; use bert, or vit",
    "xmod": "its language adapters do not run in bfloat16, and need a language; use xlm-roberta",
}
"""Model types that take ``inputs_embeds`` and cannot be backbones: the reason, and what would work."""


def knowledge_of(model_type: str) -> Knowledge:
    """What is known about a model type."""
    return KNOWN.get(model_type, Knowledge())
