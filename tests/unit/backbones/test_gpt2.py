"""GPT-2 against transformers' own implementation with the same weights, and its refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2Model

from fptkit.backbones.assemble import RandomDraw
from fptkit.backbones.gpt2 import attend
from fptkit.backbones.gpt2_build import build_gpt2, load_gpt2, random_gpt2, with_positions
from fptkit.backbones.options import SIZES, Gpt2Options, Gpt2Sizes, PositionOptions, RandomOptions
from fptkit.backbones.random import build_random, draw_random
from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.interfaces import keep_tokens
from fptkit.sources.weights import open_weights

TINY = Gpt2Sizes(blocks=3, width=32, heads=4, positions=24)


def reference(sizes: Gpt2Sizes = TINY, seed: int = 0) -> GPT2Model:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=11, n_layer=sizes.blocks, n_embd=sizes.width, n_head=sizes.heads, n_positions=sizes.positions
    )
    model = GPT2Model(config).eval()
    for parameter in model.parameters():  # norms and biases must differ from their defaults, or errors would hide
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GPT2Model]:
    folder = tmp_path_factory.mktemp("gpt2")
    model = reference()
    model.save_pretrained(folder)
    return folder, model


def test_same_output_as_transformers(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, model = checkpoint
    ours = load_gpt2(open_weights(f"path:{folder}")).eval()
    tokens = torch.randn(2, 17, 32)
    torch.testing.assert_close(ours(tokens), model(inputs_embeds=tokens).last_hidden_state, atol=1e-5, rtol=0)


def test_same_gradients_as_transformers(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, model = checkpoint
    ours = load_gpt2(open_weights(f"path:{folder}")).eval()
    tokens = torch.randn(2, 9, 32)
    ours(tokens).square().mean().backward()
    model.zero_grad()
    model(inputs_embeds=tokens).last_hidden_state.square().mean().backward()
    theirs = dict(model.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("keep", [[[16], [3]], [[2, 16], [0, 7]], [list(range(17)), list(range(17))]])
def test_reading_few_tokens_equals_reading_all(checkpoint: tuple[Path, GPT2Model], keep: list[list[int]]) -> None:
    folder, model = checkpoint
    ours = load_gpt2(open_weights(f"path:{folder}")).eval()
    tokens, positions = torch.randn(2, 17, 32), torch.tensor(keep)
    expected = keep_tokens(model(inputs_embeds=tokens).last_hidden_state, positions)
    torch.testing.assert_close(ours(tokens, keep=positions), expected, atol=1e-5, rtol=0)


def test_published_checkpoints_with_prefix_head_and_masks_load(
    checkpoint: tuple[Path, GPT2Model], tmp_path: Path
) -> None:
    """openai-community/gpt2 carries triangular masks; GPT2LMHeadModel files carry a prefix and the language head."""
    folder, model = checkpoint
    tensors = {f"transformer.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors["lm_head.weight"] = model.wte.weight.clone()
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 24, 24)
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    ours = load_gpt2(open_weights(f"path:{tmp_path}")).eval()
    tokens = torch.randn(1, 5, 32)
    torch.testing.assert_close(ours(tokens), model(inputs_embeds=tokens).last_hidden_state, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("h.1.ln_1.weight"), "h.1.ln_1.weight"),
        (lambda tensors: tensors.update({"h.9.extra": torch.ones(2)}), "h.9.extra"),
        (lambda tensors: tensors.update({"wpe.weight": torch.ones(24, 31)}), "(24, 31)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    checkpoint: tuple[Path, GPT2Model], tmp_path: Path, change, said: str
) -> None:
    folder, model = checkpoint
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(DataError) as caught:
        load_gpt2(open_weights(f"path:{tmp_path}"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "bert"}, "not 'gpt2'"),
        ({"activation_function": "relu"}, "gelu_new"),
        ({"n_layer": None}, "n_layer"),
        ({"n_layer": "4"}, "n_layer '4', expected an integer >= 1"),
        ({"n_layer": True}, "n_layer True"),
        ({"n_layer": 10**9}, "n_layer 1000000000, but it holds tensors of 3 blocks"),
        ({"n_layer": 2}, "h.2."),
        ({"n_embd": 3.5}, "n_embd 3.5"),
        ({"n_embd": 10**12}, "wpe.weight does not fit its config.json: expected shape (24, 1000000000000)"),
        ({"n_head": 0}, "n_head 0, expected an integer >= 1"),
        ({"n_head": 3}, "n_embd 32, not a multiple of n_head 3"),
        ({"n_positions": [24]}, "n_positions [24]"),
        ({"n_positions": 25}, "expected shape (25, 32), found (24, 32)"),
        ({"scale_attn_weights": False}, "scale_attn_weights False; only True is supported"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True; only False is supported"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon 1e-06; only 1e-05 is supported"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon 'small'; only 1e-05 is supported"),
        ({"add_cross_attention": True}, "add_cross_attention True; only False is supported"),
        ({"activation_function": ["gelu_new"]}, "only 'gelu_new' is supported"),
        ({"n_inner": 64}, "n_inner 64; only null or 4 * n_embd = 128 is supported"),
    ],
)
def test_another_architecture_is_refused(
    checkpoint: tuple[Path, GPT2Model], tmp_path: Path, change: dict, said: str
) -> None:
    folder, _ = checkpoint
    config = {**json.loads((folder / "config.json").read_text()), **change}
    config = {name: value for name, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(DataError) as caught:
        load_gpt2(open_weights(f"path:{tmp_path}"))
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["n_layer", "n_embd", "n_head", "n_positions", "layer_norm_epsilon"])
def test_a_null_in_the_config_is_refused(checkpoint: tuple[Path, GPT2Model], key: str) -> None:
    opened = open_weights(f"path:{checkpoint[0]}")
    with pytest.raises(DataError, match=f"{key} None"):
        load_gpt2(replace(opened, config={**opened.config, key: None}))


@pytest.mark.parametrize("change", [{"n_inner": 128}, {"n_inner": None}, {"reorder_and_upcast_attn": True}])
def test_a_config_with_the_same_computation_loads(checkpoint: tuple[Path, GPT2Model], change: dict) -> None:
    opened = open_weights(f"path:{checkpoint[0]}")
    assert load_gpt2(replace(opened, config={**opened.config, **change})).width == 32


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    checkpoint: tuple[Path, GPT2Model], tmp_path: Path, number: float
) -> None:
    folder, model = checkpoint
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["h.1.mlp.c_fc.weight"][3, 4] = number
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(DataError, match=r"h\.1\.mlp\.c_fc\.weight holds NaN or infinity"):
        load_gpt2(open_weights(f"path:{tmp_path}"))


def test_weights_of_integers_are_refused(checkpoint: tuple[Path, GPT2Model], tmp_path: Path) -> None:
    folder, model = checkpoint
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["ln_f.bias"] = torch.zeros(32, dtype=torch.int8)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(DataError, match=r"ln_f\.bias is of torch\.int8"):
        load_gpt2(open_weights(f"path:{tmp_path}"))


def test_truncated_weights_are_refused(checkpoint: tuple[Path, GPT2Model], tmp_path: Path) -> None:
    folder, _ = checkpoint
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(DataError, match="not readable as a safetensors file"):
        load_gpt2(open_weights(f"path:{tmp_path}"))


def test_positions_are_cut_to_the_task(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, model = checkpoint
    ours = with_positions(load_gpt2(open_weights(f"path:{folder}")), 5, PositionOptions())
    assert ours.wpe.weight.shape == (5, 32)
    assert torch.equal(ours.wpe.weight, model.wpe.weight[:5])
    with pytest.raises(ShapeError, match="6 tokens do not fit a position table of 5"):
        ours(torch.randn(1, 6, 32))


def test_a_longer_task_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"up to 25 tokens.*ends at 24"):
        draw_random("gpt2", RandomDraw("nano", positions=25, seed=0, blocks=1, width=8, heads=2, rows=24))
    assert random_gpt2(TINY, positions=25, seed=0).max_positions == 25  # a random table is drawn as long as needed


def test_a_pretrained_table_is_extended_if_the_recipe_says_so(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, model = checkpoint
    given = model.wpe.weight.detach()

    def table(**options: Any) -> Tensor:
        section = Gpt2Options.model_validate({"weights": f"path:{folder}", "positions": options})
        return build_gpt2(section, positions=50, seed=0).wpe.weight.detach()

    with pytest.raises(ShapeError, match=r"up to 50 tokens.*ends at 24.*extend: tile, or interpolate"):
        table()
    with pytest.raises(ShapeError, match="length 49 is less than the 50 tokens"):
        table(length=49, extend="tile")
    assert torch.equal(table(extend="tile"), torch.cat([given, given, given[:2]]))
    assert table(length=60, extend="tile").shape == (60, 32)
    tiled = Gpt2Options.model_validate({"weights": f"path:{folder}", "positions": {"extend": "tile"}})
    note = "the backbone's position table of 24 rows is repeated to 50"
    assert note in build_gpt2(tiled, positions=50, seed=0).notes
    assert note not in build_gpt2(tiled, positions=24, seed=0).notes
    drawn_out = table(extend="interpolate")
    places = np.linspace(0, 23, 50)  # the ends stay where they are
    for column in range(32):
        expected = np.interp(places, np.arange(24), given[:, column].numpy())
        np.testing.assert_allclose(drawn_out[:, column].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("keep", "kept"), [(2, [0, 1]), ("1:", [1, 2]), ("::2", [0, 2]), ("-1:", [2]), (3, [0, 1, 2])])
def test_only_the_blocks_to_keep_are_kept(checkpoint: tuple[Path, GPT2Model], keep: Any, kept: list[int]) -> None:
    folder, model = checkpoint
    section = Gpt2Options.model_validate({"weights": f"path:{folder}", "blocks": {"keep": keep}})
    ours = build_gpt2(section, positions=8, seed=0)
    assert ours.blocks == len(kept)
    for mine, index in zip(ours.h, kept, strict=True):
        assert torch.equal(mine.mlp.c_fc.weight, model.h[index].mlp.c_fc.weight)
    assert {role.block for role in ours.parameter_roles().values()} == {None, *range(len(kept))}


@pytest.mark.parametrize(
    ("keep", "message"), [(4, "asks for 4 blocks, but the model has 3"), ("3:", "'3:' leaves none of the model's 3")]
)
def test_blocks_that_do_not_exist(checkpoint: tuple[Path, GPT2Model], keep: Any, message: str) -> None:
    section = Gpt2Options.model_validate({"weights": f"path:{checkpoint[0]}", "blocks": {"keep": keep}})
    with pytest.raises(ShapeError, match=message):
        build_gpt2(section, positions=8, seed=0)


@pytest.mark.parametrize("keep", [0, -1, "a", "1:2:0", "", "1", 1.5])
def test_invalid_block_choices(keep: Any) -> None:
    with pytest.raises(ValidationError):
        Gpt2Options.model_validate({"blocks": {"keep": keep}})


def test_statistics_keep_mean_and_spread_of_each_tensor_and_nothing_else(
    checkpoint: tuple[Path, GPT2Model],
) -> None:
    folder, model = checkpoint
    section = Gpt2Options.model_validate({"weights": f"path:{folder}", "init": "statistics"})
    ours = build_gpt2(section, positions=24, seed=0)
    theirs = dict(model.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.numel() < 1000:
            continue
        given = theirs[name]
        assert not torch.equal(parameter, given), name
        error = 5 * given.std() / given.numel() ** 0.5
        assert abs(parameter.mean() - given.mean()) < error, name
        torch.testing.assert_close(parameter.std(), given.std(), rtol=0.15, atol=0, msg=name)
        correlation = torch.corrcoef(torch.stack([parameter.flatten(), given.flatten()]))[0, 1]
        assert abs(correlation) < 0.2, name
    again = build_gpt2(section, positions=24, seed=0)
    assert all(torch.equal(left, right) for left, right in zip(ours.parameters(), again.parameters(), strict=True))


def test_statistics_need_weights() -> None:
    with pytest.raises(ShapeError, match="'statistics' needs loaded weights"):
        build_gpt2(Gpt2Options(weights=("random",), size="nano", init="statistics"), positions=8, seed=0)


def test_random_init_takes_the_sizes_of_the_weights(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, model = checkpoint
    section = Gpt2Options.model_validate({"weights": f"path:{folder}", "init": "random"})
    ours = build_gpt2(section, positions=8, seed=0)
    assert (ours.width, ours.blocks) == (32, 3)
    assert not torch.equal(ours.h[0].mlp.c_fc.weight, model.h[0].mlp.c_fc.weight)
    assert float(ours.h[0].mlp.c_fc.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_random_weights_follow_the_seed() -> None:
    one, same, other = (random_gpt2(TINY, positions=8, seed=seed) for seed in (1, 1, 2))
    for (name, left), right, far in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right), name
        if left.ndim == 2:
            assert not torch.equal(left, far), name


@pytest.mark.parametrize("init", ["random", "flat_0.02"])
def test_random_weights_have_the_stated_spread(init: str) -> None:
    """Against transformers' own draw for ``random``, against 0.02 for ``flat_0.02``."""
    sizes = Gpt2Sizes(blocks=6, width=64, heads=4, positions=64)
    ours = dict(random_gpt2(sizes, positions=64, seed=0, init=init).named_parameters())
    torch.manual_seed(0)
    theirs = dict(
        GPT2Model(GPT2Config(vocab_size=5, n_layer=6, n_embd=64, n_head=4, n_positions=64)).named_parameters()
    )
    for name, parameter in ours.items():
        expected = theirs[name].std(correction=0)
        if init == "flat_0.02" and parameter.ndim == 2:
            expected = torch.tensor(0.02)
        torch.testing.assert_close(parameter.std(correction=0), expected, rtol=0.06, atol=1e-6, msg=name)
        if parameter.ndim == 1:
            assert torch.equal(parameter, theirs[name]), name


def test_every_parameter_has_the_role_its_module_says() -> None:
    backbone = random_gpt2(TINY, positions=8, seed=0)
    roles = backbone.parameter_roles()
    assert roles.keys() == dict(backbone.named_parameters()).keys()
    assert (roles["wpe.weight"].role, roles["wpe.weight"].block) == ("position", None)
    assert (roles["h.2.attn.c_proj.bias"].role, roles["h.2.attn.c_proj.bias"].block) == ("attention", 2)
    assert (roles["h.1.mlp.c_fc.weight"].role, roles["h.1.mlp.c_fc.weight"].block) == ("feed_forward", 1)
    assert (roles["h.0.ln_2.bias"].role, roles["h.0.ln_2.bias"].block) == ("norm", 0)
    assert (roles["ln_f.weight"].role, roles["ln_f.weight"].block) == ("norm", None)


def test_sizes_of_the_published_models() -> None:
    """Parameters of the whole models without the word embedding of 50,257, by transformers' count."""
    for name, embedding in {"nano": 0, "base": 50257 * 768, "medium": 50257 * 1024}.items():
        sizes = SIZES[name]
        with torch.device("meta"):
            config = GPT2Config(n_layer=sizes.blocks, n_embd=sizes.width, n_head=sizes.heads, n_positions=1024)
            if not embedding:
                config.vocab_size, embedding = 4096, 4096 * sizes.width
            total = sum(parameter.numel() for parameter in GPT2Model(config).parameters())
        block = 12 * sizes.width**2 + 13 * sizes.width
        assert total - embedding == sizes.blocks * block + 1024 * sizes.width + 2 * sizes.width


def test_the_first_available_weights_are_taken(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, _ = checkpoint
    options = Gpt2Options(weights=("hub:openai-community/gpt2", f"path:{folder}", "random"))
    backbone = build_gpt2(options, positions=8, seed=0)
    assert (backbone.weights, backbone.stand_in) == (f"path:{folder}", True)
    assert "HF_HUB_OFFLINE" in backbone.notes[0]


def test_a_pinned_source_is_the_only_one_tried(checkpoint: tuple[Path, GPT2Model]) -> None:
    folder, _ = checkpoint
    options = Gpt2Options(weights=(f"path:{folder}", "random"), size="nano")
    backbone = build_gpt2(options, positions=8, seed=0, pinned="random")
    assert (backbone.weights, backbone.stand_in, backbone.width) == ("random", True, 256)


def test_no_source_is_an_error_that_names_each() -> None:
    options = Gpt2Options(weights=("hub:openai-community/gpt2", "path:/nowhere/at/all"))
    with pytest.raises(SourceError) as caught:
        build_gpt2(options, positions=8, seed=0)
    assert [entry for entry, _ in caught.value.tried] == list(options.weights)
    assert caught.value.exit_code == 3


def test_random_backbone_takes_sizes() -> None:
    backbone = build_random(RandomOptions(size="nano", blocks=2, width=64), positions=7, seed=3)
    assert (backbone.blocks, backbone.width, backbone.max_positions, backbone.weights) == (2, 64, 7, "random")


@pytest.mark.parametrize("tokens", [1, 24, 170])
@pytest.mark.parametrize("few", [False, True])
def test_explicit_attention_equals_torchs(tokens: int, few: bool) -> None:
    """In bfloat16 on processors attention is written out; outputs and gradients against torch's in float32."""
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn((3, 2, tokens, 16), generator=generator).requires_grad_() for _ in range(3)]
    keep = torch.tensor([[tokens - 1], [tokens // 2], [0]])
    mask = (torch.arange(tokens) <= keep[:, :, None])[:, None] if few else None
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]

    def picked(query: torch.Tensor) -> torch.Tensor:
        return query.gather(2, keep[:, None, :, None].expand(-1, 2, -1, 16)) if few else query

    expected = torch.nn.functional.scaled_dot_product_attention(
        picked(exact[0]), exact[1], exact[2], attn_mask=mask, is_causal=mask is None
    )
    found = attend(picked(rounded[0]), rounded[1], rounded[2], mask, dropout=0.0)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.03)
    expected.square().sum().backward()
    found.float().square().sum().backward()
    for left, right in zip(rounded, exact, strict=True):
        scale = right.grad.abs().max()
        assert (left.grad.float() - right.grad).abs().max() <= 0.05 * scale + 1e-4
