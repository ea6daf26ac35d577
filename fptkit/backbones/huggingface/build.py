"""Making a backbone from a model of transformers: from the first weights available, or drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from fptkit.backbones.huggingface.fit import fit_tables, keep_blocks, measure, redraw_weights
from fptkit.backbones.huggingface.load import draw_model, load_model, make_config, narrow_windows, set_dropout
from fptkit.backbones.huggingface.model import HuggingFaceBackbone
from fptkit.backbones.huggingface.options import (
    ATTENTION_WINDOWS,
    BERT_POSITIONS,
    ENCODER_SIZES,
    LONGFORMER_POSITIONS,
    BertOptions,
    EncoderSizes,
    HuggingFaceOptions,
    LongformerOptions,
    T5EncoderOptions,
)
from fptkit.backbones.options import BlockOptions, Init, PositionOptions, RandomInit, Size
from fptkit.errors import DataError, FptkitError, ShapeError, UsageError
from fptkit.files import read_json
from fptkit.sources import choose
from fptkit.sources.weights import WeightFolder, open_weights

AnyOptions = HuggingFaceOptions | BertOptions | T5EncoderOptions | LongformerOptions


def build_huggingface(
    options: HuggingFaceOptions, *, positions: int, seed: int, pinned: str | None = None
) -> HuggingFaceBackbone:
    """Build any model of transformers that can be driven by token vectors.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens; a position table is fitted to it.
        seed: draws the weights where they are random.
        pinned: weights entry an earlier run of this recipe took.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are there but broken, of another layout, or of a model that takes no token vectors.
        UsageError: the same of the option ``config``.
        FreezingError: the role of some parameters cannot be told.
        ShapeError: the task is longer than the position table and nothing says how to extend it, the blocks to keep are
            not there, the statistics of random weights are asked for, or a dropout the model has no place for.
    """
    return _build("huggingface", (), options, positions=positions, seed=seed, pinned=pinned)


def build_bert(options: BertOptions, *, positions: int, seed: int, pinned: str | None = None) -> HuggingFaceBackbone:
    """Build BERT. See `build_huggingface` for arguments and errors."""
    return _build("bert", ("bert",), options, positions=positions, seed=seed, pinned=pinned)


def build_t5_encoder(
    options: T5EncoderOptions, *, positions: int, seed: int, pinned: str | None = None
) -> HuggingFaceBackbone:
    """Build the encoder of a T5, mT5 or UMT5. See `build_huggingface` for arguments and errors."""
    return _build("t5_encoder", ("t5", "mt5", "umt5"), options, positions=positions, seed=seed, pinned=pinned)


def build_longformer(
    options: LongformerOptions, *, positions: int, seed: int, pinned: str | None = None
) -> HuggingFaceBackbone:
    """Build Longformer, without global attention. See `build_huggingface` for arguments and errors."""
    return _build("longformer", ("longformer",), options, positions=positions, seed=seed, pinned=pinned)


def random_bert(
    *,
    size: Size,
    blocks: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int,
    rows: int | None = None,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> HuggingFaceBackbone:
    """Draw a BERT's weights.

    Args:
        size: ``nano``, ``base`` or ``large``; ``blocks``, ``width`` and ``heads`` replace parts of it.
        blocks: number of blocks.
        width: D, a multiple of ``heads``.
        heads: attention heads.
        positions: T; rows of the position table to keep.
        rows: rows the table is drawn with; None draws the published number, or ``positions`` where they are more.
        seed: of the draw.
        init: ``random``: as the library draws; ``flat_0.02``: see `fptkit.backbones.adapt.redraw`.
        dropout: probability of dropping a number outside the attention weights, in training.
        attention_dropout: probability of dropping an attention weight, in training.

    Raises:
        UsageError: there is no such size.
        ShapeError: ``positions`` exceeds ``rows``, or ``width`` is no multiple of ``heads``.
    """
    sizes = _sizes("bert", size, blocks, width, heads)
    content = _bert_config(sizes, rows or max(BERT_POSITIONS, positions))
    return _random(content, init, positions, seed, dropout, attention_dropout)


def random_t5_encoder(
    *,
    size: Size,
    blocks: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int,
    rows: int | None = None,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> HuggingFaceBackbone:
    """Draw the weights of a T5 encoder. See `random_bert`; a T5 drops attention weights as often as anything else.

    Raises:
        UsageError: there is no such size.
        ShapeError: ``rows`` is given, though a T5 has no position table, an ``attention_dropout`` of its own is asked
            for, or ``width`` is no multiple of ``heads``.
    """
    if rows is not None:
        raise ShapeError("a T5 has no position table: backbone.positions must be null")
    content = _t5_config(_sizes("t5_encoder", size, blocks, width, heads))
    return _random(content, init, positions, seed, dropout, attention_dropout)


def random_longformer(
    *,
    size: Size,
    blocks: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int,
    rows: int | None = None,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> HuggingFaceBackbone:
    """Draw a Longformer's weights. See `random_bert`; its window is that of the size.

    Raises:
        UsageError: there is no such size.
        ShapeError: ``positions`` exceeds ``rows``, or ``width`` is no multiple of ``heads``.
    """
    sizes = _sizes("longformer", size, blocks, width, heads)
    content = _longformer_config(sizes, rows or max(LONGFORMER_POSITIONS, positions), ATTENTION_WINDOWS[size])
    return _random(content, init, positions, seed, dropout, attention_dropout)


def _build(
    name: str, kinds: tuple[str, ...], options: AnyOptions, *, positions: int, seed: int, pinned: str | None
) -> HuggingFaceBackbone:
    """The straight story of all four: choose weights, load or draw, cut blocks, measure, redraw, fit positions.

    Args:
        name: of the backbone, for errors.
        kinds: model types it takes; empty for any.
        options: recipe options.
        positions: T, the task's longest example in tokens.
        seed: of draws.
        pinned: weights entry an earlier run took.
    """
    choice = choose(
        options.weights,
        lambda entry: None if entry == "random" else open_weights(entry),
        what=f"weights of backbone {name}",
        pinned=pinned,
        advice="Put config.json and model.safetensors into a folder and use path:FOLDER, or take the weights 'random'. "
        "`fptkit list weights` shows what is here.",
    )
    folder = choice.found
    if folder is None and options.init == "statistics":
        raise ShapeError("backbone.init 'statistics' needs loaded weights, but the weights are 'random'")
    content, where, fault = _content(options, folder)
    if kinds and content.get("model_type") not in kinds:
        raise DataError(
            f"{where}: its config.json says model_type {content.get('model_type')!r}, but the backbone {name} takes "
            f"{' or '.join(kinds)}; the backbone huggingface takes any"
        )
    config = make_config(content, where, fault)
    if without := set_dropout(config, options.dropout, options.attention_dropout):
        raise ShapeError(f"backbone.{without[0]}: a model of type {config.model_type} has no such dropout of its own")
    if isinstance(options, LongformerOptions) and options.attention_window:
        config.attention_window = [options.attention_window] * config.num_hidden_layers
    narrow_windows(config, max(positions, options.positions.length or 0))
    drawn = folder is None or options.init in ("random", "flat_0.02")
    model = draw_model(config, seed, where, fault) if drawn or folder is None else load_model(folder, config)
    backbone = _finish(model, options.init, options.blocks, options.positions, positions, seed, where, fault)
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = (*(f"{entry}: {reason}" for entry, reason in choice.skipped), *backbone.notes)
    return backbone


def _content(options: AnyOptions, folder: WeightFolder | None) -> tuple[Mapping[str, Any], str, type[FptkitError]]:
    """The content of the config.json, what to call it, and the error that its faults are."""
    if folder is not None:
        return folder.config, folder.entry, DataError
    if not isinstance(options, HuggingFaceOptions):
        return _random_config(options), "random", DataError
    if isinstance(options.config, str):
        file = Path(options.config).expanduser()
        return read_json(file, where="backbone.config"), options.config, DataError
    return options.config or {}, "backbone.config", UsageError


def _random_config(options: BertOptions | T5EncoderOptions | LongformerOptions) -> dict[str, Any]:
    sizes = ENCODER_SIZES[options.size]
    if isinstance(options, BertOptions):
        return _bert_config(sizes, BERT_POSITIONS)
    if isinstance(options, T5EncoderOptions):
        return _t5_config(sizes)
    return _longformer_config(sizes, LONGFORMER_POSITIONS, options.attention_window or ATTENTION_WINDOWS[options.size])


# The word embeddings of drawn models, which are dropped at once, get the one word that the padding id needs.


def _bert_config(sizes: EncoderSizes, rows: int) -> dict[str, Any]:
    """Source: google-bert/bert-base-uncased, config.json."""
    return {**_shared_config(sizes), "model_type": "bert", "vocab_size": 1, "max_position_embeddings": rows}


def _t5_config(sizes: EncoderSizes) -> dict[str, Any]:
    """Source: google-t5/t5-base, config.json."""
    return {
        "model_type": "t5",
        "vocab_size": 1,
        "num_layers": sizes.blocks,
        "d_model": sizes.width,
        "d_kv": sizes.width // sizes.heads,
        "d_ff": 4 * sizes.width,
        "num_heads": sizes.heads,
    }


def _longformer_config(sizes: EncoderSizes, rows: int, window: int) -> dict[str, Any]:
    """Source: allenai/longformer-base-4096, config.json. Two rows of its table are for padding, as in RoBERTa's."""
    return {
        **_shared_config(sizes),
        "model_type": "longformer",
        "vocab_size": 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "max_position_embeddings": rows + 2,
        "attention_window": [window] * sizes.blocks,
    }


def _shared_config(sizes: EncoderSizes) -> dict[str, Any]:
    return {
        "num_hidden_layers": sizes.blocks,
        "hidden_size": sizes.width,
        "num_attention_heads": sizes.heads,
        "intermediate_size": 4 * sizes.width,
    }


def _sizes(name: str, size: Size, blocks: int | None, width: int | None, heads: int | None) -> EncoderSizes:
    if size not in ENCODER_SIZES:
        raise UsageError(f"backbone.size: {name} has the sizes {', '.join(ENCODER_SIZES)}, not {size!r}")
    usual = ENCODER_SIZES[size]
    sizes = EncoderSizes(blocks or usual.blocks, width or usual.width, heads or usual.heads)
    if sizes.width % sizes.heads:
        raise ShapeError(f"width must be a multiple of heads, but {sizes.width} is not one of {sizes.heads}")
    return sizes


def _random(
    content: dict[str, Any], init: RandomInit, positions: int, seed: int, dropout: float, attention_dropout: float
) -> HuggingFaceBackbone:
    config = make_config(content, "random")
    if without := set_dropout(config, dropout, attention_dropout):
        raise ShapeError(f"backbone.{without[0]}: a model of type {config.model_type} has no such dropout of its own")
    narrow_windows(config, positions)
    model = draw_model(config, seed, "random")
    return _finish(model, init, BlockOptions(), PositionOptions(), positions, seed, "random", DataError)


def _finish(
    model: PreTrainedModel,
    init: Init,
    blocks: BlockOptions,
    positions: PositionOptions,
    tokens: int,
    seed: int,
    where: str,
    fault: type[FptkitError],
) -> HuggingFaceBackbone:
    """From the library's model to a backbone that fits the task."""
    window = getattr(model.config, "attention_window", 1)
    window = window if isinstance(window, int) else max(window)
    backbone = HuggingFaceBackbone(model, window=window)
    keep_blocks(backbone, blocks)
    first_rows = measure(backbone, where, fault)
    backbone.parameter_roles()  # left-over parameters are told of here, not in the middle of a run
    redraw_weights(backbone, init, seed)
    notes = fit_tables(backbone, first_rows, tokens, positions)
    if window != 1:
        notes.append("no token has global attention: each sees its window only")
    backbone.notes = tuple(notes)
    return backbone
