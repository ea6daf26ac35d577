"""Making a vision transformer: from the first weights available, or drawn at random."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from fptkit.backbones.adapt import chosen_blocks, fit_positions, redraw
from fptkit.backbones.options import BlockOptions, Init, PositionOptions, RandomInit
from fptkit.backbones.vit.checkpoint import load_vit, make_timm_model
from fptkit.backbones.vit.model import PositionTable, VitArchitecture, VitBackbone
from fptkit.backbones.vit.options import SIZES, VitOptions, VitSizes
from fptkit.errors import ShapeError
from fptkit.seeds import derive_seed, generator_for
from fptkit.sources import choose
from fptkit.sources.weights import open_weights


def build_vit(options: VitOptions, *, positions: int, seed: int, pinned: str | None = None) -> VitBackbone:
    """Build a vision transformer with the first weights available.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens; the position table is made for it.
        seed: draws the weights where they are random.
        pinned: weights entry an earlier run of this recipe took.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are there but broken, or not those of a vision transformer of timm.
        ShapeError: the task is longer than the position table and nothing says how to extend it, the checkpoint has
            no table though it is asked for, the blocks to keep are not there, or the statistics of random weights are
            asked for.
    """
    choice = choose(
        options.weights,
        lambda entry: None if entry == "random" else open_weights(entry),
        what="weights of backbone vit",
        pinned=pinned,
        advice="Add a fallback such as builtin:vit_nano to backbone.weights, or put the files into a folder and "
        "use path:FOLDER. `fptkit list weights` shows what is here.",
    )
    dropouts = {"dropout": options.dropout, "attention_dropout": options.attention_dropout}
    if choice.found is None:
        if options.init == "statistics":
            raise ShapeError("backbone.init 'statistics' needs loaded weights, but the weights are 'random'")
        backbone = draw_vit(architecture_of(SIZES[options.size]), seed, **dropouts)
        rows = max(positions, options.positions.length or 0)
        backbone.positions = PositionTable(_drawn_rows(rows, backbone.width, seed))
    else:
        backbone, architecture = load_vit(choice.found, **dropouts)
        if options.position_init == "pretrained" and not len(backbone.positions.weight):
            raise ShapeError(
                f"backbone.position_init 'pretrained': {choice.entry} has no position table; use zeros, the default"
            )
        if options.init == "random":
            rows = len(backbone.positions.weight)
            backbone = draw_vit(architecture, seed, **dropouts)
            backbone.positions = PositionTable(_drawn_rows(rows, backbone.width, seed))
    keep_blocks(backbone, options.blocks)
    redraw_vit(backbone, options.init, seed)
    with_positions(backbone, positions, options.positions, from_zero=options.position_init == "zeros")
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = tuple(f"{entry}: {reason}" for entry, reason in choice.skipped)
    return backbone


def random_vit(
    *,
    size: str,
    blocks: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int,
    rows: int | None = None,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> VitBackbone:
    """Draw a vision transformer's weights; its position table starts at zero, as the official code has it.

    Args:
        size: one of `SIZES`; ``blocks``, ``width`` and ``heads`` replace parts of it.
        blocks: number of blocks.
        width: D.
        heads: attention heads.
        positions: T, the task's longest example in tokens.
        rows: rows of the position table; None: ``positions``.
        seed: of the draw.
        init: ``random`` as timm draws it, or ``flat_0.02``.
        dropout: probability of dropping a number of the embedding or of a block's output, in training.
        attention_dropout: the same for attention weights.

    Raises:
        ShapeError: no such size, ``heads`` does not divide ``width``, or ``positions`` exceeds ``rows``.
    """
    if size not in SIZES:
        raise ShapeError(f"a vit has no size '{size}'; sizes are {', '.join(SIZES)}")
    given = {"blocks": blocks, "width": width, "heads": heads}
    sizes = replace(SIZES[size], **{name: value for name, value in given.items() if value is not None})
    if sizes.width % sizes.heads:
        raise ShapeError(
            f"a vit's width must be a multiple of its heads, but {sizes.width} is not one of {sizes.heads}"
        )
    backbone = draw_vit(architecture_of(sizes), seed, dropout=dropout, attention_dropout=attention_dropout)
    redraw_vit(backbone, init, seed)
    return with_positions(backbone, positions, PositionOptions(length=rows), from_zero=True)


def architecture_of(sizes: VitSizes) -> VitArchitecture:
    """A vision transformer of these sizes in timm's words."""
    names = {known: name for name, known in SIZES.items()}
    arguments = {"embed_dim": sizes.width, "depth": sizes.blocks, "num_heads": sizes.heads}
    return VitArchitecture(f"vit_{names.get(sizes, 'custom')}", arguments)


def draw_vit(
    architecture: VitArchitecture, seed: int, *, dropout: float = 0.1, attention_dropout: float = 0.0
) -> VitBackbone:
    """Draw weights as timm does: matrices normal with standard deviation 0.02, biases 0, scales of norms 1.

    timm draws from torch's global generator: it is seeded for the draw and put back behind it.

    Raises:
        DataError: timm cannot make the architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "backbone"))
        model = make_timm_model(architecture, dropout=dropout, attention_dropout=attention_dropout)
    return VitBackbone(model, architecture, torch.zeros(0, model.embed_dim), dropout=dropout)


def _drawn_rows(rows: int, width: int, seed: int) -> Tensor:
    """Rows of a position table as timm draws them: (rows, width)."""
    table = torch.empty(rows, width)
    if rows:
        nn.init.trunc_normal_(table, std=0.02, generator=generator_for(seed, "positions"))
    return table


def redraw_vit(backbone: VitBackbone, init: Init, seed: int) -> None:
    """`fptkit.backbones.adapt.redraw`, but scales behind attention and feed-forward start as timm starts them.

    ``flat_0.02`` would set these vectors to zero like biases, and so cut the blocks off.
    """
    from timm.layers.layer_scale import LayerScale

    redraw(backbone, init, seed)
    if init == "flat_0.02":
        for module in backbone.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, module.init_values)


def keep_blocks(backbone: VitBackbone, options: BlockOptions) -> None:
    """Drop the blocks that ``options`` does not keep.

    Raises:
        ShapeError: it keeps none, or more than there are.
    """
    chosen = chosen_blocks(backbone.blocks, options)
    backbone.layers = nn.ModuleList(backbone.layers[index] for index in chosen)
    backbone.blocks = len(chosen)


def with_positions(backbone: VitBackbone, tokens: int, options: PositionOptions, *, from_zero: bool) -> VitBackbone:
    """Give the backbone a position table for the task.

    Args:
        backbone: changed in place; its table holds the rows there are.
        tokens: T, the task's longest example.
        options: ``length``, and what to do where the rows there are do not reach.
        from_zero: start at zero instead of with those rows.

    Raises:
        ShapeError: see `fptkit.backbones.adapt.fit_positions`.
    """
    table = backbone.positions.weight.data
    if from_zero:
        table = torch.zeros(max(tokens, options.length or 0), backbone.width)
    backbone.positions = PositionTable(fit_positions(table, tokens, options))
    backbone.max_positions = len(backbone.positions.weight)
    return backbone
