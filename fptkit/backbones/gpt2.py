"""GPT-2, driven by token vectors instead of word ids.

Why not ``transformers.GPT2Model``: frozen weights are stored in bfloat16 beside float32 layer norms, only the tokens
that are read out pass the last block, and a causal model needs no mask for right padding. The parameters carry the
names and layouts of the published checkpoints; a test holds this forward against ``GPT2Model`` with the same weights.

Source: Radford et al. 2019; huggingface/transformers, ``models/gpt2/modeling_gpt2.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.options import SIZES, Gpt2Options, Gpt2Sizes
from fptkit.backbones.weights import WeightFolder, open_weights
from fptkit.errors import DataError, ShapeError
from fptkit.interfaces import Backbone, ParameterRole, Role, keep_tokens
from fptkit.seeds import generator_for
from fptkit.sources import choose


class Projection(nn.Module):
    """A linear map with its weight stored (in, out), as GPT-2 checkpoints have it."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out))

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight.t(), self.bias)

    def part(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Only the outputs ``start`` to ``stop``."""
        return functional.linear(hidden, self.weight[:, start:stop].t(), self.bias[start:stop])


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, sizes: Gpt2Sizes, dropout: float) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.dropout = dropout
        self.c_attn = Projection(sizes.width, 3 * sizes.width)
        self.c_proj = Projection(sizes.width, sizes.width)

    def forward(self, hidden: Tensor, keep: Tensor | None) -> Tensor:
        """Shapes: hidden (B, T, D), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        width = hidden.shape[-1]
        if keep is None:
            query, key, value = self.c_attn(hidden).split(width, dim=-1)
            mask = None
        else:
            query = self.c_attn.part(keep_tokens(hidden, keep), 0, width)
            key, value = self.c_attn.part(hidden, width, 3 * width).split(width, dim=-1)
            # A kept token sees itself and those before it: (B, 1, R, T).
            mask = (torch.arange(hidden.shape[1], device=hidden.device) <= keep[:, :, None])[:, None]
        mixed = attend(
            self._split_heads(query),
            self._split_heads(key),
            self._split_heads(value),
            mask,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.c_proj(mixed.transpose(1, 2).flatten(2))

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)


EXPLICIT_TOKENS = 640
"""Up to this many tokens, explicit products beat torch's fused attention on processors in bfloat16.

Forward and backward were 1.4 times as fast at 500 tokens, 2.4 times at 170, 3.4 times at 24, and 0.7 times at 1,000, on
two cores of an AMD EPYC with AVX-512 (``benchmarks/attention.py``).
"""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float) -> Tensor:
    """Attention of some tokens to all, by the fastest way there is.

    Shapes: query (B, heads, R, d), key and value (B, heads, T, d), mask (B, 1, R, T) or None -> (B, heads, R, d).

    Args:
        query: of the tokens that look.
        key: of the tokens that are looked at.
        value: of the same.
        mask: true where a token may look; None is causal, and then R = T.
        dropout: probability of dropping an attention weight.
    """
    explicit = query.device.type == "cpu" and query.dtype == torch.bfloat16 and key.shape[2] <= EXPLICIT_TOKENS
    if not explicit or dropout:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None
        )
    rows, tokens = query.shape[2], key.shape[2]
    if mask is None:
        forbidden = torch.full((rows, tokens), float("-inf"), dtype=query.dtype).triu(1)[None]
        forbidden = forbidden.expand(len(query) * query.shape[1], rows, tokens)
    else:
        forbidden = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, float("-inf"))
        forbidden = forbidden.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
    scale = query.shape[-1] ** -0.5
    scores = torch.baddbmm(forbidden, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).unflatten(0, query.shape[:2])


class FeedForward(nn.Module):
    """Two maps with the tanh form of GELU between them."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.c_fc = Projection(sizes.width, 4 * sizes.width)
        self.c_proj = Projection(4 * sizes.width, sizes.width)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.c_proj(functional.gelu(self.c_fc(hidden), approximate="tanh"))


class Block(nn.Module):
    """One block: attention and feed-forward, each after a layer norm and added to the stream."""

    def __init__(self, sizes: Gpt2Sizes, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.ln_1 = nn.LayerNorm(sizes.width, eps=1e-5)
        self.attn = Attention(sizes, attention_dropout)
        self.ln_2 = nn.LayerNorm(sizes.width, eps=1e-5)
        self.mlp = FeedForward(sizes)

    def forward(self, hidden: Tensor, keep: Tensor | None = None) -> Tensor:
        """Shapes: hidden (B, T, D), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        attended = self.attn(self.ln_1(hidden), keep)
        hidden = keep_tokens(hidden, keep) + functional.dropout(attended, self.dropout, self.training)
        return hidden + functional.dropout(self.mlp(self.ln_2(hidden)), self.dropout, self.training)


class Gpt2Backbone(Backbone):
    """The blocks, norms and position table of GPT-2, without its word embedding.

    Args:
        sizes: its sizes.
        dropout: probability of dropping a number of the embedding and of each block's two outputs, in training.
        attention_dropout: the same for attention weights; above 0 the fused attention path is lost on most devices.
    """

    causal = True

    def __init__(self, sizes: Gpt2Sizes, *, dropout: float = 0.1, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = sizes
        self.width = sizes.width
        self.max_positions = sizes.positions
        self.blocks = sizes.blocks
        self.dropout = dropout
        self.wpe = nn.Embedding(sizes.positions, sizes.width)
        self.h = nn.ModuleList(Block(sizes, dropout, attention_dropout) for _ in range(sizes.blocks))
        self.ln_f = nn.LayerNorm(sizes.width, eps=1e-5)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. ``lengths`` changes nothing: no token sees the padding to its right.

        Raises:
            ShapeError: more tokens than positions.
        """
        count = tokens.shape[1]
        if count > self.wpe.num_embeddings:
            raise ShapeError(f"{count} tokens do not fit a position table of {self.wpe.num_embeddings}")
        hidden = functional.dropout(tokens + self.wpe.weight[:count], self.dropout, self.training)
        for block in self.h[:-1]:
            hidden = block(hidden)
        # Reading few tokens, only they pass the last block; its keys and values still come from all.
        few = keep is not None and 2 * keep.shape[1] <= count
        hidden = self.h[-1](hidden, keep if few else None)
        return self.ln_f(hidden if few else keep_tokens(hidden, keep))

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`; the role follows from the kind of the owning module."""
        return dict(self._roles(self, "", "other", None))

    def _roles(
        self, module: nn.Module, prefix: str, role: Role, block: int | None
    ) -> Iterator[tuple[str, ParameterRole]]:
        for kind, its_role in _ROLE_OF_MODULE:
            if isinstance(module, kind):
                role = its_role
        for name, _ in module.named_parameters(recurse=False):
            yield prefix + name, ParameterRole(role, block)
        for name, child in module.named_children():
            inside = int(name) if isinstance(module, nn.ModuleList) else block
            yield from self._roles(child, f"{prefix}{name}.", role, inside)


_ROLE_OF_MODULE: tuple[tuple[type[nn.Module], Role], ...] = (
    (nn.Embedding, "position"),
    (Attention, "attention"),
    (FeedForward, "feed_forward"),
    (nn.LayerNorm, "norm"),
)


def build_gpt2(options: Gpt2Options, *, positions: int, seed: int, pinned: str | None = None) -> Gpt2Backbone:
    """Build GPT-2 with the first weights available.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens; the position table is cut to it.
        seed: draws the weights where they are random.
        pinned: weights entry an earlier run of this recipe took.

    Raises:
        SourceError: none of the weights is available.
        DataError: weights are there but broken or not GPT-2's.
        ShapeError: the task is longer than the position table.
    """
    choice = choose(
        options.weights,
        lambda entry: None if entry == "random" else open_weights(entry),
        what="weights of backbone gpt2",
        pinned=pinned,
        advice="Add a fallback such as builtin:gpt2_nano to backbone.weights, or put the files into a folder and "
        "use path:FOLDER. `fptkit list weights` shows what is here.",
    )
    if choice.found is None:
        backbone = random_gpt2(
            SIZES[options.size],
            positions=positions,
            seed=seed,
            init=options.init,
            dropout=options.dropout,
            attention_dropout=options.attention_dropout,
        )
    else:
        backbone = load_gpt2(
            choice.found, positions=positions, dropout=options.dropout, attention_dropout=options.attention_dropout
        )
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = tuple(f"{entry}: {reason}" for entry, reason in choice.skipped)
    return backbone


def load_gpt2(
    folder: WeightFolder, *, positions: int, dropout: float = 0.1, attention_dropout: float = 0.0
) -> Gpt2Backbone:
    """Build GPT-2 from a checkpoint.

    Args:
        folder: opened checkpoint.
        positions: rows of the position table to keep.
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.

    Raises:
        DataError: the checkpoint is of another architecture, lacks or adds tensors, or holds numbers that are not
            finite.
        ShapeError: ``positions`` exceeds the checkpoint's table.
    """
    sizes = _sizes_of(folder.config, folder.entry)
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in folder.tensors().items()}
    # Left out with reason: word embedding and language head (the model is driven by token vectors), and the
    # triangular masks old checkpoints carry as buffers.
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in ("wte.weight", "lm_head.weight") and not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    _check_extent(tensors, sizes, folder.entry)
    backbone = Gpt2Backbone(sizes, dropout=dropout, attention_dropout=attention_dropout)
    expected = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        raise DataError(
            f"{folder.entry}: {len(wrong)} tensors do not fit a GPT-2 of its config.json, the first is {wrong[0]}: "
            f"expected shape {expected.get(wrong[0], 'none')}, found {given.get(wrong[0], 'none')}"
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DataError(f"{folder.entry}: tensor {name} is of {tensor.dtype}, expected floating-point numbers")
        tensors[name] = tensor = tensor.float()
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{folder.entry}: tensor {name} holds NaN or infinity; the file is damaged")
    backbone.load_state_dict(tensors)
    return _with_positions(backbone, positions)


FIXED_CONFIG: dict[str, Any] = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""Values of config.json that change the mathematics, as the backbone computes them; a missing key means the same.

``reorder_and_upcast_attn`` is left out: it asks for other arithmetic of the same formula.
Source: huggingface/transformers, ``models/gpt2/configuration_gpt2.py``.
"""


def _sizes_of(config: Mapping[str, Any], entry: str) -> Gpt2Sizes:
    """The sizes a config.json names.

    Raises:
        DataError: it is not GPT-2's, asks for a variant that is not implemented, or its sizes are none.
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
    sizes = Gpt2Sizes(*counts)
    if sizes.width % sizes.heads:
        raise DataError(f"{entry}: its config.json says n_embd {sizes.width}, not a multiple of n_head {sizes.heads}")
    for key, supported in FIXED_CONFIG.items():
        if (value := config.get(key, supported)) != supported:
            raise DataError(f"{entry}: its config.json says {key} {value!r}; only {supported!r} is supported")
    if (inner := config.get("n_inner")) not in (None, 4 * sizes.width):
        raise DataError(
            f"{entry}: its config.json says n_inner {inner!r}; only null or 4 * n_embd = {4 * sizes.width} is supported"
        )
    return sizes


def _check_extent(tensors: Mapping[str, Tensor], sizes: Gpt2Sizes, entry: str) -> None:
    """Hold the sizes against the file before anything of these sizes is built: a mistaken one may fill the memory.

    Raises:
        DataError: the file has another number of blocks, or another width or number of positions.
    """
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    if blocks < sizes.blocks:
        raise DataError(
            f"{entry}: its config.json says n_layer {sizes.blocks}, but it holds tensors of {blocks} blocks"
        )
    found, expected = tensors.get("wpe.weight"), (sizes.positions, sizes.width)
    if found is None or tuple(found.shape) != expected:
        shape = "none" if found is None else tuple(found.shape)
        raise DataError(f"{entry}: wpe.weight does not fit its config.json: expected shape {expected}, found {shape}")


def random_gpt2(
    sizes: Gpt2Sizes,
    *,
    positions: int,
    seed: int,
    init: Literal["library", "flat_0.02"] = "library",
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
) -> Gpt2Backbone:
    """Draw a GPT-2's weights.

    Args:
        sizes: its sizes.
        positions: rows of the position table to keep.
        seed: of the draw.
        init: ``library`` as transformers draws today: normal with standard deviation 0.02, the two maps that end in the
            residual stream 0.02 / sqrt(2 * blocks); ``flat_0.02``: 0.02 everywhere, as transformers 4.1 drew and the
            paper's random baseline had it (PR 13573).
        dropout: see `Gpt2Backbone`.
        attention_dropout: see `Gpt2Backbone`.

    Raises:
        ShapeError: ``positions`` exceeds ``sizes.positions``.
    """
    backbone = Gpt2Backbone(sizes, dropout=dropout, attention_dropout=attention_dropout)
    generator = generator_for(seed, "backbone")
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            module = backbone.get_submodule(name.rpartition(".")[0])
            if name.endswith("bias"):
                parameter.zero_()
            elif isinstance(module, nn.LayerNorm):
                parameter.fill_(1.0)
            else:
                scaled = init == "library" and name.endswith("c_proj.weight")
                parameter.normal_(0.0, 0.02 / (2 * sizes.blocks) ** 0.5 if scaled else 0.02, generator=generator)
    return _with_positions(backbone, positions)


def _with_positions(backbone: Gpt2Backbone, positions: int) -> Gpt2Backbone:
    """Cut the position table to the task's length, so that every row that is marked trained can be reached."""
    if positions > backbone.sizes.positions:
        raise ShapeError(
            f"the task has up to {positions} tokens, but the backbone's position table ends at "
            f"{backbone.sizes.positions}; shorten the task (its max_length, or longer patches)"
        )
    table = nn.Embedding(positions, backbone.width)
    table.weight.data.copy_(backbone.wpe.weight.data[:positions])
    backbone.wpe = table
    backbone.max_positions = positions
    backbone.sizes = replace(backbone.sizes, positions=positions)
    return backbone
