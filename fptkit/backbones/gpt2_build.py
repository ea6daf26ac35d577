"""Building a GPT-2: from the first available weights, from a checkpoint, or randomly initialised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.adapt import extension_note, fit_positions
from fptkit.backbones.assemble import Family, RandomDraw, Request, assemble, build
from fptkit.backbones.config_file import refuse_quantised
from fptkit.backbones.gpt2 import Gpt2Backbone
from fptkit.backbones.options import SIZES, BlockOptions, Gpt2Options, Gpt2Sizes, PositionOptions, RandomInit, Size
from fptkit.backbones.tensors import count_blocks, named_as_in_model, notes_on_heads, select_tensors, to_float32
from fptkit.errors import DataError
from fptkit.seeds import generator_for
from fptkit.sources.weights import WeightFolder


def build_gpt2(options: Gpt2Options, *, positions: int, seed: int, pinned: str | None = None) -> Gpt2Backbone:
    """Build GPT-2 with the first available weights.

    Args:
        options: recipe options.
        positions: T, tokens of the task's longest example; the position table is fitted to it.
        seed: seed of the initialisation, for random weights.
        pinned: weights entry that an earlier run of this recipe used.

    Raises:
        FptkitError: see `fptkit.backbones.assemble.assemble`.
    """
    return build(Gpt2Family, options, positions=positions, seed=seed, pinned=pinned)


def random_gpt2(
    sizes: Gpt2Sizes | Size,
    *,
    positions: int,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> Gpt2Backbone:
    """Build a randomly initialised GPT-2.

    Args:
        sizes: its sizes, or their name; the position table is longer than that if ``positions`` is.
        positions: rows of the position table to keep.
        seed: seed of the initialisation.
        init: see `draw_gpt2` for ``random`` and `fptkit.backbones.adapt.redraw` for ``flat_0.02``.
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.
    """
    sizes = SIZES[sizes] if isinstance(sizes, str) else sizes
    sizes = replace(sizes, positions=max(sizes.positions, positions))
    return assemble(Gpt2Family(sizes, dropout, attention_dropout), Request(positions, seed, init=init))


@dataclass(frozen=True)
class Gpt2Family(Family[Gpt2Sizes, Gpt2Backbone]):
    """GPT-2.

    Args:
        sizes: sizes of the model for the weights ``random``.
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.
    """

    sizes: Gpt2Sizes
    dropout: float
    attention_dropout: float

    name = "gpt2"
    advice = (
        "Add a fallback such as builtin:gpt2_nano to backbone.weights, or put the files into a folder and use "
        "path:FOLDER. `fptkit list weights` shows the available weights."
    )
    block_list = "h"

    @classmethod
    def of(cls, options: Gpt2Options, tokens: int) -> Gpt2Family:
        """See `Family.of`."""
        return cls(SIZES[options.size], options.dropout, options.attention_dropout)

    @classmethod
    def random(cls, draw: RandomDraw) -> Gpt2Family:
        """See `Family.random`; the position table gets ``rows`` rows, or as many as size and task need."""
        usual = SIZES[draw.size]
        rows = max(usual.positions, draw.positions) if draw.rows is None else draw.rows
        return cls(replace(usual, **draw.replaced, positions=rows), draw.dropout, draw.attention_dropout)

    def from_options(self) -> Gpt2Sizes:
        """See `Family.from_options`."""
        return self.sizes

    def from_config(self, config: Mapping[str, Any], entry: str) -> Gpt2Sizes:
        """See `Family.from_config`.

        Raises:
            DataError: it is not a GPT-2 config, describes a variant that is not implemented, or has invalid sizes.
        """
        return _sizes_of(config, entry)

    def draw(self, architecture: Gpt2Sizes, seed: int, folder: WeightFolder | None) -> Gpt2Backbone:
        """See `Family.draw`.

        Raises:
            DataError: the sizes of the checkpoint differ from its config.json.
        """
        if folder is not None:
            _check_positions(_tensors_of(folder, architecture), architecture, folder.entry)
        return draw_gpt2(architecture, seed, self.dropout, self.attention_dropout)

    def load(self, folder: WeightFolder, architecture: Gpt2Sizes) -> Gpt2Backbone:
        """See `Family.load`."""
        return load_gpt2(folder, dropout=self.dropout, attention_dropout=self.attention_dropout)

    def keep_blocks(self, backbone: Gpt2Backbone, options: BlockOptions) -> None:
        """See `Family.keep_blocks`."""
        super().keep_blocks(backbone, options)
        backbone.sizes = replace(backbone.sizes, blocks=backbone.blocks)

    def fit(self, backbone: Gpt2Backbone, tokens: int, options: PositionOptions) -> Sequence[str]:
        """See `Family.fit`."""
        before = len(backbone.wpe.weight)
        with_positions(backbone, tokens, options)
        return extension_note(before, len(backbone.wpe.weight), options)


def load_gpt2(folder: WeightFolder, *, dropout: float = 0.1, attention_dropout: float = 0.0) -> Gpt2Backbone:
    """Build GPT-2 from a checkpoint, with all blocks and positions.

    Args:
        folder: the opened checkpoint.
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.

    Raises:
        DataError: the checkpoint is of another architecture, or tensors are missing, unexpected, or contain NaN or
            infinity.
    """
    sizes = _sizes_of(folder.config, folder.entry)
    tensors = _tensors_of(folder, sizes)
    _check_positions(tensors, sizes, folder.entry)
    backbone = Gpt2Backbone(sizes, dropout=dropout, attention_dropout=attention_dropout)
    expected = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    selected = select_tensors(tensors, expected, parts=_PARTS, replaced=(_WORDS,), entry=folder.entry)
    backbone.load_state_dict(selected.used)
    backbone.notes = notes_on_heads(selected.heads, folder.entry)
    if (words := _words_of(tensors, folder.config)) is not None:
        backbone.embedding_norm = float(to_float32(_WORDS, words, folder.entry).norm(dim=1).mean())
    return backbone


_PARTS = ("wte", "wpe", "drop", "h", "ln_f")
"""Parts of transformers' GPT-2."""

_WORDS, _WORD_HEAD = "wte.weight", "lm_head.weight"


def _tensors_of(folder: WeightFolder, sizes: Gpt2Sizes) -> dict[str, Tensor]:
    """A checkpoint's tensors under the backbone's names.

    Raises:
        DataError: it has fewer blocks than its config.json says. This is checked before a model is allocated: a wrong
            number could exhaust the memory.
    """
    stored = folder.tensors()
    if (blocks := count_blocks(stored, "h")) < sizes.blocks:
        raise DataError(
            f"{folder.entry}: its config.json says n_layer {sizes.blocks}, but it holds tensors of {blocks} blocks"
        )
    # Names only. Not on the device "meta", whose random initialisation imports torch's compiler: a second.
    with torch.random.fork_rng(devices=[]):
        names = Gpt2Backbone(Gpt2Sizes(sizes.blocks, width=1, heads=1, positions=1)).state_dict()
    return named_as_in_model(stored, {*names, _WORDS}, folder.entry)


def _words_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensor | None:
    """The word embedding of a file: (V, D). A file of tied weights may hold only the language head, which equals it."""
    words = tensors.get(_WORDS)
    if words is None and config.get("tie_word_embeddings", True):
        words = tensors.get(_WORD_HEAD)
    return words if words is not None and words.ndim == 2 and words.shape[1] == config["n_embd"] else None


FIXED_CONFIG: dict[str, Any] = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""The supported values of config.json keys that change the computation; a missing key means the same value.

``reorder_and_upcast_attn`` is ignored: it changes the arithmetic, not the formula.
Source: huggingface/transformers, ``models/gpt2/configuration_gpt2.py``.
"""


def _sizes_of(config: Mapping[str, Any], entry: str) -> Gpt2Sizes:
    """The sizes in a config.json.

    Raises:
        DataError: it is not a GPT-2 config, describes a variant that is not implemented, or has invalid sizes.
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
    refuse_quantised(config, entry)
    sizes = Gpt2Sizes(*counts)
    if sizes.width % sizes.heads:
        raise DataError(f"{entry}: its config.json says n_embd {sizes.width}, not a multiple of n_head {sizes.heads}")
    for key, supported in FIXED_CONFIG.items():
        if (value := config.get(key, supported)) != supported:
            raise DataError(
                f"{entry}: its config.json says {key} {value!r}; only {supported!r} is supported. Use backbone.name "
                "huggingface, which accepts any GPT-2"
            )
    if (inner := config.get("n_inner")) not in (None, 4 * sizes.width):
        raise DataError(
            f"{entry}: its config.json says n_inner {inner!r}; only null or 4 * n_embd = {4 * sizes.width} is "
            "supported. Use backbone.name huggingface, which accepts any GPT-2"
        )
    return sizes


def _check_positions(tensors: Mapping[str, Tensor], sizes: Gpt2Sizes, entry: str) -> None:
    """Compare the sizes with the file before a model is allocated: a wrong size could exhaust the memory.

    Raises:
        DataError: the width or the number of positions differs.
    """
    found, expected = tensors.get("wpe.weight"), (sizes.positions, sizes.width)
    if found is None or tuple(found.shape) != expected:
        shape = "none" if found is None else tuple(found.shape)
        raise DataError(f"{entry}: wpe.weight does not fit its config.json: expected shape {expected}, found {shape}")


def draw_gpt2(sizes: Gpt2Sizes, seed: int, dropout: float, attention_dropout: float) -> Gpt2Backbone:
    """Initialise a GPT-2 as the current version of transformers does.

    Weights are normal with standard deviation 0.02, or 0.02 / sqrt(2 * blocks) for the two maps that write to the
    residual stream; biases are 0, norm scales 1. transformers 4.1, and so the paper's random baseline, did not scale by
    depth (PR 13573): use ``flat_0.02`` for that.
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
    """Mean norm of the word embeddings of a random GPT-2, so that norm matching works for the control as well.

    It is the expected norm of ``width`` normal numbers with standard deviation 0.02.
    """
    return 0.02 * math.sqrt(2) * math.exp(math.lgamma((width + 1) / 2) - math.lgamma(width / 2))


def with_positions(backbone: Gpt2Backbone, tokens: int, options: PositionOptions) -> Gpt2Backbone:
    """Fit the position table to the task's length, so that every trained row can get a gradient.

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
