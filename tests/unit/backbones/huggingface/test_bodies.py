"""Models of transformers without ``inputs_embeds``, against the library's own forward pass with the same vectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from built_in_turn import in_turn
from safetensors.torch import load_file, save_file
from tiny_bodies import CONFIGS, TOKENS, VARIANTS, WIDTH, no_biases, reference, run
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel

from fptkit.backbones.grid import square_side
from fptkit.backbones.huggingface.bodies import BODIES, PARTS, REFUSED
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.model import HuggingFaceBackbone
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.backbones.options import BlockOptions, PositionOptions
from fptkit.errors import DataError, FptkitError, ShapeError, UsageError
from fptkit.testing import check_backbone

CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    **{kind: (kind, None, CONFIGS[kind]) for kind in BODIES},
    **{f"{kind}, {part}": (kind, part, CONFIGS[kind]) for kind, parts in PARTS.items() for part in parts},
    **{name: (kind, None, content) for name, (kind, content) in VARIANTS.items()},
}
"""Model type, part and config of each case, by its name."""

CAUSAL = {"clip_text_model", "clip, text", "clipseg, text", "metaclip_2, text", "owlvit, text", "timesfm", "timesfm2_5"}


class Made:
    """A saved tiny model of the library."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.kind, self.part, content = CASES[name]
        torch.manual_seed(0)
        self.whole: Any = AutoModel.from_config(CONFIG_MAPPING[self.kind](**content)).eval()
        for parameter in self.whole.parameters():  # norms and scales must differ from their defaults
            parameter.data += 0.02 * torch.randn_like(parameter)
        no_biases(self.whole)
        self.folder = folder
        self.whole.save_pretrained(folder)

    def loaded(self, tokens: int = TOKENS, **options: Any) -> HuggingFaceBackbone:
        entry = HuggingFaceOptions(weights=f"path:{self.folder}", part=self.part, **options)
        return build_huggingface(entry, positions=tokens, seed=0).eval()

    @property
    def own(self) -> Any:
        """The library's model of the part, with fresh methods."""
        model = AutoModel.from_pretrained(self.folder).eval()
        return model if self.part is None else getattr(model, f"{self.part}_model")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    cache: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in cache:
            cache[name] = Made(name, tmp_path_factory.mktemp("body"))
        return cache[name]

    return make


def vectors(batch: int = 2, tokens: int = TOKENS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((batch, tokens, WIDTH), generator=generator).abs() * 0.5 - 0.1


@pytest.mark.parametrize("name", CASES)
def test_the_output_is_that_of_the_library_with_the_same_vectors(made: Callable[[str], Made], name: str) -> None:
    case = made(name)
    tokens = vectors()
    with torch.no_grad():
        expected = reference(name, case.kind, case.own, tokens)
        found = case.loaded()(tokens)
    assert found.shape == (2, TOKENS, WIDTH)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - tokens).abs().max() > 1e-2  # it is not the identity


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_contract(made: Callable[[str], Made], name: str) -> None:
    """Among others: zero tokens give no NaN, and blocks can be computed again in the backward pass."""
    places = 0.02 * vectors(1)[0]

    @in_turn
    def build(positions: int) -> HuggingFaceBackbone:
        backbone = made(name).loaded(positions)
        if name == "timesfm2_5":  # as in a run, with trained positions added to the tokens
            backbone.register_forward_pre_hook(lambda _, given: (given[0] + places[: given[0].shape[1]], *given[1:]))
        return backbone

    check_backbone(build)


@pytest.mark.parametrize("name", CASES)
def test_causality_is_what_a_perturbation_shows(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded()
    tokens = vectors()
    changed = tokens.clone()
    changed[:, 9:] += 1.0
    with torch.no_grad():
        difference = (backbone(changed) - backbone(tokens))[:, :9].abs().max()
    assert (difference == 0) == (name in CAUSAL) == backbone.causal


@pytest.mark.parametrize("name", CASES)
def test_padding_is_not_seen(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded()
    tokens, lengths = vectors(3), torch.tensor([TOKENS, 5, 11])
    padded = tokens.masked_fill((torch.arange(TOKENS) >= lengths[:, None])[:, :, None], 1e3)
    with torch.no_grad():
        found = backbone(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = backbone(tokens[row : row + 1, :length])
            torch.testing.assert_close(found[row, :length], alone[0], atol=1e-5, rtol=1e-5)


ROLES = (
    (r"conv_module\.|(^|\.)conv\.|(^|\.)(self_)?att(entio)?n(\.|_)|^self_attention", "attention"),
    (r"lambda_?\d|layer_scale", "other"),
    (r"relative_position_bias|distance_embedding|rel_attn_embed", "position"),
)
"""Roles of the parameters of a block by their names, if they are no norms; the last pattern that matches counts."""


def expected_role(name: str) -> str:
    if re.search(r"layer_?norm|(^|\.)norm(\d|_\w+)?\.|_norm\.|norm_sublayer|batch_norm|rms_norm|ffn_norm", name):
        return "norm"
    matching = [role for pattern, role in ROLES if re.search(pattern, name)]
    return matching[-1] if matching else "feed_forward"


@pytest.mark.parametrize("name", CASES)
def test_roles_of_the_blocks_follow_from_the_names_that_the_library_uses(
    made: Callable[[str], Made], name: str
) -> None:
    case = made(name)
    body = PARTS[case.kind][case.part] if case.part else BODIES[case.kind]
    whole = case.whole.get_submodule(body.part)
    roles = case.loaded().parameter_roles()
    named = {
        (index, inner): expected_role(inner)
        for index, block in enumerate(whole.get_submodule(body.blocks))
        for inner, _ in block.named_parameters()
    }
    found = {}
    for parameter, role in roles.items():
        if role.block is not None:
            inner = parameter.removeprefix(f"model.blocks.{role.block}.")
            found[role.block, inner.replace("relative_position_bias.table", _OLD_BIAS)] = role.role
    assert found == named
    outside = {role.role for role in roles.values() if role.block is None}
    assert outside <= {"norm", "position", "other"}


_OLD_BIAS = "relative_position_bias.relative_position_bias_table"


@pytest.mark.parametrize("name", CASES)
def test_frozen_matrices_in_bfloat16_are_within_two_percent(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded()
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


def test_every_model_type_of_the_table_is_tried() -> None:
    assert CONFIGS.keys() == BODIES.keys() | PARTS.keys()
    assert not REFUSED.keys() & CONFIGS.keys()
    assert set(CONFIG_MAPPING) >= REFUSED.keys() | CONFIGS.keys()


@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_cannot_run_on_tokens_are_refused_by_name(kind: str) -> None:
    with pytest.raises(UsageError, match=f"a model of type {kind} does not accept token vectors: .*; use "):
        build_huggingface(HuggingFaceOptions(weights="random", config={"model_type": kind}), positions=9, seed=0)


@pytest.mark.parametrize(
    ("kind", "part", "said"),
    [
        ("clip", None, "combines several models; choose one by backbone.part: text or vision"),
        ("clip", "audio", "choose one by backbone.part: text or vision"),
        ("vit", "vision", "has no parts to choose from; leave backbone.part out"),
        ("aimv2_vision_model", None, "with is_native adds positions that fptkit does not compute"),
        ("timesfm", None, "with use_positional_embedding adds positions that fptkit does not compute"),
    ],
)
def test_parts_that_do_not_fit(kind: str, part: str | None, said: str) -> None:
    body = BODIES.get(kind)
    computed = {body.unless: True} if body is not None and body.unless else {}
    content = {**CONFIGS[kind], "model_type": kind, **computed}
    with pytest.raises(UsageError, match=re.escape(said)):
        build_huggingface(HuggingFaceOptions(weights="random", config=content, part=part), positions=9, seed=0)


def test_the_part_of_a_file_of_two_models_is_loaded(made: Callable[[str], Made]) -> None:
    case = made("clip, vision")
    own, text = case.loaded(), Made("clip, text", case.folder).loaded()
    torch.testing.assert_close(
        own.get_parameter("model.blocks.1.mlp.fc1.weight"), case.whole.vision_model.encoder.layers[1].mlp.fc1.weight
    )
    words = case.whole.text_model.embeddings.token_embedding.weight
    assert own.embedding_norm is None
    assert text.embedding_norm == pytest.approx(float(words.detach().norm(dim=1).mean()))


# Positions


def test_a_table_is_cut_and_extended(made: Callable[[str], Made]) -> None:
    case = made("vit")
    table = case.whole.embeddings.position_embeddings[0, 1:]
    rows = case.loaded(5).get_parameter("model.positions.weight")
    torch.testing.assert_close(rows, table[:5])
    tiled = case.loaded(20, positions=PositionOptions(extend="tile")).get_parameter("model.positions.weight")
    torch.testing.assert_close(tiled, torch.cat((table, table[:4])))
    with pytest.raises(ShapeError, match="position table ends at 16"):
        case.loaded(17)


def test_sequences_fill_a_square_grid_row_by_row(made: Callable[[str], Made]) -> None:
    """Fewer tokens than the task's longest example are the first tokens of its grid."""
    case = made("dinov3_vit")
    backbone, tokens = case.loaded(TOKENS), vectors()
    assert "tokens fill a grid of 4 x 4" in " ".join(backbone.notes)
    assert backbone.max_positions == TOKENS
    given: list[Tensor] = []
    backbone.model.blocks[0].register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs["position_embeddings"]), with_kwargs=True
    )
    backbone(tokens)
    backbone(tokens[:, :6])
    torch.testing.assert_close(given[0][0][:6], given[1][0])
    with pytest.raises(ShapeError):
        backbone(vectors(1, TOKENS + 1))


def test_the_table_of_distances_by_hand(made: Callable[[str], Made]) -> None:
    """A task of 7 tokens uses a 3 x 3 part of the grid of 4 x 4."""
    case = made("beit")
    table = case.whole.layers[1].relative_position_bias.relative_position_bias_table
    own = case.loaded(7).model.blocks[1].relative_position_bias
    assert own.table.shape == (25, 4)
    bias = own(None, False, 7)
    for one in range(7):
        for other in range(7):
            down, right = one // 3 - other // 3, one % 3 - other % 3
            torch.testing.assert_close(bias[0, :, one, other], table[(down + 3) * 7 + right + 3])


def test_a_table_of_distances_can_be_stretched_only(made: Callable[[str], Made]) -> None:
    case = made("beit")
    stretched = case.loaded(30, positions=PositionOptions(extend="interpolate"))
    assert stretched.get_parameter("model.blocks.0.relative_position_bias.table").shape == (11 * 11, 4)
    assert stretched.max_positions == 36
    assert torch.isfinite(stretched(vectors(1, 30))).all()
    for extend in (None, "tile"):
        with pytest.raises(ShapeError, match="a grid of 5 x 5, but the backbone's table of distances is for 4 x 4"):
            case.loaded(17, positions=PositionOptions(extend=extend))


def test_stretched_distances_are_those_of_the_library_for_a_larger_image(made: Callable[[str], Made]) -> None:
    case = made("beit")
    backbone = case.loaded(36, positions=PositionOptions(extend="interpolate"))
    for ours, theirs in zip(backbone.model.blocks, case.whole.layers, strict=True):
        expected = theirs.relative_position_bias((6, 6))[..., 1:, 1:]
        torch.testing.assert_close(ours.relative_position_bias(None, False, 36), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["dinov3_vit", "pixtral", "sapiens2"])
def test_a_longer_sequence_has_the_angles_of_a_larger_image(made: Callable[[str], Made], name: str) -> None:
    case = made(name)
    backbone, own, tokens = case.loaded(36), case.own, vectors(1, 36)
    with torch.no_grad():
        if name == "pixtral":
            run(own, "patch_conv", tokens[0].T.unflatten(1, (6, 6))[None])
        else:
            run(own, "embeddings", tokens)
        expected = own(pixel_values=torch.zeros(1, 3, 48, 48)).last_hidden_state
        torch.testing.assert_close(backbone(tokens), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("tokens", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4), (196, 14), (197, 15)])
def test_the_smallest_square(tokens: int, side: int) -> None:
    assert square_side(tokens) == side


# Blocks, dropout, files


@pytest.mark.parametrize("name", ["vit", "beit", "wavlm", "wav2vec2-bert, relative", "clip, vision", "timesfm2_5"])
def test_kept_blocks_are_run_alone(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded(blocks=BlockOptions(keep="1:2"))
    assert (backbone.blocks, len(backbone.block_modules())) == (1, 1)
    whole = made(name).loaded()
    if name == "vit":
        with torch.no_grad():
            whole.model.blocks = nn.ModuleList([whole.model.blocks[1]])
            torch.testing.assert_close(backbone(vectors()), whole(vectors()))
    assert torch.isfinite(backbone(vectors())).all()


@pytest.mark.parametrize(
    ("name", "options"), [("vit", {}), ("clip, vision", {"attention_dropout": 0.5}), ("hubert", {})]
)
def test_dropout_only_in_training(made: Callable[[str], Made], name: str, options: dict[str, float]) -> None:
    backbone, tokens = made(name).loaded(**(options or {"dropout": 0.5})), vectors()
    assert torch.equal(backbone(tokens), backbone(tokens))
    backbone.train()
    assert not torch.equal(backbone(tokens), backbone(tokens))


@pytest.mark.parametrize("name", ["beit", "patchtst", "wav2vec2-conformer", "dinov3_vit"])
def test_without_dropout_training_is_deterministic_and_independent_of_the_batch(
    made: Callable[[str], Made], name: str
) -> None:
    """No block is skipped, positions are not shifted, and batch norms use their stored statistics."""
    dropout = {} if name == "dinov3_vit" else {"dropout": 0.0}
    backbone, tokens = made(name).loaded(**dropout, attention_dropout=0.0).train(), vectors()
    torch.testing.assert_close(backbone(tokens)[:1], backbone(tokens[:1]), atol=1e-5, rtol=1e-5)


def test_the_convolution_for_positions_stays_frozen(made: Callable[[str], Made]) -> None:
    roles = made("wav2vec2").loaded().parameter_roles()
    assert {role.role for name, role in roles.items() if "convolution" in name} == {"other"}


def test_a_missing_position_table_is_an_error(made: Callable[[str], Made], tmp_path: Path) -> None:
    case = made("vit")
    tensors = load_file(case.folder / "model.safetensors")
    (lost,) = (name for name in tensors if name.endswith("position_embeddings"))
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((case.folder / "config.json").read_text())
    with pytest.raises(DataError, match=r"1 tensors are missing, the first is .*position_embeddings"):
        build_huggingface(HuggingFaceOptions(weights=f"path:{tmp_path}"), positions=9, seed=0)


@pytest.mark.parametrize(
    ("kind", "whole", "norm", "unused"),
    [
        ("vit", "ViTForImageClassification", "vit.layernorm.weight", "classifier"),
        ("vit", "ViTForMaskedImageModeling", "vit.layernorm.weight", "decoder.0, embeddings.mask_token"),
        ("beit", "BeitForMaskedImageModeling", None, "layernorm, lm_head"),  # this layernorm is of the head
        ("whisper", "WhisperForConditionalGeneration", "model.encoder.layer_norm.weight", None),
        ("speecht5", "SpeechT5ForSpeechToText", None, "decoder.prenet.embed_tokens, encoder.*"),
        ("wav2vec2", "Wav2Vec2ForCTC", None, "lm_head"),
        ("wavlm", "WavLMForXVector", None, "classifier, feature_extractor, objective, projector, tdnn.*"),
        (
            "videomae",
            "VideoMAEForPreTraining",
            "videomae.layernorm.weight",
            "decoder.*, encoder_to_decoder, mask_token",
        ),
    ],
)
def test_models_for_other_tasks_are_loaded_without_their_heads(
    kind: str, whole: str, norm: str | None, unused: str | None, tmp_path: Path
) -> None:
    model = getattr(transformers, whole)(CONFIG_MAPPING[kind](**{**CONFIGS[kind], "vocab_size": 99}))
    model.save_pretrained(tmp_path)
    backbone = build_huggingface(HuggingFaceOptions(weights=f"path:{tmp_path}"), positions=9, seed=0)
    notes = " ".join(backbone.notes)
    assert f"not used, since they are no part of the backbone: {unused}" in notes if unused else "not used" not in notes
    if norm:
        torch.testing.assert_close(backbone.get_parameter("model.after.0.weight"), model.get_parameter(norm))


@pytest.mark.parametrize("kind", ["vit", "wav2vec2", "clip"])
def test_a_tensor_too_many_in_a_block_is_an_error(made: Callable[[str], Made], kind: str, tmp_path: Path) -> None:
    case = made("clip, vision" if kind == "clip" else kind)
    tensors = load_file(case.folder / "model.safetensors")
    blocks = (name for name in tensors if re.search(r"\.0\..*norm\w*\.weight", name))
    norm = next(name for name in blocks if "text" not in name and "feature" not in name)
    tensors[norm.replace("weight", "scale")] = tensors[norm].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((case.folder / "config.json").read_text())
    options = HuggingFaceOptions(weights=f"path:{tmp_path}", part=case.part)
    with pytest.raises(DataError, match=r"1 tensors do not belong to the model of .*, the first is .*scale"):
        build_huggingface(options, positions=9, seed=0)


@pytest.mark.parametrize("kind", ["vit", "whisper", "beit"])
@pytest.mark.parametrize("init", ["random", "flat_0.02", "statistics"])
def test_other_initialisations(made: Callable[[str], Made], kind: str, init: Any) -> None:
    assert torch.isfinite(made(kind).loaded(init=init)(vectors())).all()


def test_random_weights_follow_only_the_seed() -> None:
    options = HuggingFaceOptions(weights="random", config={**CONFIGS["dinov2"], "model_type": "dinov2"})
    first, again, other = (build_huggingface(options, positions=9, seed=seed).eval() for seed in (0, 0, 1))
    tokens = vectors(1, 9)
    assert torch.equal(first(tokens), again(tokens))
    assert not torch.equal(first(tokens), other(tokens))


@pytest.mark.parametrize("side", [1, 2])
def test_a_table_of_few_rows_ends_in_a_clear_error(side: int) -> None:
    """Also one with fewer rows than the tokens that are run when the model is measured."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = {"model_type": "dinov2", **sizes, "image_size": 14 * side, "patch_size": 14}
    options = HuggingFaceOptions(weights=("random",), config=config)
    with pytest.raises(FptkitError, match="position"):
        build_huggingface(options, positions=20, seed=0)
