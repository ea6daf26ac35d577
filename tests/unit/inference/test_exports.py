"""Forms, plain models, traces and comparisons of exports; whole exports are in ``tests/integration/inference``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fptkit.engine.build import build
from fptkit.errors import ExportError, UsageError
from fptkit.inference.exports import formats
from fptkit.inference.exports.check import TOLERANCE, Agreement, Case, compare
from fptkit.inference.exports.form import Form, form_of
from fptkit.inference.exports.formats import write_onnx, write_torch
from fptkit.inference.exports.plain import Program, plain_model
from fptkit.inference.exports.readme import readme
from fptkit.inference.exports.trace import one_line, traced_program
from fptkit.interfaces import (
    Classes,
    Grid,
    InputKind,
    Mixed,
    OutputKind,
    Split,
    Symbols,
    Task,
    TokenClasses,
    Values,
    Vectors,
)
from fptkit.model import CrossModalModel
from fptkit.recipe.load import load_recipe

SMALL = "{name: random, blocks: 2, width: 16, heads: 2, size: nano}"
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


class Bare(Task):
    """A task without examples."""

    def __init__(self, input: InputKind, output: OutputKind, tokens: int) -> None:
        self.name, self.input, self.output, self.max_tokens = "bare", input, output, tokens

    def split(self, name: str) -> Split:
        raise NotImplementedError


def model_of(
    folder: Path, task: Task, backbone: str = SMALL, further: str = "", precision: str = "float32"
) -> CrossModalModel:
    path = folder / "r.yaml"
    path.write_text(f"task: {{name: bit_xor}}\nbackbone: {backbone}\nprecision: {precision}\n{further}\n")
    loaded = load_recipe(str(path))
    return build(loaded.recipe, loaded.registry, torch.device("cpu"), task=task, measure=False).model.eval()


TWO = Mixed({"a b": Grid((4, 4), 3), "lengths": Vectors(5)}, {"lengths": 9})


@pytest.mark.parametrize(
    ("kind", "names", "shapes"),
    [
        (Vectors(3), ("inputs", "lengths"), [(2, 7, 3), (2,)]),
        (Symbols(5), ("inputs", "lengths"), [(2, 7), (2,)]),
        (Grid((2, 4), 3), ("inputs",), [(2, 2, 4, 3)]),
        (TWO, ("a b", "lengths", "real_tokens"), [(2, 4, 4, 3), (2, 7, 5), (2,)]),
    ],
)
def test_examples_have_the_declared_shapes(kind: Any, names: tuple[str, ...], shapes: list[tuple[int, ...]]) -> None:
    form = Form(kind, Classes(3), needed=2, least=2, most=9)
    tensors = form.draw(2, 7, 0)
    assert form.names == names
    assert [tuple(tensor.shape) for tensor in tensors] == shapes
    assert list(form.shapes()) == list(names)
    if kind.varies:
        lengths = form.draw(50, 7, 0)[-1]
        assert lengths[0] == 7
        assert lengths.min() >= 2
        assert lengths.max() <= 7
    inputs, lengths = form.inputs(tensors)
    assert (lengths is not None) == kind.varies
    faults = kind.faults(inputs, 2, kind.max_tokens if isinstance(kind, (Grid, Mixed)) else 9)
    assert [message for wrong, message in faults if wrong] == []


def test_the_read_out_decides_how_many_tokens_are_needed(tmp_path: Path) -> None:
    task = Bare(Vectors(2), Classes(2, tokens=3), 30)
    assert form_of(task, model_of(tmp_path, task).encoder).needed == 3
    patches = model_of(tmp_path, task, further="encoder: {name: patches1d, patch: 4}").encoder
    assert form_of(task, patches).needed == 9  # the third patch begins at the ninth token


def test_plain_models_are_float32_with_the_stored_values(tmp_path: Path) -> None:
    task = Bare(Symbols(9), Classes(3), 12)
    model = model_of(tmp_path, task, precision="bfloat16")
    plain = plain_model(model)
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert not plain.mixed
    assert model.mixed
    assert any(parameter.requires_grad for parameter in model.parameters())
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.float(), other)


@pytest.mark.slow
def test_weights_in_8_bits_are_dequantised(tmp_path: Path) -> None:
    task = Bare(Symbols(9), Classes(3), 12)
    backbone = "{name: bert, weights: random, size: nano}"
    model = model_of(tmp_path, task, backbone, precision="int8_storage")
    plain = plain_model(model)
    assert not any("EightBit" in type(module).__name__ for module in plain.modules())
    name = next(name for name, module in model.named_modules() if type(module).__name__ == "EightBitLinear")
    eight, linear = model.get_submodule(name), plain.get_submodule(name)
    np.testing.assert_array_equal(linear.weight.numpy(), (eight.weight.float() * eight.scale[:, None]).numpy())


def compared(export: Any, plain: Any = None, output: Any = None, most: int = 9) -> Agreement:
    form = Form(Vectors(3), output or Classes(3), needed=1, least=2, most=most)

    def run(inputs: Tensor, lengths: Tensor) -> Tensor:
        return inputs.sum(1)

    return compare(form, export, plain or run, run, "bfloat16")


def test_agreement_is_measured_over_batch_sizes_and_lengths() -> None:
    agreement = compared(lambda inputs, lengths: inputs.sum(1) + 5e-5)
    assert {(case.examples, case.tokens) for case in agreement.cases} == {(b, t) for b in (1, 2, 5) for t in (2, 5, 9)}
    assert all(case.difference == pytest.approx(5e-5, rel=0.1) for case in agreement.cases)
    lines = agreement.lines("X")
    assert lines[0].startswith("X against the run in float32: largest difference 5e-05")
    assert "in its own precision, bfloat16" in lines[1]
    assert "0 of 24 predicted classes" in lines[1]


def test_the_largest_batch_of_many_tokens_is_left_out() -> None:
    agreement = compared(lambda inputs, lengths: inputs.sum(1), most=2000)
    assert (2, 2000) in {(case.examples, case.tokens) for case in agreement.cases}
    assert (5, 2000) not in {(case.examples, case.tokens) for case in agreement.cases}


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (lambda inputs, lengths: inputs.sum(1) + 1e-2, "does not agree with the run"),
        (lambda inputs, lengths: inputs.sum(1) * float("nan"), "does not agree with the run"),
        (lambda inputs, lengths: inputs.sum(1)[:, :2], r"shape \(1, 2\), the run \(1, 3\)"),
        (lambda inputs, lengths: 1 / 0, "does not run on 1 examples of 2 tokens: ZeroDivisionError"),
    ],
)
def test_disagreement_is_an_error(export: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        compared(export)


def test_the_tolerance_follows_large_outputs() -> None:
    assert Case(1, 1, difference=0.9e-1, largest=1000, own=0, changed=0, answers=0).agrees
    assert not Case(1, 1, difference=1.1 * TOLERANCE, largest=0.5, own=0, changed=0, answers=0).agrees


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"onnx needs the package onnx; install it with: pip install 'fptkit\[export\]'"
    ):
        formats.check_packages("onnx")
    formats.check_packages("torch-export")


def test_errors_are_cut_to_one_line() -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = ValueError("first\nsecond")
    assert one_line(outer) == "ValueError: first"
    assert one_line(KeyError()) == "KeyError: no message"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (Classes(2, names=("cat", "dog")), "(batch, 2); a softmax over the last axis gives probabilities. Classes in "),
        (Classes(2, per_token=3, answers=("x", "y", "z")), "(batch, 1, 3, 2)"),
        (TokenClasses(4), "(batch, tokens, 4)"),
        (Values(2, names=("height", "width")), "Numbers, float32 (batch, 2): height, width"),
    ],
)
def test_the_readme_says_what_comes_out(output: Any, expected: str) -> None:
    text = readme("onnx", Form(Vectors(3), output, 1, 2, 9), ["title", "fact"], ["check"])
    assert expected in text
    assert "`tokens` is any number from 2 to 9" in text


def test_the_readme_of_a_fixed_length_says_how_to_pad() -> None:
    text = readme("torch-export", Form(Vectors(3), Classes(2), 1, 9, 9), ["title"], ["check"])
    assert "Pad every example on the right to 9 tokens" in text
    assert "| `inputs` | (batch, 9, 3) | float32 |" in text


MODELS: dict[str, tuple[Task, str, str]] = {
    "symbols": (Bare(Symbols(9), Classes(3), 20), SMALL, ""),
    "a class at every token": (Bare(Symbols(9), TokenClasses(3), 20), SMALL, ""),
    "grid": (Bare(Grid((4, 4), 3), Classes(3), 16), SMALL, "encoder: {name: patches2d, patch: 2}"),
    "columns": (Bare(Grid((5, 1), 2), Values(2), 5), SMALL, "encoder: {name: features}"),
    "several parts": (Bare(TWO, Classes(3), TWO.max_tokens), SMALL, ""),
    "patches": (Bare(Vectors(3), Classes(3), 30), SMALL, "encoder: {name: patches1d, patch: 4, stride: 2}"),
    "convolutions": (Bare(Vectors(3), Classes(3), 30), SMALL, "encoder: {name: conv_stem, channels: [8, 8]}"),
    "mean": (Bare(Vectors(3), Classes(3), 20), SMALL, "head: {readout: mean}"),
    "several answers": (Bare(Vectors(3), Classes(2, tokens=3, per_token=2), 20), SMALL, ""),
    "one token": (Bare(Vectors(3), Classes(3), 1), SMALL, ""),
    "shuffled": (Bare(Vectors(3), Classes(3), 20), SMALL, "shuffle_tokens: true"),
    "lstm": (Bare(Vectors(3), Classes(3), 20), "{name: lstm, size: nano}", ""),
    "lstm of the paper's code": (Bare(Vectors(3), Classes(3), 20), "{name: lstm, size: nano, variant: official}", ""),
    "vit": (Bare(Symbols(9), Classes(3), 20), "{name: vit, weights: random, size: nano}", ""),
    "gpt2": (Bare(Symbols(9), Classes(3), 20), "{name: gpt2, weights: random, size: nano}", ""),
    "bert": (Bare(Symbols(9), Classes(3), 20), "{name: bert, weights: random, size: nano}", ""),
    "t5": (Bare(Symbols(9), Classes(3), 20), "{name: t5_encoder, weights: random, size: nano}", ""),
    "rotary, grouped heads, a prefix": (
        Bare(Symbols(9), Classes(3), 20),
        "{name: huggingface, weights: random, prefix: {kind: learned, tokens: 2}, config: {model_type: qwen2, "
        "hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, num_attention_heads: 4, num_key_value_heads: 2, "
        "vocab_size: 1, pad_token_id: 0, bos_token_id: 0, eos_token_id: 0}}",
        "",
    ),
    "blocks of an image model": (
        Bare(Symbols(9), Classes(3), 20),
        "{name: huggingface, weights: random, config: {model_type: dinov2, hidden_size: 16, num_hidden_layers: 1, "
        "num_attention_heads: 2, image_size: 70, patch_size: 14}}",
        "",
    ),
    "blocks of an audio model": (
        Bare(Vectors(3), Classes(3), 20),
        "{name: huggingface, weights: random, config: {model_type: whisper, d_model: 16, encoder_layers: 1, "
        "decoder_layers: 1, encoder_attention_heads: 2, decoder_attention_heads: 2, encoder_ffn_dim: 24, "
        "decoder_ffn_dim: 24, vocab_size: 9, pad_token_id: 0, max_source_positions: 20}}",
        "",
    ),
    "one layer": (Bare(Symbols(9), Classes(3), 20), "{name: attention_layer, width: 16, heads: 2}", ""),
    "no backbone": (Bare(Symbols(9), Classes(3), 20), "{name: none, width: 16}", ""),
}
ALSO_IN_ONNX = (
    *(
        "symbols",
        "a class at every token",
        "grid",
        "several parts",
        "patches",
        "convolutions",
        "shuffled",
        "lstm",
        "gpt2",
    ),
    *("rotary, grouped heads, a prefix", "blocks of an audio model"),
)
"""One of each kind of encoder, read-out and backbone: ONNX takes most of the time."""

NOT_IN_ONNX = {"shuffled": "aten.view"}
"""Models with an operation that ONNX lacks, and its name in the error."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_exports_compute_what_the_model_computes(tmp_path: Path, name: str) -> None:
    task, backbone, further = MODELS[name]
    model = model_of(tmp_path, task, backbone, further)
    plain = plain_model(model)
    program = Program(plain, form_of(task, plain.encoder))
    exported, form = traced_program(program, program.form)
    own = Program(model, form)
    compare(form, write_torch(tmp_path, exported), program, own, "float32")
    if task.input.varies and task.max_tokens > 4:
        assert not form.fixed
    if not HAS_ONNX or name not in ALSO_IN_ONNX:
        return
    if name in NOT_IN_ONNX:
        with pytest.raises(ExportError, match=rf"{NOT_IN_ONNX[name]}.*use torch-export or safetensors"):
            write_onnx(tmp_path, exported, form)
    else:
        compare(form, write_onnx(tmp_path, exported, form), program, own, "float32")


@pytest.mark.slow
def test_a_model_that_looks_at_values_is_refused(tmp_path: Path) -> None:
    task = Bare(Symbols(9), Classes(3), 20)
    plain = plain_model(model_of(tmp_path, task, "{name: longformer, weights: random, size: nano}"))
    program = Program(plain, form_of(task, plain.encoder))
    with pytest.raises(ExportError, match=r"depends on the values of tensors.*Use --to safetensors"):
        traced_program(program, program.form)


@pytest.mark.slow
def test_operators_of_fptkit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with them would not load elsewhere."""
    from fptkit.numerics import kernels

    if kernels.why_not():
        pytest.skip("no compiler")

    class Own(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.ops.fptkit.gelu(inputs)

    task = Bare(Symbols(9), Classes(3), 20)
    model = plain_model(model_of(tmp_path, task))
    model.head.map = nn.Sequential(model.head.map, Own())
    program = Program(model, form_of(task, model.encoder))
    with pytest.raises(ExportError, match=r"fptkit\.gelu"):
        traced_program(program, program.form)
