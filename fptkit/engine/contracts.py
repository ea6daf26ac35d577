"""What parts return in the first pass, checked before training: later, a wrong type or shape would cost hours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.engine.build import Built
from fptkit.errors import PluginError, ShapeError
from fptkit.interfaces import Batch, Encoder, Inputs, encode
from fptkit.model import CrossModalModel, Head
from fptkit.specs.guard import during


@contextlib.contextmanager
def checked_parts(model: CrossModalModel, backbone: str) -> Iterator[None]:
    """Check the outputs of the backbone and of the head in the passes inside the block.

    Args:
        model: the model.
        backbone: registered name of the backbone.

    Raises:
        PluginError: the backbone returns another shape, or numbers that are neither float32 nor bfloat16; or the head
            gives predictions of another shape than the task's kind of answers has.
    """

    def check(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        tokens = given[0] if given else named["tokens"]
        keep = given[2] if len(given) > 2 else named.get("keep")
        with during(of=module, call="forward"):
            _check_output(backbone, output, tokens, keep)

    def check_head(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        with during(of=module, call="forward"):
            _check_predictions(model.head, output, given[0])

    handles = [
        model.backbone.register_forward_hook(check, with_kwargs=True),
        model.head.register_forward_hook(check_head),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check_output(backbone: str, output: Any, tokens: Tensor, keep: Tensor | None) -> None:
    if not isinstance(output, Tensor):
        raise PluginError(f"backbone '{backbone}': forward() returned a {type(output).__name__}, expected a tensor")
    expected = (tokens.shape[0], tokens.shape[1] if keep is None else keep.shape[1], tokens.shape[2])
    if tuple(output.shape) != expected:
        what = "(B, T, D)" if keep is None else "(B, R, D), the tokens of keep; see fptkit.keep_tokens"
        raise PluginError(
            f"backbone '{backbone}': forward() returned shape {tuple(output.shape)}, expected {expected}: {what}"
        )
    if output.dtype not in (torch.float32, torch.bfloat16):
        raise PluginError(
            f"backbone '{backbone}': forward() returned {output.dtype}, expected torch.float32, or torch.bfloat16 in "
            "mixed precision; float16 overflows in training"
        )


def _check_predictions(head: Head, output: Any, hidden: Tensor) -> None:
    expected = head.output.prediction_shape(*hidden.shape[:2])
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        reads = "every token" if head.output.each_token else f"{head.output.tokens} of the tokens"
        raise PluginError(
            f"head.readout '{head.readout}': the head gave {found}, expected {expected}: the task reads {reads}, "
            f"and its answers are {type(head.output).__name__}"
        )


def check_encoder_width(built: Built, batch: Batch) -> None:
    """Check the shape of the encoder's output on one example.

    Args:
        built: the built parts of the run.
        batch: its first example is encoded.

    Raises:
        PluginError: the width differs from the backbone's, or the number of tokens from the declared one.
        ShapeError: it sees later tokens, although the task asks for them.
    """
    with during(of=built.model.encoder, call="forward"):
        _check_encoder_width(built, batch)
        if built.task.output.needs_causal:
            _check_encoder_causal(built, batch)


def _check_encoder_width(built: Built, batch: Batch) -> None:
    encoder, kind = built.model.encoder, built.task.input
    one: Inputs = kind.example(batch.inputs, 0)
    with torch.no_grad():
        encoded, _ = encode(encoder, one, None)
    longest = built.task.max_tokens if built.encoded_tokens is None else built.encoded_tokens
    if not kind.varies:
        tokens = longest
    elif isinstance(encoder, Encoder):
        tokens = int(encoder.encoded_lengths(kind.whole_lengths(one)))
    else:
        tokens = kind.tokens_in(one)  # token by token
    expected = (1, tokens, built.model.backbone.width)
    if tuple(encoded.shape) != expected:
        raise PluginError(
            f"encoder '{built.encoder_name}': it returned shape {tuple(encoded.shape)}, expected {expected}"
        )
    if encoded.dtype != torch.float32:
        raise PluginError(f"encoder '{built.encoder_name}': it returned {encoded.dtype}, expected torch.float32")
    if tokens > longest:
        raise PluginError(
            f"encoder '{built.encoder_name}': it returned {tokens} tokens, but declared at most {longest}"
        )


def _check_encoder_causal(built: Built, batch: Batch) -> None:
    """Raise if an encoded token depends on a later one, which the task asks for."""
    encoder, kind = built.model.encoder, built.task.input
    tokens = kind.tokens_in(batch.inputs)
    if tokens < 2:
        return
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        whole, _ = encode(encoder, kind.example(batch.inputs, 0), None)
        begin, _ = encode(encoder, kind.example(batch.inputs, 0, tokens // 2), None)
    encoder.train(was_training)
    if not torch.allclose(whole[:, : tokens // 2], begin, rtol=1e-4, atol=1e-5):
        raise ShapeError(
            f"encoder '{built.encoder_name}': a token sees those after it, which the task asks for "
            f"({type(built.task.output).__name__}); choose one that encodes each token alone, such as symbols or linear"
        )
