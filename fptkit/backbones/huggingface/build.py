"""Building backbones from models of transformers: with the first available weights, or randomly initialised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from fptkit.backbones.assemble import Family, RandomDraw, build
from fptkit.backbones.grid import square_side
from fptkit.backbones.huggingface.bodies import find_body
from fptkit.backbones.huggingface.body import TokenBody
from fptkit.backbones.huggingface.families import knowledge_of
from fptkit.backbones.huggingface.fit import fit_tables, keep_blocks, redraw_weights
from fptkit.backbones.huggingface.fused import fuse
from fptkit.backbones.huggingface.load import draw_model, load_model, make_config, narrow_windows, quiet, set_dropout
from fptkit.backbones.huggingface.measure import measure, measure_padding
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
from fptkit.backbones.options import BlockOptions, Init, PositionOptions
from fptkit.errors import DataError, FptkitError, ShapeError, UsageError
from fptkit.files import read_json
from fptkit.sources.choice import expanded
from fptkit.sources.weights import WeightFolder
from fptkit.specs.freezing import Role

AnyOptions = HuggingFaceOptions | BertOptions | T5EncoderOptions | LongformerOptions


def build_huggingface(
    options: HuggingFaceOptions, *, positions: int, seed: int, pinned: str | None = None
) -> HuggingFaceBackbone:
    """Build any model of transformers that accepts token vectors.

    Args:
        options: recipe options.
        positions: T, tokens of the task's longest example; a position table is fitted to it.
        seed: seed of the initialisation, for random weights.
        pinned: weights entry that an earlier run of this recipe used.

    Raises:
        FptkitError: see `fptkit.backbones.assemble.assemble`.
        DataError: the checkpoint's model does not accept token vectors.
        UsageError: the model of the option ``config`` does not.
        FreezingError: the role of some parameters is unknown.
        ShapeError: a dropout is set that the model does not have.
    """
    return build(HuggingFaceFamily, options, positions=positions, seed=seed, pinned=pinned)


def build_bert(options: BertOptions, *, positions: int, seed: int, pinned: str | None = None) -> HuggingFaceBackbone:
    """Build BERT. See `build_huggingface` for arguments and errors."""
    return build(BertFamily, options, positions=positions, seed=seed, pinned=pinned)


def build_t5_encoder(
    options: T5EncoderOptions, *, positions: int, seed: int, pinned: str | None = None
) -> HuggingFaceBackbone:
    """Build the encoder of T5, mT5 or UMT5. See `build_huggingface` for arguments and errors."""
    return build(T5EncoderFamily, options, positions=positions, seed=seed, pinned=pinned)


def build_longformer(
    options: LongformerOptions, *, positions: int, seed: int, pinned: str | None = None
) -> HuggingFaceBackbone:
    """Build Longformer, without global attention. See `build_huggingface` for arguments and errors."""
    return build(LongformerFamily, options, positions=positions, seed=seed, pinned=pinned)


@dataclass(frozen=True)
class Described:
    """A model described by a config.json.

    Args:
        config: the library's config, with the recipe's dropout and windows.
        where: name of the config.json in error messages.
        fault: class of errors about it.
        part: which of the models that are combined; None: the model is one.
    """

    config: PretrainedConfig
    where: str
    fault: type[FptkitError] = DataError
    part: str | None = None


@dataclass(frozen=True)
class TransformersFamily(Family[Described, HuggingFaceBackbone]):
    """Models of transformers, of some model types or of any.

    Args:
        content: content or path of the config.json for the weights ``random``; None if the weights are not random.
        longest: tokens of the longest sequence; wider attention windows are narrowed.
        dropout: dropout probability outside the attention weights, in training; None: as in the config.
        attention_dropout: dropout probability of attention weights, in training; None: as in the config.
        attention_window: attention window of every block, in tokens; None: as in the config.
        part: which of the models that are combined; None: the model is one.
        roles: roles of parameters, by pattern of their names.

    Attributes:
        kinds: accepted model types; empty: any.
    """

    content: Mapping[str, Any] | str | None
    longest: int
    dropout: float | None
    attention_dropout: float | None
    attention_window: int | None = None
    part: str | None = None
    roles: Mapping[str, Role] | None = None

    kinds: ClassVar[tuple[str, ...]] = ()
    reads_numbers = True
    advice = (
        "Put config.json and model.safetensors into a folder and use path:FOLDER, or use the weights 'random'. "
        "`fptkit list weights` shows the available weights."
    )

    def from_options(self) -> Described:
        """See `Family.from_options`."""
        assert isinstance(self.content, Mapping)
        return self._described(self.content, "random")

    def from_config(self, config: Mapping[str, Any], entry: str) -> Described:
        """See `Family.from_config`.

        Raises:
            DataError: it is of another model type, or transformers cannot use it.
            ShapeError: a dropout is set that the model does not have.
        """
        if self.kinds and config.get("model_type") not in self.kinds:
            raise DataError(
                f"{entry}: its config.json says model_type {config.get('model_type')!r}, but the backbone {self.name} "
                f"takes {' or '.join(self.kinds)}; the backbone huggingface takes any"
            )
        return self._described(config, entry)

    def _described(self, content: Mapping[str, Any], where: str, fault: type[FptkitError] = DataError) -> Described:
        config = make_config(content, where, fault)
        find_body(config, self.part, where, fault)
        own = getattr(config, f"{self.part}_config") if self.part else config
        if without := set_dropout(own, self.dropout, self.attention_dropout):
            raise ShapeError(
                f"backbone.{without[0]}: a model of type {config.model_type} has no such dropout; leave the option out"
            )
        if self.attention_window:
            config.attention_window = [self.attention_window] * config.num_hidden_layers
        narrow_windows(config, self.longest)
        return Described(config, where, fault, self.part)

    def draw(self, architecture: Described, seed: int, folder: WeightFolder | None) -> HuggingFaceBackbone:
        """See `Family.draw`."""
        return self._backbone(
            draw_model(architecture.config, seed, architecture.where, architecture.fault, part=architecture.part)
        )

    def load(self, folder: WeightFolder, architecture: Described) -> HuggingFaceBackbone:
        """See `Family.load`."""
        model, notes = load_model(folder, architecture.config, part=architecture.part)
        backbone = self._backbone(model)
        backbone.notes = notes
        return backbone

    def _backbone(self, model: PreTrainedModel) -> HuggingFaceBackbone:
        window = getattr(model.config, "attention_window", 1)
        widest = window if isinstance(window, int) else max(window)
        return HuggingFaceBackbone(model, window=widest, given_roles=self.roles)

    def keep_blocks(self, backbone: HuggingFaceBackbone, options: BlockOptions) -> None:
        """See `Family.keep_blocks`."""
        keep_blocks(backbone, options)

    def examine(self, backbone: HuggingFaceBackbone, architecture: Described) -> None:
        """See `Family.examine`: run the model on a few tokens to find its properties, and check its roles.

        Raises:
            FptkitError: the model does not run on token vectors.
            FreezingError: the role of some parameters is unknown.
            UsageError: a pattern of the option ``roles`` matches no parameter.
        """
        with quiet():  # the library says at the first run which packages would make it faster
            measure(backbone, architecture.where, architecture.fault)
        backbone.parameter_roles()  # an error here is better than one in the middle of a run
        fuse(backbone.model, backbone.block_modules(), backbone.width)

    def redraw(self, backbone: HuggingFaceBackbone, init: Init, seed: int) -> None:
        """See `Family.redraw`."""
        redraw_weights(backbone, init, seed)

    def fit(self, backbone: HuggingFaceBackbone, tokens: int, options: PositionOptions) -> Sequence[str]:
        """See `Family.fit`."""
        notes = fit_tables(backbone, tokens, options)
        model: Any = backbone.model
        if isinstance(model, TokenBody) and model.has_grid:
            longest = max(tokens, options.length or 0)
            notes = [*(notes if backbone.ends else ()), model.fit_grid(longest, options)]
            limit = square_side(longest) ** 2
            backbone.max_positions = min(limit, backbone.max_positions or limit) if backbone.ends else limit
            backbone.ends = True
        if backbone.window != 1:
            notes.append("no token has global attention: each sees only its window")
        if note := knowledge_of(backbone.model.config.model_type).note:
            notes.append(note)
        return [*notes, *measure_padding(backbone, tokens)]


class HuggingFaceFamily(TransformersFamily):
    """Any model of transformers. Only here ``content`` may be a path."""

    name = "huggingface"

    @classmethod
    def of(cls, options: HuggingFaceOptions, tokens: int) -> HuggingFaceFamily:
        """See `Family.of`."""
        return cls(options.config, **_common(options, tokens), part=options.part, roles=options.roles)

    def from_options(self) -> Described:
        """See `Family.from_options`.

        Raises:
            DataError: the file cannot be read, or transformers cannot use its content.
            UsageError: transformers cannot use the keys and values in the recipe.
        """
        if isinstance(self.content, str):
            content = read_json(expanded(self.content), where="backbone.config")
            return self._described(content, self.content)
        return self._described(self.content or {}, "backbone.config", UsageError)


class BertFamily(TransformersFamily):
    """BERT."""

    name = "bert"
    kinds: ClassVar[tuple[str, ...]] = ("bert",)

    @classmethod
    def of(cls, options: BertOptions, tokens: int) -> BertFamily:
        """See `Family.of`."""
        return cls(_bert_config(ENCODER_SIZES[options.size], BERT_POSITIONS), **_common(options, tokens))

    @classmethod
    def random(cls, draw: RandomDraw) -> BertFamily:
        """See `Family.random`."""
        content = _bert_config(_sizes(cls.name, draw), draw.rows or max(BERT_POSITIONS, draw.positions))
        return cls(content, draw.positions, draw.dropout, draw.attention_dropout)


class T5EncoderFamily(TransformersFamily):
    """The encoder of T5, mT5 or UMT5. T5 has a single dropout probability, attention weights included."""

    name = "t5_encoder"
    kinds: ClassVar[tuple[str, ...]] = ("t5", "mt5", "umt5")

    @classmethod
    def of(cls, options: T5EncoderOptions, tokens: int) -> T5EncoderFamily:
        """See `Family.of`."""
        return cls(_t5_config(ENCODER_SIZES[options.size]), **_common(options, tokens))

    @classmethod
    def random(cls, draw: RandomDraw) -> T5EncoderFamily:
        """See `Family.random`.

        Raises:
            ShapeError: ``rows`` is given, but T5 has no position table.
        """
        if draw.rows is not None:
            raise ShapeError("a T5 has no position table: backbone.positions must be null")
        return cls(_t5_config(_sizes(cls.name, draw)), draw.positions, draw.dropout, draw.attention_dropout)


class LongformerFamily(TransformersFamily):
    """Longformer, without global attention."""

    name = "longformer"
    kinds: ClassVar[tuple[str, ...]] = ("longformer",)

    @classmethod
    def of(cls, options: LongformerOptions, tokens: int) -> LongformerFamily:
        """See `Family.of`."""
        window = options.attention_window or ATTENTION_WINDOWS[options.size]
        content = _longformer_config(ENCODER_SIZES[options.size], LONGFORMER_POSITIONS, window)
        return cls(content, **_common(options, tokens), attention_window=options.attention_window)

    @classmethod
    def random(cls, draw: RandomDraw) -> LongformerFamily:
        """See `Family.random`; the attention window is that of the size."""
        sizes, rows = _sizes(cls.name, draw), draw.rows or max(LONGFORMER_POSITIONS, draw.positions)
        content = _longformer_config(sizes, rows, ATTENTION_WINDOWS[draw.size])
        return cls(content, draw.positions, draw.dropout, draw.attention_dropout)


def _common(options: AnyOptions, tokens: int) -> dict[str, Any]:
    """The fields of a family that come from options which all models have."""
    longest = max(tokens, options.positions.length or 0)
    return {"longest": longest, "dropout": options.dropout, "attention_dropout": options.attention_dropout}


# Randomly initialised models get the smallest vocabulary that the padding id allows: it is dropped anyway.


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
    """Source: allenai/longformer-base-4096, config.json. Two position rows are for padding, as in RoBERTa."""
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


def _sizes(name: str, draw: RandomDraw) -> EncoderSizes:
    """The sizes of a `RandomDraw`.

    Raises:
        UsageError: there is no such size.
        ShapeError: ``width`` is not a multiple of ``heads``.
    """
    if draw.size not in ENCODER_SIZES:
        raise UsageError(f"backbone.size: {name} has the sizes {', '.join(ENCODER_SIZES)}, not {draw.size!r}")
    sizes = replace(ENCODER_SIZES[draw.size], **draw.replaced)
    if sizes.width % sizes.heads:
        raise ShapeError(f"width must be a multiple of heads, but {sizes.width} is not one of {sizes.heads}")
    return sizes
