"""Sources of a vision transformer's weights: files of timm, files of fptkit, random weights, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from fptkit.backbones.assemble import RandomDraw
from fptkit.backbones.options import BlockOptions, PositionOptions
from fptkit.backbones.random import draw_random
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.checkpoint import save_vit
from fptkit.backbones.vit.model import VitBackbone
from fptkit.backbones.vit.options import VitOptions
from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.sources.weights import HUB_REPOSITORIES, known_weights

TINY = {"embed_dim": 32, "depth": 3, "num_heads": 4}


def timm_model(name: str = "vit_base_patch16_224", **arguments: object) -> VisionTransformer:
    torch.manual_seed(0)
    sizes = {**TINY, "num_classes": 5, "img_size": 64, **arguments}
    model = timm.create_model(name, pretrained=False, **sizes).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VisionTransformer]:
    folder, model = tmp_path_factory.mktemp("vit"), timm_model()
    save_for_hf(model, folder, safe_serialization=True)
    return folder, model


def load(folder: Path, positions: int = 9, **options: object) -> VitBackbone:
    return build_vit(VitOptions(weights=f"path:{folder}", **options), positions=positions, seed=0).eval()


def changed(
    folder: Path,
    checkpoint: tuple[Path, VisionTransformer],
    *,
    config: Callable[[dict[str, Any]], object] | None = None,
    tensors: Callable[[dict[str, Tensor]], object] | None = None,
) -> Path:
    """A copy of the checkpoint with one thing changed."""
    content = json.loads((checkpoint[0] / "config.json").read_text())
    stored = load_file(checkpoint[0] / "model.safetensors")
    if config:
        config(content)
    if tensors:
        tensors(stored)
    (folder / "config.json").write_text(json.dumps(content))
    save_file(stored, folder / "model.safetensors")
    return folder


@pytest.mark.slow
def test_the_layout_of_timms_repositories_on_the_hub_loads(tmp_path: Path) -> None:
    """config.json as timm/vit_base_patch16_224.orig_in21k_ft_in1k has it: no model_args; at full width, one block."""
    model = timm_model(embed_dim=768, num_heads=12, depth=1, img_size=224)
    stored = dict(model.state_dict())
    stored |= {name.replace("blocks.0", f"blocks.{n}"): t.clone() for n in range(1, 12) for name, t in stored.items()}
    save_file(stored, tmp_path / "model.safetensors")
    config = {"architecture": "vit_base_patch16_224", "num_classes": 5, "num_features": 768, "global_pool": "token"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {"tag": "orig_in21k_ft_in1k"}}))
    ours = load(tmp_path, blocks=BlockOptions(keep=2))
    tokens = torch.randn(1, 5, 768)
    expected = model.norm(model.blocks(model.blocks(tokens)))
    torch.testing.assert_close(ours(tokens), expected, atol=2e-5, rtol=0)
    note = f"path:{tmp_path}: not used, since they are no part of the backbone: head"
    assert (ours.weights, ours.stand_in, ours.notes) == (f"path:{tmp_path}", False, (note,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_files_in_half_precision_are_computed_with_in_float32(
    checkpoint: tuple[Path, VisionTransformer], tmp_path: Path, dtype: torch.dtype
) -> None:
    def halve(tensors: dict[str, Tensor]) -> None:
        tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()})

    ours = load(changed(tmp_path, checkpoint, tensors=halve))
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    rounded = checkpoint[1].blocks[2].mlp.fc1.weight.to(dtype).float()
    assert torch.equal(ours.layers[2].mlp.fc1.weight, rounded)


def test_pretrained_positions_are_the_grid_without_the_class_token(checkpoint: tuple[Path, VisionTransformer]) -> None:
    folder, model = checkpoint
    assert model.pos_embed.shape == (1, 17, 32)  # class token and 4 x 4 patches
    ours = load(folder, positions=9, position_init="pretrained")
    assert torch.equal(ours.positions.weight, model.pos_embed[0, 1:10])
    assert ours.max_positions == 9


@pytest.mark.parametrize(
    ("name", "arguments", "prefix"),
    [
        ("vit_base_patch16_224", {"reg_tokens": 2}, 3),
        ("vit_base_patch14_reg4_dinov2", {}, 0),  # its class and register tokens have no row
        ("vit_base_patch16_siglip_224", {}, 0),
    ],
)
def test_rows_of_prefix_tokens_are_dropped(name: str, arguments: dict[str, Any], prefix: int, tmp_path: Path) -> None:
    model = timm_model(name, **{"img_size": 56, "patch_size": 14, **arguments})
    save_for_hf(model, tmp_path, safe_serialization=True)
    ours = load(tmp_path, positions=16, position_init="pretrained")
    assert torch.equal(ours.positions.weight, model.pos_embed[0, prefix : prefix + 16])


def test_a_task_longer_than_the_pretrained_grid(checkpoint: tuple[Path, VisionTransformer]) -> None:
    folder, model = checkpoint
    grid = model.pos_embed.data[0, 1:]
    with pytest.raises(ShapeError, match="up to 20 tokens, but the backbone's position table ends at 16"):
        load(folder, positions=20, position_init="pretrained")
    options = {"position_init": "pretrained", "weights": f"path:{folder}"}
    tiled = build_vit(VitOptions(**options, positions=PositionOptions(extend="tile")), positions=20, seed=0)
    assert torch.equal(tiled.positions.weight, torch.cat([grid, grid[:4]]))
    drawn = build_vit(VitOptions(**options, positions=PositionOptions(extend="interpolate")), positions=31, seed=0)
    torch.testing.assert_close(drawn.positions.weight[::2], grid, atol=1e-6, rtol=0)


def test_the_default_table_starts_at_zero_and_has_no_limit(checkpoint: tuple[Path, VisionTransformer]) -> None:
    ours = load(checkpoint[0], positions=1024)
    assert ours.positions.weight.shape == (1024, 32)
    assert not ours.positions.weight.any()
    longer = VitOptions(weights=f"path:{checkpoint[0]}", positions=PositionOptions(length=30))
    assert build_vit(longer, positions=9, seed=0).max_positions == 30
    with pytest.raises(ShapeError, match=r"positions\.length 30 is less than the 31 tokens"):
        build_vit(longer, positions=31, seed=0)


def test_a_checkpoint_without_positions(tmp_path: Path) -> None:
    save_for_hf(timm_model(pos_embed="none"), tmp_path, safe_serialization=True)
    assert load(tmp_path).max_positions == 9
    with pytest.raises(ShapeError, match="has no position table; use zeros"):
        load(tmp_path, position_init="pretrained")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("blocks.1.norm1.weight"), "are missing, the first is blocks.1.norm1.weight"),
        (lambda tensors: tensors.pop("norm.bias"), "the first is norm.bias"),
        (lambda tensors: tensors.update({"blocks.0.extra": torch.ones(3)}), "do not belong .* blocks.0.extra"),
        (lambda tensors: tensors.update({"fc_norm.weight": torch.ones(32)}), "do not belong .* fc_norm.weight"),
        (
            lambda tensors: tensors.update({"blocks.2.mlp.fc1.weight": torch.ones(64, 32)}),
            r"blocks.2.mlp.fc1.weight: expected shape \(128, 32\), found \(64, 32\)",
        ),
        (lambda tensors: tensors["blocks.0.attn.qkv.bias"].fill_(float("nan")), "blocks.0.attn.qkv.bias holds NaN"),
        (lambda tensors: tensors["pos_embed"].fill_(float("inf")), "pos_embed holds NaN or infinity"),
        (
            lambda tensors: tensors.update({"norm.weight": torch.ones(32, dtype=torch.int64)}),
            "norm.weight is of torch.int64",
        ),
        (lambda tensors: tensors.update({"pos_embed": torch.ones(17, 32)}), r"pos_embed .* found \(17, 32\)"),
        (lambda tensors: tensors.update({"pos_embed": torch.ones(1, 1, 32)}), r"pos_embed .* found \(1, 1, 32\)"),
        (
            lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("blocks.2.")],
            "says depth 3, but it holds tensors of 2 blocks",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    checkpoint: tuple[Path, VisionTransformer], tmp_path: Path, change: Callable[[dict[str, Tensor]], object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        load(changed(tmp_path, checkpoint, tensors=change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": None, "model_type": "gpt2"}, "has no timm architecture .* says model_type 'gpt2'"),
        ({"architecture": 7}, "has no timm architecture"),
        ({"architecture": "vit_bse_patch16_224", "model_args": {}}, "does not know; it knows .*vit_base_patch16_224"),
        (
            {"architecture": "mine", "model_args": {"embed_dim": 32, "depth": 3}},
            "'mine', which timm .* must give embed_dim, depth, num_heads in model_args, and num_heads is missing",
        ),
        (
            {"architecture": "resnet18", "model_args": {}},
            "resnet18 of timm cannot run on a sequence of tokens: it is a convolutional network",
        ),
        ({"architecture": "vit_base_patch16_xp_224"}, "not attention, feed-forward or norm"),
        ({"model_args": [1]}, r"model_args \[1\], expected keys and values"),
        ({"model_args": {**TINY, "depth": "three"}}, "depth 'three' in model_args, expected an integer >= 1"),
        ({"model_args": {**TINY, "depth": True}}, "depth True in model_args, expected an integer >= 1"),
        ({"model_args": {**TINY, "depth": 10**9}}, "depth 1000000000, but it holds tensors of 3 blocks"),
        ({"model_args": {**TINY, "embed_dim": 10**12}}, "timm cannot build the architecture"),
        ({"model_args": {**TINY, "num_heads": 5}}, "timm cannot build the architecture .*divisible"),
        ({"model_args": {**TINY, "act_layer": "nonsense"}}, "timm cannot build the architecture"),
        ({"model_args": {**TINY, "qkv_bias": "yes"}}, "qkv_bias 'yes' in model_args, expected true or false"),
        ({"model_args": {**TINY, "pretrained": True}}, "pretrained in model_args, which is not supported"),
        ({"model_args": {**TINY, "checkpoint_path": "x.pt"}}, "checkpoint_path in model_args, which is not supported"),
        ({"model_args": {**TINY, "qk_norm": True}}, "are missing, the first is blocks.0.attn.k_norm.bias"),
    ],
)
def test_an_invalid_config_is_refused(
    checkpoint: tuple[Path, VisionTransformer], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        load(changed(tmp_path, checkpoint, config=lambda config: config.update(change)))


def test_a_file_cut_short_is_refused(checkpoint: tuple[Path, VisionTransformer], tmp_path: Path) -> None:
    folder = changed(tmp_path, checkpoint)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="not readable as a safetensors file"):
        load(folder)


def test_nothing_available_lists_what_was_tried() -> None:
    options = VitOptions(weights=["hub:timm/vit_base_patch16_224.orig_in21k_ft_in1k", "path:/nonexistent"])
    with pytest.raises(SourceError) as caught:
        build_vit(options, positions=8, seed=0)
    assert [entry for entry, _ in caught.value.tried] == list(options.weights)


def test_a_later_source_is_a_stand_in(checkpoint: tuple[Path, VisionTransformer]) -> None:
    options = VitOptions(weights=["path:/nonexistent", f"path:{checkpoint[0]}"])
    backbone = build_vit(options, positions=8, seed=0)
    assert backbone.stand_in
    assert backbone.notes[0].startswith("path:/nonexistent: no config.json")


def test_the_default_source_is_among_the_known_ones() -> None:
    assert VitOptions().weights[0].removeprefix("hub:") in HUB_REPOSITORIES
    assert {row["name"] for row in known_weights()} > {VitOptions().weights[0]}


def nano() -> VitBackbone:
    backbone = draw_random("vit", RandomDraw("nano", blocks=2, width=16, heads=2, positions=9, seed=1)).eval()
    for parameter in backbone.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return backbone


def test_a_saved_backbone_loads_with_its_positions(tmp_path: Path) -> None:
    backbone = nano()
    save_vit(backbone, tmp_path / "made", dtype=torch.float32, about={"licence": "MIT"})
    again = load(tmp_path / "made", position_init="pretrained")
    assert {name: p.tolist() for name, p in again.named_parameters()} == {
        name: p.tolist() for name, p in backbone.named_parameters()
    }
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert config["licence"] == "MIT"
    assert config["model_args"]["depth"] == 2
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["config.json", "model.safetensors"]


def test_timm_itself_can_use_a_saved_backbone(tmp_path: Path) -> None:
    """With a patch embedding in the file, it is a complete timm model with the same output for the same tokens."""
    backbone = nano()
    patches = {"patch_embed.proj.weight": torch.randn(16, 3, 4, 4), "patch_embed.proj.bias": torch.randn(16)}
    save_vit(backbone, tmp_path, dtype=torch.float32, further=patches)
    config = json.loads((tmp_path / "config.json").read_text())
    model = VisionTransformer(img_size=12, patch_size=4, num_classes=0, **config["model_args"]).eval()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(backbone(model.patch_embed(images)), model.forward_features(images), atol=1e-5, rtol=0)
    assert load(tmp_path).blocks == 2


def test_a_model_trained_with_timm_under_a_name_of_its_own_loads(tmp_path: Path) -> None:
    """The layout described in `fptkit.backbones.vit.checkpoint`, written without `save_vit`."""
    model = VisionTransformer(img_size=12, patch_size=4, num_classes=7, **TINY).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_nano", "model_args": TINY}))
    ours = load(tmp_path, position_init="pretrained")
    tokens = torch.randn(2, 9, 32)
    expected = model.norm(model.blocks(tokens + model.pos_embed[:, 1:]))
    torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=0)


def test_weights_with_a_class_token_in_an_architecture_that_pools(
    checkpoint: tuple[Path, VisionTransformer], tmp_path: Path
) -> None:
    """Trained with a class token, used with pooling: then the final norm is called fc_norm by the architecture only."""
    folder = changed(
        tmp_path, checkpoint, config=lambda config: config["model_args"].update(global_pool="avg", class_token=True)
    )
    tokens = torch.randn(2, 7, 32)
    torch.testing.assert_close(load(folder)(tokens), load(checkpoint[0])(tokens))


def test_random_weights_follow_the_seed_and_restore_torchs_generator() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    first, again, other = (
        draw_random("vit", RandomDraw("nano", positions=4, seed=seed)).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.randn(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.attn.qkv.weight"], other["layers.0.attn.qkv.weight"])


@pytest.mark.parametrize("weights", ["random", "path"])
def test_random_weights_have_timms_initialisation(weights: str, checkpoint: tuple[Path, VisionTransformer]) -> None:
    """Matrices normal with standard deviation 0.02, biases 0, scales of norms 1 (timm, ``init_weights_vit_timm``)."""
    options = {"weights": "random", "size": "nano"} if weights == "random" else {"weights": f"path:{checkpoint[0]}"}
    drawn = build_vit(VitOptions(**options, init="random"), positions=9, seed=3).requires_grad_(False)
    for name, parameter in drawn.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim == 1:
            assert torch.all(parameter == 1), name
        else:
            assert abs(float(parameter.std()) - 0.02) < 0.002, name
            assert abs(float(parameter.mean())) < 0.002, name


@pytest.mark.parametrize("position_init", ["auto", "pretrained"])
@pytest.mark.parametrize("weights", ["random", "path"])
def test_random_positions(weights: str, position_init: str, checkpoint: tuple[Path, VisionTransformer]) -> None:
    options = {"weights": "random", "size": "nano"} if weights == "random" else {"weights": f"path:{checkpoint[0]}"}
    drawn = build_vit(VitOptions(**options, init="random", position_init=position_init), positions=16, seed=3)
    assert abs(float(drawn.positions.weight.detach().std()) - 0.02) < 0.003
    assert drawn.max_positions == 16


@pytest.mark.parametrize("init", ["random", "flat_0.02"])
def test_random_positions_do_not_change_the_other_weights(init: str) -> None:
    """The task may be longer than the checkpoint's grid."""
    makers = [VitOptions(weights="random", size="nano", init=init, position_init=each) for each in ("auto", "zeros")]
    drawn, zeros = (build_vit(options, positions=300, seed=3) for options in makers)
    assert not zeros.positions.weight.any()
    for name, parameter in zeros.named_parameters():
        if not name.startswith("positions"):
            assert torch.equal(parameter, drawn.get_parameter(name)), name


def test_flat_keeps_scales_after_attention(tmp_path: Path) -> None:
    save_for_hf(timm_model("vit_base_patch14_dinov2", patch_size=16), tmp_path, safe_serialization=True)
    flat = load(tmp_path, init="flat_0.02")
    gammas = [parameter for name, parameter in flat.named_parameters() if name.endswith("gamma")]
    assert len(gammas) == 6
    assert all(torch.all(gamma == 1e-5) for gamma in gammas)  # as the architecture starts them
    assert abs(float(flat.layers[0].mlp.fc1.weight.detach().std()) - 0.02) < 0.002
    assert not load(tmp_path, init="flat_0.02", position_init="zeros").positions.weight.any()


def test_statistics_keep_each_tensors_mean_and_deviation(checkpoint: tuple[Path, VisionTransformer]) -> None:
    folder, model = checkpoint
    redrawn = load(folder, init="statistics", position_init="pretrained")
    weight, loaded = redrawn.layers[1].mlp.fc1.weight.data, model.blocks[1].mlp.fc1.weight.data
    assert not torch.equal(weight, loaded)
    assert abs(float(weight.mean() - loaded.mean())) < 4 * float(loaded.std()) / loaded.numel() ** 0.5
    assert abs(float(weight.std() / loaded.std()) - 1) < 0.05
    norm = redrawn.layers[1].norm1.weight.data  # 32 numbers around 1
    assert abs(float(norm.mean()) - 1) < 0.05
    assert float(norm.std()) > 0.02
    assert not load(folder, init="statistics").positions.weight.any()


def test_statistics_of_random_weights_are_refused() -> None:
    with pytest.raises(ShapeError, match="'statistics' needs loaded weights"):
        build_vit(VitOptions(weights="random", size="nano", init="statistics"), positions=4, seed=0)


def test_random_sizes() -> None:
    backbone = draw_random("vit", RandomDraw("tiny", blocks=1, positions=8, seed=0))
    assert (backbone.blocks, backbone.width, backbone.max_positions, backbone.weights) == (1, 192, 8, "random")
    with pytest.raises(ShapeError, match="no size 'xl'; sizes are nano, tiny, small, base, large"):
        draw_random("vit", RandomDraw("xl", positions=5, seed=0))
    with pytest.raises(ShapeError, match="32 is not one of 3"):
        draw_random("vit", RandomDraw("nano", width=32, positions=5, seed=0))
    with pytest.raises(ShapeError, match=r"as long as the task: backbone\.positions must be null"):
        draw_random("vit", RandomDraw("nano", blocks=1, positions=5, rows=4, seed=0))


def test_the_list_of_weights_describes_a_packaged_vision_transformer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fptkit.sources.weights.PACKAGED", tmp_path)
    save_vit(draw_random("vit", RandomDraw("nano", positions=64, seed=0)), tmp_path / "vit_nano")
    row = known_weights()[0]
    assert row["name"] == "builtin:vit_nano"
    assert row["summary"] == "vision transformer of 6 blocks of 192; see its model card"
    assert (tmp_path / "vit_nano" / "model.safetensors").stat().st_size < 6e6
    backbone = build_vit(VitOptions(weights="builtin:vit_nano"), positions=70, seed=0)
    assert (backbone.blocks, backbone.width, backbone.max_positions) == (6, 192, 70)
