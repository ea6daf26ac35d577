"""Vision transformers on disk: reading and writing the layout timm gives its repositories on the hub.

``config.json`` names an ``architecture``; ``model_args`` holds arguments of timm's ``VisionTransformer`` where they
differ from what the name means. A name timm does not know is one of our own: then ``model_args`` must give
``embed_dim``, ``depth`` and ``num_heads``. ``model.safetensors`` holds the tensors under timm's names.

Source: huggingface/pytorch-image-models, ``timm/models/_hub.py``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fptkit.backbones.tensors import check_numbers, check_shapes
from fptkit.backbones.vit.model import VitArchitecture, VitBackbone
from fptkit.errors import DataError
from fptkit.files import replacing, write_text
from fptkit.sources.weights import WeightFolder

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

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
    "reg_tokens": (lambda value: value == 0 or _is_count(value), "an integer >= 0"),
    **dict.fromkeys(("mlp_ratio", "init_values"), (_is_positive, "a number above 0")),
    **dict.fromkeys(
        (
            *("qkv_bias", "qk_norm", "proj_bias", "scale_attn_norm", "scale_mlp_norm", "pre_norm", "final_norm"),
            *("fc_norm", "class_token", "no_embed_class"),
        ),
        (_is_flag, "true or false"),
    ),
    **dict.fromkeys(("act_layer", "norm_layer", "attn_layer", "global_pool", "pos_embed"), (_is_word, "text")),
}
"""Arguments that say what the blocks, the norms and the position table are, and a check of each."""

_UNUSED_ARGUMENTS = frozenset(
    (
        *("img_size", "patch_size", "in_chans", "num_classes", "dynamic_img_size", "dynamic_img_pad"),
        *("strict_img_size", "pool_include_prefix", "embed_norm_layer", "weight_init", "fix_init"),
        *("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"),
    )
)
"""Arguments of the parts that are left out, and of training. Any further one is refused: it may change the mathematics,
and some of timm's make it download or unpickle files."""

_UNUSED_TENSORS = ("patch_embed.", "cls_token", "reg_token", "dist_token", "head.", "head_dist.", "attn_pool.")
"""What the backbone has no use for: it is driven by token vectors and read out by a head of its own."""


def load_vit(
    folder: WeightFolder, architecture: VitArchitecture, *, dropout: float = 0.1, attention_dropout: float = 0.0
) -> VitBackbone:
    """Build a vision transformer from a checkpoint, whole. Its position table holds the checkpoint's grid, row by row.

    Args:
        folder: opened checkpoint.
        architecture: the one its config.json names, see `read_architecture`.
        dropout: probability of dropping a number of the embedding or of a block's output, in training.
        attention_dropout: the same for attention weights.

    Raises:
        DataError: the checkpoint is of another architecture, lacks or adds tensors, or holds numbers that are not
            finite.
    """
    tensors = folder.tensors()
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    depth = architecture.arguments.get("depth", blocks)
    if depth > blocks:  # before so many are made
        raise DataError(f"{folder.entry}: its config.json says depth {depth}, but it holds tensors of {blocks} blocks")
    try:
        with torch.device("meta"):  # shapes only: the numbers come from the file
            model = make_timm_model(architecture, dropout=dropout, attention_dropout=attention_dropout)
    except DataError as err:
        raise DataError(f"{folder.entry}: {err}") from err
    grid = _grid_rows(tensors.pop("pos_embed", None), model, folder.entry)
    try:
        backbone = VitBackbone(model, architecture, grid, dropout=dropout)
    except DataError as err:
        raise DataError(f"{folder.entry}: {err}") from err
    _fill(backbone, tensors, folder.entry)
    return backbone


def read_architecture(config: Mapping[str, Any], entry: str) -> VitArchitecture:
    """The architecture a config.json names.

    Raises:
        DataError: it names none, one timm does not know without giving its sizes, or arguments that are not supported.
    """
    import timm
    from timm.models import list_models

    name, arguments = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(name, str) or not name:
        found = f"; it says model_type {config['model_type']!r}" if "model_type" in config else ""
        raise DataError(f"{entry}: its config.json names no architecture of timm (key 'architecture'){found}")
    if not isinstance(arguments, dict):
        raise DataError(f"{entry}: its config.json says model_args {arguments!r}, expected keys and values")
    used = {}
    for key, value in arguments.items():
        if key in _UNUSED_ARGUMENTS or value is None:
            continue
        if key not in _ARGUMENTS:
            raise DataError(f"{entry}: its config.json says {key} in model_args, which is not supported")
        is_valid, expected = _ARGUMENTS[key]
        if not is_valid(value):
            raise DataError(f"{entry}: its config.json says {key} {value!r} in model_args, expected {expected}")
        used[key] = value
    name = name.partition(".")[0]  # the tag behind the dot names weights, not an architecture
    if not timm.is_model(name) and (lacking := [key for key in SIZE_ARGUMENTS if key not in used]):
        known = list_models(module="vision_transformer")
        near = difflib.get_close_matches(name.lower(), known, n=3)
        raise DataError(
            f"{entry}: its config.json names the architecture '{name}', which timm {timm.__version__} does not know"
            + (f"; it knows {', '.join(near)}" if near else "")
            + f". One of your own must give {', '.join(SIZE_ARGUMENTS)} in model_args, and {lacking[0]} is missing"
        )
    return VitArchitecture(name, used)


def make_timm_model(architecture: VitArchitecture, *, dropout: float, attention_dropout: float) -> VisionTransformer:
    """timm's model, with weights as timm draws them from torch's global generator.

    Raises:
        DataError: timm cannot make it, or makes something else than a vision transformer.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer

    arguments = {
        **architecture.arguments,
        "num_classes": 0,
        "proj_drop_rate": dropout,
        "attn_drop_rate": attention_dropout,
    }
    is_known = timm.is_model(architecture.name)
    try:
        if is_known:
            model = timm.create_model(architecture.name, pretrained=False, **arguments)
        else:
            model = VisionTransformer(**arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, KeyError) as err:
        if is_known:  # other kinds of models take other arguments; that is not what is wrong with them
            with torch.device("meta"):
                _check_kind(timm.create_model(architecture.name, pretrained=False), architecture)
        raise DataError(f"timm cannot make the architecture {architecture.name}: {err}") from err
    return _check_kind(model, architecture)


def _check_kind(model: Any, architecture: VitArchitecture) -> VisionTransformer:
    """Refuse the models of timm that are no vision transformers, or that tie their positions to an image.

    Raises:
        DataError: it is one.
    """
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(model, VisionTransformer):
        raise DataError(f"architecture {architecture.name} is a {type(model).__name__} of timm, no VisionTransformer")
    return model


def _grid_rows(table: Tensor | None, model: VisionTransformer, entry: str) -> Tensor:
    """The position table of a checkpoint without the rows of class and register tokens; no row where it has none.

    Shapes: table (1, N, D) -> (N - prefix, D).

    Raises:
        DataError: it is of another shape.
    """
    if table is None:
        return torch.zeros(0, model.embed_dim)
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    if table.ndim != 3 or len(table) != 1 or table.shape[1] <= prefix or table.shape[2] != model.embed_dim:
        raise DataError(
            f"{entry}: pos_embed does not fit its config.json: expected shape (1, more than {prefix}, "
            f"{model.embed_dim}), found {tuple(table.shape)}"
        )
    return _checked("pos_embed", table, entry)[0, prefix:].clone()


def _checked(name: str, tensor: Tensor, entry: str) -> Tensor:
    """A copy in float32.

    Raises:
        DataError: not numbers, or not finite ones.
    """
    check_numbers(name, tensor, entry)
    return tensor.to(torch.float32, copy=True)


def _fill(backbone: VitBackbone, tensors: Mapping[str, Tensor], entry: str) -> None:
    """Put a checkpoint's tensors into a backbone that has shapes only.

    Raises:
        DataError: one is missing, left over, of another shape, or not finite.
    """
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(_UNUSED_TENSORS)}
    if backbone.final_norm == "fc_norm" and "fc_norm.weight" not in given:
        # Weights trained with a class token, in an architecture that pools: the same norm under its other name.
        given = {f"fc_{name}" if name.startswith("norm.") else name: tensor for name, tensor in given.items()}
    names = {name: backbone.timm_name(name) for name, _ in backbone.named_parameters()}
    expected = {
        timm_name: tuple(parameter.shape)
        for name, parameter in backbone.named_parameters()
        if (timm_name := names[name]) is not None
    }
    check_shapes(expected, given, f"the architecture {backbone.architecture.name}", entry)
    filled = {
        name: _checked(timm_name, given[timm_name], entry) for name, timm_name in names.items() if timm_name is not None
    }
    backbone.load_state_dict({"positions.weight": backbone.positions.weight.data, **filled}, assign=True)


def save_vit(
    backbone: VitBackbone,
    folder: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    about: Mapping[str, Any] | None = None,
    further: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint that `load_vit` reads, and timm: its position table is kept as a grid without a class token.

    Args:
        backbone: what to save.
        folder: where ``config.json`` and ``model.safetensors`` are written; made where it is missing.
        dtype: number format of the tensors.
        about: further keys of config.json, such as how the weights came about.
        further: further tensors, such as ``patch_embed.proj.weight``, that this package has no use for but timm has.
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
