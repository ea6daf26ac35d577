"""Encoders and backbones, and the role of each of their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from fptkit.interfaces.batch import Inputs

Role = Literal[
    "input",
    "output",
    "position",
    "attention",
    "feed_forward",
    "norm",
    "recurrent",
    "embedding",
    "adapter",
    "other",
]


@dataclass(frozen=True)
class ParameterRole:
    """What one parameter is for.

    Args:
        role: the word freezing policies ask for.
        block: index of the block it belongs to, None outside the blocks.
    """

    role: Role
    block: int | None = None


class Encoder(nn.Module):
    """Raw tokens to token vectors of the backbone's width.

    Derive from it where the tokens of an example are mixed, or become more or fewer. Any other torch module that maps
    each token by itself is an encoder as it is, and is called with ``inputs`` alone.
    """

    @classmethod
    def token_count(cls, options: Any, input: Any, max_tokens: int) -> int:
        """How many tokens it makes of ``max_tokens`` raw ones. Asked before it is built, to size the backbone.

        Args:
            options: recipe options.
            input: the task's input kind.
            max_tokens: raw tokens of the longest example.

        Raises:
            ShapeError: options and input do not fit.
        """
        return max_tokens

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """Real encoded tokens of examples with so many real raw tokens, at least one each.

        Shapes: lengths (B,) int64 -> (B,) int64.
        """
        return lengths

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Encode.

        Shapes: inputs as in `Batch`, lengths (B,) -> (B, T', D); T' is what ``encoded_lengths`` makes of T.

        Args:
            inputs: raw tokens, padded on the right.
            lengths: real tokens of each example; None when all are real. What stands in the padding must not change the
                real encoded tokens; what the encoder puts after these is never read.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")


def encode(encoder: nn.Module, inputs: Inputs, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Encoded tokens (B, T', D), and how many of each example are real (B,) or None.

    Args:
        encoder: an `Encoder`, or a module that maps each token by itself.
        inputs: as in `Batch`.
        lengths: real raw tokens of each example, or None.
    """
    if not isinstance(encoder, Encoder):
        tokens: Tensor = encoder(inputs)
        return tokens, lengths
    tokens = encoder(inputs, lengths)
    return tokens, None if lengths is None else encoder.encoded_lengths(lengths)


class Backbone(nn.Module):
    """A sequence model between encoder and head: token vectors in, token vectors out.

    Attributes:
        width: D.
        max_positions: longest sequence its positions reach, None when there is no limit.
        causal: true when a token sees only itself and those before it; then right padding needs no mask.
        embedding_norm: mean Euclidean norm of the word embeddings its blocks were trained on; None where there are
            none.
        blocks: number of blocks.
        weights: where the weights came from, e.g. ``"builtin:gpt2_nano"`` or ``"random"``.
        stand_in: true when ``weights`` is not the first source the recipe lists.
        notes: lines the run header shows.
    """

    width: int
    max_positions: int | None = None
    causal: bool = False
    embedding_norm: float | None = None
    blocks: int = 0
    weights: str = "random"
    stand_in: bool = False
    notes: tuple[str, ...] = ()

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """Run the sequence model.

        Shapes: tokens (B, T, D), lengths (B,), keep (B, R) -> (B, T, D), or (B, R, D) where ``keep`` is given.

        Args:
            tokens: encoded tokens, padded on the right.
            lengths: real tokens of each example; None when all are real. Padding must not change the result at real
                tokens.
            keep: positions the head reads. A backbone may skip work for the others; `keep_tokens` is the plain way.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """The role of every parameter, by its name in ``named_parameters()``."""
        raise NotImplementedError(f"{type(self).__name__} does not implement parameter_roles")

    def block_modules(self) -> Sequence[nn.Module]:
        """The modules of its blocks, if each can be run again on what it was given; empty where there are none such.

        ``train.activation_checkpointing`` runs them once more in the backward pass. A block must then give the same: it
        changes nothing but what it returns, and torch's generators are its only source of chance.
        """
        return ()

    def uncounted_flops(self, tokens: Tensor) -> int:
        """Floating-point operations of forward and backward that torch does not see, such as those of compiled code.

        Args:
            tokens: as `forward` was given them; ``requires_grad`` tells whether gradients go below the backbone.
        """
        return 0


def keep_tokens(hidden: Tensor, keep: Tensor | None) -> Tensor:
    """Pick the tokens a head reads.

    Shapes: hidden (B, T, D), keep (B, R) or None -> (B, R, D), or hidden itself for None.
    """
    if keep is None:
        return hidden
    return hidden.gather(1, keep[:, :, None].expand(-1, -1, hidden.shape[-1]))
