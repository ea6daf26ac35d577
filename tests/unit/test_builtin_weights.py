"""The shipped gpt2_nano: it loads here and in transformers alike, and is as good as its card says."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from fptkit.backbones.gpt2_build import load_gpt2
from fptkit.backbones.options import SIZES
from fptkit.backbones.weights import PACKAGED, open_weights

FOLDER = PACKAGED / "gpt2_nano"


@pytest.fixture(scope="module")
def reference() -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(FOLDER, dtype=torch.float32).eval()


def test_same_hidden_states_as_transformers(reference: GPT2LMHeadModel) -> None:
    ours = load_gpt2(open_weights("builtin:gpt2_nano")).eval()
    assert ours.sizes == SIZES["nano"]
    tokens = reference.transformer.wte(torch.randint(0, 4096, (2, 60), generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        expected = reference.transformer(inputs_embeds=tokens).last_hidden_state
        torch.testing.assert_close(ours(tokens), expected, atol=2e-4, rtol=1e-4)


def test_the_loss_is_the_one_on_its_card(reference: GPT2LMHeadModel, shared_data: Path) -> None:
    """On 16 windows of the held-out text by transformers; the card's figure is over all of it."""
    card = json.loads((FOLDER / "measurement.json").read_text())
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "tokenizer.json"))
    text = lzma.decompress((shared_data / "text" / "corpus_valid.txt.xz").read_bytes()).decode()
    pieces = [text[start : start + 6000] for start in range(0, len(text) - 6000, len(text) // 16)][:16]
    ids = torch.stack([torch.tensor(tokenizer(piece)["input_ids"][:1024]) for piece in pieces])
    with torch.no_grad():
        loss = float(reference(ids, labels=ids).loss)
    assert loss == pytest.approx(card["validation_loss_nats_per_token"], abs=0.3)
    assert f"{card['validation_loss_nats_per_token']:.4f}" in (FOLDER / "README.md").read_text()
