"""The cross-modal model: encoder, backbone and head, and the role of each parameter."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from fptkit.backbones.front import Front
from fptkit.encoders.shuffle import shuffle_tokens
from fptkit.errors import FreezingError, ShapeError
from fptkit.interfaces import (
    AnswerKind,
    Backbone,
    Batch,
    Encoder,
    Inputs,
    ParameterRole,
    checked_roles,
    encode,
    roles_inside,
)
from fptkit.layers import linear_stack
from fptkit.numerics.tracing import may_read, traced
from fptkit.specs.frames import during

Readout = Literal["last", "last_k", "mean", "first", "all"]
"""The read-outs of `Head` itself; subclasses have names of their own."""

ChangeRoles: TypeAlias = Callable[[Mapping[str, ParameterRole]], Mapping[str, ParameterRole]]
"""A freezing policy's change of the roles that a backbone declares."""


def default_readout(output: AnswerKind, *, causal: bool) -> Readout:
    """Choose the read-out: ``all`` for an answer at every token, ``last_k`` if the task reads several tokens, else
    ``last`` if causal, else ``mean``.

    Args:
        output: kind of the task's answer.
        causal: whether the backbone is causal.
    """
    return cast("Readout", output.readout(causal=causal))


class Head(nn.Module):
    """Read-out (pooling) of real tokens and a linear output layer, optionally with hidden layers.

    A subclass overrides `read` for another pooling of all tokens, or `answer` for other predictions. With parameters
    of its own outside ``map``, its features are not cached.

    Args:
        output: kind of the task's answer.
        width: D, or the width of what `read` of a subclass gives.
        readout: ``last``: the last real token; ``last_k``: the last R real tokens; ``mean``: the mean of real tokens;
            ``first``: the first token; ``all``: every token, for kinds with an answer at each. A subclass gives
            another name, and gets all tokens.
        hidden: widths of layers before the output layer.
        dropout: dropout probability in the hidden layers.

    Attributes:
        output: kind of the task's answer.
        readout: name of the read-out.
        map: the layers.

    Raises:
        ShapeError: the read-out returns one token, but the task reads several, or all.

    Example:
        >>> import fptkit, torch
        >>> head = fptkit.Head(fptkit.Classes(3), 16, readout="mean")
        >>> tuple(head(torch.rand(2, 5, 16), torch.tensor([5, 4])).shape)
        (2, 3)
    """

    def __init__(
        self,
        output: AnswerKind,
        width: int,
        *,
        readout: str,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        own = readout in get_args(Readout)
        if own and output.tokens > 1 and readout != "last_k":
            raise ShapeError(
                f"head.readout '{readout}' returns one token, but the task reads {output.tokens}; use last_k or auto"
            )
        if own and output.each_token and readout != "all":
            raise ShapeError(f"head.readout '{readout}' does not read every token, but the task labels each; use auto")
        self.output = output
        self.readout = readout
        self.map = linear_stack((width, *hidden, output.head_width()), dropout=dropout)

    def positions(self, inputs: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Return the positions of the tokens that are read.

        Shapes: inputs (B, T, ...), lengths (B,) or None -> (B, R), or None if all tokens are needed.
        """
        if self.readout == "first":
            return torch.zeros((inputs.shape[0], 1), dtype=torch.int64, device=inputs.device)
        if self.readout not in ("last", "last_k"):
            return None
        if lengths is None:
            lengths = torch.full((inputs.shape[0],), inputs.shape[1], device=inputs.device)
        offsets = torch.arange(-self.output.tokens, 0, device=inputs.device)
        return (lengths[:, None] + offsets).clamp(min=0)

    def forward(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Compute logits.

        Shapes: hidden (B, R, D), or (B, T, D) for ``mean`` and ``all`` -> logits, arranged by the output's ``arrange``.
        """
        return self.answer(self.read(hidden, lengths))

    def read(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Pool the tokens for the layers.

        Shapes: hidden as in `forward` -> (B, R, D), or (B, T, D) for a class at each token.
        """
        return _mean_of_real(hidden, lengths) if self.readout == "mean" else hidden

    def answer(self, read: Tensor) -> Tensor:
        """Apply the layers to pooled tokens.

        Shapes: read (B, R, D) -> logits, arranged by the output's ``arrange``.
        """
        return self.output.arrange(self.map(read))


def _mean_of_real(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, 1, D)."""
    if lengths is None:
        return hidden.mean(1, keepdim=True)
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    return (hidden * real[:, :, None]).sum(1, keepdim=True) / lengths[:, None, None]


class CrossModalModel(nn.Module):
    """Raw tokens of any modality -> encoder -> front -> backbone -> head -> logits.

    Args:
        encoder: maps raw tokens to (B, T', D), see `fptkit.Encoder`; T' encoded tokens, often as many as raw tokens.
        backbone: maps (B, T', D) to (B, T', D).
        head: maps (B, R, D) to logits.
        mixed: run the backbone's matrix products in bfloat16; encoder, norm parameters and head stay float32.
        shuffle_seed: shuffle the tokens of each example before the backbone, with this seed; None: do not shuffle.
        front: adds positions to the encoded tokens, and a prefix in front of them; None: neither.

    Attributes:
        change_roles: what the freezing policy changes about the roles of the backbone's parameters; None: nothing.
    """

    def __init__(
        self,
        encoder: nn.Module,
        backbone: Backbone,
        head: Head,
        *,
        mixed: bool = False,
        shuffle_seed: int | None = None,
        front: Front | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.front = front
        self.backbone = backbone
        self.head = head
        self.mixed = mixed
        self.shuffle_seed = shuffle_seed
        self.change_roles: ChangeRoles | None = None

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch.

        Shapes: inputs as in `fptkit.Batch`, lengths (B,) or None -> logits, the targets' shape plus (K,) for classes.

        Args:
            inputs: raw tokens, padded on the right.
            lengths: real tokens of each example; None: all are real.

        Raises:
            ShapeError: an example has fewer encoded tokens than are read out.
        """
        hidden, encoded_lengths = self.hidden(inputs, lengths)
        logits: Tensor = self.head(hidden, encoded_lengths)
        return logits

    def hidden(self, inputs: Inputs, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute the input of the head: float32 token vectors, and the number of real tokens per example, or None.

        Shapes: as in `forward` -> (B, R, D), or (B, T', D) if the head reads all tokens; (B,) or None.

        Raises:
            ShapeError: an example has fewer encoded tokens than are read out.
        """
        tokens, encoded_lengths = encode(self.encoder, inputs, lengths)
        self._check_enough(tokens, lengths, encoded_lengths)
        if self.shuffle_seed is not None:
            tokens = shuffle_tokens(
                tokens, encoded_lengths, inputs, lengths, salt=self._salt(self.shuffle_seed, tokens.device)
            )
        keep = self.head.positions(tokens, encoded_lengths)
        with self._autocast(tokens.device.type):
            hidden = self._run_backbone(tokens, encoded_lengths, keep)
        return hidden.float(), encoded_lengths

    def _autocast(self, device: str) -> contextlib.AbstractContextManager[Any]:
        """The precision of the backbone; an exported program, which is float32, has no operation for it."""
        if traced() and not self.mixed:
            return contextlib.nullcontext()
        return torch.autocast(device, torch.bfloat16, enabled=self.mixed)

    def _run_backbone(self, tokens: Tensor, lengths: Tensor | None, keep: Tensor | None) -> Tensor:
        """See `fptkit.Backbone.forward`."""
        if self.front is not None:
            return self.front.run(self.backbone, tokens, lengths, keep)
        hidden: Tensor = self.backbone(tokens, lengths, keep)
        return hidden

    def _salt(self, seed: int, device: torch.device) -> int | Tensor:
        """Seed of the token orders: constant in evaluation, different at every training step.

        A constant order in training could be memorised, and the answer with it. The training loop seeds torch's
        generator by the step, so that a resumed run uses the same orders.
        """
        return torch.randint(2**62, (), device=device) if self.training else seed

    def _check_enough(self, tokens: Tensor, lengths: Tensor | None, encoded_lengths: Tensor | None) -> None:
        """Raise if an example has fewer encoded tokens than are read out."""
        shortest, wanted = tokens.shape[1], self.head.output.tokens
        # If the encoder does not change the lengths, the check of the batch covers them.
        if wanted > 1 and encoded_lengths is not None and encoded_lengths is not lengths and may_read(encoded_lengths):
            shortest = int(encoded_lengths.min())
        _refuse_below(shortest, wanted)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Return the role of every parameter, by its name in ``named_parameters()``.

        Raises:
            FreezingError: the backbone's roles are incomplete, or include parameters that it does not have.
            PluginError: a role or block does not exist.
        """
        found = checked_roles(self.backbone, self.backbone.blocks)
        if self.change_roles is not None:
            found = dict(self.change_roles(found))
        own = {f"backbone.{name}": role for name, role in found.items()}
        roles = dict(own)
        for name, _ in self.named_parameters():
            if name.startswith("encoder."):
                roles[name] = ParameterRole("input")
            elif name.startswith("head."):
                roles[name] = ParameterRole("output")
        roles |= roles_inside(self.encoder, "encoder")
        if self.front is not None:
            roles |= self._roles_of_front(self.front)
        names = {name for name, _ in self.named_parameters()}
        if names != roles.keys():
            without, unknown = sorted(names - roles.keys()), sorted(roles.keys() - names)
            with during(of=self.backbone, call="parameter_roles"):
                raise FreezingError(
                    f"{type(self.backbone).__name__}.parameter_roles() does not match its parameters: "
                    f"without a role: {', '.join(without) or 'none'}; not a parameter: {', '.join(unknown) or 'none'}"
                )
        return roles

    def _roles_of_front(self, front: Front) -> dict[str, ParameterRole]:
        """The roles of its parameters, and of the position tables that it replaces: those never train."""
        replaced = [name for name, parameter in self.named_parameters() if front.replaces(parameter)]
        own = {f"front.{name}": role for name, role in front.parameter_roles().items()}
        return own | dict.fromkeys(replaced, ParameterRole("position", fixed=True))


def batch_for(model: nn.Module, batch: Batch, device: torch.device) -> Batch:
    """A batch on a model's device. For an accelerator its lengths are checked first: reading them there would wait.

    Args:
        model: a `CrossModalModel`; of other modules nothing is checked.
        batch: the batch.
        device: of the model.

    Raises:
        ShapeError: an example has fewer encoded tokens than are read out.
    """
    lengths, leaves = batch.lengths, device.type != "cpu" and batch.targets.device.type == "cpu"
    if leaves and lengths is not None and isinstance(model, CrossModalModel) and isinstance(model.encoder, Encoder):
        wanted = model.head.output.tokens
        if wanted > 1:
            _refuse_below(int(model.encoder.encoded_lengths(lengths).min()), wanted)
    return batch.to(device)


def _refuse_below(shortest: int, wanted: int) -> None:
    if shortest < wanted:
        raise ShapeError(
            f"the encoder makes {shortest} tokens per example, but the task reads {wanted} out; "
            "choose shorter patches or smaller strides"
        )
