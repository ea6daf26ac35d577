"""A model of transformers as a backbone: token vectors in, its last hidden state out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional
from transformers import PreTrainedModel

from fptkit.backbones.huggingface.roles import find_blocks, find_roles
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole, keep_tokens


class HuggingFaceBackbone(Backbone):
    """The blocks, norms and positions of a model from transformers, without word embedding and pooler.

    A Longformer gives global attention to no token: every token sees its window only, the one that is read out too.

    Args:
        model: takes ``inputs_embeds`` and gives ``last_hidden_state``; its word embedding is replaced by a module
            that keeps the ``embedding_dim``.
        window: sequences are padded to a multiple of it inside, as a Longformer needs; 1 pads nothing.

    Attributes:
        first_rows: by the name of each embedding outside the blocks that holds positions, the row of the first token;
            None where its rows are distances between tokens, not positions one by one.
        numbers_positions: hand the tokens' positions, from 0 on, to the model; otherwise it counts by itself.
        ends: the position table ends at ``max_positions``; otherwise that is only what the model was trained with.
    """

    def __init__(self, model: PreTrainedModel, *, window: int = 1) -> None:
        super().__init__()
        self.model = model
        words: Any = model.get_input_embeddings()
        self.width = int(words.embedding_dim)
        self.embedding_norm = words.mean_norm
        self.window = window
        self.block_list = find_blocks(model)
        self.blocks = len(self.model.get_submodule(self.block_list)._modules)
        self.first_rows: dict[str, int | None] = {}
        self.numbers_positions = False
        self.ends = False
        self._further: dict[str, Any] = {"use_cache": False} if "use_cache" in accepted_by(model) else {}

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. A causal model needs no mask: no token sees the padding to its right.

        Raises:
            ShapeError: more tokens than the position table has rows.
        """
        count = tokens.shape[1]
        if self.ends and self.max_positions is not None and count > self.max_positions:
            raise ShapeError(f"{count} tokens do not fit a position table of {self.max_positions}")
        added = -count % self.window
        mask = None if self.causal else self._mask(tokens, lengths, added)
        further = dict(self._further)
        if self.numbers_positions:
            positions = functional.pad(torch.arange(count, device=tokens.device), (0, added))
            further["position_ids"] = positions.expand(len(tokens), -1)
        vectors = functional.pad(tokens, (0, 0, 0, added)) if added else tokens
        hidden: Tensor = self.model(inputs_embeds=vectors, attention_mask=mask, **further).last_hidden_state
        return keep_tokens(hidden[:, :count], keep)

    def _mask(self, tokens: Tensor, lengths: Tensor | None, added: int) -> Tensor | None:
        """(B, T + added) integers: 1 where there is a real token; None when all are."""
        if lengths is None and not added:
            return None
        total = tokens.shape[1] + added
        if lengths is None:
            lengths = torch.full((len(tokens),), tokens.shape[1], device=tokens.device)
        return (torch.arange(total, device=tokens.device) < lengths[:, None]).long()

    def block_modules(self) -> Sequence[nn.Module]:
        """See `Backbone.block_modules`; no model is asked to keep keys and values."""
        return list(self.model.get_submodule(self.block_list).children())

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """See `Backbone.parameter_roles`.

        Raises:
            FreezingError: the role of some parameters is unknown.
        """
        roles = find_roles(self.model, self.block_list, frozenset(self.first_rows))
        return {f"model.{name}": role for name, role in roles.items()}


def is_skeleton(tensor: Tensor) -> bool:
    """Whether a tensor has a shape only: that of a model which is estimated, not run."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def accepted_by(model: nn.Module) -> frozenset[str]:
    """Names of the arguments its ``forward`` takes."""
    return frozenset(inspect.signature(model.forward).parameters)
