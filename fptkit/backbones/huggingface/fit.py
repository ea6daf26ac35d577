"""Fitting a model of transformers to a recipe: blocks, weights, positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from fptkit.backbones.adapt import chosen_blocks, extension_note, fit_positions, redraw
from fptkit.backbones.huggingface.model import HuggingFaceBackbone, accepted_by, is_skeleton
from fptkit.backbones.huggingface.repairs import CutTable
from fptkit.backbones.huggingface.roles import is_norm
from fptkit.backbones.options import BlockOptions, Init, PositionOptions
from fptkit.errors import ShapeError


def keep_blocks(backbone: HuggingFaceBackbone, options: BlockOptions) -> None:
    """Drop the blocks that ``options`` does not keep, from the model and from its configs.

    Raises:
        ShapeError: no block would be left, more are requested than the model has, or the model uses a block repeatedly.
    """
    count = backbone.blocks
    chosen = chosen_blocks(count, options)
    if list(chosen) == list(range(count)):
        return
    if backbone.parts_of_blocks():
        raise ShapeError(
            f"backbone.blocks.keep: the parts of a block of {type(backbone.model).__name__} are in several lists; they "
            "cannot be separated, leave the option out"
        )
    if backbone.model.config.num_hidden_layers != count:
        raise ShapeError(
            f"backbone.blocks.keep: the model has {count} lists of weights for "
            f"{backbone.model.config.num_hidden_layers} blocks; they cannot be separated, leave the option out"
        )
    parent_name, _, name = backbone.block_list.rpartition(".")
    blocks = backbone.model.get_submodule(backbone.block_list)
    assert isinstance(blocks, nn.ModuleList)
    _carry_relative_positions(blocks[0], blocks[chosen[0]])
    setattr(backbone.model.get_submodule(parent_name), name, nn.ModuleList(blocks[index] for index in chosen))
    backbone.blocks = len(chosen)
    # Modules of a model may each have a copy of the config.
    configs = [getattr(module, "config", None) for module in backbone.model.modules()]
    for config in {id(config): config for config in configs if isinstance(config, PretrainedConfig)}.values():
        config.num_hidden_layers = len(chosen)
        for key, value in list(vars(config).items()):
            if isinstance(value, (list, tuple)) and len(value) == count:  # one value per block: its window, its kind
                setattr(config, key, type(value)(value[index] for index in chosen))


def _carry_relative_positions(first: nn.Module, new_first: nn.Module) -> None:
    """Move the relative positions of block 0 to the new first block: T5 stores one table there for all blocks."""
    for place, table in list(first.named_modules()):
        if not isinstance(table, nn.Embedding):
            continue
        owner_place, _, name = place.rpartition(".")
        owner: Any = new_first.get_submodule(owner_place)
        if not hasattr(owner, name):
            setattr(owner, name, table)
            owner.has_relative_attention_bias = True  # T5's attention checks this flag


def redraw_weights(backbone: HuggingFaceBackbone, init: Init, seed: int) -> None:
    """`fptkit.backbones.adapt.redraw`, except that ``flat_0.02`` does not change norms: Gemma's scales start at 0."""
    norms = {
        parameter: parameter.detach().clone()
        for module in backbone.modules()
        if is_norm(module)
        for parameter in module.parameters(recurse=False)
    }
    redraw(backbone, init, seed)
    if init == "flat_0.02":
        for parameter, drawn in norms.items():
            parameter.data.copy_(drawn)


def fit_tables(backbone: HuggingFaceBackbone, tokens: int, options: PositionOptions) -> list[str]:
    """Fit the position tables to the task, so that every row can get a gradient; return notes.

    Raises:
        ShapeError: see `fptkit.backbones.adapt.fit_positions`; or the model has no table and does not run on sequences
            of this length.
    """
    one_by_one = {name: row for name, row in backbone.first_rows.items() if row is not None}
    longer: list[str] = []
    for name, first in one_by_one.items():
        table: Any = backbone.model.get_submodule(name)
        before = len(table.weight) - first
        _fit_table(backbone, name, first, tokens, options)
        longer += extension_note(before, backbone.max_positions or 0, options)
    if one_by_one:
        return longer[:1]
    trained_with = getattr(backbone.model.config, "max_position_embeddings", None)
    backbone.max_positions = trained_with if isinstance(trained_with, int) and trained_with > 0 else None
    notes = []
    if options.extend is not None:
        notes.append("the model has no position table: backbone.positions.extend has no effect")
    if backbone.max_positions is not None and tokens > backbone.max_positions:
        if not any(is_skeleton(parameter) for parameter in backbone.parameters()):
            _check_runs(backbone, tokens)
        notes.append(f"the task has up to {tokens} tokens, the model was made for {backbone.max_positions}")
    return notes


def _fit_table(backbone: HuggingFaceBackbone, name: str, first: int, tokens: int, options: PositionOptions) -> None:
    """Fit one table.

    Args:
        backbone: changed in place.
        name: name of the table in the model.
        first: row of the first token; rows before it are for padding, which is not used here, and are dropped.
        tokens: T, tokens of the task's longest example.
        options: the recipe's options.
    """
    table: Any = backbone.model.get_submodule(name)
    rows = fit_positions(table.weight.detach()[first:], tokens, options)
    added = getattr(table, "offset", 0)  # the tables of OPT and BART add it to a token's position
    if added:
        table.offset = 0
    if first > added:  # RoBERTa counts positions from the padding id + 1
        if "position_ids" in accepted_by(backbone.model):
            backbone.numbers_positions = True
        else:
            rows = torch.cat((table.weight.detach()[: first - added], rows))
    before = table.num_embeddings
    table.weight = nn.Parameter(rows)
    table.num_embeddings = len(rows)
    if hasattr(table, "max_length"):  # ProphetNet limits its positions to it
        table.max_length = len(rows)
    if first == added or backbone.numbers_positions:  # otherwise positions are counted from the padding id
        table.padding_idx = None
    if backbone.window != 1 and not backbone.numbers_positions:
        parent = backbone.model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], CutTable.from_pretrained(table.weight, freeze=False))
    _fit_buffers(backbone.model.get_submodule(name.rpartition(".")[0]), before, len(rows))
    if hasattr(backbone.model.config, "max_position_embeddings"):
        backbone.model.config.max_position_embeddings = len(rows)
    backbone.max_positions, backbone.ends = max(tokens, options.length or 0), True


def _fit_buffers(owner: nn.Module, before: int, after: int) -> None:
    """Resize the buffers of position ids and token types that a model has beside its table, one entry per row."""
    for name, buffer in list(owner.named_buffers(recurse=False)):
        if buffer.dtype == torch.int64 and buffer.shape == (1, before):
            counts = is_skeleton(buffer) or bool(torch.equal(buffer[0], torch.arange(before)))
            fitted = torch.arange(after)[None] if counts else buffer[:, :1].repeat(1, after)
            owner.register_buffer(name, fitted, persistent=False)


def _check_runs(backbone: HuggingFaceBackbone, tokens: int) -> None:
    """Run the model on a sequence that is longer than those it was trained with.

    Raises:
        ShapeError: it does not run, or returns NaN or infinity.
    """
    try:
        with torch.no_grad():
            hidden = backbone(torch.zeros((1, tokens, backbone.width)))
    except Exception as err:  # each architecture fails in its own way
        raise ShapeError(
            f"the task has up to {tokens} tokens, the model was made for {backbone.max_positions} and does not run on "
            f"more: {' '.join(str(err).split())}; shorten the task"
        ) from err
    if not bool(torch.isfinite(hidden).all()):
        raise ShapeError(
            f"the model returns NaN or infinity on {tokens} tokens, it was made for {backbone.max_positions}; "
            "shorten the task"
        )
