"""Choice of the encoder of an input, and its number of encoded tokens."""

from __future__ import annotations

from fptkit.encoders.options import MixedOptions
from fptkit.errors import PluginError, ShapeError, UnknownNameError
from fptkit.interfaces import InputKind
from fptkit.options import Options
from fptkit.registry import Registry
from fptkit.specs import EncoderSpec

_DEFAULTS = {"vectors": "linear", "symbols": "symbols", "grid": "patches2d", "mixed": "mixed"}
"""Default encoder of each input kind."""


def default_encoder(input: InputKind) -> str:
    """Return the name of the default encoder of an input kind."""
    return _DEFAULTS[input.name]


def find_encoder(name: str, registry: Registry | None) -> EncoderSpec:
    """Return the record of an encoder.

    Args:
        name: name of the encoder.
        registry: the registry to search; None for the built-in encoders.

    Raises:
        UnknownNameError: there is no encoder of this name.
    """
    if registry is not None:
        return registry.get(EncoderSpec, name)
    from fptkit.encoders.records import fptkit_encoders

    builtin = {spec.name: spec for spec in fptkit_encoders()}
    if name not in builtin:
        raise UnknownNameError(EncoderSpec.kind, name, builtin)
    return builtin[name]


def check_accepts(spec: EncoderSpec, input: InputKind, what: str = "the task's tokens are") -> None:
    """Check that an encoder accepts an input kind.

    Args:
        spec: the encoder's record.
        input: the input kind.
        what: subject and verb for the message, before the kind's name.

    Raises:
        ShapeError: the encoder does not accept this kind.
    """
    if input.name not in spec.accepts:
        raise ShapeError(f"encoder '{spec.name}' takes {' or '.join(spec.accepts)}, but {what} {input.name}")


def encoded_tokens(
    spec: EncoderSpec, options: Options, input: InputKind, max_tokens: int, *, registry: Registry | None = None
) -> int:
    """Return the number of encoded tokens of the longest example; the encoder need not be built yet.

    Args:
        spec: the encoder's record; without ``token_count``, the target does not change the number of tokens.
        options: options of the encoder.
        input: the input kind.
        max_tokens: raw tokens of the longest example.
        registry: the registry to search for the encoders of a mixed input's parts; None for the built-in ones.

    Raises:
        ShapeError: the options do not fit the input.
        PluginError: ``token_count`` does not return an integer >= 1.
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
