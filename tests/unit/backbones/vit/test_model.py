"""The vision transformer against timm's own forward with the same weights, of each kind of block timm has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import timm
import torch
from timm.models._hub import save_for_hf
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fptkit.backbones.assemble import RandomDraw
from fptkit.backbones.options import BlockOptions
from fptkit.backbones.random import draw_random
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.model import VitBackbone, VitBlock
from fptkit.backbones.vit.options import SIZES, VitOptions
from fptkit.errors import ShapeError
from fptkit.interfaces import keep_tokens
from fptkit.numerics.attention import attend
from fptkit.testing import check_backbone

TINY = {"embed_dim": 32, "depth": 3, "num_heads": 4}
LENGTHS = (9, 4, 6)

KINDS = {
    "vit_base_patch16_224": {},  # the paper's
    "vit_base_patch16_clip_224": {},  # a norm before the blocks
    "vit_medium_patch16_gap_256": {},  # the final norm behind the pooling, no class token, scales behind attention
    "vit_base_patch14_dinov2": {},  # scales behind attention and feed-forward
    "vit_large_patch14_224": {"qk_norm": True, "qkv_bias": False},
    "aimv2_large_patch14_224": {},  # RMS norms, gated feed-forward, no biases
    "beit3_base_patch16_224": {},  # norms inside attention and feed-forward
    "vit_base_patch16_rpn_224": {},  # norms behind attention and feed-forward
    "vit_base_patch16_18x2_224": {},  # two attentions side by side
    "vit_dwee_patch16_reg1_gap_256": {},  # differences of two attentions
}
"""Architectures of timm with another kind of block or norm each."""


Pair = tuple[VitBackbone, VisionTransformer]


def timm_model(name: str = "vit_base_patch16_224", seed: int = 0, **arguments: object) -> VisionTransformer:
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, **{**TINY, "num_classes": 5, **arguments}).eval()
    for parameter in model.parameters():  # norms and biases must differ from their defaults, or errors would hide
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def saved_by_timm(model: VisionTransformer, folder: Path) -> str:
    save_for_hf(model, folder, safe_serialization=True)
    return f"path:{folder}"


def timm_forward(model: VisionTransformer, tokens: Tensor) -> Tensor:
    """As the official code runs timm's model: its blocks and norm, nothing before or after them."""
    hidden = model.norm_pre(tokens)
    return model.fc_norm(model.norm(model.blocks(hidden)))


def loaded(entry: str, positions: int = 16, **options: object) -> VitBackbone:
    return build_vit(VitOptions(weights=entry, **options), positions=positions, seed=0).eval()


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    model = timm_model(request.param, **KINDS[request.param])
    return loaded(saved_by_timm(model, tmp_path_factory.mktemp("vit"))), model


@pytest.fixture
def both(made: Pair) -> Pair:
    for model in made:
        model.zero_grad()
    return made


def test_same_output_and_gradients_as_timm(both: Pair) -> None:
    ours, model = both
    tokens = torch.randn(3, 9, 32)
    left, right = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()
    found, expected = ours(left), timm_forward(model, right)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    weights = torch.randn_like(expected)
    ((found * weights).sum() / 27).backward()
    ((expected * weights).sum() / 27).backward()
    torch.testing.assert_close(left.grad, right.grad, atol=1e-5, rtol=1e-4)
    _same_gradients(ours, model)


def test_same_output_and_gradients_as_timm_for_each_example_of_a_padded_batch(
    both: Pair,
) -> None:
    ours, model = both
    tokens = torch.randn(3, 9, 32)
    weights = torch.randn_like(tokens)
    padded = tokens.clone()
    for row, length in enumerate(LENGTHS):
        padded[row, length:] = 1e3
    found = ours(padded, torch.tensor(LENGTHS))
    losses = []
    for row, length in enumerate(LENGTHS):
        alone = timm_forward(model, tokens[row : row + 1, :length])
        torch.testing.assert_close(found[row, :length], alone[0], atol=1e-5, rtol=0)
        losses.append((alone[0] * weights[row, :length]).sum() / length)
    torch.stack(losses).sum().backward()
    ours_alone = [(found[row, :end] * weights[row, :end]).sum() / end for row, end in enumerate(LENGTHS)]
    torch.stack(ours_alone).sum().backward()
    _same_gradients(ours, model)


def _same_gradients(ours: VitBackbone, model: VisionTransformer) -> None:
    theirs = dict(model.named_parameters())
    compared = 0
    for name, parameter in ours.named_parameters():
        if (timm_name := ours.timm_name(name)) is not None:
            torch.testing.assert_close(parameter.grad, theirs[timm_name].grad, atol=1e-5, rtol=1e-4, msg=name)
            compared += 1
    assert compared == sum(name.startswith(("blocks.", "norm", "fc_norm")) for name in theirs)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("keep", [[[8], [3], [0]], [[2, 8], [0, 3], [5, 1]], [list(range(8))] * 3])
def test_reading_few_tokens_equals_reading_all(
    both: Pair, keep: list[list[int]], lengths: tuple[int, ...] | None
) -> None:
    ours, model = both
    tokens, positions = torch.randn(3, 9, 32), torch.tensor(keep)
    found = ours(tokens, None if lengths is None else torch.tensor(lengths), positions)
    for row, length in enumerate(lengths or (9, 9, 9)):
        alone = timm_forward(model, tokens[row : row + 1, :length])[0]
        for place, position in enumerate(keep[row]):
            if position < length:
                torch.testing.assert_close(found[row, place], alone[position], atol=1e-5, rtol=0)


def test_the_contract_holds_for_every_kind(both: Pair) -> None:
    check_backbone(lambda positions: both[0])


def test_standard_blocks_are_run_here_and_others_by_timm(tmp_path: Path) -> None:
    ours = {name: loaded(saved_by_timm(timm_model(name), tmp_path / name)) for name in list(KINDS)[-4:]}
    kinds = {name: {isinstance(block, VitBlock) for block in backbone.layers} for name, backbone in ours.items()}
    assert kinds == {
        "beit3_base_patch16_224": {True},
        "vit_base_patch16_rpn_224": {False},
        "vit_base_patch16_18x2_224": {False},
        "vit_dwee_patch16_reg1_gap_256": {False},
    }


@pytest.mark.parametrize("name", list(KINDS))
def test_the_mixture_of_bfloat16_and_float32_stays_near_float32(name: str, tmp_path: Path) -> None:
    """Frozen attention and feed-forward in bfloat16 under autocast, as the engine stores them."""
    ours = loaded(saved_by_timm(timm_model(name, **KINDS[name]), tmp_path))
    tokens, lengths, keep = torch.randn(3, 9, 32), torch.tensor(LENGTHS), torch.tensor([[8], [3], [5]])
    with torch.no_grad():
        exact = ours(tokens, lengths, keep)
    for parameter, role in ours.parameter_roles().items():
        if role.role in ("attention", "feed_forward"):
            tensor = ours.get_parameter(parameter)
            tensor.data = tensor.data.bfloat16()
            tensor.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(tokens, lengths, keep)
        whole = ours(tokens)
    assert (found.float() - exact).abs().max() < 0.06 * exact.abs().max()
    whole.float().square().sum().backward()
    assert torch.isfinite(ours.positions.weight.grad[:9]).all()
    assert ours.positions.weight.grad[:9].abs().min() > 0
    assert ours.positions.weight.grad[9:].abs().max() == 0


@pytest.mark.parametrize("masked", [False, True])
def test_explicit_attention_of_all_to_all_equals_torchs(masked: bool) -> None:
    """Outputs and gradients in bfloat16, where it is written out, against torch's in float32."""
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn((3, 2, 24, 16), generator=generator).requires_grad_() for _ in range(3)]
    mask = (torch.arange(24) < torch.tensor([24, 5, 1])[:, None])[:, None, None] if masked else None
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    expected = nn.functional.scaled_dot_product_attention(*exact, attn_mask=mask)
    found = attend(*rounded, mask, dropout=0.0, causal=False)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.03)
    expected.square().sum().backward()
    found.float().square().sum().backward()
    for left, right in zip(rounded, exact, strict=True):
        assert (left.grad.float() - right.grad).abs().max() <= 0.05 * right.grad.abs().max() + 1e-4


def test_roles_of_the_papers_architecture(tmp_path: Path) -> None:
    ours = loaded(saved_by_timm(timm_model(), tmp_path))
    roles = ours.parameter_roles()
    # Each block: two norms, qkv and proj, fc1 and fc2, of weight and bias each. Then the final norm and the table.
    assert Counter((role.role, role.block) for role in roles.values()) == {
        **{(role, block): 4 for role in ("norm", "attention", "feed_forward") for block in range(3)},
        ("norm", None): 2,
        ("position", None): 1,
    }
    assert roles["layers.2.norm1.weight"].role == "norm"
    assert roles["layers.2.attn.qkv.bias"].role == "attention"
    assert roles["layers.0.mlp.fc2.weight"].role == "feed_forward"


def test_norms_inside_attention_are_norms_and_scales_are_other(tmp_path: Path) -> None:
    model = timm_model("vit_base_patch14_dinov2", qk_norm=True)
    roles = loaded(saved_by_timm(model, tmp_path)).parameter_roles()
    found = {name.removeprefix("layers.1."): role.role for name, role in roles.items() if name.startswith("layers.1.")}
    assert found["attn.q_norm.weight"] == found["attn.k_norm.bias"] == "norm"
    assert found["ls1.gamma"] == found["ls2.gamma"] == "other"
    assert found["attn.proj.weight"] == "attention"


def test_parallel_attentions_belong_to_their_block(tmp_path: Path) -> None:
    roles = loaded(saved_by_timm(timm_model("vit_base_patch16_18x2_224"), tmp_path)).parameter_roles()
    of_last = {role.role for name, role in roles.items() if name.startswith("layers.2.") and role.block == 2}
    assert of_last == {"norm", "attention", "feed_forward", "other"}
    assert {role.block for name, role in roles.items() if name.startswith("layers.")} == {0, 1, 2}


@pytest.mark.parametrize(("keep", "kept"), [(2, [0, 1]), ("1:", [1, 2]), ("::2", [0, 2])])
def test_blocks_that_are_kept(tmp_path: Path, keep: int | str, kept: list[int]) -> None:
    model = timm_model()
    ours = loaded(saved_by_timm(model, tmp_path), blocks=BlockOptions(keep=keep))
    tokens = torch.randn(2, 7, 32)
    hidden = tokens
    for index in kept:
        hidden = model.blocks[index](hidden)
    torch.testing.assert_close(ours(tokens), model.norm(hidden), atol=1e-5, rtol=0)
    assert ours.blocks == len(kept)
    assert {role.block for role in ours.parameter_roles().values()} == {None, *range(len(kept))}


def test_positions_are_added_before_the_first_block(tmp_path: Path) -> None:
    model = timm_model()
    ours = loaded(saved_by_timm(model, tmp_path), positions=7)
    assert ours.positions.weight.shape == (7, 32)
    assert not ours.positions.weight.any()
    ours.positions.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    tokens = torch.randn(2, 5, 32)
    expected = timm_forward(model, tokens + ours.positions.weight[:5])
    torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=0)


def test_more_tokens_than_positions_are_refused() -> None:
    backbone = draw_random("vit", RandomDraw("nano", blocks=1, width=8, heads=2, positions=4, seed=0))
    with pytest.raises(ShapeError, match="5 tokens do not fit a position table of 4"):
        backbone(torch.zeros(1, 5, 8))


def test_dropout_only_in_training(tmp_path: Path) -> None:
    entry = saved_by_timm(timm_model(), tmp_path)
    tokens = torch.randn(2, 7, 32)
    for options in ({"dropout": 0.5}, {"dropout": 0.0, "attention_dropout": 0.5}):
        backbone = loaded(entry, **options)
        assert torch.equal(backbone(tokens), backbone(tokens))
        backbone.train()
        assert not torch.equal(backbone(tokens), backbone(tokens))
    still = loaded(entry, dropout=0.0).train()
    assert torch.equal(still(tokens), still(tokens))


def test_dropout_reaches_the_embedding_and_both_outputs_of_a_block(tmp_path: Path) -> None:
    backbone = loaded(saved_by_timm(timm_model(), tmp_path), dropout=0.3, attention_dropout=0.2)
    rates = [module.p for module in backbone.layers[1].modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.3] * 3  # behind attention, inside and behind feed-forward
    assert backbone.dropout == 0.3
    assert backbone.layers[1].attn.dropout == 0.2


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_sizes_are_those_of_timm(size: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(f"vit_{size}_patch16_224", num_classes=0)
    sizes = SIZES[size]
    assert (len(model.blocks), model.embed_dim) == (sizes.blocks, sizes.width)
    assert model.blocks[0].attn.num_heads == sizes.heads


def test_the_nano_size_stays_below_6_megabytes_in_bfloat16() -> None:
    backbone = draw_random("vit", RandomDraw("nano", positions=64, seed=0))
    # 6 blocks: two norms, attention 4 D^2 and feed-forward 8 D^2 with their biases; final norm; 64 positions.
    expected = 6 * (12 * 192**2 + 9 * 192 + 4 * 192) + 2 * 192 + 64 * 192
    assert sum(parameter.numel() for parameter in backbone.parameters()) == expected
    assert 2 * expected < 6e6


def test_keep_of_half_the_tokens_equals_the_plain_way() -> None:
    backbone = draw_random("vit", RandomDraw("nano", blocks=2, width=16, heads=2, positions=8, seed=0)).eval()
    tokens, keep = torch.randn(2, 8, 16), torch.tensor([[0, 3, 5, 7], [7, 1, 2, 6]])
    torch.testing.assert_close(backbone(tokens, keep=keep), keep_tokens(backbone(tokens), keep), atol=1e-5, rtol=0)
