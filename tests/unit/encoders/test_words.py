"""Frozen word embeddings: with the backbone they are the language model that transformers runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from fptkit.backbones.gpt2_build import build_gpt2
from fptkit.backbones.options import Gpt2Options
from fptkit.encoders.mixed import MixedEncoder
from fptkit.encoders.norm import match_norm
from fptkit.encoders.options import MixedOptions, WordOptions
from fptkit.encoders.words import WordEmbeddings
from fptkit.errors import DataError, ShapeError, SourceError, UsageError
from fptkit.freezing import apply_policy
from fptkit.interfaces import Batch, Classes, Encoder, Grid, Mixed, Symbols
from fptkit.model import CrossModalModel, Head
from fptkit.registry import load_plugins
from fptkit.sources.identity import file_digest
from fptkit.sources.tokenizers import TOKENIZER
from fptkit.sources.weights import PACKAGED
from fptkit.specs import FreezingPolicySpec

NANO = PACKAGED / "gpt2_nano"
WEIGHTS = "builtin:gpt2_nano"


def tokens(count: int = 4096) -> Symbols:
    return Symbols(count, 0, file_digest(NANO / TOKENIZER))


def encoder(options: WordOptions | None = None, weights: str = WEIGHTS, width: int = 256) -> WordEmbeddings:
    return WordEmbeddings(options or WordOptions(), input=tokens(), width=width, weights=weights)


def model() -> CrossModalModel:
    backbone = build_gpt2(Gpt2Options(weights=(WEIGHTS,), dropout=0.0), positions=16, seed=0)
    return CrossModalModel(encoder(), backbone, Head(Classes(2), 256, readout="last")).eval()


def test_tokens_through_encoder_and_backbone_are_transformers_hidden_states() -> None:
    from transformers import GPT2Model

    ours, theirs = model(), GPT2Model.from_pretrained(NANO, dtype=torch.float32).eval()
    ids = torch.randint(4096, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = ours.backbone(ours.encoder(ids))
        torch.testing.assert_close(found, theirs(ids).last_hidden_state, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("policy", load_plugins(selection="").names(FreezingPolicySpec))
def test_no_policy_trains_the_table(policy: str) -> None:
    if policy == "custom":
        pytest.skip("has no rows of its own")
    built = model()
    spec = load_plugins(selection="").get(FreezingPolicySpec, policy)
    apply_policy(built, spec)
    assert built.parameter_roles()["encoder.table.weight"].role == "embedding"
    assert not built.encoder.table.weight.requires_grad  # type: ignore[union-attr]


def test_without_weights_of_its_own() -> None:
    with pytest.raises(UsageError, match=r"no weights to read them from: .* name some by its option weights"):
        encoder(weights="random")
    assert encoder(WordOptions(weights=WEIGHTS), weights="random").table.weight.shape == (4096, 256)


def test_another_width() -> None:
    with pytest.raises(ShapeError, match="have 256 numbers, but the backbone takes 768"):
        encoder(width=768)


def test_symbols_that_are_no_tokens() -> None:
    with pytest.raises(ShapeError, match="takes the tokens of a tokenizer"):
        WordEmbeddings(WordOptions(), input=Symbols(5), width=256, weights=WEIGHTS)


def test_another_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="is not that of builtin:gpt2_nano"):
        WordEmbeddings(WordOptions(), input=Symbols(4096, 0, "0" * 32), width=256, weights=WEIGHTS)
    with pytest.raises(ShapeError, match=r"\(5,000 tokens\) is not that of builtin:gpt2_nano \(4,096 word"):
        WordEmbeddings(WordOptions(), input=tokens(5000), width=256, weights=WEIGHTS)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(NANO / name, tmp_path)
    entry = f"path:{tmp_path}"  # weights without a tokenizer: the user names one
    assert WordEmbeddings(WordOptions(), input=tokens(), width=256, weights=entry).table.num_embeddings == 4096


@pytest.mark.parametrize(
    ("entry", "fault"), [("builtin:vit_nano", "no language model"), ("builtin:bit_memory_nano", "no word embeddings")]
)
def test_weights_without_words(entry: str, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        encoder(WordOptions(weights=entry))


def test_weights_that_are_not_there() -> None:
    with pytest.raises(SourceError, match="weights of the encoder word_embeddings"):
        encoder(WordOptions(weights="path:/none"))


@pytest.mark.parametrize("match", [False, True])
def test_the_table_never_trains_inside_a_mixed_encoder(match: bool) -> None:
    kind = Mixed({"picture": Grid((2, 2)), "words": tokens()}, {"words": 5})
    part = {"name": "word_embeddings", "weights": WEIGHTS}
    options = MixedOptions.model_validate({"parts": {"words": part, "picture": {"name": "patches2d", "patch": 1}}})
    mixed: Encoder = MixedEncoder(options, input=kind, width=256)
    if match:
        inputs = {"picture": torch.randn(2, 2, 2, 1), "words": torch.ones(2, 5, dtype=torch.int64)}
        mixed = match_norm(mixed, Batch(inputs, torch.zeros(2, dtype=torch.int64)), 1.0)  # type: ignore[assignment]
    backbone = build_gpt2(Gpt2Options(weights=(WEIGHTS,)), positions=16, seed=0)
    built = CrossModalModel(mixed, backbone, Head(Classes(2), 256, readout="last"))
    apply_policy(built, load_plugins(selection="").get(FreezingPolicySpec, "fpt"))
    frozen = [name for name, parameter in built.encoder.named_parameters() if not parameter.requires_grad]
    assert frozen == ["parts.1.encoder.table.weight" if match else "parts.1.table.weight"]
