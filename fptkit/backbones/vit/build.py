"""Building a vision transformer: from the first available weights, or randomly initialised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from fptkit.backbones.adapt import chosen_blocks, extension_note, fit_positions, redraw
from fptkit.backbones.assemble import Family, RandomDraw, build
from fptkit.backbones.options import BlockOptions, Init, PositionOptions
from fptkit.backbones.vit.checkpoint import load_vit, make_timm_model, read_architecture
from fptkit.backbones.vit.model import PositionTable, VitArchitecture, VitBackbone
from fptkit.backbones.vit.options import SIZES, PositionInit, VitOptions, VitSizes
from fptkit.errors import ShapeError
from fptkit.seeds import derive_seed, generator_for
from fptkit.sources.weights import WeightFolder


def build_vit(options: VitOptions, *, positions: int, seed: int, pinned: str | None = None) -> VitBackbone:
    """Build a vision transformer with the first available weights.

    Args:
        options: recipe options.
        positions: T, tokens of the task's longest example; the position table is made for it.
        seed: seed of the initialisation, for random weights.
        pinned: weights entry that an earlier run of this recipe used.

    Raises:
        FptkitError: see `fptkit.backbones.assemble.assemble`.
        ShapeError: ``position_init`` is ``pretrained`` and the checkpoint has no position table.
    """
    return build(VitFamily, options, positions=positions, seed=seed, pinned=pinned)


@dataclass(frozen=True)
class VitFamily(Family[VitArchitecture, VitBackbone]):
    """Any vision transformer of timm.

    Args:
        sizes: sizes of the model for the weights ``random``.
        dropout: dropout probability of the embedding and of each block's output, in training.
        attention_dropout: dropout probability of attention weights, in training.
        rows: rows of the position table of such a model.
        position_init: ``zeros``: the position table starts at zero, as in the official code; ``pretrained``: with the
            loaded or randomly initialised rows; ``auto``: with zeros for loaded weights, else with random rows.
    """

    sizes: VitSizes
    dropout: float
    attention_dropout: float
    rows: int = 0
    position_init: PositionInit = "auto"

    name = "vit"
    advice = (
        "Add a fallback such as builtin:vit_nano to backbone.weights, or put the files into a folder and use "
        "path:FOLDER. `fptkit list weights` shows the available weights."
    )
    block_list = "layers"
    reads_numbers = True

    @classmethod
    def of(cls, options: VitOptions, tokens: int) -> VitFamily:
        """See `Family.of`."""
        rows = max(tokens, options.positions.length or 0)
        return cls(SIZES[options.size], options.dropout, options.attention_dropout, rows, options.position_init)

    @classmethod
    def random(cls, draw: RandomDraw) -> VitFamily:
        """See `Family.random`.

        Raises:
            ShapeError: there is no such size, ``heads`` does not divide ``width``, or ``rows`` is given.
        """
        if draw.size not in SIZES:
            raise ShapeError(f"a vit has no size '{draw.size}'; sizes are {', '.join(SIZES)}")
        sizes = replace(SIZES[draw.size], **draw.replaced)
        if sizes.width % sizes.heads:
            raise ShapeError(
                f"a vit's width must be a multiple of its heads, but {sizes.width} is not one of {sizes.heads}"
            )
        if draw.rows is not None:
            raise ShapeError("a vit's position table is as long as the task: backbone.positions must be null")
        return cls(sizes, draw.dropout, draw.attention_dropout)

    def from_options(self) -> VitArchitecture:
        """See `Family.from_options`."""
        return architecture_of(self.sizes)

    def from_config(self, config: Mapping[str, Any], entry: str) -> VitArchitecture:
        """See `Family.from_config`."""
        return read_architecture(config, entry)

    def draw(self, architecture: VitArchitecture, seed: int, folder: WeightFolder | None) -> VitBackbone:
        """See `Family.draw`; the position table is initialised too, with as many rows as the checkpoint's.

        Raises:
            DataError: timm cannot build the architecture, or the checkpoint is of another one.
            ShapeError: ``position_init`` is ``pretrained`` and the checkpoint has no position table.
        """
        rows = self.rows if folder is None else len(self.load(folder, architecture).positions.weight)
        backbone = draw_vit(architecture, seed, dropout=self.dropout, attention_dropout=self.attention_dropout)
        backbone.positions = PositionTable(_drawn_rows(rows, backbone.width, seed))
        backbone.drawn_with = seed
        return backbone

    def load(self, folder: WeightFolder, architecture: VitArchitecture) -> VitBackbone:
        """See `Family.load`.

        Raises:
            ShapeError: ``position_init`` is ``pretrained`` and the checkpoint has no position table.
        """
        backbone = load_vit(folder, architecture, dropout=self.dropout, attention_dropout=self.attention_dropout)
        if self.position_init == "pretrained" and not len(backbone.positions.weight):
            raise ShapeError(
                f"backbone.position_init 'pretrained': {folder.entry} has no position table; use zeros, the default"
            )
        return backbone

    def keep_blocks(self, backbone: VitBackbone, options: BlockOptions) -> None:
        """See `Family.keep_blocks`; a kept block keeps its own rotary angles."""
        backbone.kept = chosen_blocks(backbone.blocks, options)
        super().keep_blocks(backbone, options)

    def redraw(self, backbone: VitBackbone, init: Init, seed: int) -> None:
        """See `Family.redraw`; the scales after attention and feed-forward (``LayerScale``) keep timm's initial value.

        ``flat_0.02`` would set them to zero, like biases, and so disable the blocks.
        """
        from timm.layers.layer_scale import LayerScale

        redraw(backbone, init, seed)
        if init == "flat_0.02":
            for module in backbone.modules():
                if isinstance(module, LayerScale):
                    nn.init.constant_(module.gamma, module.init_values)

    def fit(self, backbone: VitBackbone, tokens: int, options: PositionOptions) -> Sequence[str]:
        """See `Family.fit`."""
        table = backbone.positions.weight.data
        rows = max(tokens, options.length or 0)
        if self.position_init == "auto" and backbone.drawn_with is not None:
            table = _drawn_rows(rows, backbone.width, backbone.drawn_with)
        elif self.position_init != "pretrained":
            table = torch.zeros(rows, backbone.width)
        backbone.positions = PositionTable(fit_positions(table, tokens, options))
        backbone.max_positions = len(backbone.positions.weight)
        notes = extension_note(len(table), backbone.max_positions, options)
        return (*notes, backbone.fit_grid(backbone.max_positions, options)) if backbone.has_grid else notes


def architecture_of(sizes: VitSizes) -> VitArchitecture:
    """Describe a vision transformer of these sizes by timm's name and arguments."""
    names = {known: name for name, known in SIZES.items()}
    arguments = {"embed_dim": sizes.width, "depth": sizes.blocks, "num_heads": sizes.heads}
    return VitArchitecture(f"vit_{names.get(sizes, 'custom')}", arguments)


def draw_vit(
    architecture: VitArchitecture, seed: int, *, dropout: float = 0.1, attention_dropout: float = 0.0
) -> VitBackbone:
    """Build a vision transformer with timm's random initialisation.

    Matrices are normal with standard deviation 0.02, biases 0, norm scales 1. timm uses torch's global generator, which
    is seeded here and restored afterwards.

    Args:
        architecture: the architecture to build.
        seed: seed of the initialisation.
        dropout: see `VitFamily`.
        attention_dropout: see `VitFamily`.

    Raises:
        DataError: timm cannot build the architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "backbone"))
        model = make_timm_model(architecture, dropout=dropout, attention_dropout=attention_dropout)
    return VitBackbone(model, architecture, torch.zeros(0, model.embed_dim), dropout=dropout)


def _drawn_rows(rows: int, width: int, seed: int) -> Tensor:
    """A position table with timm's random initialisation: (rows, width)."""
    table = torch.empty(rows, width)
    if rows and not isinstance(table, FakeTensor):  # a skeleton has no numbers
        nn.init.trunc_normal_(table, std=0.02, generator=generator_for(seed, "positions"))
    return table
