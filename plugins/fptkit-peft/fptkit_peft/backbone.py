"""A backbone with adapters: the same network, with roles for the added parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from fptkit import Backbone, ParameterRole, keep_tokens


class AdaptedBackbone(Backbone):
    """A backbone in which peft has replaced modules by adapted ones.

    The last block is computed for all tokens, also those not read out: backbones that skip them use slices of weights,
    which would bypass the adapters.

    Args:
        base: the backbone with adapters.
        roles: the role of every parameter of ``base``, by name.
    """

    def __init__(self, base: Backbone, roles: Mapping[str, ParameterRole]) -> None:
        super().__init__()
        self.width = base.width
        self.max_positions = base.max_positions
        self.causal = base.causal
        self.embedding_norm = base.embedding_norm
        self.begin_of_text = base.begin_of_text
        self.blocks = base.blocks
        self.weights = base.weights
        self.stand_in = base.stand_in
        self.notes = base.notes
        self.base = base
        self._roles = {f"base.{name}": role for name, role in roles.items()}

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `fptkit.Backbone.forward`."""
        hidden: Tensor = self.base(tokens, lengths)
        return keep_tokens(hidden, keep)

    def block_modules(self) -> Sequence[nn.Module]:
        """See `fptkit.Backbone.block_modules`."""
        return self.base.block_modules()

    def position_tables(self) -> Sequence[str]:
        """See `fptkit.Backbone.position_tables`."""
        return [f"base.{name}" for name in self.base.position_tables()]

    def adds_positions(self) -> bool:
        """See `fptkit.Backbone.adds_positions`."""
        return self.base.adds_positions()

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `fptkit.Backbone.parameter_roles`."""
        return dict(self._roles)
