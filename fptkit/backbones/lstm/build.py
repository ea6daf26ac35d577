"""Making a layer-norm LSTM: drawn at random, or from a folder; and saving one into such a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fptkit.backbones.adapt import chosen_blocks, redraw
from fptkit.backbones.lstm.native import NoKernel, load_kernel
from fptkit.backbones.lstm.network import LstmBackbone
from fptkit.backbones.lstm.options import LSTM_SIZES, LstmOptions, LstmSizes
from fptkit.backbones.lstm.recurrence import Loop
from fptkit.backbones.options import BlockOptions, RandomInit
from fptkit.errors import DataError, ShapeError, UsageError
from fptkit.files import replacing, write_json
from fptkit.seeds import generator_for
from fptkit.sources import choose
from fptkit.sources.weights import WeightFolder, open_weights

MODEL_TYPE = "layer_norm_lstm"


def build_lstm(options: LstmOptions, *, positions: int, seed: int, pinned: str | None = None) -> LstmBackbone:
    """Build an LSTM with the first weights available.

    Args:
        options: recipe options.
        positions: not used; there is no position table, and no longest sequence.
        seed: draws the weights where they are random.
        pinned: weights entry an earlier run of this recipe took.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are there but broken or not such an LSTM's.
        ShapeError: the layers to keep are not there, or the statistics of random weights are asked for.
        UsageError: the compiled loop is asked for and cannot be built.
    """
    note = _loop_note(options.loop)
    choice = choose(
        options.weights,
        lambda entry: None if entry == "random" else open_weights(entry),
        what="weights of backbone lstm",
        pinned=pinned,
        advice="Add the fallback 'random' to backbone.weights, or put the files into the folder.",
    )
    if choice.found is None:
        if options.init == "statistics":
            raise ShapeError("backbone.init 'statistics' needs loaded weights, but the weights are 'random'")
        backbone = draw_lstm(_sizes(options.size, options.layers, options.width), seed)
    else:
        backbone = load_lstm(choice.found)
        if options.init == "random":
            backbone = draw_lstm(backbone.sizes, seed)
    keep_layers(backbone, options.blocks)
    redraw(backbone, options.init, seed)
    backbone.dropout, backbone.loop = options.dropout, options.loop
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = (*(f"{entry}: {reason}" for entry, reason in choice.skipped), note)
    return backbone


def random_lstm(
    *,
    size: str,
    blocks: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    positions: int,
    seed: int,
    init: RandomInit = "random",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> LstmBackbone:
    """Draw an LSTM's weights, for the backbone ``random``.

    Args:
        size: ``nano`` or ``paper``, or ``base``, which is the paper's as well; ``blocks`` and ``width`` replace parts.
        blocks: number of layers.
        width: D.
        heads: must be None.
        positions: not used; there is no position table.
        seed: of the draw.
        init: how the weights are drawn.
        dropout: see `LstmBackbone`.
        attention_dropout: must be 0.

    Raises:
        ShapeError: there is no such size, or attention is asked of a model that has none.
    """
    if heads is not None or attention_dropout:
        asked = "heads" if heads is not None else "attention_dropout"
        raise ShapeError(f"backbone.{asked}: an LSTM has no attention; leave it out with like: lstm")
    backbone = draw_lstm(_sizes("paper" if size == "base" else size, blocks, width), seed)
    redraw(backbone, init, seed)
    backbone.dropout, backbone.notes = dropout, (_loop_note("auto"),)
    return backbone


@torch.no_grad()
def draw_lstm(sizes: LstmSizes, seed: int) -> LstmBackbone:
    """An LSTM with weights and biases drawn uniformly from -1/sqrt(H) to 1/sqrt(H), norms of scale 1 and shift 0.

    Source: ``torch.nn.LSTM``, and the paper's code for the same draw; norms as torch has them.
    """
    backbone = LstmBackbone(sizes)
    generator, bound = generator_for(seed, "backbone"), sizes.width**-0.5
    roles = backbone.parameter_roles()
    for name, parameter in backbone.named_parameters():
        if roles[name].role == "norm":
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            parameter.uniform_(-bound, bound, generator=generator)
    return backbone


def keep_layers(backbone: LstmBackbone, options: BlockOptions) -> None:
    """Drop the layers that ``options`` does not keep.

    Raises:
        ShapeError: it keeps none, or more than there are.
    """
    chosen = chosen_blocks(backbone.blocks, options)
    backbone.layers = nn.ModuleList(backbone.layers[index] for index in chosen)
    backbone.blocks = len(chosen)
    backbone.sizes = replace(backbone.sizes, layers=len(chosen))


def save_lstm(backbone: LstmBackbone, folder: Path) -> None:
    """Write an LSTM into a folder that ``weights: path:FOLDER`` takes, in float32.

    Args:
        backbone: what is saved; dropout is the recipe's and is not.
        folder: made if it is not there; files of an earlier save in it are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": MODEL_TYPE, "layers": backbone.sizes.layers, "width": backbone.width}
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in backbone.named_parameters()}
    with replacing(folder / "model.safetensors") as partial:
        save_file(tensors, partial)
    write_json(folder / "config.json", config)


def load_lstm(folder: WeightFolder) -> LstmBackbone:
    """Build an LSTM from a folder that `save_lstm` wrote.

    Args:
        folder: opened checkpoint.

    Raises:
        DataError: it is of another architecture, lacks or adds tensors, or holds numbers that are not finite.
    """
    sizes, tensors = _sizes_of(folder.config, folder.entry), folder.tensors()
    _check_extent(tensors, sizes, folder.entry)
    backbone = LstmBackbone(sizes)
    expected = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name)):
        raise DataError(
            f"{folder.entry}: {len(wrong)} tensors do not fit an LSTM of its config.json, the first is {wrong[0]}: "
            f"expected shape {expected.get(wrong[0], 'none')}, found {given.get(wrong[0], 'none')}"
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DataError(f"{folder.entry}: tensor {name} is {tensor.dtype}, expected real numbers")
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{folder.entry}: tensor {name} holds NaN or infinity; the file is damaged")
    backbone.load_state_dict(tensors)
    return backbone


def _sizes_of(config: Mapping[str, Any], entry: str) -> LstmSizes:
    """The sizes a config.json names.

    Raises:
        DataError: it is not such an LSTM's, or its sizes are none.
    """
    if config.get("model_type") != MODEL_TYPE:
        raise DataError(f"{entry}: its config.json says model_type {config.get('model_type')!r}, not '{MODEL_TYPE}'")
    for key in ("layers", "width"):
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(f"{entry}: its config.json says {key} {value!r}, expected an integer >= 1")
    return LstmSizes(config["layers"], config["width"])


def _check_extent(tensors: Mapping[str, Tensor], sizes: LstmSizes, entry: str) -> None:
    """Hold the sizes against the file before anything of these sizes is built: a mistaken one may fill the memory.

    Raises:
        DataError: the file has another number of layers, or another width.
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
    """The sizes of that name with parts replaced.

    Raises:
        ShapeError: there is no such size.
    """
    if size not in LSTM_SIZES:
        raise ShapeError(f"backbone.size: an LSTM has no size '{size}'; it has {', '.join(LSTM_SIZES)}")
    sizes = LSTM_SIZES[size]
    return LstmSizes(layers or sizes.layers, width or sizes.width)


def _loop_note(loop: Loop) -> str:
    """What the run header says of the recurrence; the compiled one is built here.

    Raises:
        UsageError: it is asked for and cannot be built.
    """
    slower = "a Python loop over time steps, about twice as slow as the compiled one"
    if loop == "torch":
        return f"recurrence: {slower} (backbone.loop: torch)"
    try:
        load_kernel()
    except NoKernel as reason:
        if loop == "compiled":
            raise UsageError(
                f"backbone.loop 'compiled' is not available: {reason}. Take auto, which uses the slower loop instead"
            ) from reason
        return f"recurrence: {slower}, since {reason}"
    return "recurrence: compiled for this processor" if loop == "compiled" else "recurrence: compiled on a processor"
