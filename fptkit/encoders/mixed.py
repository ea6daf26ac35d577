"""Encoder of mixed inputs: each part has its own encoder, and the results are concatenated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fptkit.encoders.choice import check_accepts, default_encoder, encoded_tokens, find_encoder
from fptkit.encoders.options import MixedOptions, PartOptions, part_options
from fptkit.errors import PluginError, ShapeError, UsageError
from fptkit.interfaces import Encoder, Mixed, ParameterRole, encode, roles_inside
from fptkit.options import Options
from fptkit.registry import Registry
from fptkit.specs import EncoderSpec


class MixedEncoder(Encoder):
    """Encodes every part with its own encoder, adds the part's learned vector to its tokens, and concatenates them.

    Args:
        options: recipe options.
        input: the task's input kind; gives the parts and their order.
        width: D.
        registry: the registry to search for the encoders of the parts; None for the built-in ones.

    Raises:
        ShapeError: the options name an unknown part, or an encoder does not accept its part's kind.
        UsageError: an encoder does not accept the given options.
        UnknownNameError: there is no encoder of a given name.
        PluginError: an encoder is not a torch module.

    Source: the learned vectors are the segment embeddings of Devlin et al. 2019 (BERT), normal with standard deviation
    0.02.
    """

    def __init__(self, options: MixedOptions, *, input: Mixed, width: int, registry: Registry | None = None) -> None:
        super().__init__()
        self.input = input
        self._tokens: dict[str, int] = {}  # encoded tokens of each part's longest example
        built: dict[str, nn.Module] = {}
        for name, (spec, own) in _chosen(options, input, registry).items():
            part = spec.resolve()(own, input=input.parts[name], width=width)
            if not isinstance(part, nn.Module):
                raise PluginError(f"encoder '{spec.name}': expected a torch module, got a {type(part).__name__}")
            built[name] = part
            self._tokens[name] = encoded_tokens(spec, own, input.parts[name], input.tokens_of(name))
        # A list, since names of parts may contain dots or equal those of methods, unlike names of modules.
        self.parts = nn.ModuleList(built.values())
        self.part_vectors = nn.Parameter(torch.empty(len(built), width).normal_(0, 0.02))

    @classmethod
    def token_count(
        cls, options: MixedOptions, input: Mixed, max_tokens: int, *, registry: Registry | None = None
    ) -> int:
        """See `Encoder.token_count`."""
        return sum(
            encoded_tokens(spec, own, input.parts[name], input.tokens_of(name))
            for name, (spec, own) in _chosen(options, input, registry).items()
        )

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """Return the encoded tokens of all parts. Shapes: lengths (B,) or (B, P), see `fptkit.Mixed` -> (B,)."""
        own = {name: self.input.length_of(name, lengths) for name in self.input.parts}
        fixed = sum(tokens for name, tokens in self._tokens.items() if own[name] is None)
        made = [
            part.encoded_lengths(real) if isinstance(part, Encoder) else real
            for part, real in zip(self.parts, own.values(), strict=True)
            if real is not None
        ]
        return torch.stack(made).sum(0) + fixed

    def forward(self, inputs: Mapping[str, Tensor], lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs of each part as its kind says, lengths as in `encoded_lengths` -> (B, T', D)."""
        encoded = []
        for name, part, vector in zip(self.input.parts, self.parts, self.part_vectors, strict=True):
            tokens, _ = encode(part, inputs[name], self.input.length_of(name, lengths))
            encoded.append(tokens + vector)
        whole = torch.cat(encoded, dim=1)
        if lengths is None or not self.input.columns:
            return whole
        return _packed(whole, self._real(encoded, lengths))

    def _real(self, encoded: Sequence[Tensor], lengths: Tensor) -> Tensor:
        """Which of the concatenated tokens are real. Shapes: encoded (B, T', D) of each part -> (B, sum of T') bool."""
        found = []
        for name, part, tokens in zip(self.input.parts, self.parts, encoded, strict=True):
            places, own = torch.arange(tokens.shape[1], device=tokens.device), self.input.length_of(name, lengths)
            if own is None:
                found.append((places >= 0).expand(tokens.shape[0], -1))
            else:
                found.append(places < (part.encoded_lengths(own) if isinstance(part, Encoder) else own)[:, None])
        return torch.cat(found, dim=1)

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """See `Encoder.parameter_roles`."""
        found = [roles_inside(part, f"parts.{index}") for index, part in enumerate(self.parts)]
        return {name: role for roles in found for name, role in roles.items()}


def _packed(tokens: Tensor, real: Tensor) -> Tensor:
    """Move the real tokens of each example to the left, in their order.

    Shapes: tokens (B, T', D), real (B, T') bool -> (B, T', D).
    """
    order = (~real).to(torch.uint8).argsort(dim=1, stable=True)
    return tokens.gather(1, order[:, :, None].expand_as(tokens))


def _chosen(options: MixedOptions, input: Mixed, registry: Registry | None) -> dict[str, tuple[EncoderSpec, Options]]:
    """Return encoder and validated options of every part, in order."""
    if unknown := [name for name in options.parts if name not in input.parts]:
        raise ShapeError(f"encoder.parts names '{unknown[0]}', but the task's parts are {', '.join(input.parts)}")
    chosen = {}
    for name, kind in input.parts.items():
        part = options.parts.get(name) or PartOptions(name=default_encoder(kind))
        spec = find_encoder(part.name, registry)
        check_accepts(spec, kind, f"part '{name}' is")
        try:
            chosen[name] = spec, part_options(spec, part)
        except ValueError as err:
            raise UsageError(f"encoder.parts.{name}: {err}") from err
    return chosen
