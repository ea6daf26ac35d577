"""How a backbone is built: choose, load or initialise the weights, drop blocks, re-initialise, fit to the task.

The steps and their order are the same for every architecture; a `Family` holds what differs. To add a built-in
architecture, write a family and list it in `FAMILIES`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from fptkit.backbones.adapt import chosen_blocks, redraw
from fptkit.backbones.config_file import notes_on_code
from fptkit.backbones.options import BlockOptions, Init, PositionOptions, RandomInit
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone
from fptkit.sources import choose
from fptkit.sources.formats import notes_on_adapter
from fptkit.sources.weights import WeightFolder, open_weights

Architecture = TypeVar("Architecture")
AnyBackbone = TypeVar("AnyBackbone", bound=Backbone)

REPLACED_BY_A_DRAW = ("random", "flat_0.02")
"""Values of ``init`` that use the architecture of a checkpoint, but none of its weights."""

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
"""Import paths of the built-in backbones' families, as text so that only the one in use is imported."""


@dataclass(frozen=True)
class Request:
    """The part of a recipe's backbone options that is the same for every architecture.

    Args:
        tokens: T, tokens of the task's longest example.
        seed: seed of every random initialisation.
        weights: sources of the weights; the first available one is used.
        init: how the weights are initialised.
        blocks: which blocks to keep.
        positions: how to fit the position table to the task.
        pinned: entry of ``weights`` that an earlier run of this recipe used; then no other is tried.
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
    """A randomly initialised model, as the backbone ``random`` builds it.

    Args:
        size: name of the size; ``blocks``, ``width`` and ``heads`` override parts of it.
        positions: T, tokens of the task's longest example; rows of the final position table.
        seed: seed of the initialisation.
        blocks: number of blocks; None: as in the size.
        width: D; None: as in the size.
        heads: attention heads; None: as in the size.
        rows: rows of the position table before it is cut to ``positions``; None: the architecture's usual number, or
            ``positions`` if that is larger.
        init: ``random``: the library's initialisation; ``flat_0.02``: see `fptkit.backbones.adapt.redraw`.
        dropout: dropout probability outside the attention weights, in training.
        attention_dropout: dropout probability of attention weights, in training.
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
        """The values that override the size, by name."""
        given = {"blocks": self.blocks, "width": self.width, "heads": self.heads}
        return {name: value for name, value in given.items() if value is not None}


class Family(ABC, Generic[Architecture, AnyBackbone]):
    """What is specific to one architecture. `assemble` calls the methods in the order of their definition.

    An instance holds the options that only this architecture has, such as dropout.

    Attributes:
        name: name of the backbone, for messages.
        advice: what a user can do if none of the weights is available.
        what: what the sources are searched for, for messages; empty: the weights of the backbone.
        block_list: attribute of the backbone that lists its blocks.
        reads_numbers: its library reads numbers of tensors while it builds a model.
    """

    name: str
    advice: str
    what: str = ""
    block_list: str = ""
    reads_numbers: bool = False

    @classmethod
    @abstractmethod
    def of(cls, options: Any, tokens: int) -> Family[Architecture, AnyBackbone]:
        """Create the family from a recipe's options, for a task of up to ``tokens`` tokens."""

    @classmethod
    def request(cls, options: Any, tokens: int, seed: int, pinned: str | None = None) -> Request:
        """Collect the request from options that have ``weights``, ``init``, ``blocks`` and ``positions``."""
        return Request(tokens, seed, options.weights, options.init, options.blocks, options.positions, pinned)

    @classmethod
    def random(cls, draw: RandomDraw) -> Family[Architecture, AnyBackbone]:
        """Create the family for a randomly initialised model, if the backbone ``random`` offers this architecture.

        Raises:
            ShapeError: the architecture has no such size, or does not accept one of the given numbers.
            NotImplementedError: the backbone ``random`` does not offer it.
        """
        # Not abstract: families that are controls themselves are not offered, and `RandomOptions.like` leaves them out.
        raise NotImplementedError(f"{cls.__name__} is not offered by the backbone random")

    @abstractmethod
    def from_options(self) -> Architecture:
        """Return the architecture that the options describe, for the weights ``random``."""

    @abstractmethod
    def from_config(self, config: Mapping[str, Any], entry: str) -> Architecture:
        """Return the architecture that a checkpoint's config.json describes.

        Raises:
            DataError: the config does not describe an architecture of this family.
        """

    @abstractmethod
    def draw(self, architecture: Architecture, seed: int, folder: WeightFolder | None) -> AnyBackbone:
        """Build a backbone initialised as the library initialises this architecture.

        Args:
            architecture: the architecture to build.
            seed: seed of the initialisation.
            folder: the checkpoint that gave the architecture; None if there is none, or only its config.
        """

    @abstractmethod
    def load(self, folder: WeightFolder, architecture: Architecture) -> AnyBackbone:
        """Build a backbone with all weights of a checkpoint.

        Raises:
            DataError: tensors are missing or unexpected, or contain NaN or infinity.
        """

    def keep_blocks(self, backbone: AnyBackbone, options: BlockOptions) -> None:
        """Drop the blocks that ``options`` does not keep.

        Raises:
            ShapeError: no block would be left, or more blocks are requested than the model has.
        """
        if options.keep is None:
            return
        chosen, listed = chosen_blocks(backbone.blocks, options), getattr(backbone, self.block_list)
        setattr(backbone, self.block_list, nn.ModuleList(listed[index] for index in chosen))
        backbone.blocks = len(chosen)

    def examine(self, backbone: AnyBackbone, architecture: Architecture) -> None:  # most need nothing
        """Determine what the next steps need to know about the backbone, if the architecture does not say it."""

    def redraw(self, backbone: AnyBackbone, init: Init, seed: int) -> None:
        """Re-initialise the weights as ``init`` says; see `fptkit.backbones.adapt.redraw`."""
        redraw(backbone, init, seed)

    def fit(self, backbone: AnyBackbone, tokens: int, options: PositionOptions) -> Sequence[str]:
        """Fit the positions to the task; return notes for the run header.

        Raises:
            ShapeError: see `fptkit.backbones.adapt.fit_positions`.
        """
        return ()


def family_named(name: str) -> type[Family[Any, Any]] | None:
    """Return the family of a built-in backbone; None for other backbones and for ``random``, which has several."""
    if name not in FAMILIES:
        return None
    module, _, kind = FAMILIES[name].partition(":")
    family: type[Family[Any, Any]] = getattr(importlib.import_module(module), kind)
    return family


def build(
    kind: type[Family[Architecture, AnyBackbone]], options: Any, *, positions: int, seed: int, pinned: str | None
) -> AnyBackbone:
    """Build the backbone that a recipe describes. Arguments as for a backbone's builder; errors as for `assemble`."""
    return assemble(kind.of(options, positions), kind.request(options, positions, seed, pinned))


def assemble(family: Family[Architecture, AnyBackbone], request: Request) -> AnyBackbone:
    """Build a backbone with the first available weights.

    Args:
        family: what is specific to its architecture.
        request: the options that every architecture has.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are available but broken, or of another architecture.
        ShapeError: the task is longer than the position table and ``extend`` is not set, the blocks to keep do not
            exist, or ``init`` is ``statistics`` for random weights.
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
        raise ShapeError("backbone.init 'statistics' needs loaded weights, but the weights are 'random'; use flat_0.02")
    architecture = family.from_options() if folder is None else family.from_config(folder.config, folder.entry)
    if folder is None or request.init in REPLACED_BY_A_DRAW:
        backbone = family.draw(architecture, request.seed, folder)
    else:
        backbone = family.load(folder, architecture)
    finish(family, backbone, architecture, request)
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = (*(f"{entry}: {reason}" for entry, reason in choice.skipped), *_ignored(folder), *backbone.notes)
    return backbone


def _ignored(folder: WeightFolder | None) -> Sequence[str]:
    """Notes on how a checkpoint was opened, and on what its folder and config.json hold and no backbone uses."""
    if folder is None:
        return ()
    return (*folder.notes, *notes_on_adapter(folder.file, folder.entry), *notes_on_code(folder.config, folder.entry))


def finish(
    family: Family[Architecture, AnyBackbone], backbone: AnyBackbone, architecture: Architecture, request: Request
) -> None:
    """Turn a loaded or initialised model into the backbone of a task, in place.

    Blocks are dropped first, so that they use up no random numbers; positions are fitted last, so that the random
    numbers do not depend on the task's length.
    """
    family.keep_blocks(backbone, request.blocks)
    family.examine(backbone, architecture)
    family.redraw(backbone, request.init, request.seed)
    backbone.notes = (*backbone.notes, *family.fit(backbone, request.tokens, request.positions))
