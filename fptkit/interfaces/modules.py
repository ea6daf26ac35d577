"""Base classes of encoders and backbones, and the roles of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fptkit.errors import PluginError, nearest
from fptkit.interfaces.batch import Inputs
from fptkit.specs.frames import during
from fptkit.specs.freezing import PARAMETER_KINDS, ROLES, Kind, Role


@dataclass(frozen=True)
class ParameterRole:
    """The purpose of one parameter.

    Args:
        role: role by which freezing policies select parameters.
        block: index of the parameter's block; None outside the blocks.
        fixed: true if it never trains, whatever the freezing policy.
        kind: ``weight``, ``bias`` or ``scale``; None: a name that begins or ends with ``bias`` is a bias, another
            parameter of one dimension a scale, as in norms, and the others are weights.

    Example:
        >>> import fptkit
        >>> fptkit.ParameterRole("attention", block=2)
        ParameterRole(role='attention', block=2, fixed=False, kind=None)
    """

    role: Role
    block: int | None = None
    fixed: bool = False
    kind: Kind | None = None


class Encoder(nn.Module):
    """Base class of encoders, which map raw tokens to token vectors of the backbone's width.

    Only encoders that combine tokens, or change their number, need to derive from it. Any torch module that maps each
    token independently can be an encoder too; it is called with ``inputs`` only.

    Example:
        >>> import fptkit, torch
        >>> class Pairs(fptkit.Encoder):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.map = torch.nn.Linear(2, width)
        ...     @classmethod
        ...     def token_count(cls, options, input, max_tokens):
        ...         return max_tokens // 2
        ...     def encoded_lengths(self, lengths):
        ...         return lengths // 2
        ...     def forward(self, inputs, lengths=None):
        ...         return self.map(inputs[:, : inputs.shape[1] // 2 * 2].flatten(1).unflatten(1, (-1, 2)))
        >>> tuple(Pairs(8)(torch.rand(3, 6, 1)).shape)
        (3, 3, 8)
    """

    @classmethod
    def token_count(cls, options: Any, input: Any, max_tokens: int) -> int:
        """Return the number of encoded tokens for ``max_tokens`` raw tokens; called first, to size the backbone.

        Args:
            options: recipe options.
            input: the task's input kind.
            max_tokens: raw tokens of the longest example.

        Raises:
            ShapeError: options and input do not fit.
        """
        return max_tokens

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of real encoded tokens of each example, at least one.

        Shapes: lengths (B,) int64, real raw tokens -> (B,) int64.
        """
        return lengths

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Encode a batch.

        The content of padding must not change the real encoded tokens. Encoded padding is never read.

        Shapes: inputs as in `Batch`, lengths (B,) -> (B, T', D); T' is ``encoded_lengths`` of T.

        Args:
            inputs: raw tokens, padded on the right.
            lengths: number of real tokens of each example; None if all are real.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """Return the roles of parameters that differ from ``input``, by their names in ``named_parameters()``."""
        return {}


def encode(encoder: nn.Module, inputs: Inputs, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Encode a batch and return the number of real encoded tokens.

    Shapes: -> encoded tokens (B, T', D), lengths (B,) or None.

    Args:
        encoder: an `Encoder`, or a module that maps each token independently.
        inputs: as in `Batch`.
        lengths: number of real raw tokens of each example; None if all are real.
    """
    if not isinstance(encoder, Encoder):
        tokens: Tensor = encoder(inputs)
        return tokens, lengths
    tokens = encoder(inputs, lengths)
    return tokens, None if lengths is None else encoder.encoded_lengths(lengths)


def roles_inside(encoder: nn.Module, prefix: str) -> dict[str, ParameterRole]:
    """The roles that an encoder inside another module declares, see `Encoder.parameter_roles`.

    Args:
        encoder: the encoder.
        prefix: its name in the other module, put before the names of its parameters.
    """
    own = checked_roles(encoder) if isinstance(encoder, Encoder) else {}
    return {f"{prefix}.{name}": role for name, role in own.items()}


def checked_roles(module: Encoder | Backbone, blocks: int = 0) -> dict[str, ParameterRole]:
    """The roles that an encoder or backbone declares, by parameter name.

    An unknown role or block would match no rule, and so freeze a parameter in silence.

    Args:
        module: the encoder or backbone.
        blocks: number of its blocks; 0 if it is not known.

    Raises:
        PluginError: ``parameter_roles`` returns something else than known roles, or a block that does not exist.
    """
    with during(of=module, call="parameter_roles"):
        roles = module.parameter_roles()
        check_roles(roles, blocks, f"{type(module).__name__}.parameter_roles()")
        return dict(roles)


def check_roles(roles: object, blocks: int, where: str) -> None:
    """Check the roles of parameters.

    Args:
        roles: what should be a mapping from parameter names to `ParameterRole`.
        blocks: number of blocks; 0 if it is not known.
        where: what gave them, for messages.

    Raises:
        PluginError: they are something else than known roles, or name a block that does not exist.
    """
    for fault in _role_faults(roles, blocks):
        raise PluginError(f"{where}{fault}")


def _role_faults(roles: object, blocks: int) -> Iterator[str]:
    if not isinstance(roles, Mapping):
        yield f" returned {roles!r:.80}, expected a mapping from parameter names to ParameterRole"
        return
    for name, role in roles.items():
        if not isinstance(role, ParameterRole):
            yield f": '{name}' has {role!r:.80}, expected a fptkit.ParameterRole"
            return
        if role.role not in ROLES:
            hint = nearest(str(role.role), ROLES)
            suggestion = f" Did you mean '{hint}'?" if hint else ""
            yield f": '{name}' has the unknown role {role.role!r}.{suggestion} Roles are {', '.join(ROLES)}"
        if role.kind not in (None, *PARAMETER_KINDS):
            yield f": '{name}' has the unknown kind {role.kind!r}; kinds are {', '.join(PARAMETER_KINDS)}"
        block = role.block
        if block is not None and (isinstance(block, bool) or not isinstance(block, int) or block < 0):
            yield f": '{name}' has the block {block!r}, expected an index from 0, or None"
        elif block is not None and blocks and block >= blocks:
            yield f": '{name}' has block {block}, but there are {blocks} (attribute blocks)"


class Backbone(nn.Module):
    """Base class of backbones: sequence models that map token vectors to token vectors.

    Attributes:
        width: D.
        max_positions: longest sequence that its position embeddings allow; None if there is no limit.
        causal: true if a token depends only on itself and earlier tokens; then right padding needs no mask.
        embedding_norm: mean Euclidean norm of the word embeddings that its blocks were trained on; None if there are
            none.
        begin_of_text: (D,), embedding of the token that begins a text; None: it is read from the checkpoint that
            ``weights`` names.
        apart: true if sequences of different lengths pass the blocks separately: how often these run depends on the
            batch.
        blocks: number of blocks.
        weights: source of the weights, e.g. ``"builtin:gpt2_nano"`` or ``"random"``.
        stand_in: true if ``weights`` is a fallback, not the first source in the recipe.
        notes: lines for the run header.

    Example:
        >>> import fptkit, torch
        >>> class Norm(fptkit.Backbone):
        ...     width, causal, blocks = 8, True, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.norm = torch.nn.LayerNorm(self.width)
        ...     def forward(self, tokens, lengths=None, keep=None):
        ...         return fptkit.keep_tokens(self.norm(tokens), keep)
        ...     def parameter_roles(self):
        ...         return {name: fptkit.ParameterRole("norm", block=0) for name, _ in self.named_parameters()}
        >>> tuple(Norm()(torch.rand(2, 5, 8), keep=torch.tensor([[4], [4]])).shape)
        (2, 1, 8)
    """

    width: int
    max_positions: int | None = None
    causal: bool = False
    embedding_norm: float | None = None
    begin_of_text: Tensor | None = None
    apart: bool = False
    blocks: int = 0
    weights: str = "random"
    stand_in: bool = False
    notes: tuple[str, ...] = ()

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """Run the sequence model. Padding must not change the result at real tokens.

        Shapes: tokens (B, T, D), lengths (B,), keep (B, R) -> (B, T, D), or (B, R, D) with ``keep``.

        Args:
            tokens: encoded tokens, padded on the right.
            lengths: number of real tokens of each example; None if all are real.
            keep: positions that the head reads. A backbone may skip computation for the others; the simplest
                implementation is `keep_tokens`.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """Return the role of every parameter, by its name in ``named_parameters()``.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement parameter_roles")

    def position_tables(self) -> Sequence[str]:
        """Return the names of the parameters whose rows it adds to the tokens by their position.

        By default those with the role ``position`` outside the blocks.
        """
        return [name for name, role in self.parameter_roles().items() if role.role == "position" and role.block is None]

    def adds_positions(self) -> bool:
        """Return whether it adds positions to the tokens itself, by a table or by a computation."""
        return bool(self.position_tables())

    def block_modules(self) -> Sequence[nn.Module]:
        """Return the modules of its blocks, if activation checkpointing can recompute them; otherwise nothing.

        ``train.activation_checkpointing`` runs each block again in the backward pass, which must give the same result:
        blocks must not have side effects, and torch's generators must be their only source of randomness.
        """
        return ()

    def uncounted_flops(self, tokens: Tensor) -> int:
        """Return the FLOPs of forward and backward that torch does not count, such as those of compiled code.

        Args:
            tokens: the input of `forward`; with ``requires_grad``, gradients flow to the encoder.
        """
        return 0


def keep_tokens(hidden: Tensor, keep: Tensor | None) -> Tensor:
    """Select the tokens that the head reads.

    Shapes: hidden (B, T, D), keep (B, R) or None -> (B, R, D), or ``hidden`` unchanged for None.

    Example:
        >>> import fptkit, torch
        >>> hidden = torch.arange(6.0).reshape(1, 3, 2)
        >>> fptkit.keep_tokens(hidden, torch.tensor([[2]])).tolist()
        [[[4.0, 5.0]]]
    """
    if keep is None:
        return hidden
    return hidden.gather(1, keep[:, :, None].expand(-1, -1, hidden.shape[-1]))
