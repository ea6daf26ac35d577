"""Vision transformers on disk: reading and writing the layout of timm's repositories on the hub.

``config.json`` names an ``architecture``; ``model_args`` holds the arguments of timm's ``VisionTransformer`` that
differ from those of the named architecture. For a name that timm does not know, ``model_args`` must give ``embed_dim``,
``depth`` and ``num_heads``. ``model.safetensors`` holds the tensors under timm's names.

Source: huggingface/pytorch-image-models, ``timm/models/_hub.py``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.config_file import refuse_quantised
from fptkit.backbones.tensors import count_blocks, named_as_in_model, notes_on_heads, select_tensors, to_float32
from fptkit.backbones.vit.kinds import Kind, kind_of
from fptkit.backbones.vit.model import VitArchitecture, VitBackbone
from fptkit.errors import DataError
from fptkit.files import replacing, write_text
from fptkit.sources.weights import WeightFolder

SIZE_ARGUMENTS = ("embed_dim", "depth", "num_heads")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


_ARGUMENTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(SIZE_ARGUMENTS, (_is_count, "an integer >= 1")),
    **dict.fromkeys(
        ("reg_tokens", "num_reg_tokens", "swiglu_align_to"),
        (lambda value: value == 0 or _is_count(value), "an integer >= 0"),
    ),
    **dict.fromkeys(("mlp_ratio", "init_values", "rope_temperature"), (_is_positive, "a number above 0")),
    **dict.fromkeys(
        (
            *("qkv_bias", "qk_norm", "proj_bias", "scale_attn_norm", "scale_mlp_norm", "pre_norm", "final_norm"),
            *("fc_norm", "class_token", "no_embed_class", "qkv_fused", "swiglu_mlp", "scale_mlp", "scale_attn_inner"),
            *("use_abs_pos_emb", "use_rot_pos_emb", "use_rel_pos_bias", "use_shared_rel_pos_bias", "use_post_norm"),
            *("use_pre_transformer_norm", "use_post_transformer_norm", "use_fc_norm", "shared_rel_pos"),
            *("rope_rotate_half", "pos_embed_ar_preserving"),
        ),
        (_is_flag, "true or false"),
    ),
    **dict.fromkeys(
        (
            *("act_layer", "norm_layer", "attn_layer", "attn_type", "global_pool", "pos_embed", "rope_type"),
            *("rope_grid_indexing", "rel_pos_type"),
        ),
        (_is_word, "text"),
    ),
    **dict.fromkeys(
        ("num_reg_tokens", "swiglu_align_to"), (lambda value: value == 0 or _is_count(value), "an integer >= 0")
    ),
}
"""Arguments that describe the blocks, the norms and the position table, with a check of each value."""

_IMAGE_SIZES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "img_size": (lambda value: all(map(_is_count, value if isinstance(value, list) else [value])), "integers >= 1"),
    "patch_size": (_is_count, "an integer >= 1"),
}
"""Arguments that give the size of a table of distances; models without such a table do not need them."""

_UNUSED_ARGUMENTS = frozenset(
    (
        *("img_size", "patch_size", "in_chans", "num_classes", "dynamic_img_size", "dynamic_img_pad"),
        *("strict_img_size", "pool_include_prefix", "embed_norm_layer", "weight_init", "fix_init"),
        *("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"),
    )
)
"""Arguments of the parts that are left out, and of training; they are ignored. All others are refused: they may change
the computation, and some of timm's arguments make it download or unpickle files."""

_REPLACED = ("patch_embed.", "cls_token", "reg_token", "dist_token", "embeds.", "blocks_token_only.", "mask_token")
"""Tensors that the backbone does without: it gets token vectors."""

_HEADS = ("head", "head_dist", "head_drop", "attn_pool", "aligner", "merger")
"""Parts of timm's models after the final norm: fptkit's own head reads its output."""


def load_vit(
    folder: WeightFolder, architecture: VitArchitecture, *, dropout: float = 0.1, attention_dropout: float = 0.0
) -> VitBackbone:
    """Build a vision transformer from a checkpoint, with all blocks and the grid of positions, row by row.

    Args:
        folder: the opened checkpoint.
        architecture: the architecture in its config.json, see `read_architecture`.
        dropout: dropout probability of the embedding and of each block's output, in training.
        attention_dropout: dropout probability of attention weights, in training.

    Raises:
        DataError: the checkpoint is of another architecture, or tensors are missing, unexpected, or contain NaN or
            infinity.
    """
    stored = folder.tensors()
    blocks = count_blocks(stored, "blocks")
    depth = architecture.arguments.get("depth", blocks)
    if depth > blocks:  # checked before that many blocks are allocated
        raise DataError(f"{folder.entry}: its config.json says depth {depth}, but it holds tensors of {blocks} blocks")
    try:
        with torch.device("meta"):  # shapes only: the values come from the file
            model = make_timm_model(architecture, dropout=dropout, attention_dropout=attention_dropout)
    except DataError as err:
        raise DataError(f"{folder.entry}: {err}") from err
    tensors = named_as_in_model(stored, model.state_dict(), folder.entry)
    kind = kind_of(architecture.name)
    grid = _grid_rows(_take_table(tensors, kind), model, kind, folder.entry)
    parts = {name for name, _ in model.named_children()} - {*_HEADS} | {"pos_embed"}
    _fill_buffers(model, architecture)
    try:
        backbone = VitBackbone(model, architecture, grid, dropout=dropout)
    except DataError as err:
        raise DataError(f"{folder.entry}: {err}") from err
    _fill(backbone, tensors, parts, folder.entry)
    return backbone


def read_architecture(config: Mapping[str, Any], entry: str) -> VitArchitecture:
    """Read the architecture from a config.json.

    Args:
        config: content of the config.json.
        entry: the checkpoint, for messages.

    Raises:
        DataError: the config has no architecture, timm does not know it and sizes are missing, or arguments are not
            supported.
    """
    import timm
    from timm.models import list_models

    refuse_quantised(config, entry)
    name, arguments = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(name, str) or not name:
        found = (
            f"; it says model_type {config['model_type']!r}, a model of transformers: use it with backbone.name "
            "huggingface, or give weights in timm's layout (fptkit list weights)"
            if "model_type" in config
            else ""
        )
        raise DataError(f"{entry}: its config.json has no timm architecture (key 'architecture'){found}")
    if not isinstance(arguments, dict):
        raise DataError(f"{entry}: its config.json says model_args {arguments!r}, expected keys and values")
    name = name.partition(".")[0]  # the tag after the dot names weights, not an architecture
    used = _used_arguments(arguments, kind_of(name, entry), entry)
    if not timm.is_model(name) and (lacking := [key for key in SIZE_ARGUMENTS if key not in used]):
        known = list_models(module="vision_transformer")
        near = difflib.get_close_matches(name.lower(), known, n=3)
        raise DataError(
            f"{entry}: its config.json names the architecture '{name}', which timm {timm.__version__} does not know"
            + (f"; it knows {', '.join(near)}" if near else "")
            + f". Other names must give {', '.join(SIZE_ARGUMENTS)} in model_args, and {lacking[0]} is missing"
        )
    return VitArchitecture(name, used)


def _used_arguments(arguments: Mapping[str, Any], kind: Kind, entry: str) -> dict[str, Any]:
    """The arguments of timm's constructor that fptkit passes on.

    Raises:
        DataError: an argument is not supported, or its value is invalid.
    """
    known = _ARGUMENTS | _IMAGE_SIZES if kind.given == "bias" else _ARGUMENTS
    used = {}
    for key, value in arguments.items():
        if value is None or (key in _UNUSED_ARGUMENTS and key not in known):
            continue
        if key not in known:
            raise DataError(f"{entry}: its config.json says {key} in model_args, which is not supported")
        is_valid, expected = known[key]
        if not is_valid(value):
            raise DataError(f"{entry}: its config.json says {key} {value!r} in model_args, expected {expected}")
        used[key] = value
    return used


def make_timm_model(architecture: VitArchitecture, *, dropout: float, attention_dropout: float) -> Any:
    """Build timm's model; timm initialises its weights from torch's global generator.

    Args:
        architecture: the architecture to build.
        dropout: dropout probability of each block's output, in training.
        attention_dropout: dropout probability of attention weights, in training.

    Raises:
        DataError: timm cannot build it, or its blocks cannot run on a sequence of tokens.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer

    kind = kind_of(architecture.name)
    arguments = {
        **architecture.arguments,
        "num_classes": 0,
        "proj_drop_rate": dropout,
        "attn_drop_rate": attention_dropout,
        **kind.arguments,
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        if timm.is_model(architecture.name):
            model = timm.create_model(architecture.name, pretrained=False, **given)
            return getattr(model, kind.part, model) if kind.part else model
        return VisionTransformer(**given)
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, KeyError) as err:
        raise DataError(f"timm cannot build the architecture {architecture.name}: {err}") from err


def _fill_buffers(model: nn.Module, architecture: VitArchitecture) -> None:
    """Give a model on the meta device the buffers that files do not hold.

    Rotary positions have such buffers, and so has attention without a bias of the keys. They come from a model of one
    block, or of all if the architecture is given block by block.
    """
    missing = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if not missing:
        return
    one = replace(architecture, arguments={**architecture.arguments, "depth": 1})
    with torch.random.fork_rng(devices=[]):
        try:
            source = make_timm_model(one, dropout=0.0, attention_dropout=0.0)
        except DataError:
            source = make_timm_model(architecture, dropout=0.0, attention_dropout=0.0)
    computed = dict(source.named_buffers())
    for name in missing:
        owner, _, last = name.rpartition(".")
        model.get_submodule(owner)._buffers[last] = computed[re.sub(r"^blocks\.\d+\.", "blocks.0.", name)].clone()


def _take_table(tensors: dict[str, Tensor], kind: Kind) -> Tensor | None:
    """Take the position table out of a checkpoint; the sum of its rows and columns if it is factorised."""
    by_row, by_column = tensors.pop(f"{kind.table}_y", None), tensors.pop(f"{kind.table}_x", None)
    if by_row is not None and by_column is not None and by_row.ndim == by_column.ndim == 3:
        return by_row[:, :, None] + by_column[:, None]
    return tensors.pop(kind.table, None) if kind.table else None


def _grid_rows(table: Tensor | None, model: Any, kind: Kind, entry: str) -> Tensor:
    """The position table of a checkpoint without the rows of class and register tokens; zero rows if it has no table.

    Shapes: table (1, N, D) or (1, H, W, D) -> (N - prefix, D) or (H * W, D).

    Raises:
        DataError: the table has another shape.
    """
    if table is None:
        return torch.zeros(0, model.embed_dim)
    if table.ndim == 4:
        table = table.flatten(1, 2)
    prefix = model.num_prefix_tokens if kind.class_rows and not getattr(model, "no_embed_class", False) else 0
    if table.ndim != 3 or len(table) != 1 or table.shape[1] <= prefix or table.shape[2] != model.embed_dim:
        raise DataError(
            f"{entry}: {kind.table} does not fit its config.json: expected shape (1, more than {prefix}, "
            f"{model.embed_dim}), found {tuple(table.shape)}"
        )
    return to_float32("pos_embed", table, entry)[0, prefix:].clone()


def _fill(backbone: VitBackbone, tensors: Mapping[str, Tensor], parts: Collection[str], entry: str) -> None:
    """Load a checkpoint's tensors into a backbone on the meta device.

    Raises:
        DataError: a tensor is missing, unexpected, of another shape, or contains NaN or infinity.
    """
    given = dict(tensors)
    if backbone.final_norm == "fc_norm" and "fc_norm.weight" not in given:
        # Weights trained with a class token, in an architecture that pools: the same norm under another name.
        given = {f"fc_{name}" if name.startswith("norm.") else name: tensor for name, tensor in given.items()}
    names = {name: timm_name for name, _ in backbone.named_parameters() if (timm_name := backbone.timm_name(name))}
    expected = {timm_name: tuple(backbone.get_parameter(name).shape) for name, timm_name in names.items()}
    selected = select_tensors(given, expected, parts=parts, replaced=_REPLACED, entry=entry)
    # The tensors become the parameters: float32 of the file is copied, since it may share memory there.
    used = {name: tensor.clone() if tensor is given[name] else tensor for name, tensor in selected.used.items()}
    filled = {name: used[timm_name] for name, timm_name in names.items()}
    backbone.load_state_dict({"positions.weight": backbone.positions.weight.data, **filled}, assign=True)
    backbone.notes = notes_on_heads(selected.heads, entry)


def save_vit(
    backbone: VitBackbone,
    folder: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    about: Mapping[str, Any] | None = None,
    further: Mapping[str, Tensor] | None = None,
) -> None:
    """Save a checkpoint that `load_vit` and timm can read, with the position table as a grid without class token.

    Args:
        backbone: the model to save.
        folder: destination of ``config.json`` and ``model.safetensors``; created if missing.
        dtype: dtype of the tensors.
        about: further keys of config.json, such as how the weights were trained.
        further: further tensors that timm uses but fptkit does not, such as ``patch_embed.proj.weight``.
    """
    from safetensors.torch import save_file

    arguments = {
        **backbone.architecture.arguments,
        "depth": backbone.blocks,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": backbone.final_norm == "fc_norm",
    }
    config = {
        **(about or {}),
        "architecture": backbone.architecture.name,
        "num_classes": 0,
        "num_features": backbone.width,
        "model_args": arguments,
    }
    tensors = {"pos_embed": backbone.positions.weight[None], **(further or {})}
    for name, parameter in backbone.named_parameters():
        if (timm_name := backbone.timm_name(name)) is not None:
            tensors[timm_name] = parameter
    stored = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "model.safetensors") as partial:
        save_file(stored, partial, metadata={"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
