"""No backbone and one attention layer: against torch's own modules, as wide as the model they replace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fptkit.backbones.gpt2_build import build_gpt2
from fptkit.backbones.lstm.build import draw_lstm, save_lstm
from fptkit.backbones.lstm.options import LstmSizes
from fptkit.backbones.options import Gpt2Options
from fptkit.backbones.plain.build import build_attention_layer, build_none
from fptkit.backbones.plain.model import AttentionLayer
from fptkit.backbones.plain.options import AttentionLayerOptions, NoBackboneOptions
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.options import VitOptions
from fptkit.errors import DataError, FreezingError, ShapeError, SourceError
from fptkit.freezing import apply_policy
from fptkit.interfaces import Backbone, Classes
from fptkit.model import CrossModalModel, Head
from fptkit.registry import load_plugins
from fptkit.specs import FreezingPolicySpec
from fptkit.testing import check_backbone

LENGTHS = torch.tensor([9, 4, 6])


def attention_layer(seed: int = 0, **options: Any) -> AttentionLayer:
    made = build_attention_layer(
        AttentionLayerOptions(**{"width": 32, "heads": 4, **options}), positions=9, seed=seed
    ).eval()
    with torch.no_grad():  # so that no norm or bias is the identity
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    return made


def tokens() -> Tensor:
    return torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(1))


def by_torch(layer: AttentionLayer, inputs: Tensor, lengths: Tensor) -> Tensor:
    """The same by torch.nn.MultiheadAttention with the same weights."""
    attention = nn.MultiheadAttention(32, layer.heads, batch_first=True).eval()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key_value.weight]))
        attention.in_proj_bias.copy_(torch.cat([layer.query.bias, layer.key_value.bias]))
        attention.out_proj.weight.copy_(layer.output.weight)
        attention.out_proj.bias.copy_(layer.output.bias)
    hidden = inputs + layer.positions.weight
    later = torch.ones(9, 9, dtype=torch.bool).triu(1) if layer.causal else None
    padding = torch.arange(9) >= lengths[:, None]
    mixed, _ = attention(hidden, hidden, hidden, key_padding_mask=padding, attn_mask=later, need_weights=False)
    return nn.functional.layer_norm(hidden + mixed, (32,), layer.norm.weight, layer.norm.bias)


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_the_attention_layer_is_that_of_torch(causal: bool) -> None:
    layer = attention_layer(causal=causal)
    expected = by_torch(layer, tokens(), LENGTHS)
    real = torch.arange(9) < LENGTHS[:, None]
    torch.testing.assert_close(layer(tokens(), LENGTHS)[real], expected[real], atol=1e-5, rtol=1e-5)
    keep = LENGTHS[:, None] + torch.tensor([-3, -1])
    picked = expected.gather(1, keep[:, :, None].expand(-1, -1, 32))
    torch.testing.assert_close(layer(tokens(), LENGTHS, keep), picked, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_attention_layer_passes_the_backbone_contract(causal: bool) -> None:
    check_backbone(lambda positions: attention_layer(causal=causal))


@torch.no_grad()
def test_no_backbone_is_position_and_norm() -> None:
    made = build_none(NoBackboneOptions(width=32), positions=9, seed=0).eval()
    expected = nn.functional.layer_norm(tokens() + made.positions.weight, (32,))
    assert torch.equal(made(tokens(), LENGTHS), expected)
    assert torch.equal(made(tokens(), LENGTHS, torch.tensor([[2], [0], [5]]))[:, 0], expected[range(3), [2, 0, 5]])
    shorter = made(tokens()[:, :4])
    assert torch.equal(shorter, expected[:, :4])


def test_no_backbone_can_be_nothing_at_all() -> None:
    made = build_none(NoBackboneOptions(width=32, positions=False, norm=False, dropout=0.0), positions=9, seed=0)
    assert list(made.parameters()) == []
    assert torch.equal(made(tokens()), tokens())
    assert made.max_positions is None
    assert made(torch.zeros(1, 50, 32)).shape == (1, 50, 32)  # no table, no longest sequence


def test_dropout_is_in_training_only() -> None:
    made = build_none(NoBackboneOptions(width=32, positions=False, norm=False, dropout=0.5), positions=9, seed=0)
    dropped = int((made.train()(tokens()) == 0).sum())
    assert 300 < dropped < 564  # of 864
    assert torch.equal(made.eval()(tokens()), tokens())
    layer = attention_layer(dropout=0.5)
    assert torch.equal(layer(tokens()), layer(tokens()))
    assert not torch.equal(layer.train()(tokens()), layer(tokens()))


@pytest.mark.parametrize("build", [build_none, build_attention_layer])
def test_too_many_tokens_are_refused(build: Any) -> None:
    options = NoBackboneOptions if build is build_none else AttentionLayerOptions
    made = build(options(width=32), positions=9, seed=0)
    with pytest.raises(ShapeError, match="10 tokens do not fit a position table of 9"):
        made(torch.zeros(1, 10, 32))


# Width and heads


@pytest.mark.parametrize(
    ("entry", "reference"),
    [
        ("builtin:gpt2_nano", lambda: build_gpt2(Gpt2Options(weights="builtin:gpt2_nano"), positions=9, seed=0)),
        pytest.param(
            "builtin:vit_nano",
            lambda: build_vit(VitOptions(weights="builtin:vit_nano"), positions=9, seed=0),
            marks=pytest.mark.slow,  # timm takes seconds to import
        ),
    ],
)
def test_it_is_as_wide_as_the_model(entry: str, reference: Any) -> None:
    model: Backbone = reference()
    for made in (
        build_none(NoBackboneOptions(weights=entry), positions=9, seed=0),
        build_attention_layer(AttentionLayerOptions(weights=entry), positions=9, seed=0),
    ):
        assert made.width == model.width
        assert (made.weights, made.stand_in) == (entry, False)


def test_it_is_as_wide_as_a_saved_lstm(tmp_path: Path) -> None:
    save_lstm(draw_lstm(LstmSizes(1, 24), seed=0), tmp_path / "lstm")
    made = build_none(NoBackboneOptions(weights=f"path:{tmp_path / 'lstm'}"), positions=9, seed=0)
    assert made.width == 24


def folder_of(config: dict[str, Any], folder: Path) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").touch()  # not opened: only the config is read
    return f"path:{folder}"


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"model_type": "gpt2", "n_embd": 48}, 48),
        ({"model_type": "bert", "hidden_size": 40}, 40),
        ({"model_type": "t5", "d_model": 56}, 56),
        ({"architecture": "vit_base_patch16_224", "num_features": 24}, 24),
        ({"architecture": "vit_nano", "num_features": 24, "model_args": {"embed_dim": 16}}, 16),
        ({"architecture": "vit_nano", "num_features": 24, "model_args": {"depth": 2}}, 24),
    ],
)
def test_the_width_of_every_kind_of_config_is_found(config: dict[str, Any], width: int, tmp_path: Path) -> None:
    made = build_none(NoBackboneOptions(weights=folder_of(config, tmp_path / "model")), positions=9, seed=0)
    assert made.width == width


@pytest.mark.parametrize("config", [{}, {"n_embd": 0}, {"hidden_size": "768"}, {"d_model": True}, {"model_args": 3}])
def test_a_config_without_a_width_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    entry = folder_of(config, tmp_path / "model")
    with pytest.raises(DataError, match=r"its config\.json names no width"):
        build_none(NoBackboneOptions(weights=entry), positions=9, seed=0)


def test_the_first_available_model_gives_the_width(tmp_path: Path) -> None:
    missing = f"path:{tmp_path / 'missing'}"
    options = NoBackboneOptions(weights=[missing, "builtin:vit_nano"])
    made = build_none(options, positions=9, seed=0)
    assert (made.width, made.weights, made.stand_in) == (192, "builtin:vit_nano", True)
    assert made.notes[0].startswith(missing)
    with pytest.raises(SourceError, match="weights that give the width of backbone none"):
        build_none(NoBackboneOptions(weights=missing), positions=9, seed=0)


def test_a_repeated_run_uses_the_same_width() -> None:
    options = NoBackboneOptions(weights=["builtin:gpt2_nano", "builtin:vit_nano"])
    assert build_none(options, positions=9, seed=0, pinned="builtin:vit_nano").width == 192


@pytest.mark.parametrize(("width", "heads"), [(256, 4), (192, 3), (768, 12), (1600, 25), (30, 1)])
def test_a_head_has_64_numbers(width: int, heads: int) -> None:
    assert build_attention_layer(AttentionLayerOptions(width=width), positions=3, seed=0).heads == heads


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ShapeError, match=r"backbone\.heads: the width 32 is not a multiple of 5 heads"):
        build_attention_layer(AttentionLayerOptions(width=32, heads=5), positions=3, seed=0)


@pytest.mark.parametrize("change", [{"weights": "gpt2"}, {"width": 0}, {"init": "pretrained"}, {"dropout": 1.0}])
def test_wrong_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NoBackboneOptions(**change)


# Weights and training


@pytest.mark.parametrize("build", [build_none, build_attention_layer])
def test_weights_follow_the_seed(build: Any) -> None:
    options = NoBackboneOptions(width=32) if build is build_none else AttentionLayerOptions(width=32)
    torch.manual_seed(0)
    first = build(options, positions=9, seed=5).state_dict()
    torch.manual_seed(1)  # the global generator has no part in it
    again, other = (build(options, positions=9, seed=seed).state_dict() for seed in (5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["positions.weight"], other["positions.weight"])


def test_maps_have_xavier_initialisation() -> None:
    weight = build_attention_layer(AttentionLayerOptions(width=256), positions=3, seed=0).query.weight.detach()
    limit = (6 / 512) ** 0.5
    assert float(weight.abs().max()) <= limit
    assert float(weight.std()) == pytest.approx(limit / 3**0.5, rel=0.01)


def model_of(backbone: Backbone) -> CrossModalModel:
    return CrossModalModel(nn.Linear(3, 32), backbone, Head(Classes(2), 32, readout="last"))


def policy(name: str) -> FreezingPolicySpec:
    return load_plugins(selection="").get(FreezingPolicySpec, name)


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("full", {"positions.weight", "norm.weight", "norm.bias", "query", "key_value", "output"}),
        ("fpt", {"positions.weight", "norm.weight", "norm.bias"}),
        ("fpt_attention", {"positions.weight", "norm.weight", "norm.bias", "query", "key_value", "output"}),
        ("output_only", set()),
    ],
)
def test_policies_find_the_roles_of_the_attention_layer(name: str, trained: set[str]) -> None:
    model = model_of(attention_layer())
    apply_policy(model, policy(name))
    found = {
        parameter if parameter.split(".")[0] in ("positions", "norm") else parameter.split(".")[0]
        for parameter, value in model.backbone.named_parameters()
        if value.requires_grad
    }
    assert found == trained


def test_without_a_norm_a_policy_for_norms_is_an_error() -> None:
    bare = NoBackboneOptions(width=32, positions=False, norm=False)
    with pytest.raises(FreezingError, match="the rule for role 'norm' touches no parameter of this model"):
        apply_policy(model_of(build_none(bare, positions=9, seed=0)), policy("fpt"))
    groups = apply_policy(model_of(build_none(bare, positions=9, seed=0)), policy("full"))
    assert sorted(groups[0].parameters) == ["encoder.bias", "encoder.weight", "head.map.0.bias", "head.map.0.weight"]
