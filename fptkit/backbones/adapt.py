"""Steps that apply to every backbone: re-initialise weights, fit the position table, select blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fptkit.backbones.options import BlockOptions, Init, PositionOptions
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone
from fptkit.seeds import generator_for


@torch.no_grad()
def redraw(backbone: Backbone, init: Init, seed: int) -> None:
    """Re-initialise the weights for ``flat_0.02`` and ``statistics``; other values of ``init`` change nothing.

    Args:
        backbone: changed in place; its roles say which tensors are norms.
        init: ``flat_0.02``: matrices and embeddings normal with standard deviation 0.02, biases 0, norm scales 1;
            ``statistics``: each tensor normal with its own mean and standard deviation, tensors of one element
            unchanged; ``pretrained`` and ``random``: the caller has already loaded or initialised the weights.
        seed: seed of the random numbers.

    Source: flat: transformers 4.1 (PR 13573); statistics: Lu et al. 2021, Table 9.
    """
    if init not in ("flat_0.02", "statistics"):
        return
    generator = generator_for(seed, "redraw")
    roles = backbone.parameter_roles()
    for name, parameter in backbone.named_parameters():
        if init == "statistics":
            if parameter.numel() > 1:
                mean, deviation = float(parameter.double().mean()), float(parameter.double().std(correction=0))
                parameter.normal_(mean, deviation, generator=generator)
        elif parameter.ndim > 1:
            parameter.normal_(0.0, 0.02, generator=generator)
        else:
            is_scale = roles[name].role == "norm" and not name.endswith("bias")
            parameter.fill_(1.0 if is_scale else 0.0)


def fit_positions(table: Tensor, tokens: int, options: PositionOptions) -> Tensor:
    """Cut or extend a position table to the length that task and recipe need.

    Shapes: table (N, D) -> (tokens or ``options.length``, D).

    Args:
        table: the model's position table.
        tokens: T, tokens of the task's longest example.
        options: ``length``, and how to extend a table that is too short.

    Raises:
        ShapeError: the table is too short and ``extend`` is not set, or ``length`` is less than ``tokens``.
    """
    rows = options.length or tokens
    if rows < tokens:
        raise ShapeError(
            f"backbone.positions.length {rows} is less than the {tokens} tokens of the task; raise it or leave it out"
        )
    if rows <= len(table):
        return table[:rows].clone()
    if options.extend == "tile":
        return table.repeat(-(-rows // len(table)), 1)[:rows]
    if options.extend == "interpolate":
        drawn = nn.functional.interpolate(table.T[None], size=rows, mode="linear", align_corners=True)
        return drawn[0].T.contiguous()
    raise ShapeError(
        f"the task has up to {rows} tokens, but the backbone's position table ends at {len(table)}; shorten the task "
        "(its max_length, or longer patches), or extend the table: backbone.positions.extend: tile, or interpolate"
    )


def extension_note(before: int, after: int, options: PositionOptions) -> tuple[str, ...]:
    """Return a note on a table of ``before`` rows that was extended to ``after``; none if it was not."""
    done = "repeated" if options.extend == "tile" else "interpolated"
    return (f"the backbone's position table of {before:,} rows is {done} to {after:,}",) if after > before else ()


def chosen_blocks(count: int, options: BlockOptions) -> Sequence[int]:
    """Return the indices of the blocks to keep.

    Args:
        count: number of blocks of the model.
        options: which blocks to keep.

    Raises:
        ShapeError: no block would be left, or more blocks are requested than the model has.
    """
    if options.keep is None:
        return range(count)
    if isinstance(options.keep, int):
        if options.keep > count:
            raise ShapeError(f"backbone.blocks.keep asks for {options.keep} blocks, but the model has {count}")
        return range(options.keep)
    chosen = range(count)[slice(*(int(part) if part else None for part in options.keep.split(":")))]
    if not chosen:
        raise ShapeError(f"backbone.blocks.keep '{options.keep}' leaves none of the model's {count} blocks")
    return chosen
