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

from fptkit.backbones.apart import run_apart
from fptkit.backbones.huggingface.families import knowledge_of
from fptkit.backbones.huggingface.roles import RoleRules, find_blocks, find_roles
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole, keep_tokens
from fptkit.specs.freezing import Role


class NoWords(nn.Module):
    """Placeholder for the word embedding, which is dropped because the model gets token vectors.

    Args:
        width: D, numbers per token.
        norm: mean Euclidean norm of the dropped embeddings; None for a skeleton and for a file without them.
    """

    def __init__(self, width: int, norm: float | None) -> None:
        super().__init__()
        self.embedding_dim = width
        self.mean_norm = norm


class HuggingFaceBackbone(Backbone):
    """The blocks, norms and positions of a model from transformers, without word embedding and pooler.

    In a Longformer no token has global attention: every token, read out or not, sees only its window.

    Args:
        model: accepts ``inputs_embeds`` and returns ``last_hidden_state``; its word embedding is replaced by a module
            with the same ``embedding_dim``.
        window: sequences are padded internally to a multiple of it, as Longformer needs; 1: no padding.
        given_roles: roles of parameters, by pattern of their names, from the recipe.

    Attributes:
        first_rows: for each embedding outside the blocks that holds positions, the row of the first token by the
            embedding's name; None if its rows are distances between tokens instead of positions.
        added_tables: names of those embeddings that are added to the tokens before the blocks.
        places_tokens: positions are added to the tokens before the blocks, by a table or by a computation.
        numbers_positions: pass position ids, starting at 0, to the model; otherwise it counts positions itself.
        ends: ``max_positions`` is a hard limit of the position table; otherwise it is the length used in pretraining.
        overwrites: the model changes its input in place, and gets a copy.
    """

    def __init__(
        self, model: PreTrainedModel, *, window: int = 1, given_roles: Mapping[str, Role] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        words = next(module for module in model.modules() if isinstance(module, NoWords))
        self.width = words.embedding_dim
        self.embedding_norm = words.mean_norm
        self.window = window
        self.given_roles = dict(given_roles or {})
        self.block_list: str = getattr(model, "block_list", None) or find_blocks(model)
        self.blocks = len(self.model.get_submodule(self.block_list)._modules)
        self.first_rows: dict[str, int | None] = {}
        self.added_tables: tuple[str, ...] = ()
        self.places_tokens = False
        self.numbers_positions = False
        self.ends = False
        self.overwrites = False
        self._known = knowledge_of(model.config.model_type)
        self._further: dict[str, Any] = {"use_cache": False} if "use_cache" in accepted_by(model) else {}

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. A causal model needs no mask: no token sees the padding to its right.

        Raises:
            ShapeError: more tokens than the position table has rows.
        """
        count = tokens.shape[1]
        if self.ends and self.max_positions is not None and count > self.max_positions:
            raise ShapeError(f"{count} tokens do not fit a position table of {self.max_positions}")
        if self.apart and lengths is not None and not is_skeleton(tokens):
            return keep_tokens(run_apart(lambda alone: self._run(alone, None), tokens, lengths), keep)
        return keep_tokens(self._run(tokens, lengths), keep)

    def _run(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """The last hidden state (B, T, D)."""
        count = tokens.shape[1]
        added = -count % self.window
        mask = None if self.causal else self._mask(tokens, lengths, added)
        further = dict(self._further)
        if self.numbers_positions:
            positions = functional.pad(torch.arange(count, device=tokens.device), (0, added))
            further["position_ids"] = positions.expand(tokens.shape[0], -1)
        vectors = functional.pad(tokens, (0, 0, 0, added)) if added else tokens
        if self.overwrites:
            vectors = vectors.clone()
        hidden: Tensor = self.model(inputs_embeds=vectors, attention_mask=mask, **further).last_hidden_state
        return hidden[:, :count]

    def _mask(self, tokens: Tensor, lengths: Tensor | None, added: int) -> Tensor | None:
        """Attention mask (B, T + added): 1 for a real token, 0 for padding; None if all are real."""
        if lengths is None and not added:
            return None
        total = tokens.shape[1] + added
        if lengths is None:
            lengths = torch.full((tokens.shape[0],), tokens.shape[1], device=tokens.device)
        return (torch.arange(total, device=tokens.device) < lengths[:, None]).long()

    def position_tables(self) -> Sequence[str]:
        """See `Backbone.position_tables`; tables of distances, and of rotations, are not added to the tokens."""
        return [f"model.{name}.weight" for name in self.added_tables]

    def adds_positions(self) -> bool:
        """See `Backbone.adds_positions`; it was measured, see `fptkit.backbones.huggingface.fit.measure`."""
        return self.places_tokens

    def block_modules(self) -> Sequence[nn.Module]:
        """See `Backbone.block_modules`; the blocks cache no keys and values. None if a block is not one module."""
        return [] if self.parts_of_blocks() else list(self.model.get_submodule(self.block_list).children())

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """See `Backbone.parameter_roles`.

        Raises:
            FreezingError: the role of some parameters is unknown.
            UsageError: a pattern of the recipe matches no parameter.
        """
        rules = RoleRules(frozenset(self.first_rows), self._known.roles, self.given_roles)
        roles = find_roles(self.model, (self.block_list, *self.parts_of_blocks()), rules)
        return {f"model.{name}": role for name, role in roles.items()}

    def parts_of_blocks(self) -> Sequence[str]:
        """Names of the module lists that hold parts of each block beside `block_list`."""
        parent = self.block_list.rpartition(".")[0]
        names = (f"{parent}.{name}" if parent else name for name in self._known.beside)
        return tuple(name for name in names if name != self.block_list)


def is_skeleton(tensor: Tensor) -> bool:
    """True if a tensor has a shape but no values: its model is only estimated, not run."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def accepted_by(model: nn.Module) -> frozenset[str]:
    """Names of the arguments that a model's ``forward`` accepts."""
    return frozenset(inspect.signature(model.forward).parameters)
