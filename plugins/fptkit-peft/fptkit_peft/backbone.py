"""A backbone with adapters in it: the same network, with roles for the parameters that were added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from fptkit import Backbone, ParameterRole, keep_tokens


class AdaptedBackbone(Backbone):
    """Runs a backbone whose modules peft has replaced.

    Tokens that are not read out pass the last block too: a backbone that skips work for them takes slices of weights,
    which know nothing of adapters.

    Args:
        base: with the adapters in it.
        roles: the role of every parameter of it, by name.
    """

    def __init__(self, base: Backbone, roles: Mapping[str, ParameterRole]) -> None:
        super().__init__()
        self.width = base.width
        self.max_positions = base.max_positions
        self.causal = base.causal
        self.embedding_norm = base.embedding_norm
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

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `fptkit.Backbone.parameter_roles`."""
        return dict(self._roles)
