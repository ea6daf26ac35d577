"""The layer-norm LSTM: against its equations in numpy, against a plain loop in torch, and its refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from fptkit import testing
from fptkit.backbones.assemble import RandomDraw
from fptkit.backbones.lstm import native
from fptkit.backbones.lstm.build import LstmFamily, build_lstm, draw_lstm, load_lstm, save_lstm
from fptkit.backbones.lstm.network import LstmBackbone
from fptkit.backbones.lstm.options import LSTM_SIZES, LstmOptions, LstmSizes
from fptkit.backbones.lstm.recurrence import Loop, Norms, recur
from fptkit.backbones.options import BlockOptions, RandomOptions
from fptkit.backbones.random import build_random, draw_random
from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.numerics import compiler
from fptkit.sources.weights import open_weights

LOOPS: tuple[Loop, ...] = ("compiled", "torch")
TINY = LstmSizes(layers=2, width=12)


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    if not compiler.commands("C++"):
        pytest.skip("no C++ compiler here")
    native.load_kernel()


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    torch.manual_seed(0)


def disturbed(sizes: LstmSizes, loop: Loop = "auto", seed: int = 0) -> LstmBackbone:
    """An LSTM with other norms and biases than the initial ones, which would hide errors."""
    backbone = draw_lstm(sizes, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in backbone.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    backbone.loop = loop
    return backbone


def plain_loop(backbone: LstmBackbone, tokens: Tensor) -> Tensor:
    """The same network, one time step after the other, by torch's own operators and gradients."""
    for layer in backbone.layers:
        hidden = cell = tokens.new_zeros(len(tokens), backbone.width)
        steps = []
        for given in tokens.unbind(1):
            gates = layer.input_norm(layer.input_map(given)) + layer.hidden_norm(layer.hidden_map(hidden))
            into, forget, out, candidate = gates.chunk(4, 1)
            cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
            hidden = out.sigmoid() * layer.cell_norm(cell).tanh()
            steps.append(hidden)
        tokens = torch.stack(steps, 1)
    return tokens


def by_the_paper(backbone: LstmBackbone, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ba, Kiros and Hinton 2016, equations 20 to 22, for one example in numpy; biases of the maps are inside LN."""

    def norm(values: NDArray[np.float64], module: torch.nn.LayerNorm) -> NDArray[np.float64]:
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((values - mean) ** 2) / len(values) + 1e-5)
        return numbers(module.weight) * (values - mean) / deviation + numbers(module.bias)

    def numbers(tensor: Tensor) -> NDArray[np.float64]:
        return tensor.detach().double().numpy()

    width = backbone.width
    for layer in backbone.layers:
        hidden, cell, made = np.zeros(width), np.zeros(width), []
        for given in tokens:
            from_hidden = numbers(layer.hidden_map.weight) @ hidden + numbers(layer.hidden_map.bias)
            from_input = numbers(layer.input_map.weight) @ given + numbers(layer.input_map.bias)
            gates = norm(from_hidden, layer.hidden_norm) + norm(from_input, layer.input_norm)
            into, forget, out = (1 / (1 + np.exp(-gates[part * width : (part + 1) * width])) for part in range(3))
            cell = forget * cell + into * np.tanh(gates[3 * width :])
            hidden = out * np.tanh(norm(cell, layer.cell_norm))
            made.append(hidden)
        tokens = np.stack(made)
    return tokens


def outcome(forward: Callable[[Tensor], Tensor], backbone: LstmBackbone, tokens: Tensor) -> dict[str, Tensor]:
    """Output and all gradients of a weighted sum of it."""
    backbone.zero_grad()
    tokens = tokens.clone().requires_grad_()
    output = forward(tokens)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output).sin()
    (output * weights).sum().backward()
    assert tokens.grad is not None
    gradients = {name: parameter.grad for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    return {
        "output": output.detach(),
        "tokens": tokens.grad,
        **{name: grad.clone() for name, grad in gradients.items()},
    }


def distance(left: Tensor, right: Tensor) -> float:
    """The largest difference, relative to the largest number if that exceeds 1."""
    return float((left - right).abs().max()) / max(1.0, float(right.abs().max()))


@pytest.mark.parametrize("loop", LOOPS)
def test_equations_of_the_paper(loop: Loop) -> None:
    backbone, tokens = disturbed(TINY, loop), torch.randn(3, 9, 12)
    with torch.no_grad():
        found = backbone(tokens)
    for ours, given in zip(found, tokens, strict=True):
        expected = by_the_paper(backbone, given.double().numpy())
        np.testing.assert_allclose(ours.double().numpy(), expected, atol=1e-5, rtol=0)


# The compiled loop takes 32 columns and 8 rows at once: widths and batches beside those, one step, one example.
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("batch", "steps", "sizes"),
    [
        (1, 1, LstmSizes(1, 7)),
        (2, 12, LstmSizes(3, 32)),
        (3, 5, LstmSizes(1, 33)),
        (9, 6, LstmSizes(2, 40)),
        (16, 8, LstmSizes(1, 128)),
        (23, 4, LstmSizes(2, 16)),
    ],
)
def test_same_as_a_plain_loop(loop: Loop, batch: int, steps: int, sizes: LstmSizes) -> None:
    backbone, tokens = disturbed(sizes, loop), torch.randn(batch, steps, sizes.width)
    found = outcome(backbone, backbone, tokens)
    backbone.double()  # the loop's own rounding is as large as ours, and grows with steps and layers
    expected = outcome(lambda given: plain_loop(backbone, given), backbone, tokens.double())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert distance(found[name], value) < 1e-5, name


def test_threads_share_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, tokens = disturbed(TINY, "compiled"), torch.randn(13, 7, 12)
    alone = outcome(backbone, backbone, tokens)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = outcome(backbone, backbone, tokens)
    assert torch.equal(shared["output"], alone["output"])
    for name, value in alone.items():
        assert distance(shared[name], value) < 1e-5, name


def test_rounding_at_the_papers_width_is_no_worse_than_a_plain_loops() -> None:
    backbone, tokens = disturbed(LstmSizes(1, 768), "compiled"), torch.randn(2, 32, 768)
    with torch.no_grad():
        ours, plain = backbone(tokens), plain_loop(backbone, tokens)
        backbone.double()
        exact = plain_loop(backbone, tokens.double())
    error, plain_error = (float((values - exact).square().mean().sqrt()) for values in (ours, plain))
    assert error < 1e-5
    assert error < 2 * plain_error


def test_exact_in_float64() -> None:
    backbone, tokens = disturbed(TINY).double(), torch.randn(3, 30, 12, dtype=torch.float64)
    expected = outcome(lambda given: plain_loop(backbone, given), backbone, tokens)
    for name, value in outcome(backbone, backbone, tokens).items():
        torch.testing.assert_close(value, expected[name], atol=1e-11, rtol=1e-9)


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(2)
    shapes = ((2, 4, 12), (12, 3), (12,), (12,), (12,), (3,), (3,))
    given = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]

    def apply(inputs: Tensor, weight: Tensor, bias: Tensor, *norms: Tensor) -> Tensor:
        return recur(inputs, weight, bias, Norms(*norms))

    assert torch.autograd.gradcheck(apply, given)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_state_starts_at_zero_in_every_call(loop: Loop) -> None:
    backbone, tokens = disturbed(TINY, loop), torch.randn(2, 5, 12)
    with torch.no_grad():
        first = backbone(tokens)
        assert torch.equal(backbone(tokens), first)  # fault D12: the official code draws a new state each time
        alone = backbone(tokens[:, :1])
        layer = backbone.layers[0]
        gates = layer.input_norm(layer.input_map(tokens[:, 0])) + layer.hidden_norm(layer.hidden_map.bias)
        into, _, out, candidate = gates.chunk(4, 1)
        cell = into.sigmoid() * candidate.tanh()  # nothing is left over from before
        expected = out.sigmoid() * layer.cell_norm(cell).tanh()
        backbone.layers = backbone.layers[:1]
        torch.testing.assert_close(backbone(tokens[:, :1])[:, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone[:, 0], first[:, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("options", [{"layers": 2, "width": 48}, {"size": "nano", "blocks": {"keep": 1}}])
def test_passes_the_backbone_contract(loop: Loop, options: dict[str, Any]) -> None:
    made = LstmOptions.model_validate({**options, "loop": loop})
    testing.check_backbone(lambda positions: build_lstm(made, positions=positions, seed=0))


@pytest.mark.parametrize("loop", LOOPS)
def test_an_example_is_the_same_in_any_batch_and_padding(loop: Loop) -> None:
    backbone, tokens = disturbed(LstmSizes(2, 32), loop), torch.randn(11, 12, 32)
    with torch.no_grad():
        whole = backbone(tokens, torch.arange(1, 12))
        for row in range(11):
            alone = backbone(tokens[row : row + 1, : row + 1])
            torch.testing.assert_close(whole[row, : row + 1], alone[0], atol=2e-6, rtol=0)


@pytest.mark.parametrize("loop", LOOPS)
def test_not_a_number_is_not_hidden(loop: Loop) -> None:
    backbone, tokens = disturbed(TINY, loop), torch.randn(2, 6, 12)
    tokens[0, 3, 5] = math.nan
    with torch.no_grad():
        found = backbone(tokens).isfinite().all(-1)
    assert found.tolist() == [[True] * 3 + [False] * 3, [True] * 6]


@pytest.mark.parametrize("loop", LOOPS)
def test_large_gates_saturate(loop: Loop) -> None:
    signs = torch.tensor([1.0, -1.0]).repeat(6)
    norms = Norms(torch.ones(12), torch.zeros(12), torch.ones(3), torch.zeros(3))
    weight, bias = torch.zeros(12, 3), torch.zeros(12)
    for size in (50.0, 200.0, 1e30):
        inputs = (size * signs).expand(1, 4, 12)
        found = recur(inputs, weight, bias, norms, loop=loop)
        assert bool(found.isfinite().all())
        # Open into, open forget, shut out and so on: the candidate is added where both gates are open.
        into, forget, out, candidate = signs.view(4, 3)
        cell = torch.zeros(3)
        for step in range(4):
            cell = (forget > 0) * cell + (into > 0) * candidate
            expected = (out > 0) * functional.layer_norm(cell, (3,)).tanh()
            torch.testing.assert_close(found[0, step], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("frozen", [True, False])
def test_bfloat16_maps_with_float32_norms(loop: Loop, frozen: bool) -> None:
    backbone, tokens = disturbed(LstmSizes(2, 64), loop), torch.randn(8, 8, 64)
    roles = backbone.parameter_roles()
    for name, parameter in backbone.named_parameters():
        if roles[name].role == "recurrent":  # both runs from the same, rounded maps
            parameter.data = parameter.data.bfloat16().float()
            parameter.requires_grad_(not frozen)
    expected = outcome(backbone, backbone, tokens)
    if frozen:  # as the engine stores them
        for name, parameter in backbone.named_parameters():
            if roles[name].role == "recurrent":
                parameter.data = parameter.data.bfloat16()

    def mixed(given: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return backbone(given)

    found = outcome(mixed, backbone, tokens)
    assert found["output"].dtype == torch.float32
    assert found.keys() == expected.keys()
    assert ("layers.0.hidden_map.weight" in found) is not frozen
    for name, value in expected.items():
        error = float((found[name] - value).square().mean().sqrt() / value.square().mean().sqrt())
        assert error < 0.05, f"{name}: {error}"


def test_frozen_maps_get_no_gradient_and_change_no_other() -> None:
    backbone, tokens = disturbed(TINY, "compiled"), torch.randn(2, 5, 12)
    full = outcome(backbone, backbone, tokens)
    for name, role in backbone.parameter_roles().items():
        backbone.get_parameter(name).requires_grad_(role.role == "norm")
    some = outcome(backbone, backbone, tokens)
    assert sorted(full.keys() - some.keys()) == sorted(
        name for name, role in backbone.parameter_roles().items() if role.role == "recurrent"
    )
    for name, value in some.items():
        torch.testing.assert_close(value, full[name], atol=1e-6, rtol=1e-5)


def test_roles() -> None:
    roles = draw_lstm(TINY, 0).parameter_roles()
    assert {name.split(".", 2)[2]: role.role for name, role in roles.items()} == {
        **{f"{name}.{part}": "recurrent" for name in ("input_map", "hidden_map") for part in ("weight", "bias")},
        **{
            f"{name}.{part}": "norm"
            for name in ("input_norm", "hidden_norm", "cell_norm")
            for part in ("weight", "bias")
        },
    }
    assert {role.block for role in roles.values()} == {0, 1}
    assert all(role.block == int(name.split(".")[1]) for name, role in roles.items())


def test_dropout_is_between_layers_only() -> None:
    tokens = torch.randn(4, 6, 12)
    one, two = disturbed(LstmSizes(1, 12)), disturbed(TINY)
    for backbone, same in ((one, True), (two, False)):
        backbone.dropout = 0.5
        with torch.no_grad():
            still, trained = backbone.eval()(tokens), backbone.train()(tokens)
        assert torch.equal(still, trained) is same
        assert bool((trained != 0).all())  # no hidden state of the last layer is dropped


# Building


def test_the_initialisation() -> None:
    backbone = build_lstm(LstmOptions(size="nano"), positions=4, seed=3)
    assert (backbone.blocks, backbone.width, backbone.causal, backbone.max_positions) == (2, 256, True, None)
    weight, bound = backbone.layers[1].hidden_map.weight.detach(), 256**-0.5
    assert -bound <= float(weight.min()) < -0.99 * bound
    assert 0.99 * bound < float(weight.max()) <= bound
    assert bool((backbone.layers[0].cell_norm.weight == 1).all())
    assert bool((backbone.layers[0].hidden_norm.bias == 0).all())
    again, other = (build_lstm(LstmOptions(size="nano"), positions=9, seed=seed) for seed in (3, 4))
    assert torch.equal(again.layers[1].hidden_map.weight, weight)
    assert not torch.equal(other.layers[1].hidden_map.weight, weight)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    build_lstm(LstmOptions(layers=1, width=8), positions=1, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_sizes_of_the_paper_are_the_default() -> None:
    assert LSTM_SIZES[LstmOptions().size] == LstmSizes(3, 768)


def test_flat() -> None:
    backbone = build_lstm(LstmOptions(size="nano", init="flat_0.02"), positions=1, seed=0)
    layer = backbone.layers[0]
    assert float(layer.input_map.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    # Biases too: through norms without them, the first zero tokens would stay zero.
    assert float(layer.input_map.bias.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert bool((layer.input_norm.weight == 1).all())
    assert not bool(layer.input_norm.bias.any())


def test_the_backbone_random_builds_it_too() -> None:
    options = RandomOptions(like="lstm", size="nano", blocks=1, width=24, dropout=0.3)
    backbone = build_random(options, positions=5, seed=0)
    assert isinstance(backbone, LstmBackbone)
    assert (backbone.sizes, backbone.dropout) == (LstmSizes(1, 24), 0.3)
    assert LstmFamily.random(RandomDraw("base", width=8, positions=5, seed=0)).sizes == LstmSizes(3, 8)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"heads": 4}, "backbone.heads: an LSTM has no attention"),
        ({"attention_dropout": 0.1}, "backbone.attention_dropout: an LSTM has no attention"),
        ({"rows": 4}, "backbone.positions: an LSTM has no position table"),
        ({"size": "large"}, "an LSTM has no size 'large'; it has nano, paper"),
    ],
)
def test_random_refuses_options_that_an_lstm_does_not_have(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        draw_random("lstm", RandomDraw(**{"size": "nano", "positions": 1, "seed": 0, **asked}))


def test_layers_can_be_dropped() -> None:
    whole = build_lstm(LstmOptions(layers=3, width=8), positions=1, seed=0)
    options = LstmOptions(layers=3, width=8, blocks=BlockOptions(keep="1:"))
    backbone = build_lstm(options, positions=1, seed=0)
    assert backbone.blocks == 2
    assert torch.equal(backbone.layers[0].hidden_map.weight, whole.layers[1].hidden_map.weight)
    with pytest.raises(ShapeError, match="asks for 4 blocks, but the model has 3"):
        build_lstm(LstmOptions(layers=3, width=8, blocks=BlockOptions(keep=4)), positions=1, seed=0)


def test_tokens_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"tokens have shape \(2, 3, 5\), expected \(B, T, 12\)"):
        draw_lstm(TINY, 0)(torch.zeros(2, 3, 5))


def test_statistics_need_loaded_weights() -> None:
    with pytest.raises(ShapeError, match="'statistics' needs loaded weights"):
        build_lstm(LstmOptions(init="statistics", width=8), positions=1, seed=0)


@pytest.mark.parametrize("entry", ["hub:openai-community/gpt2", "builtin:gpt2_nano", "path:", "path: ", ""])
def test_other_sources_of_weights_are_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="an LSTM's are 'random' or 'path:DIR'"):
        LstmOptions.model_validate({"weights": entry})


# Checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_lstm(disturbed(TINY), tmp_path / "lstm")
    return tmp_path / "lstm"


def test_a_saved_checkpoint_loads(saved: Path) -> None:
    tokens, expected = torch.randn(2, 5, 12), disturbed(TINY)
    options = LstmOptions.model_validate({"weights": f"path:{saved}", "dropout": 0.4})
    backbone = build_lstm(options, positions=5, seed=0)
    assert (backbone.weights, backbone.stand_in, backbone.dropout) == (f"path:{saved}", False, 0.4)
    assert torch.equal(backbone.eval()(tokens), expected(tokens))


def test_a_checkpoint_can_be_re_initialised(saved: Path) -> None:
    weights = f"path:{saved}"
    drawn = build_lstm(LstmOptions.model_validate({"weights": weights, "init": "random"}), positions=5, seed=7)
    assert torch.equal(drawn.layers[0].input_map.weight, draw_lstm(TINY, 7).layers[0].input_map.weight)
    alike = build_lstm(LstmOptions.model_validate({"weights": weights, "init": "statistics"}), positions=5, seed=7)
    original, redrawn = (made.layers[0].input_map.weight.detach() for made in (disturbed(TINY), alike))
    assert not torch.equal(original, redrawn)
    assert float(redrawn.std()) == pytest.approx(float(original.std()), rel=0.15)


def test_a_missing_folder_falls_back_to_the_next(tmp_path: Path) -> None:
    options = LstmOptions.model_validate({"weights": [f"path:{tmp_path}/none", "random"], "width": 8})
    backbone = build_lstm(options, positions=5, seed=0)
    assert (backbone.weights, backbone.stand_in) == ("random", True)
    assert "no config.json" in backbone.notes[0]
    with pytest.raises(SourceError, match="weights of backbone lstm"):
        build_lstm(LstmOptions.model_validate({"weights": f"path:{tmp_path}/none"}), positions=5, seed=0)


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def _tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return rewrite


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_config(model_type="gpt2"), "says model_type 'gpt2', not 'layer_norm_lstm'"),
        (_config(width=0), "says width 0, expected an integer >= 1"),
        (_config(layers=True), "says layers True, expected an integer >= 1"),
        (_config(layers=10**9), "says layers 1000000000, but it holds tensors of 2"),
        (_config(width=10**9), r"cell_norm.weight does not fit its config.json: expected shape \(1000000000,\)"),
        (
            _tensors(lambda tensors: tensors.pop("layers.1.hidden_map.bias")),
            "1 tensors are missing, the first is layers.1.hidden_map.bias",
        ),
        (_tensors(lambda tensors: tensors.update(extra=torch.ones(2))), "do not belong .* the first is extra"),
        (_tensors(lambda tensors: tensors["layers.0.input_norm.weight"].fill_(math.inf)), "holds NaN or infinity"),
        (
            _tensors(lambda tensors: tensors.update({"layers.0.cell_norm.bias": torch.ones(12, dtype=torch.int64)})),
            "is of torch.int64, expected floating-point numbers",
        ),
    ],
)
def test_a_broken_checkpoint_is_refused(saved: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(saved)
    with pytest.raises(DataError, match=said):
        load_lstm(open_weights(f"path:{saved}"))
