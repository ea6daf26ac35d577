"""Making a GPT-2: from the first weights available, from a checkpoint, or drawn at random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.adapt import chosen_blocks, fit_positions, redraw
from fptkit.backbones.gpt2 import Gpt2Backbone
from fptkit.backbones.options import SIZES, BlockOptions, Gpt2Options, Gpt2Sizes, PositionOptions, RandomInit, Size
from fptkit.errors import DataError, ShapeError
from fptkit.seeds import generator_for
from fptkit.sources import choose
from fptkit.sources.weights import WeightFolder, open_weights


def build_gpt2(options: Gpt2Options, *, positions: int, seed: int, pinned: str | None = None) -> Gpt2Backbone:
    """Build GPT-2 with the first weights available.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens; the position table is fitted to it.
        seed: draws the weights where they are random.
        pinned: weights entry an earlier run of this recipe took.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are there but broken or not GPT-2's.
        ShapeError: the task is longer than the position table and nothing says how to extend it, the blocks to keep are
            not there, or the statistics of random weights are asked for.
    """
    choice = choose(
        options.weights,
        lambda entry: None if entry == "random" else open_weights(entry),
        what="weights of backbone gpt2",
        pinned=pinned,
        advice="Add a fallback such as builtin:gpt2_nano to backbone.weights, or put the files into a folder and "
        "use path:FOLDER. `fptkit list weights` shows what is here.",
    )
    if choice.found is None:
        if options.init == "statistics":
            raise ShapeError("backbone.init 'statistics' needs loaded weights, but the weights are 'random'")
        backbone = draw_gpt2(SIZES[options.size], seed, options.dropout, options.attention_dropout)
    else:
        backbone = load_gpt2(choice.found, dropout=options.dropout, attention_dropout=options.attention_dropout)
        if options.init == "random":
            backbone = draw_gpt2(backbone.sizes, seed, options.dropout, options.attention_dropout)
    keep_blocks(backbone, options.blocks)
    redraw(backbone, options.init, seed)
    if options.init == "flat_0.02":
        backbone.embedding_norm = drawn_embedding_norm(backbone.width)
    with_positions(backbone, positions, options.positions)
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = tuple(f"{entry}: {reason}" for entry, reason in choice.skipped)
    return backbone


def load_gpt2(folder: WeightFolder, *, dropout: float = 0.1, attention_dropout: float = 0.0) -> Gpt2Backbone:
    """Build GPT-2 from a checkpoint, whole.

    Args:
        folder: opened checkpoint.
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.

    Raises:
        DataError: the checkpoint is of another architecture, lacks or adds tensors, or holds numbers that are not
            finite.
    """
    sizes = _sizes_of(folder.config, folder.entry)
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in folder.tensors().items()}
    words = tensors.get("wte.weight")
    # Left out with reason: word embedding and language head (the model is driven by token vectors), and the
    # triangular masks old checkpoints carry as buffers.
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in ("wte.weight", "lm_head.weight") and not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    _check_extent(tensors, sizes, folder.entry)
    backbone = Gpt2Backbone(sizes, dropout=dropout, attention_dropout=attention_dropout)
    expected = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        raise DataError(
            f"{folder.entry}: {len(wrong)} tensors do not fit a GPT-2 of its config.json, the first is {wrong[0]}: "
            f"expected shape {expected.get(wrong[0], 'none')}, found {given.get(wrong[0], 'none')}"
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DataError(f"{folder.entry}: tensor {name} is of {tensor.dtype}, expected floating-point numbers")
        tensors[name] = tensor = tensor.float()
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{folder.entry}: tensor {name} holds NaN or infinity; the file is damaged")
    backbone.load_state_dict(tensors)
    if words is not None and words.ndim == 2 and words.shape[1] == sizes.width and bool(torch.isfinite(words).all()):
        backbone.embedding_norm = float(words.float().norm(dim=1).mean())
    return backbone


FIXED_CONFIG: dict[str, Any] = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""Values of config.json that change the mathematics, as the backbone computes them; a missing key means the same.

``reorder_and_upcast_attn`` is left out: it asks for other arithmetic of the same formula.
Source: huggingface/transformers, ``models/gpt2/configuration_gpt2.py``.
"""


def _sizes_of(config: Mapping[str, Any], entry: str) -> Gpt2Sizes:
    """The sizes a config.json names.

    Raises:
        DataError: it is not GPT-2's, asks for a variant that is not implemented, or its sizes are none.
    """
    if config.get("model_type") != "gpt2":
        raise DataError(f"{entry}: its config.json says model_type {config.get('model_type')!r}, not 'gpt2'")
    counts = []
    for key in ("n_layer", "n_embd", "n_head", "n_positions"):
        if key not in config:
            raise DataError(f"{entry}: its config.json lacks '{key}'")
        if not isinstance(config[key], int) or isinstance(config[key], bool) or config[key] < 1:
            raise DataError(f"{entry}: its config.json says {key} {config[key]!r}, expected an integer >= 1")
        counts.append(config[key])
    sizes = Gpt2Sizes(*counts)
    if sizes.width % sizes.heads:
        raise DataError(f"{entry}: its config.json says n_embd {sizes.width}, not a multiple of n_head {sizes.heads}")
    for key, supported in FIXED_CONFIG.items():
        if (value := config.get(key, supported)) != supported:
            raise DataError(f"{entry}: its config.json says {key} {value!r}; only {supported!r} is supported")
    if (inner := config.get("n_inner")) not in (None, 4 * sizes.width):
        raise DataError(
            f"{entry}: its config.json says n_inner {inner!r}; only null or 4 * n_embd = {4 * sizes.width} is supported"
        )
    return sizes


def _check_extent(tensors: Mapping[str, Tensor], sizes: Gpt2Sizes, entry: str) -> None:
    """Hold the sizes against the file before anything of these sizes is built: a mistaken one may fill the memory.

    Raises:
        DataError: the file has another number of blocks, or another width or number of positions.
    """
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    if blocks < sizes.blocks:
        raise DataError(
            f"{entry}: its config.json says n_layer {sizes.blocks}, but it holds tensors of {blocks} blocks"
        )
    found, expected = tensors.get("wpe.weight"), (sizes.positions, sizes.width)
    if found is None or tuple(found.shape) != expected:
        shape = "none" if found is None else tuple(found.shape)
        raise DataError(f"{entry}: wpe.weight does not fit its config.json: expected shape {expected}, found {shape}")


def random_gpt2(
    size: Size | Gpt2Sizes,
    *,
    blocks: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int,
    rows: int | None = None,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> Gpt2Backbone:
    """Draw a GPT-2's weights.

    Args:
        size: its size by name, or its sizes; ``blocks``, ``width`` and ``heads`` replace parts of it.
        blocks: number of blocks.
        width: D.
        heads: attention heads.
        positions: rows of the position table to keep.
        rows: rows the table is drawn with; None draws those of the size, or ``positions`` where they are more.
        seed: of the draw.
        init: see `draw_gpt2` for ``random`` and `fptkit.backbones.adapt.redraw` for ``flat_0.02``.
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.

    Raises:
        ShapeError: ``positions`` exceeds ``rows``.
    """
    given = {"blocks": blocks, "width": width, "heads": heads, "positions": rows}
    sizes = SIZES[size] if isinstance(size, str) else size
    sizes = replace(sizes, **{name: value for name, value in given.items() if value is not None})
    if rows is None:
        sizes = replace(sizes, positions=max(sizes.positions, positions))
    backbone = draw_gpt2(sizes, seed, dropout, attention_dropout)
    redraw(backbone, init, seed)
    return with_positions(backbone, positions, PositionOptions())


def draw_gpt2(sizes: Gpt2Sizes, seed: int, dropout: float, attention_dropout: float) -> Gpt2Backbone:
    """Draw a GPT-2's weights as transformers does today.

    Normal with standard deviation 0.02, the two maps that end in the residual stream 0.02 / sqrt(2 * blocks); biases 0,
    scales of norms 1. transformers 4.1, and so the paper's random baseline, did not scale by depth (PR 13573): that is
    ``flat_0.02``.
    """
    backbone = Gpt2Backbone(sizes, dropout=dropout, attention_dropout=attention_dropout)
    backbone.embedding_norm = drawn_embedding_norm(sizes.width)
    generator = generator_for(seed, "backbone")
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            module = backbone.get_submodule(name.rpartition(".")[0])
            if name.endswith("bias"):
                parameter.zero_()
            elif isinstance(module, nn.LayerNorm):
                parameter.fill_(1.0)
            else:
                scaled = name.endswith("c_proj.weight")
                parameter.normal_(0.0, 0.02 / (2 * sizes.blocks) ** 0.5 if scaled else 0.02, generator=generator)
    return backbone


def drawn_embedding_norm(width: int) -> float:
    """Norm of the word embeddings a random GPT-2 would have, so that the control is scaled as the pretrained one is.

    The mean norm of vectors of ``width`` numbers from a normal distribution with standard deviation 0.02.
    """
    return 0.02 * math.sqrt(2) * math.exp(math.lgamma((width + 1) / 2) - math.lgamma(width / 2))


def keep_blocks(backbone: Gpt2Backbone, options: BlockOptions) -> None:
    """Drop the blocks that ``options`` does not keep.

    Raises:
        ShapeError: it keeps none, or more than there are.
    """
    chosen = chosen_blocks(backbone.sizes.blocks, options)
    backbone.h = nn.ModuleList(backbone.h[index] for index in chosen)
    backbone.blocks = len(chosen)
    backbone.sizes = replace(backbone.sizes, blocks=len(chosen))


def with_positions(backbone: Gpt2Backbone, tokens: int, options: PositionOptions) -> Gpt2Backbone:
    """Fit the position table to the task's length, so that every row that is marked trained can be reached.

    Raises:
        ShapeError: see `fptkit.backbones.adapt.fit_positions`.
    """
    rows = fit_positions(backbone.wpe.weight.data, tokens, options)
    table = nn.Embedding(len(rows), backbone.width)
    table.weight.data.copy_(rows)
    backbone.wpe = table
    backbone.max_positions = len(rows)
    backbone.sizes = replace(backbone.sizes, positions=len(rows))
    return backbone
