"""Parts of transformers' models that our operations compute: the same numbers, and nothing else is replaced."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.gemma.modeling_gemma import GemmaMLP
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from fptkit.backbones.huggingface.fused import ATTENTION, fuse
from fptkit.numerics import kernels

COMMON: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED = {**COMMON, "num_key_value_heads": 2, "head_dim": 16}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 4},
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "gemma": GROUPED,
    "gemma2": {**GROUPED, "sliding_window": 4},
    "olmo2": GROUPED,
    "gpt_oss": {**GROUPED, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4},
    "bert": COMMON,
    "roberta": {**COMMON, "pad_token_id": 1},
    "modernbert": COMMON,
}


def tiny(model_type: str) -> PreTrainedModel:
    """A random model with norms that are not one."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(model_type, **CONFIGS[model_type]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def blocks_of(model: PreTrainedModel) -> list[nn.Module]:
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == 2]
    return list(lists[0])


def hidden_of(model: PreTrainedModel, tokens: Tensor, mask: Tensor | None, *, halves: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=halves):
        hidden: Tensor = model(inputs_embeds=tokens, attention_mask=mask).last_hidden_state
    return hidden.float()


class Watch(TorchDispatchMode):
    """Notes which operations are called, by their names; those of fptkit without its prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.called.add(function.name().removeprefix("fptkit::"))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("model_type", CONFIGS)
def test_a_fused_model_gives_the_librarys_numbers_and_gradients(model_type: str, padded: bool) -> None:
    library = tiny(model_type).eval()
    fused = copy.deepcopy(library)
    fuse(fused, blocks_of(fused), 64)
    assert [name for name, _ in fused.named_parameters()] == [name for name, _ in library.named_parameters()]
    tokens = torch.randn(3, 9, 64)
    mask = (torch.arange(9) < torch.tensor([9, 4, 7])[:, None]).long() if padded else None
    weights = torch.randn(3, 9, 64) * (1 if mask is None else mask[..., None])
    exact = hidden_of(library, tokens, mask, halves=False).detach()
    torch.testing.assert_close(
        hidden_of(fused, tokens, mask, halves=False) * weights, exact * weights, rtol=1e-5, atol=1e-5
    )
    scale, errors, gradients = float((exact * weights).norm()), [], []
    for model in (library, fused):
        given = tokens.clone().requires_grad_()
        hidden = hidden_of(model, given, mask, halves=True)
        errors.append(float(((hidden.detach() - exact) * weights).norm()) / scale)
        gradients.append(torch.autograd.grad((hidden * weights).sum(), given)[0])
    assert errors[1] < max(1.5 * errors[0], 0.01)
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 0.1


@pytest.mark.parametrize(
    ("model_type", "operations"),
    [
        ("llama", {"rms_norm", "silu_product", "softmax_"}),
        ("qwen2", {"rms_norm", "silu_product", "softmax_"}),
        ("gemma", {"rms_norm", "softmax_"}),
        ("bert", {"gelu_exact", "softmax_", "dropped", "add_dropped"}),
    ],
)
def test_the_kernels_run(model_type: str, operations: set[str]) -> None:
    assert kernels.why_not() is None
    model = tiny(model_type).train()
    fuse(model, blocks_of(model), 64)
    with Watch() as watch:
        hidden_of(model, torch.randn(2, 6, 64), None, halves=True)
    assert operations <= watch.called


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "llama"])
def test_no_number_is_read_in_a_pass(model_type: str, padded: bool) -> None:
    """Reading one would make an accelerator wait."""
    model = tiny(model_type).eval()
    fuse(model, blocks_of(model), 64)
    padded = padded and model_type != "llama"  # a causal model gets no mask
    mask = (torch.arange(6) < torch.tensor([6, 4])[:, None]).long() if padded else None
    tokens = torch.randn(2, 6, 64)
    with Watch() as watch:
        hidden_of(model, tokens, mask, halves=True)
    assert "aten::_local_scalar_dense" not in watch.called


def test_our_attention_is_used_unless_the_library_cannot_be_asked_for_another() -> None:
    """Capped scores and sinks are in the library's eager code alone."""
    chosen = {}
    for model_type in CONFIGS:
        model = tiny(model_type)
        fuse(model, blocks_of(model), 64)
        chosen[model_type] = model.config._attn_implementation
    assert [name for name, implementation in chosen.items() if implementation != ATTENTION] == ["gemma2", "gpt_oss"]


class Shifted(nn.Module):
    """Looks like an RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64))
        self.eps = 1e-5

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.eps) * self.weight + 0.01


def test_a_norm_that_only_looks_alike_keeps_its_code() -> None:
    model = tiny("llama")
    block: Any = blocks_of(model)[0]
    block.input_layernorm = Shifted()
    fuse(model, blocks_of(model), 64)
    assert type(block.input_layernorm) is Shifted
    assert type(block.post_attention_layernorm) is not LlamaRMSNorm


def test_a_feed_forward_with_another_activation_keeps_its_code() -> None:
    model = tiny("gemma")  # gated by GELU
    fuse(model, blocks_of(model), 64)
    assert all(type(block.mlp) is GemmaMLP for block in blocks_of(model))


class Dropping(LlamaMLP):
    """Drops inside, in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        inside = self.act_fn(self.gate_proj(x)) * self.up_proj(x)
        result: Tensor = self.down_proj(nn.functional.dropout(inside, 0.5, self.training))
        return result


class WithDropout(LlamaMLP):
    """Drops by a module, in training alone."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.between = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down_proj(self.between(self.act_fn(self.gate_proj(x)) * self.up_proj(x)))
        return result


@pytest.mark.parametrize("kind", [Dropping, WithDropout])
def test_a_feed_forward_that_drops_in_training_keeps_its_code(kind: type[LlamaMLP]) -> None:
    model = tiny("llama").eval()
    block: Any = blocks_of(model)[0]
    block.mlp = kind(model.config).eval()
    fuse(model, blocks_of(model), 64)
    assert type(block.mlp) is kind
    assert not block.mlp.training


def test_nothing_keeps_a_model_that_is_no_longer_used() -> None:
    """Its memory is free at once, without a search for cycles."""
    model = tiny("llama")
    fuse(model, blocks_of(model), 64)
    norm: Any = blocks_of(model)[0]
    seen = weakref.ref(norm.input_layernorm.weight)
    gc.collect()
    gc.disable()
    try:
        del model, norm
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_fused_model_can_be_copied(again: Callable[[nn.Module], Any]) -> None:
    model = tiny("llama").eval()
    fuse(model, blocks_of(model), 64)
    other = again(model)
    assert [type(one) for one in other.modules()] == [type(one) for one in model.modules()]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    tokens = torch.randn(1, 3, 64)
    assert bool(hidden_of(model, tokens, None, halves=False).any())
    assert not hidden_of(other, tokens, None, halves=False).any()
