"""A transformers model as a backbone: token vectors in, last hidden state out."""

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

    In a Longformer no token has global attention: every token, read out or not, sees only its window.

    Args:
        model: accepts ``inputs_embeds`` and returns ``last_hidden_state``; its word embedding is replaced by a module
            with the same ``embedding_dim``.
        window: sequences are padded internally to a multiple of it, as Longformer needs; 1: no padding.

    Attributes:
        first_rows: for each embedding outside the blocks that holds positions, the row of the first token by the
            embedding's name; None if its rows are distances between tokens instead of positions.
        numbers_positions: pass position ids, starting at 0, to the model; otherwise it counts positions itself.
        ends: ``max_positions`` is a hard limit of the position table; otherwise it is the length used in pretraining.
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
            further["position_ids"] = positions.expand(tokens.shape[0], -1)
        vectors = functional.pad(tokens, (0, 0, 0, added)) if added else tokens
        hidden: Tensor = self.model(inputs_embeds=vectors, attention_mask=mask, **further).last_hidden_state
        return keep_tokens(hidden[:, :count], keep)

    def _mask(self, tokens: Tensor, lengths: Tensor | None, added: int) -> Tensor | None:
        """Attention mask (B, T + added): 1 for a real token, 0 for padding; None if all are real."""
        if lengths is None and not added:
            return None
        total = tokens.shape[1] + added
        if lengths is None:
            lengths = torch.full((tokens.shape[0],), tokens.shape[1], device=tokens.device)
        return (torch.arange(total, device=tokens.device) < lengths[:, None]).long()

    def block_modules(self) -> Sequence[nn.Module]:
        """See `Backbone.block_modules`; the blocks cache no keys and values."""
        return list(self.model.get_submodule(self.block_list).children())

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """See `Backbone.parameter_roles`.

        Raises:
            FreezingError: the role of some parameters is unknown.
        """
        roles = find_roles(self.model, self.block_list, frozenset(self.first_rows))
        return {f"model.{name}": role for name, role in roles.items()}


def is_skeleton(tensor: Tensor) -> bool:
    """True if a tensor has a shape but no values: its model is only estimated, not run."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def accepted_by(model: nn.Module) -> frozenset[str]:
    """Names of the arguments that a model's ``forward`` accepts."""
    return frozenset(inspect.signature(model.forward).parameters)
