"""The parts of a model of transformers that fptkit computes by its own operations, which are faster on CPUs.

Modules for RMS norms, gated feed-forward maps, GELU and dropout get another ``forward``, and attention another
implementation; parameters and names stay. Which parts can is found by computing: a part is replaced if ours gives the
numbers of the library's, so new architectures need no entry, and one that only looks alike keeps the library's code.
Without the C kernels, on other devices and inside torch.compile, our operations are torch's.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn.utils import skip_init
from transformers import PretrainedConfig

from fptkit.backbones.huggingface.measure import PROBE_TOKENS
from fptkit.backbones.huggingface.model import is_skeleton
from fptkit.numerics.attention import attend, attend_grouped
from fptkit.numerics.ops import add_dropped, dropout, gelu, gelu_exact, rms_norm, silu_product
from fptkit.seeds import generator_for

ATTENTION = "fptkit"
"""Name of our attention among those of transformers."""

_TOLERANCE = 1e-5
"""Largest difference from the library's own numbers, as a fraction of the largest of them."""

Forward: TypeAlias = Callable[..., Tensor]
"""A ``forward``, called with the module first."""

_SMALL = 8
"""Width of the parts that are compared."""

_EPSILONS = ("variance_epsilon", "eps", "epsilon")
_GATED = ("gate_proj", "up_proj", "down_proj")

_OTHER_FORMS = ("softcap", "s_aux", "position_bias", "cu_seq_lens_q", "cu_seqlens_q")
"""Arguments of attention that our implementation does not know: with one of them the library's is used."""


@torch.no_grad()
def fuse(model: nn.Module, blocks: Sequence[nn.Module], width: int) -> None:
    """Replace what can be replaced. A part whose library code gives other numbers than ours stays as it is.

    Args:
        model: a model in float32; changed in place. The attention of a skeleton, which is only estimated, is replaced
            if the library lets it be chosen.
        blocks: its blocks. Norms outside of them keep full precision, since nothing follows that rounds.
        width: D, numbers per token.
    """
    skeleton = any(map(is_skeleton, model.parameters()))
    with _evaluating(model):
        _fuse_attention(model, width, skeleton=skeleton)
    with unset_fake_temporarily(), torch.device("cpu"):
        for block in blocks:
            for module in block.modules():
                if (forward := _norm(module) or _gate(module) or _end_of_branch(module)) is not None:
                    _compute_by(module, forward)
        for module in list(model.modules()):
            if type(module) is nn.Dropout:
                _compute_by(module, _drop)
            elif not list(module.parameters()) and (activation := _activation(module)) is not None:
                _compute_by(module, activation)


def _compute_by(module: nn.Module, forward: Forward) -> None:
    """Give a module another ``forward``: that of a subclass of its class.

    A function in the module itself would refer back to it, and the memory of a model that is no longer used would only
    be freed by the next search for such cycles.
    """
    kind: Any = type(module)
    module.__class__ = _subclass(kind, forward)


@cache
def _subclass(kind: type[nn.Module], forward: Forward) -> type[nn.Module]:
    """A subclass with another ``forward``, under the name of its base, since roles follow from names."""

    def reduced(self: nn.Module, protocol: Any) -> Any:
        return _restored, (kind, forward), self.__dict__

    content = {"forward": forward, "__reduce_ex__": reduced, "__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), content)


def _restored(kind: type[nn.Module], forward: Forward) -> nn.Module:
    """An empty module of the subclass, for copies and pickles."""
    wanted: Any = kind
    made = _subclass(wanted, forward)
    module: nn.Module = made.__new__(made)
    return module


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, so that results can be compared."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _drop(module: nn.Dropout, hidden: Tensor) -> Tensor:
    return dropout(hidden, module.p, module.training)


def _activation(module: nn.Module) -> Forward | None:
    """Our GELU, if the module computes it."""
    if "gelu" not in type(module).__name__.lower():
        return None
    numbers = torch.linspace(-6, 6, 257)
    return next((ours for ours in (_gelu_exact, _gelu) if _same(module, (numbers,), ours(module, numbers))), None)


def _gelu(_: nn.Module, hidden: Tensor) -> Tensor:
    return gelu(hidden)


def _gelu_exact(_: nn.Module, hidden: Tensor) -> Tensor:
    return gelu_exact(hidden)


def _norm(module: nn.Module) -> Forward | None:
    """Our RMS norm, if the module computes it; Gemma's weights count from 1."""
    parameters = dict(module.named_parameters())
    weight = parameters.get("weight")
    if len(parameters) != 1 or weight is None or weight.ndim != 1 or _epsilon(module) is None:
        return None
    small: Any = copy.copy(module)
    small._parameters = {"weight": nn.Parameter(_numbers(_SMALL))}
    if getattr(module, "normalized_shape", None) == tuple(weight.shape):
        small.normalized_shape = (_SMALL,)
    numbers = _numbers(3, _SMALL)
    return next((ours for ours in (_rms, _rms_from_one) if _same(small, (numbers,), ours(small, numbers))), None)


def _rms(module: Any, stream: Tensor) -> Tensor:
    if stream.dtype != torch.float32:  # queries and keys that are normed have been rounded already
        return _library(module, stream)
    return rms_norm(stream, module.weight, _epsilon(module) or 0.0)


def _rms_from_one(module: Any, stream: Tensor) -> Tensor:
    """The same for weights that count from 1, as Gemma's."""
    if stream.dtype != torch.float32:
        return _library(module, stream)
    return rms_norm(stream, module.weight + 1.0, _epsilon(module) or 0.0)


def _library(module: Any, stream: Tensor) -> Tensor:
    """What the library's class computes, of which ours is a subclass."""
    kind: Any = type(module).__base__
    result: Tensor = kind.forward(module, stream)
    return result


def _epsilon(module: nn.Module) -> float | None:
    return next((value for name in _EPSILONS if isinstance(value := getattr(module, name, None), float)), None)


def _gate(module: nn.Module) -> Forward | None:
    """Our gated feed-forward, if the module computes it. Tried with small maps, since a model's may have gigabytes."""
    if not all(isinstance(module._modules.get(name), nn.Linear) for name in _GATED):
        return None
    if any(isinstance(part, nn.Dropout) for part in module.modules()):
        return None  # ours has none
    small = copy.copy(module)
    small._modules = {**module._modules, **{name: skip_init(nn.Linear, _SMALL, _SMALL) for name in _GATED}}
    numbers = _numbers(1, 2, _SMALL)
    for name in _GATED:
        small.get_submodule(name).load_state_dict({"weight": _numbers(_SMALL, _SMALL), "bias": _numbers(_SMALL)})
    return _gated if _same(small, (numbers,), _gated(small, numbers)) else None


def _gated(module: Any, hidden: Tensor) -> Tensor:
    result: Tensor = module.down_proj(silu_product(module.gate_proj(hidden), module.up_proj(hidden)))
    return result


def _end_of_branch(module: nn.Module) -> Forward | None:
    """Our end of a branch of BERT, if the module computes it: a map, dropout, the sum with the stream, a layer norm."""
    kinds = {"dense": nn.Linear, "dropout": nn.Dropout, "LayerNorm": nn.LayerNorm}
    if module._modules.keys() != kinds.keys() or any(type(module._modules[name]) is not kinds[name] for name in kinds):
        return None
    small = copy.copy(module)
    dense, norm = skip_init(nn.Linear, _SMALL, _SMALL), nn.LayerNorm(_SMALL)
    for part in (dense, norm):
        part.load_state_dict({name: _numbers(*tensor.shape) for name, tensor in part.state_dict().items()})
    small._modules = {"dense": dense, "dropout": nn.Dropout(0.0), "LayerNorm": norm}
    numbers, stream = _numbers(1, 2, _SMALL), _numbers(2, 1, _SMALL).transpose(0, 1)
    return _ended if _same(small, (numbers, stream), _ended(small, numbers, stream)) else None


def _ended(module: Any, hidden: Tensor, stream: Tensor) -> Tensor:
    added = add_dropped(stream, module.dense(hidden), module.dropout.p, module.dropout.training)
    result: Tensor = module.LayerNorm(added)
    return result


def _numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator_for(0, f"probe {shape}"))


def _same(module: nn.Module, given: tuple[Tensor, ...], ours: Tensor) -> bool:
    """Whether a module gives these numbers, in evaluation and in training, where it may have dropout of its own."""
    was_training, found = module.training, []
    try:
        with torch.random.fork_rng(devices=[]):
            for module.training in (False, True):  # of this module alone: its parts are shared with the model
                found.append(module(*given))
    except Exception:  # it takes other arguments: it is another kind of module
        return False
    finally:
        module.training = was_training
    return all(isinstance(one, Tensor) and one.shape == ours.shape and _near(one, ours) for one in found)


def _near(library: Tensor, ours: Tensor) -> bool:
    largest = float(library.abs().max())
    return bool(torch.isfinite(library).all()) and float((library - ours).abs().max()) <= _TOLERANCE * max(largest, 1.0)


def _fuse_attention(model: nn.Module, width: int, *, skeleton: bool) -> None:
    """Choose our attention where the library lets attention be chosen, and the model's results stay the same."""
    configs = [config for config in _configs(model) if getattr(config, "_attn_implementation", None) == "sdpa"]
    if not configs or not _registered():
        return
    before = [] if skeleton else _results(model, width)
    _choose(configs, ATTENTION)
    if skeleton:
        return
    try:
        same = _results_near(before, _results(model, width))
    except Exception:  # a model that does not know our attention fails somewhere inside
        same = False
    if not same:
        _choose(configs, "sdpa")


def _configs(model: nn.Module) -> Sequence[PretrainedConfig]:
    """The configs of a model and of its modules, each once."""
    found = (getattr(module, "config", None) for module in model.modules())
    return list({id(config): config for config in found if isinstance(config, PretrainedConfig)}.values())


def _choose(configs: Sequence[PretrainedConfig], name: str) -> None:
    for config in configs:
        config._attn_implementation = name


def _results(model: nn.Module, width: int) -> list[Tensor]:
    """Last hidden states of a few tokens, with and without padding; the latter only if the model takes masks."""
    tokens = _numbers(2, PROBE_TOKENS, width)
    found = [model(inputs_embeds=tokens.clone()).last_hidden_state]
    with contextlib.suppress(Exception):  # some models take no mask
        mask = (torch.arange(PROBE_TOKENS) < torch.tensor([PROBE_TOKENS, PROBE_TOKENS - 1])[:, None]).long()
        found.append(model(inputs_embeds=tokens.clone(), attention_mask=mask).last_hidden_state)
    return found


def _results_near(library: Sequence[Tensor], ours: Sequence[Tensor]) -> bool:
    return len(library) == len(ours) and all(_near(one, other) for one, other in zip(library, ours, strict=True))


def _registered() -> bool:
    """Register our attention; false if this version of transformers has no such registry."""
    try:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask
    except ImportError:
        return False
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, partial(_mask, sdpa_mask))
    return True


def _mask(library: Callable[..., Tensor | None], *given: Any, **named: Any) -> Tensor | None:
    """The library's mask. It does not look for padding: fptkit gives a mask only if there is some, and to read it would
    make an accelerator wait."""
    if named.get("attention_mask") is not None and "allow_is_bidirectional_skip" in named:
        named["allow_is_bidirectional_skip"] = False
    return library(*given, **named)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it. Shapes: query (B, heads, T, d) -> (B, T, heads, d)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not any(others.get(name) is not None for name in _OTHER_FORMS):
        if torch.is_autocast_enabled(query.device.type):  # rotary positions make queries and keys float32
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        mixed = _mixed(query, key, value, attention_mask, scale, causal, dropout)
        if mixed is not None:
            return mixed.transpose(1, 2).contiguous(), None
    found: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **others
    )
    return found


def _mixed(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool, dropout: float
) -> Tensor | None:
    """Attention by our operations; None if the library's is faster."""
    if mask is None:
        return attend_grouped(query, key, value, scale=scale, causal=causal, dropout=dropout)
    if dropout or mask.dtype != torch.bool or mask.shape[1] != 1 or query.device.type != "cpu":
        return None
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, 1) if groups > 1 else each for each in (key, value))
    return attend(query, key, value, mask, dropout=0.0, causal=False, scale=scale)
