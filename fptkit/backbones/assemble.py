"""How a backbone is built: choose the weights, load or draw them, keep blocks, draw anew, fit it to the task.

The steps and their order are the same for every architecture. What is special to one is its `Family`; a further
architecture is a further family, named in `FAMILIES` where the package itself must find it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from fptkit.backbones.adapt import chosen_blocks, redraw
from fptkit.backbones.options import BlockOptions, Init, PositionOptions, RandomInit
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone
from fptkit.sources import choose
from fptkit.sources.weights import WeightFolder, open_weights

Architecture = TypeVar("Architecture")
AnyBackbone = TypeVar("AnyBackbone", bound=Backbone)

REPLACED_BY_A_DRAW = ("random", "flat_0.02")
"""Values of ``init`` that keep no number of a checkpoint: it only gives the architecture."""

FAMILIES: dict[str, str] = {
    "attention_layer": "fptkit.backbones.plain.build:AttentionLayerFamily",
    "bert": "fptkit.backbones.huggingface.build:BertFamily",
    "gpt2": "fptkit.backbones.gpt2_build:Gpt2Family",
    "huggingface": "fptkit.backbones.huggingface.build:HuggingFaceFamily",
    "longformer": "fptkit.backbones.huggingface.build:LongformerFamily",
    "lstm": "fptkit.backbones.lstm.build:LstmFamily",
    "none": "fptkit.backbones.plain.build:NoBackboneFamily",
    "t5_encoder": "fptkit.backbones.huggingface.build:T5EncoderFamily",
    "vit": "fptkit.backbones.vit.build:VitFamily",
}
"""Families of the built-in backbones. As text: only the one that is used is imported."""


@dataclass(frozen=True)
class Request:
    """What a recipe asks of a backbone, whatever its architecture.

    Args:
        tokens: T, the task's longest example in tokens.
        seed: of all draws.
        weights: sources of the weights, the first available is taken.
        init: what the weights are set to.
        blocks: which blocks are kept.
        positions: how the position table is fitted to the task.
        pinned: weights entry an earlier run of this recipe took.
    """

    tokens: int
    seed: int
    weights: tuple[str, ...] = ("random",)
    init: Init = "pretrained"
    blocks: BlockOptions = field(default_factory=BlockOptions)
    positions: PositionOptions = field(default_factory=PositionOptions)
    pinned: str | None = None


@dataclass(frozen=True)
class RandomDraw:
    """A model with random weights, as the backbone ``random`` builds it.

    Args:
        size: size by name; ``blocks``, ``width`` and ``heads`` replace parts of it.
        positions: T, the task's longest example in tokens; rows of the position table to keep.
        seed: of the draw.
        blocks: number of blocks; None: that of the size.
        width: D; None: that of the size.
        heads: attention heads; None: that of the size.
        rows: rows the position table is drawn with; None: the usual number, or ``positions`` where they are more.
        init: ``random``: as the library draws the architecture; ``flat_0.02``: see `fptkit.backbones.adapt.redraw`.
        dropout: probability of dropping a number outside the attention weights, in training.
        attention_dropout: probability of dropping an attention weight, in training.
    """

    size: str
    positions: int
    seed: int
    blocks: int | None = None
    width: int | None = None
    heads: int | None = None
    rows: int | None = None
    init: RandomInit = "random"
    dropout: float = 0.1
    attention_dropout: float = 0.0

    @property
    def replaced(self) -> dict[str, int]:
        """The parts of the size that are replaced, by name."""
        given = {"blocks": self.blocks, "width": self.width, "heads": self.heads}
        return {name: value for name, value in given.items() if value is not None}


class Family(ABC, Generic[Architecture, AnyBackbone]):
    """What is special to one architecture. `assemble` calls the methods in the order they have here.

    An instance holds the options that only this architecture has, such as dropout.

    Attributes:
        name: of the backbone, for messages.
        advice: what a user can do when none of the weights is available.
        what: what is looked for among the sources, for messages; empty: the weights of the backbone.
        block_list: attribute of the backbone that lists its blocks.
    """

    name: str
    advice: str
    what: str = ""
    block_list: str = ""

    @classmethod
    @abstractmethod
    def of(cls, options: Any, tokens: int) -> Family[Architecture, AnyBackbone]:
        """The family with a recipe's options, for a task of up to ``tokens`` tokens."""

    @classmethod
    def request(cls, options: Any, tokens: int, seed: int, pinned: str | None = None) -> Request:
        """What a recipe's options ask for; here those that have ``weights``, ``init``, ``blocks`` and ``positions``."""
        return Request(tokens, seed, options.weights, options.init, options.blocks, options.positions, pinned)

    @classmethod
    def random(cls, draw: RandomDraw) -> Family[Architecture, AnyBackbone]:
        """The family with the sizes and dropouts of a draw, where the backbone ``random`` offers it.

        Raises:
            ShapeError: the architecture has no such size, or takes none of the numbers given.
        """
        raise NotImplementedError(f"{cls.__name__} is not offered by the backbone random")

    @abstractmethod
    def from_options(self) -> Architecture:
        """The architecture the options describe, for the weights ``random``."""

    @abstractmethod
    def from_config(self, config: Mapping[str, Any], entry: str) -> Architecture:
        """The architecture a checkpoint's config.json describes.

        Raises:
            DataError: it describes none of this family.
        """

    @abstractmethod
    def draw(self, architecture: Architecture, seed: int, folder: WeightFolder | None) -> AnyBackbone:
        """A backbone with weights as the library draws them.

        Args:
            architecture: what is drawn.
            seed: of the draw.
            folder: the checkpoint that gave the architecture; None where there is none, or its config alone.
        """

    @abstractmethod
    def load(self, folder: WeightFolder, architecture: Architecture) -> AnyBackbone:
        """A backbone with a checkpoint's weights, whole.

        Raises:
            DataError: the checkpoint lacks or adds tensors, or holds numbers that are not finite.
        """

    def keep_blocks(self, backbone: AnyBackbone, options: BlockOptions) -> None:
        """Drop the blocks that ``options`` does not keep.

        Raises:
            ShapeError: it keeps none, or more than there are.
        """
        if options.keep is None:
            return
        chosen, listed = chosen_blocks(backbone.blocks, options), getattr(backbone, self.block_list)
        setattr(backbone, self.block_list, nn.ModuleList(listed[index] for index in chosen))
        backbone.blocks = len(chosen)

    def examine(self, backbone: AnyBackbone, architecture: Architecture) -> None:  # most need nothing
        """Find out what the steps below need to know of the backbone, where the architecture does not say it."""

    def redraw(self, backbone: AnyBackbone, init: Init, seed: int) -> None:
        """Set the weights as ``init`` says; see `fptkit.backbones.adapt.redraw`."""
        redraw(backbone, init, seed)

    def fit(self, backbone: AnyBackbone, tokens: int, options: PositionOptions) -> Sequence[str]:
        """Fit the positions to the task. Returns lines for the run header.

        Raises:
            ShapeError: see `fptkit.backbones.adapt.fit_positions`.
        """
        return ()


def family_named(name: str) -> type[Family[Any, Any]] | None:
    """The family of a built-in backbone; None for any other backbone, and for ``random``, which has several."""
    if name not in FAMILIES:
        return None
    module, _, kind = FAMILIES[name].partition(":")
    family: type[Family[Any, Any]] = getattr(importlib.import_module(module), kind)
    return family


def build(
    kind: type[Family[Architecture, AnyBackbone]], options: Any, *, positions: int, seed: int, pinned: str | None
) -> AnyBackbone:
    """Build the backbone a recipe asks for. Arguments are those of a backbone's builder; errors as `assemble`."""
    return assemble(kind.of(options, positions), kind.request(options, positions, seed, pinned))


def assemble(family: Family[Architecture, AnyBackbone], request: Request) -> AnyBackbone:
    """Build a backbone with the first weights available.

    Args:
        family: what is special to its architecture.
        request: what the recipe asks for.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are available but broken, or of another architecture.
        ShapeError: the task is longer than the position table and nothing says how to extend it, the blocks to keep are
            not there, or the statistics of random weights are asked for.
    """
    choice = choose(
        request.weights,
        lambda entry: None if entry == "random" else open_weights(entry),
        what=family.what or f"weights of backbone {family.name}",
        pinned=request.pinned,
        advice=family.advice,
    )
    folder = choice.found
    if folder is None and request.init == "statistics":
        raise ShapeError("backbone.init 'statistics' needs loaded weights, but the weights are 'random'")
    architecture = family.from_options() if folder is None else family.from_config(folder.config, folder.entry)
    if folder is None or request.init in REPLACED_BY_A_DRAW:
        backbone = family.draw(architecture, request.seed, folder)
    else:
        backbone = family.load(folder, architecture)
    finish(family, backbone, architecture, request)
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = (*(f"{entry}: {reason}" for entry, reason in choice.skipped), *backbone.notes)
    return backbone


def finish(
    family: Family[Architecture, AnyBackbone], backbone: AnyBackbone, architecture: Architecture, request: Request
) -> None:
    """The steps behind loading or drawing: they turn the whole model into the backbone of a task, in place.

    Blocks are dropped first, so that nothing is drawn for them; positions are fitted last, so that what is drawn does
    not depend on the task's length.
    """
    family.keep_blocks(backbone, request.blocks)
    family.examine(backbone, architecture)
    family.redraw(backbone, request.init, request.seed)
    backbone.notes = tuple(family.fit(backbone, request.tokens, request.positions))
