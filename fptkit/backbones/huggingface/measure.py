"""Measuring a model of transformers by running a few tokens; nothing is guessed from the names of its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.huggingface.model import HuggingFaceBackbone, is_skeleton
from fptkit.errors import FptkitError, ShapeError
from fptkit.seeds import generator_for

PROBE_TOKENS = 3
PADDED_TOKENS = 12
"""Tokens that are run to find out the effect of padding, if the task has as many."""

_DEVIATION = 1e-3
"""Difference in units of the output's deviation above which padding has an effect; float32 rounds about 1e-5 of it."""


def measure(backbone: HuggingFaceBackbone, where: str, fault: type[FptkitError]) -> None:
    """Run three tokens to find out whether the model is causal, where its positions come from and what it uses.

    Args:
        backbone: its ``overwrites``, ``causal``, ``first_rows``, ``added_tables`` and ``places_tokens`` are set;
            parameters outside its blocks that token vectors do not reach are dropped, with a note.
        where: name of the model in error messages.
        fault: class of errors.

    Raises:
        FptkitError: of class ``fault``: the model does not run on token vectors, returns another width, does not mix
            tokens, or does not run all of its blocks.
    """
    if any(is_skeleton(parameter) for parameter in backbone.parameters()):
        _guess(backbone)
        return
    try:
        inputs = torch.randn((1, PROBE_TOKENS, backbone.width), generator=generator_for(0, "probe"))
        given = inputs.clone()
        hidden, idle = _run_watched(backbone, given)
    except Exception as err:  # architectures that need word ids fail in different ways
        raise fault(f"{where}: the model does not run on token vectors: {' '.join(str(err).split())}") from err
    if hidden.shape[-1] != backbone.width:
        raise fault(f"{where}: the model takes vectors of {backbone.width} numbers, but returns {hidden.shape[-1]}")
    if idle:
        raise fault(f"{where}: the model does not run its block {idle[0]} ({backbone.block_list}); use another model")
    backbone.overwrites = not torch.equal(given, inputs)
    found = _trace(backbone, inputs)
    if not bool(torch.any(found.first_token)):
        raise fault(
            f"{where}: the blocks of this model do not mix tokens; its attention may need kernels that fptkit does not "
            "download. Use another model"
        )
    backbone.causal = not bool(torch.any(found.later_tokens))
    for name, rows in found.rows.items():
        if len(rows) > 1:  # a single row is shared by all tokens, such as a token type
            one_by_one = rows == list(range(rows[0], rows[0] + PROBE_TOKENS))
            backbone.first_rows[name] = rows[0] if one_by_one else None
    _drop_unreached(backbone, found.unreached, inputs)
    _measure_input(backbone)


@torch.no_grad()
def _run_watched(backbone: HuggingFaceBackbone, inputs: Tensor) -> tuple[Tensor, list[int]]:
    """Run the model; return its output (1, T, D) and the indices of blocks that do not run."""
    ran: set[nn.Module] = set()
    blocks = list(backbone.model.get_submodule(backbone.block_list).children())
    # SqueezeBERT calls the forward of its blocks, so that only hooks of the modules inside are called.
    inside = {module for block in blocks for module in block.modules()}
    hooks = [module.register_forward_hook(lambda module, *_: ran.add(module)) for module in inside]
    try:
        hidden = backbone(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return hidden, [index for index, block in enumerate(blocks) if ran.isdisjoint(block.modules())]


@dataclass(frozen=True)
class _Traced:
    """What gradients say about a model.

    Args:
        later_tokens: gradient of the first output with respect to later tokens.
        first_token: gradient of the last output with respect to the first token.
        rows: rows with a gradient, of each embedding outside the blocks.
        unreached: names of the parameters outside the blocks without a gradient.
    """

    later_tokens: Tensor
    first_token: Tensor
    rows: Mapping[str, list[int]]
    unreached: tuple[str, ...]


@torch.enable_grad()  # even if a caller has disabled gradients
def _trace(backbone: HuggingFaceBackbone, inputs: Tensor) -> _Traced:
    """Differentiate the output for a few tokens."""
    tokens = inputs.clone().requires_grad_()
    weights = torch.randn((PROBE_TOKENS, backbone.width), generator=generator_for(0, "probe weights"))
    required = {name: parameter.requires_grad for name, parameter in backbone.named_parameters()}
    backbone.requires_grad_(False)  # gradients of billions of frozen numbers are not needed
    lists = tuple(f"{name}." for name in (backbone.block_list, *backbone.parts_of_blocks()))
    outside = {name: p for name, p in backbone.model.named_parameters() if not name.startswith(lists)}
    for parameter in outside.values():
        parameter.requires_grad_()
    hidden = backbone(tokens)[0]
    # Weighted: a plain sum is constant after a layer norm.
    first, last, whole = (hidden[0] * weights[0]).sum(), (hidden[-1] * weights[0]).sum(), (hidden * weights).sum()
    (of_first,) = torch.autograd.grad(first, tokens, retain_graph=True)
    (of_last,) = torch.autograd.grad(last, tokens, retain_graph=True)
    gradients: Sequence[Tensor | None] = ()
    if outside:
        gradients = torch.autograd.grad(whole, list(outside.values()), allow_unused=True)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(required[name])
    by_name = dict(zip(outside, gradients, strict=True))
    rows = {
        name: _rows_of(by_name[key])
        for name, module in backbone.model.named_modules()
        if isinstance(module, nn.Embedding) and (key := f"{name}.weight") in by_name
    }
    unreached = tuple(name for name, gradient in by_name.items() if gradient is None)
    return _Traced(of_first[0, 1:], of_last[0, 0], rows, unreached)


def _drop_unreached(backbone: HuggingFaceBackbone, names: Sequence[str], inputs: Tensor) -> None:
    """Drop parameters outside the blocks that have no effect, such as embeddings of images or entities.

    Args:
        backbone: changed in place, if it runs without them in evaluation and in training.
        names: their names in the model.
        inputs: tokens to run.
    """
    kept = {name: backbone.model.get_parameter(name) for name in names}
    same = {id(parameter) for parameter in kept.values()}
    if not kept:
        return
    places = [
        (module, name, parameter)
        for module in backbone.model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and id(parameter) in same
    ]
    for module, name, _ in places:
        module.register_parameter(name, None)
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            backbone.train()(inputs)
            backbone.eval()(inputs)
    except Exception:  # something refers to them, though it has no effect
        for module, name, parameter in places:
            module.register_parameter(name, parameter)
        return
    finally:
        backbone.eval()
        for name, buffer in backbone.named_buffers():
            buffer.copy_(buffers[name])
    count = sum(parameter.numel() for parameter in kept.values())
    text = f"the model does not use {count:,} parameters for token vectors, which are dropped: {', '.join(names[:3])}"
    backbone.notes = (*backbone.notes, text + (" ..." if len(names) > 3 else ""))


def _take_for_added(backbone: HuggingFaceBackbone) -> None:
    """Take every table of positions for one that is added to the tokens."""
    backbone.added_tables = tuple(name for name, row in backbone.first_rows.items() if row is not None)
    backbone.places_tokens = bool(backbone.added_tables)


def _rows_of(gradient: Tensor | None) -> list[int]:
    """The rows of a table that get a gradient."""
    return [] if gradient is None else gradient.abs().sum(1).nonzero().flatten().tolist()


class _Reached(Exception):
    """The first block is reached: nothing behind it is needed."""


@torch.enable_grad()  # even if a caller has disabled gradients
def _measure_input(backbone: HuggingFaceBackbone) -> None:
    """Find out what is added to the tokens before the first block, by the block's input for tokens of zeros.

    If the model does not call its first block as a module, every table of positions is taken for an added one.

    Args:
        backbone: its ``added_tables`` and ``places_tokens`` are set.
    """
    tables = {
        name: module.weight
        for name, module in backbone.model.named_modules()
        if isinstance(module, nn.Embedding)
        and module.weight is not None  # it was dropped
        and not name.startswith(f"{backbone.block_list}.")
    }
    required = {name: table.requires_grad for name, table in tables.items()}
    for table in tables.values():
        table.requires_grad_()
    seen = _input_of_blocks(backbone)
    if seen is None:
        _take_for_added(backbone)
    else:
        rows = seen.flatten(0, 1)  # a few models have the tokens before the batch
        weights = torch.randn(rows.shape, generator=generator_for(0, "probe weights"))
        gradients: tuple[Tensor | None, ...] = ()
        if tables and rows.requires_grad:
            gradients = torch.autograd.grad((rows * weights).sum(), list(tables.values()), allow_unused=True)
        added = [name for name, gradient in zip(tables, gradients, strict=False) if len(_rows_of(gradient)) > 1]
        backbone.added_tables = tuple(added)
        backbone.places_tokens = bool(added) or bool((rows != rows[0]).any())
    for name, table in tables.items():
        table.requires_grad_(required[name])


def _input_of_blocks(backbone: HuggingFaceBackbone) -> Tensor | None:
    """What the first block gets for tokens of zeros (1, T, D); None if it is not called as a module."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.extend(one for one in (*given, *named.values()) if isinstance(one, Tensor) and one.ndim == 3)
        raise _Reached

    first = next(iter(backbone.model.get_submodule(backbone.block_list).children()))
    hook = first.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        backbone(torch.zeros(1, PROBE_TOKENS, backbone.width))
    except _Reached:
        pass
    finally:
        hook.remove()
    return seen[0] if seen else None


def _guess(backbone: HuggingFaceBackbone) -> None:
    """`measure` for a skeleton, which cannot be run: position tables are recognised by their names."""
    backbone.causal = any(getattr(module, "is_causal", False) for module in backbone.model.modules())
    for name, table in backbone.model.named_modules():
        if name.startswith(f"{backbone.block_list}.") or not isinstance(table, nn.Embedding):
            continue
        if "pos" in name or name.endswith("wpe"):
            before = 0 if table.padding_idx is None else table.padding_idx + 1
            backbone.first_rows[name] = getattr(table, "offset", before)
    _take_for_added(backbone)


@torch.no_grad()
def measure_padding(backbone: HuggingFaceBackbone, tokens: int) -> list[str]:
    """Run a padded batch to find out whether padding changes real tokens; if so, lengths run separately. Return notes.

    Args:
        backbone: its ``apart`` is set.
        tokens: T, tokens of the task's longest example.

    Raises:
        ShapeError: the model does not run on sequences of this length, or gives another output for the same tokens.
    """
    count = min(tokens, PADDED_TOKENS)
    short = max(1, count - 5)
    if count == short or any(is_skeleton(parameter) for parameter in backbone.parameters()):
        return []
    inputs = torch.randn((2, count, backbone.width), generator=generator_for(0, "padding"))
    backbone.apart = _padding_matters(backbone, inputs, short)
    try:
        alone, again = backbone(inputs[1:, :short]), backbone(inputs[1:, :short])
    except Exception as err:  # each architecture fails in its own way
        raise ShapeError(
            f"{type(backbone.model).__name__} does not run on a sequence of {short} tokens: "
            f"{' '.join(str(err).split())}; use another model"
        ) from err
    if not torch.equal(alone, again):
        raise ShapeError(
            f"{type(backbone.model).__name__} gives another output each time for the same tokens; use another model"
        )
    if not backbone.apart:
        return []
    return ["padding changes the output of this model for real tokens, so sequences of each length are run separately"]


def _padding_matters(backbone: HuggingFaceBackbone, inputs: Tensor, short: int) -> bool:
    """Whether a sequence of ``short`` tokens has another output in a padded batch than alone, or only runs alone."""
    try:
        padded = backbone(inputs, torch.tensor([inputs.shape[1], short]))[1, :short]
        alone = backbone(inputs[1:, :short])[0]
    except Exception:  # some models cannot use a mask; if they do not run at all, the caller finds that out
        return True
    return not float((padded - alone).abs().max()) <= _DEVIATION * float(alone.std())  # NaN too
