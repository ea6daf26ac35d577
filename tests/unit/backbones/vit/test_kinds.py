"""Models of timm by name: those that run, against timm's own forward pass, and those that are refused."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from built_in_turn import in_turn
from timm.models import is_model_in_modules, list_models, list_modules
from timm.models._hub import save_for_hf
from torch import Tensor, nn

from fptkit.backbones.options import BlockOptions, PositionOptions
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.kinds import KINDS, REFUSED, kind_of
from fptkit.backbones.vit.model import VitBackbone
from fptkit.backbones.vit.options import VitOptions
from fptkit.errors import DataError, ShapeError
from fptkit.testing import check_backbone

WIDTH, SIDE = 64, 4
TOKENS = SIDE * SIDE
SIZES = {"embed_dim": WIDTH, "depth": 2, "num_heads": 4, "img_size": 64, "patch_size": 16}

_ANY_IMAGE = {"embed_dim": WIDTH, "depth": 2, "num_heads": 4, "patch_size": 16}

NAMES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            *("vit_base_patch16_224", "vit_base_patch16_clip_224", "vit_base_patch16_siglip_224"),
            *("vit_base_patch14_dinov2", "vit_base_patch14_reg4_dinov2", "vit_base_patch16_rpn_224"),
            *("vit_base_patch16_18x2_224", "vit_base_patch32_plus_256", "vit_medium_patch16_gap_256"),
            *("vit_dlittle_patch16_reg1_gap_256", "vit_dwee_patch16_reg1_gap_256", "vit_so150m2_patch16_reg1_gap_256"),
            *("vit_wee_patch16_reg1_gap_256", "aimv2_large_patch14_224", "beit3_base_patch16_224"),
            *("deit_base_patch16_224", "deit_base_distilled_patch16_224", "deit3_base_patch16_224"),
            *("beit_base_patch16_224", "beitv2_base_patch16_224", "cait_s24_224", "eva_giant_patch14_224"),
            *("eva02_base_patch14_224", "eva02_base_patch16_clip_224", "eva02_large_patch14_clip_224"),
            *("vit_medium_patch16_rope_reg1_gap_256", "vit_base_patch16_rope_reg1_gap_256"),
            *("vit_small_patch16_dinov3", "vit_base_patch16_dinov3", "vit_small_plus_patch16_dinov3_qkvb"),
            *("vit_pe_core_base_patch16_224", "vit_pe_lang_large_patch14_448", "vit_pe_spatial_base_patch16_512"),
            *("vit_small_patch16_rope_224", "vit_small_patch16_rope_mixed_224", "vit_small_patch16_rope_ape_224"),
            *("vit_small_patch16_rope_mixed_ape_224", "vit_relpos_base_patch16_224", "vit_relpos_base_patch16_cls_224"),
            *("vit_relpos_base_patch16_rpn_224", "vit_srelpos_medium_patch16_224", "vit_relpos_medium_patch16_rpn_224"),
            *("deepseek_vit_412m", "deepseek_vit_412m_enc", "qwen3_vit_88m", "qwen3_vit_88m_enc"),
        ),
        SIZES,
    ),
    "vit_base_r26_s32_224": {"embed_dim": WIDTH, "depth": 2, "num_heads": 4, "img_size": 64},
    "vit_large_patch16_sapiens2": {"embed_dim": WIDTH, "num_heads": 16, "img_size": 64, "patch_size": 16},
    **dict.fromkeys(
        (
            *("naflexvit_base_patch16_gap", "naflexvit_base_patch16_siglip", "naflexvit_base_patch16_parfac_gap"),
            *("naflexvit_so150m2_patch16_reg1_gap", "naflexvit_base_patch16_par_gap"),
        ),
        _ANY_IMAGE,
    ),
}
"""Names of timm that run, with arguments that make them small."""

BIASES: dict[str, dict[str, Any]] = {
    "relpos, table": {"architecture": "vit_relpos_base_patch16_224", "rel_pos_type": "bias"},
    "relpos, table with class token": {"architecture": "vit_relpos_base_patch16_cls_224", "rel_pos_type": "bias"},
    "relpos, Swin": {"architecture": "vit_relpos_base_patch16_224", "rel_pos_type": "mlp-swin"},
    "beit, shared": {
        "architecture": "beit_base_patch16_224",
        "use_shared_rel_pos_bias": True,
        "use_rel_pos_bias": False,
        "use_abs_pos_emb": True,
    },
}
"""Further ways to compute biases, by the arguments of timm."""

CASES = {
    **{name: (name, sizes) for name, sizes in NAMES.items()},
    **{
        case: (arguments["architecture"], SIZES | {k: v for k, v in arguments.items() if k != "architecture"})
        for case, arguments in BIASES.items()
    },
}

REFUSED_NAMES = {
    "swin_tiny_patch4_window7_224": "grid of rows and columns",
    "swinv2_tiny_window8_256": "grid of rows and columns",
    "hiera_base_224": "grid of rows and columns",
    "mvitv2_tiny": "grid of rows and columns",
    "pvt_v2_b0": "grid of rows and columns",
    "levit_128": "grid of rows and columns",
    "pit_b_224": "grid of rows and columns",
    "volo_d1_224": "grid of rows and columns",
    "convnext_tiny": "convolutional network",
    "resnet50": "convolutional network",
    "efficientnet_b0": "convolutional network",
    "convit_base": "a square of exactly as many tokens",
    "crossvit_9_240": "two sequences",
    "mixer_b16_224": "a fixed number of tokens",
    "tnt_b_patch16_224": "the pixels inside each patch",
    "samvit_base_patch16": "cut into windows",
    "xcit_tiny_12_p16_224": "convolutions over the grid",
    "gemma4_vit_167m_enc": "computed from the patches",
}


class Made:
    """A saved tiny model of timm."""

    def __init__(self, case: str, folder: Path) -> None:
        self.name, arguments = CASES[case]
        torch.manual_seed(0)
        self.model: Any = timm.create_model(self.name, pretrained=False, **arguments).eval()
        for parameter in self.model.parameters():  # norms and biases must differ from their defaults
            parameter.data += 0.05 * torch.randn_like(parameter)
        self.entry = f"path:{folder}"
        save_for_hf(self.model, folder, safe_serialization=True)

    def loaded(self, tokens: int = TOKENS, **options: Any) -> VitBackbone:
        return build_vit(VitOptions(weights=self.entry, **options), positions=tokens, seed=0).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    cache: dict[str, Made] = {}

    def make(case: str) -> Made:
        if case not in cache:
            cache[case] = Made(case, tmp_path_factory.mktemp("timm"))
        return cache[case]

    return make


def vectors(batch: int = 2, tokens: int = TOKENS) -> Tensor:
    return torch.randn((batch, tokens, WIDTH), generator=torch.Generator().manual_seed(1))


def timm_forward(name: str, whole: Any, tokens: Tensor) -> Tensor:
    """timm's forward pass with tokens instead of patches, without class token, registers and position table."""
    model = getattr(whole, "encoder", whole)
    for module in model.modules():
        if getattr(module, "num_prefix_tokens", 0) and module is not model:
            module.num_prefix_tokens = 0
    if is_model_in_modules(name, {"naflexvit"}):
        model.embeds.forward = lambda *args, **further: (tokens, (SIDE, SIDE))
    else:
        grid = is_model_in_modules(name, {"deepseek_vit", "qwen3_vit"}) or getattr(model, "dynamic_img_size", False)
        model.patch_embed.forward = lambda image: tokens.unflatten(1, (SIDE, SIDE)) if grid else tokens
    for attribute in ("cls_token", "dist_token"):
        if isinstance(getattr(model, attribute, None), nn.Parameter):
            setattr(model, attribute, nn.Parameter(torch.zeros(1, 0, WIDTH)))
    for attribute in ("reg_token", "blocks_token_only"):
        if hasattr(model, attribute):
            setattr(model, attribute, None)
    if getattr(model, "pos_embed", None) is not None:
        of_grid = is_model_in_modules(name, {"qwen3_vit"})  # timm makes a grid of it
        model.pos_embed = nn.Parameter(torch.zeros(1, len(model.pos_embed[0]) if of_grid else TOKENS, WIDTH))
    model.num_prefix_tokens = 0
    _without_class_token(model)
    hidden = model.forward_features(torch.zeros(len(tokens), 3, 64, 64))
    return getattr(model, "fc_norm", nn.Identity())(hidden.flatten(1, -2))


def _without_class_token(model: Any) -> None:
    """Cut the rows and columns of the class token from timm's biases."""
    for module in model.modules():
        for method in ("get_bias", "_get_rel_pos_bias"):
            if hasattr(module, method):
                own = getattr(module, method)
                setattr(module, method, lambda own=own: own()[..., -TOKENS:, -TOKENS:])
        if type(module).__name__ == "RelativePositionBias":
            module.forward = lambda own=module.forward: own()[..., -TOKENS:, -TOKENS:]


@pytest.mark.parametrize("case", CASES)
def test_the_output_is_that_of_timm(made: Callable[[str], Made], case: str) -> None:
    entry = made(case)
    backbone, tokens = entry.loaded(), vectors()
    with torch.no_grad():
        found = backbone(tokens)
        expected = timm_forward(entry.name, copy.deepcopy(entry.model), tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_padding_is_not_seen(made: Callable[[str], Made], case: str) -> None:
    backbone = made(case).loaded()
    tokens, lengths = vectors(3), torch.tensor([TOKENS, 5, 11])
    padded = tokens.masked_fill((torch.arange(TOKENS) >= lengths[:, None])[:, :, None], 1e3)
    with torch.no_grad():
        found = backbone(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = backbone(tokens[row : row + 1, :length])
            torch.testing.assert_close(found[row, :length], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_contract(made: Callable[[str], Made], case: str) -> None:
    check_backbone(in_turn(made(case).loaded))


@pytest.mark.parametrize("case", CASES)
def test_frozen_matrices_in_bfloat16_are_within_two_percent(made: Callable[[str], Made], case: str) -> None:
    backbone = made(case).loaded()
    tokens, lengths = vectors(), torch.tensor([TOKENS, 7])
    with torch.no_grad():
        exact = backbone(tokens, lengths)[:, :7]
        for parameter, role in backbone.parameter_roles().items():
            if role.role in ("attention", "feed_forward"):
                tensor = backbone.get_parameter(parameter)
                tensor.data = tensor.data.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone(tokens, lengths)[:, :7].float()
    assert 0 < (found - exact).norm() / exact.norm() < 0.02


def expected_role(name: str) -> str:
    """The role of a block's parameter by timm's name of it."""
    if re.search(r"relative_position|rel_pos", name):
        return "position"
    if re.search(r"(^|\.)(\w*norm\w*)\.(weight|bias)$", name):
        return "norm"
    if re.search(r"gamma|(^|\.)ls\d?\.", name):
        return "other"
    return "attention" if re.search(r"attn", name) else "feed_forward"


@pytest.mark.parametrize("case", CASES)
def test_roles_of_the_blocks_follow_from_timms_names(made: Callable[[str], Made], case: str) -> None:
    entry = made(case)
    backbone = entry.loaded()
    model = getattr(entry.model, "encoder", entry.model)
    named = {name: expected_role(name) for name, _ in model.blocks.named_parameters()}
    found = {}
    for name, role in backbone.parameter_roles().items():
        timm_name = backbone.timm_name(name)
        if role.block is None:
            assert role.role in ("norm", "position")
        else:
            assert timm_name is not None
            found[timm_name.removeprefix("blocks.")] = role.role
    assert found == named


# Names


def test_every_module_of_timm_runs_or_is_refused_with_a_reason() -> None:
    assert KINDS.keys().isdisjoint(REFUSED)
    assert set(list_modules()) - {"_registry"} == KINDS.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "said"), REFUSED_NAMES.items())
def test_models_that_cannot_run_on_tokens_are_refused_by_name(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    match = f"path:.*: architecture {name} of timm cannot run on a sequence of tokens: .*{said}.*; use a vit, deit, eva"
    with pytest.raises(DataError, match=match):
        build_vit(VitOptions(weights=f"path:{tmp_path}"), positions=9, seed=0)


def test_the_names_tried_are_those_of_every_kind() -> None:
    tried = {module for module in KINDS for name, _ in CASES.values() if is_model_in_modules(name, {module})}
    assert tried == KINDS.keys()
    assert all(kind_of(name) is kind for module, kind in KINDS.items() for name in list_models(module=module))
    assert all(is_model_in_modules(kind.example, {module}) for module, kind in KINDS.items())


# Positions


def test_the_grid_is_that_of_the_longest_example(made: Callable[[str], Made]) -> None:
    """A shorter example, and one with padding, have the places of the first tokens."""
    backbone = made("vit_base_patch16_dinov3").loaded(10)
    assert backbone.side == 4
    assert "tokens fill a grid of 4 x 4" in " ".join(backbone.notes)
    given: list[Tensor] = []
    backbone.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs["positions"]), with_kwargs=True
    )
    backbone(vectors(1, 10))
    backbone(vectors(1, 3))
    torch.testing.assert_close(given[0][:3], given[1])


def test_a_table_of_distances_is_cut_and_stretched(made: Callable[[str], Made]) -> None:
    entry = made("beit_base_patch16_224")
    table = entry.model.blocks[1].attn.relative_position_bias_table
    own = entry.loaded(7).layers[1].bias
    bias = own(7)
    for one in range(7):
        for other in range(7):
            down, right = one // 3 - other // 3, one % 3 - other % 3
            torch.testing.assert_close(bias[0, :, one, other], table[(down + 3) * 7 + right + 3])
    assert entry.loaded(30, positions=PositionOptions(extend="interpolate")).layers[0].bias.table.shape == (121, 4)
    with pytest.raises(ShapeError, match="a grid of 5 x 5, but the backbone's table of distances is for 4 x 4"):
        entry.loaded(17)


def test_biases_that_are_computed_are_those_of_timm_for_any_grid(made: Callable[[str], Made]) -> None:
    entry = made("vit_relpos_base_patch16_224")
    other = timm.create_model(entry.name, pretrained=False, **{**SIZES, "img_size": 96}).eval()
    other.load_state_dict(entry.model.state_dict())
    tokens = vectors(2, 36)
    with torch.no_grad():
        other.patch_embed.forward = lambda image: tokens
        expected = other.fc_norm(other.forward_features(torch.zeros(2, 3, 96, 96)))
        torch.testing.assert_close(entry.loaded(36)(tokens), expected, atol=1e-5, rtol=1e-5)


def test_a_longer_sequence_has_the_angles_of_a_larger_image(made: Callable[[str], Made]) -> None:
    entry = made("vit_base_patch16_dinov3")
    other = copy.deepcopy(entry.model)
    tokens = vectors(2, 36)
    other.patch_embed.forward = lambda image: tokens.unflatten(1, (6, 6))
    other.cls_token = other.reg_token = None
    for block in other.blocks:
        block.attn.num_prefix_tokens = 0
    with torch.no_grad():
        expected = other.forward_features(torch.zeros(2, 3, 96, 96))
        torch.testing.assert_close(entry.loaded(36)(tokens), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("case", "rows"),
    [
        ("eva02_base_patch14_224", lambda model: model.pos_embed[0, 1:]),
        ("cait_s24_224", lambda model: model.pos_embed[0]),
        ("naflexvit_base_patch16_gap", lambda model: model.embeds.pos_embed[0].flatten(0, 1)[:TOKENS]),
        (
            "naflexvit_base_patch16_parfac_gap",
            lambda model: (model.embeds.pos_embed_y[0, :, None] + model.embeds.pos_embed_x[0]).flatten(0, 1)[:TOKENS],
        ),
    ],
)
def test_pretrained_positions_are_the_rows_of_the_patches(
    made: Callable[[str], Made], case: str, rows: Callable[[Any], Tensor]
) -> None:
    entry = made(case)
    found = entry.loaded(position_init="pretrained").positions.weight
    torch.testing.assert_close(found, rows(entry.model))
    assert not entry.loaded().positions.weight.any()


def test_a_model_without_a_table_has_no_pretrained_positions(made: Callable[[str], Made]) -> None:
    with pytest.raises(ShapeError, match="has no position table; use zeros"):
        made("vit_base_patch16_dinov3").loaded(position_init="pretrained")


@pytest.mark.parametrize("case", ["vit_small_patch16_rope_mixed_224", "beit_base_patch16_224", "cait_s24_224"])
def test_kept_blocks(made: Callable[[str], Made], case: str) -> None:
    """A block alone gets what it got in the whole model, such as its own rotary angles."""
    entry = made(case)
    given: dict[int, dict[str, Any]] = {}
    for index in range(2):
        whole, alone = entry.loaded(), entry.loaded(blocks=BlockOptions(keep=f"{index}:{index + 1}"))
        whole.layers[index].register_forward_pre_hook(
            lambda module, args, kwargs, index=index: given.update({index: kwargs}), with_kwargs=True
        )
        with torch.no_grad():
            whole(vectors())
            hidden = whole.layers[index](whole.norm_pre(vectors()), None, **given[index])
            torch.testing.assert_close(alone(vectors()), whole.norm(whole.between(hidden)))


@pytest.mark.parametrize(
    "case", ["vit_small_patch16_rope_mixed_224", "beit_base_patch16_224", "eva02_base_patch14_224"]
)
@pytest.mark.parametrize("init", ["random", "flat_0.02", "statistics"])
def test_other_initialisations(made: Callable[[str], Made], case: str, init: Any) -> None:
    assert torch.isfinite(made(case).loaded(init=init)(vectors())).all()
