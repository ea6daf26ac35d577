"""Construction of the backbone: load or initialise the weights, select blocks, fit the position table to the task."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.sources import choose
from fptkit_minilm.backbone import BLOCKS, POSITIONS, WIDTH, MiniLm
from fptkit_minilm.options import BlockOptions, MiniLmOptions, PositionOptions
from fptkit_minilm.weights import ADVICE, find_file, read_tensors

DEVIATION = 0.02
"""Standard deviation of BERT's initial weights: ``initializer_range`` of its config.json."""


def build_minilm(options: MiniLmOptions, *, positions: int, seed: int, pinned: str | None = None) -> MiniLm:
    """Build the backbone ``minilm``.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens; the position table is fitted to it.
        seed: seed of random weights.
        pinned: not used, since there is only one source.

    Raises:
        SourceError: the weights are not available.
        DataError: the file differs from the published one.
        ShapeError: the task is longer than the position table and ``positions.extend`` is not set, or the selected
            blocks do not exist.
    """
    backbone = MiniLm(dropout=options.dropout)
    if options.init == "random":
        _draw(backbone, seed)
    else:
        choice = choose((options.weights,), find_file, what="weights of backbone minilm", advice=ADVICE)
        tensors, backbone.embedding_norm = read_tensors(choice.found, [name for name, _ in backbone.named_parameters()])
        backbone.load_state_dict(tensors)
        backbone.weights = choice.entry
    _keep_blocks(backbone, options.blocks)
    if options.init == "statistics":
        _redraw_by_statistics(backbone, seed)
    _fit_positions(backbone, positions, options.positions)
    return backbone


@torch.no_grad()
def _draw(backbone: MiniLm, seed: int) -> None:
    """Initialise like BERT: normal weights with standard deviation 0.02, biases 0, scales of norms 1.

    Source: huggingface/transformers, ``models/bert/modeling_bert.py``, ``_init_weights``.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in backbone.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0.0, DEVIATION, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    # The mean norm that word embeddings of this initialisation would have, so that norm matching works in the control.
    ratio = math.exp(math.lgamma((WIDTH + 1) / 2) - math.lgamma(WIDTH / 2))
    backbone.embedding_norm = DEVIATION * math.sqrt(2) * ratio


@torch.no_grad()
def _redraw_by_statistics(backbone: MiniLm, seed: int) -> None:
    """Redraw each tensor from a normal with its own mean and standard deviation. Source: Lu et al. 2021, Table 9."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in backbone.parameters():
        mean, deviation = float(parameter.double().mean()), float(parameter.double().std(correction=0))
        parameter.normal_(mean, deviation, generator=generator)


def _keep_blocks(backbone: MiniLm, options: BlockOptions) -> None:
    """Drop the blocks that are not selected.

    Raises:
        ShapeError: no block is selected, or more than exist.
    """
    keep = options.keep
    if keep is None:
        return
    if isinstance(keep, int):
        if keep > BLOCKS:
            raise ShapeError(f"backbone.blocks.keep is {keep}, but minilm has only {BLOCKS} blocks")
        chosen = range(keep)
    else:
        chosen = range(BLOCKS)[slice(*(int(part) if part else None for part in keep.split(":")))]
    if not chosen:
        raise ShapeError(f"backbone.blocks.keep '{keep}' selects none of minilm's {BLOCKS} blocks")
    backbone.block_list = nn.ModuleList(backbone.block_list[index] for index in chosen)
    backbone.blocks = len(chosen)


def _fit_positions(backbone: MiniLm, tokens: int, options: PositionOptions) -> None:
    """Cut the position table to the task's length, so that all its rows are used and train; or extend it.

    Raises:
        ShapeError: the task is longer and ``extend`` is not set.
    """
    table = backbone.position.detach()
    backbone.position = nn.Parameter(_fitted(table, tokens, options))
    backbone.max_positions = tokens


def _fitted(table: Tensor, tokens: int, options: PositionOptions) -> Tensor:
    """Return the fitted table. Shapes: table (N, D) -> (tokens, D)."""
    if tokens <= len(table):
        return table[:tokens].clone()
    if options.extend == "tile":
        return table.repeat(-(-tokens // len(table)), 1)[:tokens]
    if options.extend == "interpolate":
        drawn_out = nn.functional.interpolate(table.T[None], size=tokens, mode="linear", align_corners=True)
        return drawn_out[0].T.contiguous()
    raise ShapeError(
        f"the task has up to {tokens} tokens, but minilm's position table has {POSITIONS}; shorten the task, or set "
        "backbone.positions.extend to tile or interpolate"
    )
