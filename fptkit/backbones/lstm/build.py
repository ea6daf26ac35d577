"""Building a layer-norm LSTM, randomly initialised or from a folder, and saving one to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from fptkit.backbones.assemble import Family, RandomDraw, Request, build
from fptkit.backbones.lstm.native import NoKernel, load_kernel
from fptkit.backbones.lstm.network import LstmBackbone
from fptkit.backbones.lstm.options import LSTM_SIZES, LstmOptions, LstmSizes, Variant
from fptkit.backbones.lstm.recurrence import Loop
from fptkit.backbones.options import BlockOptions, Init, PositionOptions
from fptkit.backbones.tensors import select_tensors
from fptkit.errors import DataError, ShapeError, UsageError
from fptkit.files import replacing, write_json
from fptkit.seeds import generator_for
from fptkit.sources.weights import WeightFolder

MODEL_TYPE = "layer_norm_lstm"


def build_lstm(options: LstmOptions, *, positions: int, seed: int, pinned: str | None = None) -> LstmBackbone:
    """Build an LSTM with the first available weights.

    Args:
        options: recipe options.
        positions: not used; an LSTM has no position table and no maximum length.
        seed: seed of the initialisation, for random weights.
        pinned: weights entry that an earlier run of this recipe used.

    Raises:
        FptkitError: see `fptkit.backbones.assemble.assemble`.
        UsageError: ``loop`` is ``compiled`` and the loop cannot be compiled.
    """
    return build(LstmFamily, options, positions=positions, seed=seed, pinned=pinned)


@dataclass(frozen=True)
class LstmFamily(Family[LstmSizes, LstmBackbone]):
    """The layer-norm LSTM. Its blocks are its layers, and it has no position table.

    Args:
        sizes: sizes of the model for the weights ``random``.
        dropout: see `LstmBackbone`.
        loop: see `LstmBackbone`.
        variant: see `LstmBackbone`.
    """

    sizes: LstmSizes
    dropout: float
    loop: Loop = "auto"
    variant: Variant = "ba2016"

    name = "lstm"
    advice = "Add the fallback 'random' to backbone.weights, or put the files into the folder."
    block_list = "layers"

    @classmethod
    def of(cls, options: LstmOptions, tokens: int) -> LstmFamily:
        """See `Family.of`."""
        sizes = _sizes(options.size, options.layers, options.width)
        return cls(sizes, options.dropout, options.loop, options.variant)

    @classmethod
    def request(cls, options: LstmOptions, tokens: int, seed: int, pinned: str | None = None) -> Request:
        """See `Family.request`."""
        return Request(tokens, seed, options.weights, options.init, options.blocks, pinned=pinned)

    @classmethod
    def random(cls, draw: RandomDraw) -> LstmFamily:
        """See `Family.random`; the size ``base`` is the paper's.

        Raises:
            ShapeError: there is no such size, or attention or position options are set, which an LSTM does not have.
        """
        for asked, reason in (
            (draw.heads is not None, "heads: an LSTM has no attention"),
            (draw.attention_dropout, "attention_dropout: an LSTM has no attention"),
            (draw.rows is not None, "positions: an LSTM has no position table"),
        ):
            if asked:
                raise ShapeError(f"backbone.{reason}; leave it out with like: lstm")
        size = "paper" if draw.size == "base" else draw.size
        return cls(_sizes(size, draw.blocks, draw.width), draw.dropout)

    def from_options(self) -> LstmSizes:
        """See `Family.from_options`."""
        return self.sizes

    def from_config(self, config: Mapping[str, Any], entry: str) -> LstmSizes:
        """See `Family.from_config`.

        Raises:
            DataError: it is not a config of a layer-norm LSTM, has invalid sizes, or is of the other variant.
        """
        variant = _variant_of(config, entry)
        if variant != self.variant:
            raise DataError(
                f"{entry}: its config.json says variant '{variant}', but backbone.variant is '{self.variant}': they "
                f"compute different things; use --set backbone.variant={variant}"
            )
        return _sizes_of(config, entry)

    def draw(self, architecture: LstmSizes, seed: int, folder: WeightFolder | None) -> LstmBackbone:
        """See `Family.draw`.

        Raises:
            DataError: the sizes of the checkpoint differ from its config.json.
        """
        if folder is not None:
            _check_extent(folder.tensors(), architecture, folder.entry)
        backbone = draw_lstm(architecture, seed, self.variant)
        backbone.dropout, backbone.loop = self.dropout, self.loop
        return backbone

    def load(self, folder: WeightFolder, architecture: LstmSizes) -> LstmBackbone:
        """See `Family.load`."""
        backbone = load_lstm(folder)
        backbone.dropout, backbone.loop = self.dropout, self.loop
        return backbone

    def keep_blocks(self, backbone: LstmBackbone, options: BlockOptions) -> None:
        """See `Family.keep_blocks`."""
        super().keep_blocks(backbone, options)
        backbone.sizes = replace(backbone.sizes, layers=backbone.blocks)

    @torch.no_grad()
    def redraw(self, backbone: LstmBackbone, init: Init, seed: int) -> None:
        """See `Family.redraw`; ``flat_0.02`` draws the biases of the maps, too. Draws the initial state of evaluation.

        With biases of zero, the first zero tokens of an example would stay zero through the norms of every layer, and
        their gradient would not be a finite number.
        """
        super().redraw(backbone, init, seed)
        if init == "flat_0.02":
            generator = generator_for(seed, "redraw biases")
            roles = backbone.parameter_roles()
            for name, parameter in backbone.named_parameters():
                if roles[name].role == "recurrent" and parameter.ndim == 1:
                    parameter.normal_(0.0, 0.02, generator=generator)
        backbone.draw_start(generator_for(seed, "initial state"))

    def fit(self, backbone: LstmBackbone, tokens: int, options: PositionOptions) -> Sequence[str]:
        """See `Family.fit`; there are no positions, but the recurrence is compiled here.

        Raises:
            UsageError: ``loop`` is ``compiled`` and the loop cannot be compiled.
        """
        if self.variant == "official":
            return ("recurrence: that of the paper's code, a Python loop over time steps",)
        return (_loop_note(self.loop),)


@torch.no_grad()
def draw_lstm(sizes: LstmSizes, seed: int, variant: Variant = "ba2016") -> LstmBackbone:
    """Build a randomly initialised LSTM.

    Weights and biases are uniform between -1/sqrt(H) and 1/sqrt(H). Norm scales are 1 and norm shifts 0, or, in the
    variant ``official``, both uniform between -1/sqrt(N) and 1/sqrt(N) for a norm of N numbers.

    Source: ``torch.nn.LSTM`` and the paper's code, which agree; norms: ``torch.nn.LayerNorm``, and the paper's code.
    """
    backbone = LstmBackbone(sizes, variant=variant)
    generator, bound = generator_for(seed, "backbone"), sizes.width**-0.5
    roles = backbone.parameter_roles()
    for name, parameter in backbone.named_parameters():
        if roles[name].role == "norm" and variant == "official":
            parameter.uniform_(-(len(parameter) ** -0.5), len(parameter) ** -0.5, generator=generator)
        elif roles[name].role == "norm":
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            parameter.uniform_(-bound, bound, generator=generator)
    return backbone


def save_lstm(backbone: LstmBackbone, folder: Path) -> None:
    """Save an LSTM in float32 to a folder that ``weights: path:FOLDER`` accepts.

    Args:
        backbone: the LSTM; its dropout is not saved, since the recipe sets it.
        folder: destination; created if missing, files of an earlier save are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"layers": backbone.sizes.layers, "width": backbone.width}
    config = {"model_type": MODEL_TYPE, **sizes, "variant": backbone.variant}
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in backbone.named_parameters()}
    with replacing(folder / "model.safetensors") as partial:
        save_file(tensors, partial)
    write_json(folder / "config.json", config)


def load_lstm(folder: WeightFolder) -> LstmBackbone:
    """Build an LSTM from a folder written by `save_lstm`.

    Args:
        folder: the opened checkpoint.

    Raises:
        DataError: it is of another architecture, or tensors are missing, unexpected, or contain NaN or infinity.
    """
    sizes, tensors = _sizes_of(folder.config, folder.entry), folder.tensors()
    _check_extent(tensors, sizes, folder.entry)
    backbone = LstmBackbone(sizes, variant=_variant_of(folder.config, folder.entry))
    expected = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    parts = {name.partition(".")[0] for name in tensors}  # fptkit's own format has no heads of other tasks
    backbone.load_state_dict(select_tensors(tensors, expected, parts=parts, replaced=(), entry=folder.entry).used)
    return backbone


def _sizes_of(config: Mapping[str, Any], entry: str) -> LstmSizes:
    """The sizes in a config.json.

    Raises:
        DataError: it is not a config of a layer-norm LSTM, or has invalid sizes.
    """
    if config.get("model_type") != MODEL_TYPE:
        raise DataError(f"{entry}: its config.json says model_type {config.get('model_type')!r}, not '{MODEL_TYPE}'")
    for key in ("layers", "width"):
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(f"{entry}: its config.json says {key} {value!r}, expected an integer >= 1")
    return LstmSizes(config["layers"], config["width"])


def _variant_of(config: Mapping[str, Any], entry: str) -> Variant:
    """The variant in a config.json; those written before there were two have none.

    Raises:
        DataError: there is no such variant.
    """
    variant = config.get("variant", "ba2016")
    for known in get_args(Variant):
        if variant == known:
            return known
    raise DataError(f"{entry}: its config.json says variant {variant!r}; known: {', '.join(get_args(Variant))}")


def _check_extent(tensors: Mapping[str, Tensor], sizes: LstmSizes, entry: str) -> None:
    """Compare the sizes with the file before a model is allocated: a wrong size could exhaust the memory.

    Raises:
        DataError: the number of layers or the width differs.
    """
    layers = len({name.split(".")[1] for name in tensors if name.startswith("layers.") and name.count(".") == 3})
    if layers != sizes.layers:
        raise DataError(f"{entry}: its config.json says layers {sizes.layers}, but it holds tensors of {layers}")
    found = tensors.get("layers.0.cell_norm.weight")
    shape = "none" if found is None else tuple(found.shape)
    if shape != (sizes.width,):
        raise DataError(
            f"{entry}: layers.0.cell_norm.weight does not fit its config.json: expected shape {(sizes.width,)}, "
            f"found {shape}"
        )


def _sizes(size: str, layers: int | None, width: int | None) -> LstmSizes:
    """The sizes with this name, overridden by ``layers`` and ``width``.

    Raises:
        ShapeError: there is no such size.
    """
    if size not in LSTM_SIZES:
        raise ShapeError(f"backbone.size: an LSTM has no size '{size}'; it has {', '.join(LSTM_SIZES)}")
    sizes = LSTM_SIZES[size]
    return LstmSizes(layers or sizes.layers, width or sizes.width)


def _loop_note(loop: Loop) -> str:
    """Compile the recurrence if needed, and return the run header's note about it.

    Raises:
        UsageError: ``loop`` is ``compiled`` and the loop cannot be compiled.
    """
    slower = "a Python loop over time steps, about twice as slow as the compiled one"
    if loop == "torch":
        return f"recurrence: {slower} (backbone.loop: torch)"
    try:
        load_kernel()
    except NoKernel as reason:
        if loop == "compiled":
            raise UsageError(
                f"backbone.loop 'compiled' is not available: {reason}. Use auto, which falls back to the slower loop"
            ) from reason
        return f"recurrence: {slower}, since {reason}"
    return "recurrence: compiled for this CPU" if loop == "compiled" else "recurrence: compiled on CPUs"
