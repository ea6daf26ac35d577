"""Models of transformers as backbones, compared with the library's own models with the same weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fptkit.backbones.assemble import RandomDraw
from fptkit.backbones.huggingface.build import (
    build_bert,
    build_huggingface,
    build_longformer,
    build_t5_encoder,
)
from fptkit.backbones.huggingface.load import describe_words, make_config
from fptkit.backbones.huggingface.model import HuggingFaceBackbone
from fptkit.backbones.huggingface.options import (
    BertOptions,
    HuggingFaceOptions,
    LongformerOptions,
    T5EncoderOptions,
)
from fptkit.backbones.huggingface.roles import RoleRules, find_blocks, find_roles
from fptkit.backbones.options import BlockOptions, PositionOptions, RandomOptions
from fptkit.backbones.random import build_random, draw_random
from fptkit.errors import DataError, FreezingError, ShapeError, SourceError, UsageError
from fptkit.seeds import generator_for
from fptkit.testing import check_backbone

TOKENS, BLOCKS, WIDTH = 9, 3, 16

_USUAL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 7,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_T5 = {"d_model": WIDTH, "d_kv": 8, "num_heads": 2, "d_ff": 24, "num_layers": BLOCKS, "vocab_size": 7}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**_USUAL, "max_position_embeddings": 20},
    "roberta": {**_USUAL, "max_position_embeddings": 22, "pad_token_id": 1},
    "t5": _T5,
    "umt5": _T5,
    "longformer": {
        **_USUAL,
        "max_position_embeddings": 22,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "attention_window": [8] * BLOCKS,
    },
    "llama": {**_USUAL, "num_key_value_heads": 1, "max_position_embeddings": 20},
    "mistral": {**_USUAL, "num_key_value_heads": 1, "sliding_window": 4},
    "qwen2": {**_USUAL, "num_key_value_heads": 1},
    "gemma3_text": {
        **_USUAL,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 4,
        "sliding_window_pattern": 2,
    },
    "gpt_neox": _USUAL,
    "opt": {**_USUAL, "ffn_dim": 24, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 20},
    "modernbert": {
        **_USUAL,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 4,
        "global_attn_every_n_layers": 2,
    },
    "distilbert": {
        "dim": WIDTH,
        "n_layers": BLOCKS,
        "n_heads": 2,
        "hidden_dim": 24,
        "vocab_size": 7,
        "max_position_embeddings": 20,
    },
    "gpt2": {
        "n_embd": WIDTH,
        "n_layer": BLOCKS,
        "n_head": 2,
        "n_positions": 20,
        "vocab_size": 7,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "bart": {
        "d_model": WIDTH,
        "encoder_layers": BLOCKS,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "vocab_size": 7,
        "max_position_embeddings": 20,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    },
    "mixtral": {**_USUAL, "num_key_value_heads": 1, "num_local_experts": 2},
}
"""One tiny model of each family; the keys are model types."""

CAUSAL = {"llama", "mistral", "qwen2", "gemma3_text", "gpt_neox", "opt", "gpt2", "mixtral"}

SAVED_AS = {
    "bert": "BertForMaskedLM",
    "longformer": "LongformerForMaskedLM",
    "t5": "T5ForConditionalGeneration",
    "llama": "LlamaForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "opt": "OPTForCausalLM",
}
"""Families with parts in the file that a backbone does not use: a head, a decoder. Others are saved as `AutoModel`."""

REFERENCE = {"t5": "T5EncoderModel", "umt5": "UMT5EncoderModel"}

NAMES: dict[str, dict[str, str]] = {
    "bert": {
        "norm": r"LayerNorm",
        "position": r"position_embeddings",
        "embedding": r"token_type_embeddings",
        "attention": r"\.attention\.",
        "feed_forward": r"layer\.\d\.(intermediate|output)\.dense",
    },
    "longformer": {
        "norm": r"LayerNorm",
        "position": r"position_embeddings",
        "embedding": r"token_type_embeddings",
        "attention": r"\.attention\.(self\.(query|key|value)(_global)?|output\.dense)\.",
        "feed_forward": r"layer\.\d\.(intermediate|output)\.dense",
    },
    "t5": {
        "norm": r"layer_norm",
        "position": r"block\.0\..*relative_attention_bias",
        "attention": r"SelfAttention\.[qkvo]\.",
        "feed_forward": r"DenseReluDense",
    },
    "llama": {"norm": r"norm", "attention": r"self_attn\.[qkvo]_proj", "feed_forward": r"mlp\."},
    "gpt_neox": {"norm": r"norm", "attention": r"attention\.", "feed_forward": r"mlp\."},
    "opt": {
        "norm": r"layer_norm",
        "position": r"embed_positions",
        "attention": r"self_attn\.(q|k|v|out)_proj",
        "feed_forward": r"layers\.\d\.fc[12]\.",
    },
    "modernbert": {"norm": r"norm", "attention": r"attn\.W", "feed_forward": r"mlp\.W"},
    "distilbert": {
        "norm": r"norm|LayerNorm",
        "position": r"position_embeddings",
        "attention": r"attention\.(q|k|v|out)_lin",
        "feed_forward": r"ffn\.",
    },
    "gpt2": {"norm": r"ln_", "position": r"wpe", "attention": r"attn\.c_", "feed_forward": r"mlp\.c_"},
    "mixtral": {"norm": r"norm", "attention": r"self_attn\.", "feed_forward": r"mlp\.(gate|experts)\."},
}
"""Which names have which role, family by family; the first pattern that matches counts."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a family's checkpoint with the library, once; no tensor has a value that would hide a mix-up."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def checkpoint(kind: str) -> Path:
        place = folder / kind
        if not place.exists():
            config = transformers.CONFIG_MAPPING[kind](**CONFIGS[kind])
            architecture = getattr(transformers, SAVED_AS[kind]) if kind in SAVED_AS else transformers.AutoModel
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = architecture._from_config(config) if kind in SAVED_AS else architecture.from_config(config)
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.add_(torch.randn_like(parameter), alpha=0.1)
            model.save_pretrained(place)
        return place

    return checkpoint


@pytest.fixture
def altered(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a family's checkpoint, its config or tensors changed."""

    def alter(
        kind: str,
        *,
        config: dict[str, Any] | None = None,
        tensors: Callable[[dict[str, Tensor]], Any] | None = None,
    ) -> Path:
        place = tmp_path / kind
        shutil.copytree(checkpoints(kind), place)
        content = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**content, **(config or {})}))
        held = load_file(place / "model.safetensors")
        if tensors is not None:
            tensors(held)
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, place / "model.safetensors")
        return place

    return alter


def load(
    place: Path, *, positions: int = TOKENS, fit: PositionOptions | None = None, **options: Any
) -> HuggingFaceBackbone:
    chosen = HuggingFaceOptions(weights=(f"path:{place}",), positions=fit or PositionOptions(), **options)
    return build_huggingface(chosen, positions=positions, seed=0).eval()


def drawn(kind: str, *, positions: int = TOKENS, seed: int = 0, **options: Any) -> HuggingFaceBackbone:
    chosen = HuggingFaceOptions(weights=("random",), config={"model_type": kind, **CONFIGS[kind]}, **options)
    return build_huggingface(chosen, positions=positions, seed=seed).eval()


def reference(place: Path) -> Any:
    """The library's own model of a checkpoint."""
    kind = json.loads((place / "config.json").read_text())["model_type"]
    architecture = getattr(transformers, REFERENCE.get(kind, "AutoModel"))
    model = architecture.from_pretrained(place, dtype=torch.float32).eval()
    return model.get_encoder() if kind == "bart" else model


def batch(count: int = TOKENS) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (2, T, D), lengths (2,), and the library's mask for these lengths."""
    vectors = torch.randn((2, count, WIDTH), generator=generator_for(0, "vectors"))
    lengths = torch.tensor([count, count - 4])
    return vectors, lengths, (torch.arange(count) < lengths[:, None]).long()


@torch.no_grad()
def assert_same(backbone: HuggingFaceBackbone, model: Any, count: int = TOKENS) -> None:
    """Both return the same at every real token."""
    vectors, lengths, mask = batch(count)
    expected = model(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
    given = backbone(vectors, lengths)
    assert float(expected.std()) > 0.01
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(given[row, :length], expected[row, :length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_output_is_that_of_the_library(checkpoints: Callable[[str], Path], kind: str) -> None:
    backbone = load(checkpoints(kind))
    assert_same(backbone, reference(checkpoints(kind)))
    assert backbone.causal == (kind in CAUSAL)
    assert (backbone.blocks, backbone.width) == (BLOCKS, WIDTH)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert backbone.weights.startswith("path:")


@pytest.mark.parametrize("kind", CONFIGS)
def test_word_embedding_and_pooler_are_dropped_and_all_else_has_a_role(
    checkpoints: Callable[[str], Path], kind: str
) -> None:
    model, backbone = reference(checkpoints(kind)), load(checkpoints(kind), positions=20)
    words = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    pooler = {id(p) for name, p in model.named_parameters() if name.startswith("pooler.")}
    rest = {name: p for name, p in model.named_parameters() if id(p) not in words | pooler}
    # RoBERTa's, Longformer's, OPT's and BART's tables have two rows for padding, which no token can reach here.
    unreachable = 2 * WIDTH if kind in ("roberta", "longformer", "opt", "bart") else 0
    held = sum(parameter.numel() for parameter in backbone.parameters())
    assert held == sum(parameter.numel() for parameter in rest.values()) - unreachable
    assert backbone.parameter_roles().keys() == {f"model.{name}" for name in rest}


@pytest.mark.parametrize("kind", NAMES)
def test_roles_are_the_ones_written_down(kind: str) -> None:
    for name, role in drawn(kind).parameter_roles().items():
        expected = next(role for role, pattern in NAMES[kind].items() if re.search(pattern, name))
        number = re.search(r"\.(?:layer|layers|h|block|blocks)\.(\d+)\.", name)
        assert (name, role.role, role.block) == (name, expected, int(number[1]) if number else None)


@pytest.mark.parametrize("kind", ["bert", "t5", "longformer", "llama", "roberta", "opt", "gpt2", "bart", "modernbert"])
def test_contract(checkpoints: Callable[[str], Path], kind: str) -> None:
    options = HuggingFaceOptions(weights=(f"path:{checkpoints(kind)}",))
    check_backbone(lambda positions: load(checkpoints(kind), positions=positions), options=options)


@pytest.mark.parametrize("kind", ["bert", "t5", "longformer", "llama", "opt", "modernbert"])
@torch.no_grad()
def test_the_content_of_padding_has_no_effect(checkpoints: Callable[[str], Path], kind: str) -> None:
    """With noise: BERT's first norm would hide a constant."""
    backbone = load(checkpoints(kind))
    vectors, lengths, mask = batch()
    noise = torch.randn(vectors.shape, generator=generator_for(0, "noise")) * (1 - mask[..., None])
    given, disturbed = backbone(vectors, lengths), backbone(vectors + noise, lengths)
    torch.testing.assert_close(disturbed[mask.bool()], given[mask.bool()], atol=1e-5, rtol=0)
    alone = backbone(vectors[1:, : lengths[1]])
    torch.testing.assert_close(given[1, : lengths[1]], alone[0], atol=1e-5, rtol=0)
    if not backbone.causal:  # without lengths the noise is seen: the check above can fail
        assert float((backbone(vectors + noise) - given)[1, : lengths[1]].abs().max()) > 1e-3


@pytest.mark.slow
def test_contract_of_the_named_entries() -> None:
    check_backbone(
        lambda positions: build_bert(BertOptions(weights=("random",), size="nano"), positions=positions, seed=0)
    )
    small = T5EncoderOptions(weights=("random",), size="nano")
    check_backbone(lambda positions: build_t5_encoder(small, positions=positions, seed=0), options=small)
    check_backbone(
        lambda positions: build_longformer(
            LongformerOptions(weights=("random",), size="nano", attention_window=4), positions=positions, seed=0
        )
    )


@pytest.mark.parametrize("kind", ["bert", "t5", "llama", "roberta", "gpt2", "modernbert", "gemma3_text"])
def test_frozen_matrices_in_bfloat16_with_float32_norms(checkpoints: Callable[[str], Path], kind: str) -> None:
    exact, backbone = load(checkpoints(kind)), load(checkpoints(kind))
    roles = backbone.parameter_roles()
    for name, parameter in backbone.named_parameters():
        if roles[name].role in ("attention", "feed_forward"):
            parameter.requires_grad_(False)
            parameter.data = parameter.data.bfloat16()
    vectors, lengths, mask = batch()
    with torch.autocast("cpu", torch.bfloat16):
        given = backbone(vectors, lengths)
    expected = exact(vectors, lengths)
    error = ((given - expected) * mask[..., None]).norm() / (expected * mask[..., None]).norm()
    assert 0 < float(error.detach()) < 0.02
    (given.float() * torch.randn(WIDTH, generator=generator_for(0, "weights"))).sum().backward()
    trained = {name: p for name, p in backbone.named_parameters() if roles[name].role in ("norm", "position")}
    assert trained
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and torch.any(p.grad != 0) for p in trained.values()
    )


# Blocks


def renamed(pattern: str, kept: list[int]) -> Callable[[dict[str, Tensor]], None]:
    """Only the blocks ``kept`` of a checkpoint, counted from 0 again; ``pattern`` has the number as its group."""

    def rename(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            if found := re.search(pattern, name):
                tensor, number = tensors.pop(name), int(found[1])
                if number in kept:
                    start, stop = found.span(1)
                    tensors[f"{name[:start]}new{kept.index(number)}{name[stop:]}"] = tensor
        for name in list(tensors):
            if re.search(r"\.new\d", name):
                tensors[name.replace(".new", ".")] = tensors.pop(name)

    return rename


@pytest.mark.parametrize(("keep", "kept"), [(2, [0, 1]), ("1:3", [1, 2]), ("::2", [0, 2])])
@pytest.mark.parametrize("kind", ["bert", "longformer", "t5", "gemma3_text", "llama"])
def test_kept_blocks_are_those_of_a_smaller_checkpoint(
    checkpoints: Callable[[str], Path], altered: Callable[..., Path], kind: str, keep: int | str, kept: list[int]
) -> None:
    backbone = load(checkpoints(kind), blocks={"keep": keep})
    rename = renamed(r"encoder\.block\.(\d)\." if kind == "t5" else r"layers?\.(\d)\.", kept)

    def cut(tensors: dict[str, Tensor]) -> None:
        bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        distances = tensors.get(bias)
        rename(tensors)
        if distances is not None:
            tensors[bias] = distances  # T5's only table of positions lies in block 0

    config: dict[str, Any] = {"num_layers": 2} if kind == "t5" else {"num_hidden_layers": 2}
    if kind == "longformer":
        config["attention_window"] = [8, 8]
    if kind == "gemma3_text":
        kinds = json.loads((checkpoints(kind) / "config.json").read_text())["layer_types"]
        assert len(set(kinds)) == 2
        config["layer_types"] = [kinds[index] for index in kept]
    assert backbone.blocks == 2
    assert_same(backbone, reference(altered(kind, config=config, tensors=cut)))
    assert {role.block for role in backbone.parameter_roles().values()} - {None} == {0, 1}


def test_blocks_that_do_not_exist() -> None:
    with pytest.raises(ShapeError, match="asks for 4 blocks, but the model has 3"):
        drawn("llama", blocks=BlockOptions(keep=4))


def test_blocks_that_share_weights_stay_together() -> None:
    config = {**CONFIGS["bert"], "model_type": "albert", "embedding_size": WIDTH, "num_hidden_groups": 2}
    options = HuggingFaceOptions(weights=("random",), config=config, blocks=BlockOptions(keep=1))
    with pytest.raises(ShapeError, match="has 2 lists of weights for 3 blocks; they cannot be separated"):
        build_huggingface(options, positions=TOKENS, seed=0)


# Positions


def drawn_out(table: np.ndarray, rows: int, extend: str) -> np.ndarray:
    """By numpy: the table repeated, or every column stretched linearly."""
    if extend == "tile":
        return np.resize(table, (rows, table.shape[1]))
    places = np.linspace(0, len(table) - 1, rows)
    return np.stack([np.interp(places, np.arange(len(table)), column) for column in table.T], axis=1)


@pytest.mark.parametrize("extend", ["tile", "interpolate"])
@pytest.mark.parametrize(
    ("kind", "table", "first", "key"),
    [
        ("bert", "bert.embeddings.position_embeddings.weight", 0, "max_position_embeddings"),
        ("roberta", "embeddings.position_embeddings.weight", 2, "max_position_embeddings"),
        ("longformer", "longformer.embeddings.position_embeddings.weight", 2, "max_position_embeddings"),
        ("opt", "model.decoder.embed_positions.weight", 2, "max_position_embeddings"),
        ("distilbert", "embeddings.position_embeddings.weight", 0, "max_position_embeddings"),
        ("gpt2", "transformer.wpe.weight", 0, "n_positions"),
    ],
)
def test_a_table_is_extended_as_by_hand(
    checkpoints: Callable[[str], Path],
    altered: Callable[..., Path],
    kind: str,
    table: str,
    first: int,
    key: str,
    extend: str,
) -> None:
    longer = 32  # a multiple of Longformer's window, for whose padding its own model needs rows

    def extended(tensors: dict[str, Tensor]) -> None:
        rows = tensors[table].numpy()
        tensors[table] = torch.from_numpy(
            np.concatenate([rows[:first], drawn_out(rows[first:], longer, extend)])
        ).float()

    own = CONFIGS[kind][key] - 20  # whether the config counts the rows for padding
    place = altered(kind, config={key: longer + own}, tensors=extended)
    backbone = load(checkpoints(kind), positions=longer, fit=PositionOptions(extend=extend))
    assert backbone.max_positions == longer
    assert_same(backbone, reference(place), count=longer)
    with pytest.raises(ShapeError, match=f"{longer + 1} tokens do not fit a position table of {longer}"):
        backbone(torch.zeros(1, longer + 1, WIDTH))


@pytest.mark.parametrize("kind", ["bert", "roberta", "longformer", "opt", "gpt2"])
def test_a_table_has_one_row_for_each_token_of_the_task(checkpoints: Callable[[str], Path], kind: str) -> None:
    backbone = load(checkpoints(kind))
    (table,) = [p for name, p in backbone.named_parameters() if backbone.parameter_roles()[name].role == "position"]
    assert table.shape == (TOKENS, WIDTH)
    backbone(torch.randn((1, TOKENS, WIDTH), generator=generator_for(0, "all"))).square().sum().backward()
    assert table.grad is not None
    assert bool(torch.all(table.grad.abs().sum(1) > 0)), "a row that is marked trained cannot be reached"


def test_a_task_longer_than_the_table_is_refused(checkpoints: Callable[[str], Path]) -> None:
    with pytest.raises(ShapeError, match="up to 21 tokens, but the backbone's position table ends at 20"):
        load(checkpoints("roberta"), positions=21)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_models_without_a_table_accept_longer_tasks_with_a_note(checkpoints: Callable[[str], Path], kind: str) -> None:
    options = HuggingFaceOptions(
        weights=(f"path:{checkpoints(kind)}",), positions=PositionOptions(length=30, extend="tile")
    )
    backbone = build_huggingface(options, positions=30, seed=0).eval()
    assert_same(backbone, reference(checkpoints(kind)), count=30)
    assert "the model has no position table: backbone.positions.extend has no effect" in backbone.notes
    assert backbone.max_positions == (20 if kind == "llama" else None)
    assert any("made for 20" in note for note in backbone.notes) == (kind == "llama")


def test_a_model_that_cannot_run_longer_tasks_is_refused() -> None:
    config = {"model_type": "gptj", "n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4, "n_positions": 20}
    options = HuggingFaceOptions(
        weights=("random",), config={**config, "vocab_size": 7, "bos_token_id": 1, "eos_token_id": 2}
    )
    assert build_huggingface(options, positions=20, seed=0).max_positions == 20
    with pytest.raises(ShapeError, match="up to 30 tokens, the model was made for 20 and does not run on more"):
        build_huggingface(options, positions=30, seed=0)


# Draws


@pytest.mark.parametrize("kind", ["bert", "t5", "llama"])
def test_random_weights_follow_only_the_seed(kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (dict(drawn(kind, seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    matrices = [name for name in first if first[name].ndim > 1]
    assert not any(torch.equal(first[name], other[name]) for name in matrices)


@torch.no_grad()
def test_random_is_the_librarys_initialisation(checkpoints: Callable[[str], Path]) -> None:
    backbone = load(checkpoints("llama"), init="random")
    deviations = [float(p.std()) for p in backbone.parameters() if p.ndim > 1]
    assert deviations == pytest.approx([0.02] * len(deviations), rel=0.2)
    assert all(bool(torch.all(p == 1)) for p in backbone.parameters() if p.ndim == 1)


@pytest.mark.parametrize(("kind", "scale"), [("bert", 1.0), ("t5", 1.0), ("gemma3_text", 0.0)])
@torch.no_grad()
def test_flat(checkpoints: Callable[[str], Path], kind: str, scale: float) -> None:
    backbone = load(checkpoints(kind), init="flat_0.02")
    roles = backbone.parameter_roles()
    matrices = torch.cat([p.detach().flatten() for p in backbone.parameters() if p.ndim > 1])
    assert float(matrices.std()) == pytest.approx(0.02, rel=0.05)
    for name, parameter in backbone.named_parameters():
        if parameter.ndim == 1:
            neutral = scale if roles[name].role == "norm" and not name.endswith("bias") else 0.0
            assert bool(torch.all(parameter == neutral)), name


@torch.no_grad()
def test_statistics_keep_mean_and_deviation_of_each_tensor(checkpoints: Callable[[str], Path]) -> None:
    loaded, redrawn = load(checkpoints("bert")), load(checkpoints("bert"), init="statistics")
    for (name, old), (_, new) in zip(loaded.named_parameters(), redrawn.named_parameters(), strict=True):
        assert not torch.equal(old, new), name
        error = 5 * float(old.std()) / old.numel() ** 0.5
        assert float(new.mean()) == pytest.approx(float(old.mean()), abs=error), name
        assert float(new.std()) == pytest.approx(float(old.std()), rel=5 / old.numel() ** 0.5), name


def test_statistics_need_loaded_weights() -> None:
    with pytest.raises(ShapeError, match="'statistics' needs loaded weights"):
        drawn("bert", init="statistics")


# Dropout


def test_dropout_is_the_configs_unless_given(checkpoints: Callable[[str], Path]) -> None:
    config: Any = load(checkpoints("bert")).model.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.1, 0.1)
    config = load(checkpoints("bert"), dropout=0.3).model.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.3, 0.1)
    config = load(checkpoints("bert"), attention_dropout=0.0).model.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.1, 0.0)
    config = load(checkpoints("gpt2"), dropout=0.3, attention_dropout=0.2).model.config
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.3, 0.3, 0.2)
    assert load(checkpoints("t5"), dropout=0.3).model.config.dropout_rate == 0.3


@pytest.mark.parametrize("kind", ["bert", "t5", "longformer", "gpt2", "distilbert"])
def test_dropout_only_in_training(checkpoints: Callable[[str], Path], kind: str) -> None:
    vectors, _, _ = batch()
    without = load(checkpoints(kind), dropout=0.0, **({} if kind == "t5" else {"attention_dropout": 0.0}))
    assert torch.equal(without.train()(vectors), without.eval()(vectors))
    with_dropout = load(checkpoints(kind), dropout=0.5)
    assert torch.equal(with_dropout(vectors), without(vectors))
    assert not torch.equal(with_dropout.train()(vectors), without(vectors))


def test_a_dropout_that_the_model_does_not_have() -> None:
    with pytest.raises(ShapeError, match=r"backbone\.dropout: a model of type llama has no such dropout"):
        drawn("llama", dropout=0.1)
    with pytest.raises(ShapeError, match=r"backbone\.attention_dropout: a model of type t5 has no such dropout"):
        drawn("t5", attention_dropout=0.1)
    assert drawn("llama", dropout=0.0).blocks == BLOCKS


# The named entries


def test_each_name_accepts_only_its_own_family(checkpoints: Callable[[str], Path]) -> None:
    builders: dict[str, tuple[Any, Any]] = {
        "bert": (build_bert, BertOptions),
        "t5": (build_t5_encoder, T5EncoderOptions),
        "longformer": (build_longformer, LongformerOptions),
    }
    for kind, (build, options) in builders.items():
        backbone = build(options(weights=(f"path:{checkpoints(kind)}",)), positions=TOKENS, seed=0).eval()
        assert_same(backbone, reference(checkpoints(kind)))
        with pytest.raises(DataError, match="says model_type 'gpt2', but the backbone"):
            build(options(weights=(f"path:{checkpoints('gpt2')}",)), positions=TOKENS, seed=0)
        with pytest.raises(SourceError, match="HF_HUB_OFFLINE") as raised:
            build(options(), positions=TOKENS, seed=0)
        assert raised.value.exit_code == 3
        assert "path:FOLDER" in raised.value.advice


def test_packaged_gpt2_is_the_one_of_the_backbone_gpt2() -> None:
    from fptkit.backbones.gpt2_build import build_gpt2
    from fptkit.backbones.options import Gpt2Options

    own = build_gpt2(Gpt2Options(weights=("builtin:gpt2_nano",)), positions=TOKENS, seed=0).eval()
    other = build_huggingface(HuggingFaceOptions(weights=("builtin:gpt2_nano",)), positions=TOKENS, seed=0).eval()
    vectors = torch.randn((2, TOKENS, 256), generator=generator_for(0, "vectors"))
    torch.testing.assert_close(other(vectors), own(vectors), atol=1e-4, rtol=0)


def test_a_stand_in_is_marked() -> None:
    options = BertOptions(weights=("hub:google-bert/bert-base-uncased", "random"), size="nano")
    backbone = build_bert(options, positions=TOKENS, seed=0)
    assert (backbone.weights, backbone.stand_in) == ("random", True)
    assert "hub:google-bert/bert-base-uncased: not in the local cache" in backbone.notes[0]


SMALL = {"blocks": 2, "width": 32, "heads": 2}


@pytest.mark.parametrize("like", ["bert", "t5_encoder", "longformer"])
def test_the_backbone_random_builds_them(like: Any) -> None:
    options = RandomOptions(like=like, size="nano", **SMALL)
    backbone = build_random(options, positions=TOKENS, seed=0)
    assert isinstance(backbone, HuggingFaceBackbone)
    assert (backbone.blocks, backbone.width, backbone.weights, backbone.stand_in) == (2, 32, "random", False)
    assert backbone.max_positions == (None if like == "t5_encoder" else TOKENS)
    config: Any = backbone.model.config
    assert config.num_attention_heads == 2
    assert getattr(config, "hidden_dropout_prob", None) == (None if like == "t5_encoder" else 0.1)


@pytest.mark.slow
def test_base_sizes_are_the_published_ones() -> None:
    """Devlin et al. 2019: 110M parameters with 30,522 words and a pooler; both are counted off here by hand."""
    backbone = build_bert(BertOptions(weights=("random",)), positions=512, seed=0)
    words, pooler = 30_522 * 768, 768 * 768 + 768
    assert sum(p.numel() for p in backbone.parameters()) + words + pooler == 109_482_240


def test_a_random_table_is_as_long_as_the_task_needs() -> None:
    assert draw_random("bert", RandomDraw("nano", **SMALL, positions=600, seed=0)).max_positions == 600
    assert draw_random("longformer", RandomDraw("nano", **SMALL, positions=5000, seed=0)).max_positions == 5000
    with pytest.raises(ShapeError, match="position table ends at 20"):
        draw_random("bert", RandomDraw("nano", **SMALL, positions=21, rows=20, seed=0))
    with pytest.raises(ShapeError, match="position table ends at 100"):
        draw_random("longformer", RandomDraw("nano", **SMALL, positions=101, rows=100, seed=0))


def test_random_models_that_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="bert has the sizes nano, base, large, not 'xl'"):
        draw_random("bert", RandomDraw("xl", positions=TOKENS, seed=0))
    with pytest.raises(ShapeError, match="32 is not one of 3"):
        draw_random("t5_encoder", RandomDraw("nano", width=32, heads=3, positions=TOKENS, seed=0))
    with pytest.raises(ShapeError, match="a T5 has no position table"):
        draw_random("t5_encoder", RandomDraw("nano", **SMALL, positions=TOKENS, rows=20, seed=0))


def test_the_window_of_a_longformer(checkpoints: Callable[[str], Path]) -> None:
    options = LongformerOptions(weights=(f"path:{checkpoints('longformer')}",), attention_window=4)
    backbone = build_longformer(options, positions=16, seed=0).eval()
    vectors = torch.randn((1, 16, WIDTH), generator=generator_for(0, "vectors"))
    disturbed = vectors.clone()
    disturbed[:, 15] = torch.randn(WIDTH, generator=generator_for(0, "disturbed"))
    changed = (backbone(disturbed) - backbone(vectors)).abs().sum(-1)[0] > 1e-5
    assert changed.tolist() == [False] * 9 + [True] * 7  # two tokens further with each of three blocks
    assert "no token has global attention: each sees only its window" in backbone.notes
    for window in (2, 5):
        with pytest.raises(ValidationError, match=f"even number of 4 to 1,000,000 tokens, got {window}"):
            LongformerOptions(attention_window=window)


def test_a_window_wider_than_the_task_is_narrowed_without_a_difference(altered: Callable[..., Path]) -> None:
    place = altered("longformer", config={"attention_window": [16] * BLOCKS})
    backbone = load(place, positions=5)
    assert backbone.window == 10
    assert_same(backbone, reference(place), count=5)
    assert load(place, positions=5, fit=PositionOptions(length=7)).window == 14


# What cannot be used


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("bert.encoder.layer.1.attention.self.key.bias"),
            "1 tensors are missing, the first is encoder.layer.1.attention.self.key.bias",
        ),
        (
            lambda t: t.update({"bert.encoder.layer.0.output.dense.weight": torch.zeros(3, 4)}),
            r"1 tensors do not fit its config.json, the first is encoder.layer.0.output.dense.weight: "
            r"expected shape \(16, 24\), found \(3, 4\)",
        ),
        (
            lambda t: t.update({"bert.encoder.layer.3.output.dense.bias": torch.zeros(16)}),
            "1 tensors do not belong to the model of its config.json, the first is encoder.layer.3.output.dense.bias",
        ),
        (
            lambda t: t["bert.embeddings.position_embeddings.weight"].fill_(float("nan")),
            "tensor bert.embeddings.position_embeddings.weight holds NaN",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if "layer.2" in name],
            r"describes a model of 6,264 parameters, but the file contains 4,727",
        ),
    ],
)
def test_tensors_that_do_not_fit(altered: Callable[..., Path], change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as raised:
        load(altered("bert", tensors=change))
    assert raised.value.exit_code == 3


def test_words_may_be_missing(checkpoints: Callable[[str], Path], altered: Callable[..., Path]) -> None:
    place = altered("bert", tensors=lambda t: t.pop("bert.embeddings.word_embeddings.weight"))
    before = torch.get_rng_state()
    load(place)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(load(place), reference(checkpoints("bert")))


def test_names_of_old_checkpoints_are_understood(
    checkpoints: Callable[[str], Path], altered: Callable[..., Path]
) -> None:
    """bert-base-uncased itself still names the numbers of its norms gamma and beta, and its positions' numbers."""

    def age(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            if "LayerNorm" in name:
                new = name.replace("weight", "gamma").replace("bias", "beta")
                tensors[new] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = torch.arange(20)[None]

    assert_same(load(altered("bert", tensors=age)), reference(checkpoints("bert")))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("gpt2", "transformer.h.0.attn.bias"),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("longformer", "longformer.embeddings.position_ids"),
        ("t5", "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"),
    ],
)
def test_leftovers_of_old_checkpoints_are_ignored(
    checkpoints: Callable[[str], Path], altered: Callable[..., Path], kind: str, name: str
) -> None:
    place = altered(kind, tensors=lambda t: t.update({name: torch.ones(2, 2)}))
    assert_same(load(place), reference(checkpoints(kind)))


def test_half_precision_is_loaded_as_float32(altered: Callable[..., Path]) -> None:
    def halve(tensors: dict[str, Tensor]) -> None:
        tensors.update({name: tensor.bfloat16() for name, tensor in tensors.items()})

    place = altered("llama", config={"dtype": "bfloat16"}, tensors=halve)
    assert_same(load(place), reference(place))
    assert {parameter.dtype for parameter in load(place).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "lama"}, "does not know the model_type 'lama'. Did you mean 'llama'"),
        ({"model_type": None}, "does not know the model_type None"),
        ({"num_hidden_layers": "many"}, "its config is not a valid config of llama"),
        ({"num_hidden_layers": 9}, r"describes a model of [\d,]+ parameters, but the file contains [\d,]+"),
        ({"hidden_size": 15}, "llama"),
        ({"quantization_config": {"quant_method": "gptq"}}, "the weights are quantised"),
    ],
)
def test_configs_that_do_not_fit(altered: Callable[..., Path], config: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(altered("llama", config=config))


def test_a_corrupt_file(altered: Callable[..., Path]) -> None:
    place = altered("t5")
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"model\.safetensors: not readable as a safetensors file"):
        load(place)
    (place / "config.json").write_text("{")
    with pytest.raises(DataError, match="is not readable as JSON"):
        load(place)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "decision_transformer", "hidden_size": 16, "n_layer": 1, "n_head": 2},
            "takes no inputs_embeds",
        ),
        ({"model_type": "gemma3"}, "combines several models"),
        ({"model_type": "reformer"}, "cannot be a backbone: its blocks return twice the width.*; use longformer"),
        ({}, "does not know the model_type None"),
        ({**CONFIGS["bert"], "model_type": "bert", "num_attention_heads": 3}, "cannot build a bert from its config"),
    ],
)
def test_models_that_are_no_backbone(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        build_huggingface(HuggingFaceOptions(weights=("random",), config=config), positions=TOKENS, seed=0)
    assert raised.value.exit_code == 2


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text("raise SystemExit('this was run')\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "modeling.C", "AutoModel": "modeling.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="Code from model repositories is never run"):
        load(tmp_path)


def test_a_config_from_a_file(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    file = checkpoints("llama") / "config.json"
    options = HuggingFaceOptions(weights=("random",), config=str(file))
    assert build_huggingface(options, positions=TOKENS, seed=0).blocks == BLOCKS
    for content, said in (
        (None, "config.json is missing"),
        ("{", "not readable as JSON"),
        ("[]", "does not hold a JSON object"),
    ):
        file = tmp_path / "config.json"
        if content is not None:
            file.write_text(content)
        with pytest.raises(DataError, match=said):
            build_huggingface(HuggingFaceOptions(weights=("random",), config=str(file)), positions=TOKENS, seed=0)


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="the weights 'random' need config"):
        HuggingFaceOptions(weights=("random",))
    with pytest.raises(ValidationError, match="config is for the weights 'random' only"):
        HuggingFaceOptions(weights=("path:here",), config={"model_type": "bert"})
    with pytest.raises(ValidationError, match="weights"):
        HuggingFaceOptions()  # type: ignore[call-arg]


# Unknown roles


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.ones(4))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.output, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4)


class Layer(nn.Module):
    def __init__(self, *, gate: bool) -> None:
        super().__init__()
        self.attention, self.wide = SelfAttention(), nn.Linear(4, 8)
        if gate:
            self.gate = Gate()
            self.scale = nn.Parameter(torch.ones(4))


class Stack(nn.Module):
    def __init__(self, *, gate: bool) -> None:
        super().__init__()
        self.few = nn.ModuleList([nn.Linear(4, 4)])
        self.layers = nn.ModuleList(Layer(gate=gate) for _ in range(2))
        self.places, self.kinds = nn.Embedding(5, 4), nn.Embedding(5, 4)


def test_a_custom_model_has_roles_by_the_classes_of_its_modules() -> None:
    stack = Stack(gate=False)
    assert find_blocks(stack) == "layers"
    roles = find_roles(stack, ("layers",), RoleRules(frozenset({"places"})))
    assert roles.keys() == {name for name, _ in stack.named_parameters()}
    assert {name: (role.role, role.block) for name, role in roles.items() if not name.endswith("bias")} == {
        "few.0.weight": ("other", None),
        "places.weight": ("position", None),
        "kinds.weight": ("embedding", None),
        **{
            f"layers.{block}.attention.{part}.weight": ("attention", block)
            for block in (0, 1)
            for part in ("query", "output")
        },
        **{f"layers.{block}.attention.norm.weight": ("norm", block) for block in (0, 1)},
        **{f"layers.{block}.wide.weight": ("feed_forward", block) for block in (0, 1)},
    }


def test_parameters_left_over_are_named_with_their_owner() -> None:
    stack = Stack(gate=True)
    with pytest.raises(FreezingError) as raised:
        find_roles(stack, (find_blocks(stack),), RoleRules())
    text = str(raised.value)
    assert text.startswith("Stack: the role of 4 parameters is unknown")
    for name in ("layers.0.scale (in Layer)", "layers.0.gate.decay (in Gate)", "layers.1.gate.decay (in Gate)"):
        assert name in text
    assert "wide" not in text


def test_attention_outside_the_blocks_is_left_over() -> None:
    stack = Stack(gate=False)
    with pytest.raises(FreezingError, match=r"layers\.0\.attention\.query\.weight \(in Linear\)"):
        find_roles(stack, ("few",), RoleRules())


def test_a_model_without_blocks() -> None:
    with pytest.raises(FreezingError, match="Linear has no list of blocks"):
        find_blocks(nn.Linear(2, 2))


def test_the_recipe_gives_roles_by_pattern() -> None:
    stack = Stack(gate=True)
    rules = RoleRules(given={"*.decay": "recurrent", "layers.0.scale": "norm", "*.scale": "other"})
    roles = find_roles(stack, ("layers",), rules)
    chosen = {name: (role.role, role.block) for name, role in roles.items() if name.endswith(("decay", "scale"))}
    assert chosen == {
        "layers.0.gate.decay": ("recurrent", 0),
        "layers.1.gate.decay": ("recurrent", 1),
        "layers.0.scale": ("norm", 0),
        "layers.1.scale": ("other", 1),
    }
    assert roles["layers.0.wide.weight"].role == "feed_forward"


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("*.A_lgo", "layers.0.mixer.A_log|A_log"),
        ("mixer.A_log", "layers.0.mixer.A_log"),
        ("A_log", "layers.0.mixer.A_log"),
        ("layers.9.*", "layers.0"),
    ],
)
def test_a_pattern_without_a_parameter_is_an_error(pattern: str, near: str) -> None:
    config = {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1, "state_size": 2, "vocab_size": 7}
    options = HuggingFaceOptions(weights=("random",), config=config, roles={pattern: "recurrent"})
    with pytest.raises(UsageError, match=re.escape(f"no parameter has a name like '{pattern}'")) as raised:
        build_huggingface(options, positions=TOKENS, seed=0)
    assert re.search(near, str(raised.value).partition("Names are")[2])


def test_a_role_that_does_not_exist() -> None:
    with pytest.raises(ValidationError, match="roles"):
        HuggingFaceOptions(weights=("path:here",), roles={"*.A_log": "mixer"})  # type: ignore[dict-item]


def test_kernels_are_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """YOSO does, on a machine with CUDA and the package kernels; here both are pretended."""
    from transformers.integrations import hub_kernels
    from transformers.models.yoso import modeling_yoso

    asked: list[str] = []
    monkeypatch.setattr(hub_kernels, "get_kernel", lambda name, **_: asked.append(name))
    for condition in ("is_torch_cuda_available", "is_ninja_available", "is_kernels_available"):
        monkeypatch.setattr(modeling_yoso, condition, lambda: True)
    config = transformers.YosoConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=7)
    transformers.AutoModel.from_config(config)
    assert asked == ["kernels-community/yoso"]  # the library itself
    content = {**_USUAL, "model_type": "yoso", "num_hash": 2, "hash_code_len": 4}
    build_huggingface(HuggingFaceOptions(weights=("random",), config=content), positions=TOKENS, seed=0)
    assert asked == ["kernels-community/yoso"]


def test_words_without_a_single_table() -> None:
    codes = {"model_type": "kyutai_speech_to_text", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(DataError, match="has no single table of word embeddings; use the encoder symbols"):
        describe_words(make_config(codes, "here"), "here")
    names, scale = describe_words(make_config({**CONFIGS["bert"], "model_type": "bert"}, "here"), "here")
    assert (names, scale) == (("embeddings.word_embeddings.weight",), 1.0)
