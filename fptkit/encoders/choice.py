"""Which encoder reads an input, and how many tokens it makes of it."""

from __future__ import annotations

from fptkit.encoders.options import MixedOptions
from fptkit.errors import PluginError, ShapeError, UnknownNameError
from fptkit.interfaces import InputKind
from fptkit.options import Options
from fptkit.registry import Registry
from fptkit.specs import EncoderSpec

_DEFAULTS = {"vectors": "linear", "symbols": "symbols", "grid": "patches2d", "mixed": "mixed"}
"""For each kind of input, the encoder that is taken where none is named."""


def default_encoder(input: InputKind) -> str:
    """Name of the encoder that is taken where none is named."""
    return _DEFAULTS[input.name]


def find_encoder(name: str, registry: Registry | None) -> EncoderSpec:
    """The record of an encoder.

    Args:
        name: its name.
        registry: where it is looked up; None for the built-in ones.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if registry is not None:
        return registry.get(EncoderSpec, name)
    from fptkit.encoders.records import fptkit_encoders

    builtin = {spec.name: spec for spec in fptkit_encoders()}
    if name not in builtin:
        raise UnknownNameError(EncoderSpec.kind, name, builtin)
    return builtin[name]


def check_accepts(spec: EncoderSpec, input: InputKind, what: str = "the task's tokens are") -> None:
    """Hold an encoder against the kind of its input.

    Args:
        spec: the encoder's record.
        input: the input kind.
        what: beginning of the second half of the message.

    Raises:
        ShapeError: it does not take this kind.
    """
    if input.name not in spec.accepts:
        raise ShapeError(f"encoder '{spec.name}' takes {' or '.join(spec.accepts)}, but {what} {input.name}")


def encoded_tokens(
    spec: EncoderSpec, options: Options, input: InputKind, max_tokens: int, *, registry: Registry | None = None
) -> int:
    """Encoded tokens of the longest example, as the encoder says before it is built.

    Args:
        spec: the encoder's record; a target without ``token_count`` keeps the number.
        options: its options.
        input: the input kind.
        max_tokens: raw tokens of the longest example.
        registry: where the encoders of a mixed input's parts are looked up; None for the built-in ones.

    Raises:
        ShapeError: options and input do not fit.
        PluginError: what the encoder says is no number of tokens.
    """
    count = getattr(spec.resolve(), "token_count", None)
    if count is None:
        return max_tokens
    if isinstance(options, MixedOptions):
        tokens = count(options, input, max_tokens, registry=registry)
    else:
        tokens = count(options, input, max_tokens)
    if not isinstance(tokens, int) or tokens < 1:
        raise PluginError(f"{spec}: its token_count gave {tokens!r}, expected an integer of at least 1")
    return tokens
