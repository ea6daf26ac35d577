"""Encoder of mixed inputs: each part has its own encoder, and the results are concatenated."""

from __future__ import annotations

from collections.abc import Mapping

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
        total = torch.zeros(len(lengths), dtype=torch.int64, device=lengths.device)
        for name, part in zip(self.input.parts, self.parts, strict=True):
            own = self.input.length_of(name, lengths)
            if own is None:
                total = total + self._tokens[name]
            else:
                total = total + (part.encoded_lengths(own) if isinstance(part, Encoder) else own)
        return total

    def forward(self, inputs: Mapping[str, Tensor], lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs of each part as its kind says, lengths as in `encoded_lengths` -> (B, T', D)."""
        encoded, real = [], []
        for name, part, vector in zip(self.input.parts, self.parts, self.part_vectors, strict=True):
            tokens, own = encode(part, inputs[name], self.input.length_of(name, lengths))
            encoded.append(tokens + vector)
            places = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
            real.append(places >= 0 if own is None else places < own[:, None])
        whole = torch.cat(encoded, dim=1)
        return whole if lengths is None or not self.input.columns else _packed(whole, torch.cat(real, dim=1))

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
