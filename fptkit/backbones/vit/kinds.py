"""Which models of timm run on a sequence of tokens, by the timm module that defines them, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fptkit.errors import DataError


@dataclass(frozen=True)
class Kind:
    """How a kind of timm's models is run on token vectors.

    Args:
        table: name of the position table in files; empty: there is none.
        class_rows: the table has rows of class and register tokens before those of the patches.
        arguments: arguments of timm's constructor that fptkit sets; None removes one.
        given: what the blocks get besides tokens. mask: the mask of attention; rope: rotary angles by row and column,
            and the mask; bias: biases by distance in rows and columns, with the mask added to them.
        apart: the blocks accept no mask: examples of different lengths run one after the other.
        argument: for biases, the argument of a block that takes them.
        own: for biases, path of a block's own ones.
        shared: for biases, path of those that all blocks share.
        example: name of a model.
        part: attribute of timm's model that holds the blocks, in some of the kind's models.
    """

    table: str = "pos_embed"
    class_rows: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    given: Literal["mask", "rope", "bias"] = "mask"
    apart: bool = False
    argument: str = ""
    own: str = ""
    shared: str = ""
    example: str = ""
    part: str = ""

    @property
    def is_plain(self) -> bool:
        """True for timm's ``VisionTransformer``, which fptkit can also write."""
        return self.given == "mask" and not self.apart


_ENCODER: dict[str, Any] = {"arguments": {"num_classes": None, "global_pool": ""}, "apart": True, "part": "encoder"}

KINDS: Mapping[str, Kind] = {
    "beit": Kind(
        given="bias",
        argument="shared_rel_pos_bias",
        own="attn.relative_position_bias_table",
        shared="rel_pos_bias",
        example="beitv2_base_patch16_224",
    ),
    "cait": Kind(class_rows=False, apart=True, example="cait_s24_224"),
    "deepseek_vit": Kind("", given="rope", example="deepseek_vit_412m", **_ENCODER),
    "deit": Kind(example="deit3_base_patch16_224"),
    "eva": Kind(given="rope", arguments={"dynamic_img_size": True}, example="vit_base_patch16_dinov3"),
    "naflexvit": Kind("embeds.pos_embed", class_rows=False, given="rope", example="naflexvit_base_patch16_siglip"),
    "qwen3_vit": Kind(class_rows=False, given="rope", example="qwen3_vit_88m", **_ENCODER),
    "vision_transformer": Kind(example="vit_base_patch16_224"),
    "vision_transformer_hybrid": Kind(example="vit_base_r50_s16_224"),
    "vision_transformer_relpos": Kind(
        "",
        given="bias",
        argument="shared_rel_pos",
        own="attn.rel_pos",
        shared="shared_rel_pos",
        example="vit_relpos_base_patch16_224",
    ),
}
"""Kinds that run, by timm's module."""

_STAGES = "its blocks work on a grid of rows and columns, in stages of different size"
_CONVOLUTIONS = "it is a convolutional network and has no sequence of tokens"
_FIXED = "its blocks are linear maps over a fixed number of tokens"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("swin_transformer", "swin_transformer_v2", "swin_transformer_v2_cr", "hiera", "hieradet_sam2", "mvitv2"),
            *("pvt_v2", "twins", "nest", "levit", "pit", "davit", "focalnet", "gcvit", "maxxvit", "metaformer"),
            *("coat", "edgenext", "efficientformer", "efficientformer_v2", "efficientvit_mit", "efficientvit_msra"),
            *("fastvit", "mobilevit", "nextvit", "swiftformer", "tiny_vit", "visformer", "vitamin", "sequencer"),
            *("shvit", "iformer", "volo", "lowformer", "cpubone", "efficientvim", "mambaout", "csatv2"),
        ),
        _STAGES,
    ),
    **dict.fromkeys(
        (
            *(
                "byoanet",
                "byobnet",
                "convmixer",
                "convnext",
                "cspnet",
                "cspnext",
                "densenet",
                "dla",
                "dpn",
                "fasternet",
            ),
            *("efficientnet", "ghostnet", "hardcorenas", "hgnet", "hrnet", "inception_next", "inception_resnet_v2"),
            *("inception_v3", "inception_v4", "lcnetv2", "mobilenetv3", "mobilenetv5", "nasnet", "nfnet", "pnasnet"),
            *("rdnet", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet"),
            *("selecsls", "senet", "sknet", "starnet", "tresnet", "vgg", "vovnet", "xception", "xception_aligned"),
        ),
        _CONVOLUTIONS,
    ),
    "convit": "its attention measures distances in a square of exactly as many tokens",
    "crossvit": "its blocks exchange tokens between two sequences, of small and of large patches",
    "gemma4_vit": "its blocks take positions that are computed from the patches of an image",
    "mlp_mixer": _FIXED,
    "tnt": "its blocks also work on the pixels inside each patch",
    "vision_transformer_sam": "its blocks take a grid of rows and columns, cut into windows",
    "xcit": "its blocks contain convolutions over the grid of patches",
}
"""Why others cannot run on a sequence of tokens, by timm's module."""

ADVICE = "use a vit, deit, eva, beit or naflexvit of timm, such as vit_base_patch16_224 or vit_base_patch16_dinov3"


def kind_of(name: str, entry: str = "") -> Kind:
    """Return how a model of timm is run; names that timm does not know are vision transformers.

    Args:
        name: name of the architecture.
        entry: the checkpoint, for the message.

    Raises:
        DataError: its blocks cannot run on a sequence of tokens.
    """
    from timm.models import is_model, is_model_in_modules

    if not is_model(name):
        return KINDS["vision_transformer"]
    for module, kind in KINDS.items():
        if is_model_in_modules(name, {module}):
            return kind
    reasons = (reason for module, reason in REFUSED.items() if is_model_in_modules(name, {module}))
    reason = next(reasons, "fptkit does not know how its blocks are run")
    where = f"{entry}: " if entry else ""
    raise DataError(f"{where}architecture {name} of timm cannot run on a sequence of tokens: {reason}; {ADVICE}")
