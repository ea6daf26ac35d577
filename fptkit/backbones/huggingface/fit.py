"""Fitting a model of transformers to a recipe: blocks, weights, positions.

The properties of a model are measured by running three tokens through it, not guessed from the names of its modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from fptkit.backbones.adapt import chosen_blocks, fit_positions, redraw
from fptkit.backbones.huggingface.model import HuggingFaceBackbone, accepted_by, is_skeleton
from fptkit.backbones.huggingface.roles import is_norm
from fptkit.backbones.options import BlockOptions, Init, PositionOptions
from fptkit.errors import FptkitError, ShapeError
from fptkit.seeds import generator_for

PROBE_TOKENS = 3


def keep_blocks(backbone: HuggingFaceBackbone, options: BlockOptions) -> None:
    """Drop the blocks that ``options`` does not keep, from the model and from its configs.

    Raises:
        ShapeError: no block would be left, more are requested than the model has, or the model uses a block repeatedly.
    """
    count = backbone.blocks
    chosen = chosen_blocks(count, options)
    if list(chosen) == list(range(count)):
        return
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


@torch.enable_grad()  # even if a caller has disabled gradients
def measure(backbone: HuggingFaceBackbone, where: str, fault: type[FptkitError]) -> None:
    """Run three tokens to find out whether the model is causal and where its positions come from.

    Args:
        backbone: its ``causal``, ``first_rows``, ``added_tables`` and ``places_tokens`` are set.
        where: name of the model in error messages.
        fault: class of errors.

    Raises:
        FptkitError: of class ``fault``: the model does not run on token vectors, or returns another width.
    """
    block_list = backbone.block_list + "."
    tables = {
        name: module
        for name, module in backbone.model.named_modules()
        if isinstance(module, nn.Embedding) and not name.startswith(block_list)
    }
    if any(is_skeleton(parameter) for parameter in backbone.parameters()):
        _guess(backbone, tables)
        return
    inputs = torch.randn((1, PROBE_TOKENS, backbone.width), generator=generator_for(0, "probe")).requires_grad_()
    weights = torch.randn((PROBE_TOKENS, backbone.width), generator=generator_for(0, "probe weights"))
    required = {name: parameter.requires_grad for name, parameter in backbone.named_parameters()}
    backbone.requires_grad_(False)  # gradients of billions of frozen numbers are not needed
    for table in tables.values():
        table.weight.requires_grad_()
    try:
        hidden = backbone(inputs)[0]
    except Exception as err:  # architectures that need word ids fail in different ways
        raise fault(f"{where}: the model does not run on token vectors: {' '.join(str(err).split())}") from err
    if hidden.shape[-1] != backbone.width:
        raise fault(f"{where}: the model takes vectors of {backbone.width} numbers, but returns {hidden.shape[-1]}")
    # Weighted: a plain sum is constant after a layer norm.
    (of_inputs,) = torch.autograd.grad((hidden[0] * weights[0]).sum(), inputs, retain_graph=True)
    backbone.causal = not bool(torch.any(of_inputs[0, 1:]))
    gradients: tuple[Tensor | None, ...] = ()
    if tables:
        wanted = [table.weight for table in tables.values()]
        gradients = torch.autograd.grad((hidden * weights).sum(), wanted, allow_unused=True)
    reached = _measure_input(backbone, {name: table.weight for name, table in tables.items()})
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(required[name])
    backbone.first_rows = {}
    for name, gradient in zip(tables, gradients, strict=True):
        rows = _rows_of(gradient)
        if len(rows) > 1:  # a single row is shared by all tokens, such as a token type
            one_by_one = rows == list(range(rows[0], rows[0] + PROBE_TOKENS))
            backbone.first_rows[name] = rows[0] if one_by_one else None
    if not reached:
        _take_for_added(backbone)


def _take_for_added(backbone: HuggingFaceBackbone) -> None:
    """Take every table of positions for one that is added to the tokens."""
    backbone.added_tables = tuple(name for name, row in backbone.first_rows.items() if row is not None)
    backbone.places_tokens = bool(backbone.added_tables)


def _rows_of(gradient: Tensor | None) -> list[int]:
    """The rows of a table that get a gradient."""
    return [] if gradient is None else gradient.abs().sum(1).nonzero().flatten().tolist()


class _Reached(Exception):
    """The first block is reached: nothing behind it is needed."""


def _measure_input(backbone: HuggingFaceBackbone, tables: Mapping[str, Tensor]) -> bool:
    """Find out what is added to the tokens before the first block, by the block's input for tokens of zeros.

    Args:
        backbone: its ``added_tables`` and ``places_tokens`` are set.
        tables: the weights of the embeddings outside the blocks; they take part in gradients.

    Returns:
        False if the model does not call its first block as a module; nothing is set then.
    """
    seen: list[Tensor] = []

    def stop(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.extend(one for one in (*given, *named.values()) if isinstance(one, Tensor) and one.ndim == 3)
        raise _Reached

    first = next(iter(backbone.model.get_submodule(backbone.block_list).children()))
    hook = first.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        backbone(torch.zeros(1, PROBE_TOKENS, backbone.width))
    except _Reached:
        pass
    finally:
        hook.remove()
    if not seen:
        return False
    rows = seen[0].flatten(0, 1)  # a few models have the tokens before the batch
    weights = torch.randn(rows.shape, generator=generator_for(0, "probe weights"))
    gradients: tuple[Tensor | None, ...] = ()
    if tables and rows.requires_grad:
        gradients = torch.autograd.grad((rows * weights).sum(), list(tables.values()), allow_unused=True)
    added = [name for name, gradient in zip(tables, gradients, strict=False) if len(_rows_of(gradient)) > 1]
    backbone.added_tables = tuple(added)
    backbone.places_tokens = bool(added) or bool((rows != rows[0]).any())
    return True


def _guess(backbone: HuggingFaceBackbone, tables: dict[str, nn.Embedding]) -> None:
    """`measure` for a skeleton, which cannot be run: position tables are recognised by their names."""
    backbone.causal = any(getattr(module, "is_causal", False) for module in backbone.model.modules())
    backbone.first_rows = {}
    for name, table in tables.items():
        if "pos" in name or name.endswith("wpe"):
            before = 0 if table.padding_idx is None else table.padding_idx + 1
            backbone.first_rows[name] = getattr(table, "offset", before)
    _take_for_added(backbone)


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
    for name, first in one_by_one.items():
        _fit_table(backbone, name, first, tokens, options)
    if one_by_one:
        return []
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
    table.num_embeddings, table.padding_idx = len(rows), None
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
