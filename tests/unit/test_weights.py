"""The shipped weights: they are the ones that were measured, load here and elsewhere alike, and are as good as their
cards say."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import GPT2LMHeadModel, GPT2Model, PreTrainedTokenizerFast

from fptkit.backbones.gpt2_build import load_gpt2
from fptkit.backbones.options import BUILTIN_WEIGHTS, SIZES
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.options import SIZES as VIT_SIZES
from fptkit.backbones.vit.options import VitOptions
from fptkit.lab.pretraining.options import SyntheticRecipe
from fptkit.lab.pretraining.synthetic import SymbolSource
from fptkit.sources.weights import PACKAGED, open_weights, packaged_weights
from fptkit.tasks.images.options import SimulatedImageOptions
from fptkit.tasks.images.simulate import simulate
from fptkit.tasks.images.task import CIFAR_MEAN, CIFAR_STD

FOLDER = PACKAGED / "gpt2_nano"

DIGESTS = {
    "bit_memory_nano": "a262b14d9e1c38667afb5a99fdc7a86a6ca17418fe983fb2d30ebf83df562a09",
    "gpt2_nano": "a5d295dbe0886f1e0f1658aaa066fb61baa94e983e382831165cfda1956b9f40",
    "synthetic_nano": "fcde592b8041273112c6a97a0bf1e7a693c12cbae7e354786ee6fdc164f997b8",
    "vit_nano": "694d08138a365d941c50093b224060bf2843ea0ffdbf7d0b6dbb4d579d01a89b",
}
"""SHA-256 of each model.safetensors. Other weights under the same name would change every figure made with them."""


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


@pytest.mark.slow
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


def test_all_named_weights_exist() -> None:
    assert tuple(packaged_weights()) == BUILTIN_WEIGHTS
    assert DIGESTS.keys() == set(BUILTIN_WEIGHTS)


@pytest.mark.parametrize("name", BUILTIN_WEIGHTS)
def test_they_are_the_weights_that_were_measured(name: str) -> None:
    data = (PACKAGED / name / "model.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == DIGESTS[name]
    assert len(data) < 9_000_000


@pytest.mark.parametrize("name", [name for name in BUILTIN_WEIGHTS if name != "gpt2_nano"])
def test_cards_of_controls_say_what_they_are(name: str) -> None:
    card = (PACKAGED / name / "README.md").read_text("utf-8")
    assert card.splitlines()[0] in ("---", f"# {name}")
    assert "**It is no language model**" in " ".join(card.split())
    assert f"--output {name}\n" in card
    for word in ("## Training", "## Data", "## Limits", " steps of "):
        assert word in card


@pytest.mark.parametrize("name", ["bit_memory_nano", "synthetic_nano"])
def test_controls_are_of_the_size_of_gpt2_nano(name: str) -> None:
    assert load_gpt2(open_weights(f"builtin:{name}")).sizes == SIZES["nano"]


def parts_of(name: str) -> dict[str, Tensor]:
    """Weight and bias of input and output layer, such as ``encoder.weight``."""
    tensors = load_file(PACKAGED / name / "input_output.safetensors")
    return {key.split(".")[0] + key[key.rindex(".") :]: tensor for key, tensor in tensors.items()}


def measurement(name: str) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads((PACKAGED / name / "measurement.json").read_text())
    return found


def test_bit_memory_nano_remembers_bits() -> None:
    """On examples made here, by transformers."""
    chance = np.random.default_rng(7)
    strings = chance.integers(0, 2, (48, 5, 1000))
    answers = strings[np.arange(48), chance.integers(0, 5, 48)]
    asked = (2 * answers - 1) * (chance.random((48, 1000)) < 0.5)
    signs = np.concatenate([2 * strings - 1, asked[:, None]], 1).reshape(48, 120, 50)
    parts = parts_of("bit_memory_nano")
    body = GPT2Model.from_pretrained(PACKAGED / "bit_memory_nano", dtype=torch.float32).eval()
    with torch.no_grad():
        tokens = torch.tensor(signs, dtype=torch.float32) @ parts["encoder.weight"].T + parts["encoder.bias"]
        logits = body(inputs_embeds=tokens).last_hidden_state[:, -20:] @ parts["head.weight"].T + parts["head.bias"]
    guesses = logits.unflatten(-1, (50, 2)).argmax(-1).reshape(48, 1000).numpy()
    accuracy = float((guesses == answers).mean())
    card = measurement("bit_memory_nano")["test_as_stored"]["test"]["accuracy"]
    assert card >= 0.99
    assert accuracy == pytest.approx(card, abs=0.01)
    assert f"**accuracy {card:.4f}" in (PACKAGED / "bit_memory_nano" / "README.md").read_text("utf-8")


def test_synthetic_nano_predicts_as_well_as_its_card_says() -> None:
    """On symbols drawn here from the card's source, by transformers; no model can be better than the source."""
    folder = PACKAGED / "synthetic_nano"
    card = json.loads((folder / "measurement.json").read_text())
    recipe = SyntheticRecipe.model_validate_json(
        (folder / "README.md").read_text("utf-8").split("```json\n")[1].split("```")[0]
    )
    source = SymbolSource(recipe.data)
    assert card["entropy_rate_nats_per_token"] == pytest.approx(source.entropy_rate, abs=1e-6)
    symbols = source.sample(8, 513, np.random.default_rng(3))
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor(symbols[:, :-1])).logits
    loss = float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(symbols[:, 1:]).flatten()))
    own = float(np.mean([source.nats(row).mean() for row in symbols]))
    assert loss > own
    excess = card["validation_loss_nats_per_token"] - card["validation_source_nats_per_token"]
    assert loss - own == pytest.approx(excess, abs=0.05)
    assert loss < source.unigram_entropy - 0.3, "it looks at the symbol before"


def test_vit_nano_sees_simulated_images() -> None:
    """On images of another seed than it was trained on."""
    images, labels = simulate(SimulatedImageOptions(seed=99, train=10, validation=10, test=250))["test"]
    pixels = (images / 255 - np.array(CIFAR_MEAN)) / np.array(CIFAR_STD)  # (N, 32, 32, 3)
    cut = pixels.reshape(250, 4, 8, 4, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(250, 16, 192)
    patches = torch.tensor(cut, dtype=torch.float32)
    backbone = build_vit(VitOptions(weights=("builtin:vit_nano",), position_init="pretrained"), positions=16, seed=0)
    assert (backbone.blocks, backbone.width) == (VIT_SIZES["nano"].blocks, VIT_SIZES["nano"].width)
    parts = parts_of("vit_nano")
    with torch.no_grad():
        hidden = backbone.eval()(patches @ parts["encoder.weight"].T + parts["encoder.bias"]).mean(1)
        logits = hidden @ parts["head.weight"].T + parts["head.bias"]
    loss = float(torch.nn.functional.cross_entropy(logits, torch.tensor(labels)))
    card = measurement("vit_nano")["test_as_stored"]["test"]["loss"]
    assert loss == pytest.approx(card, abs=0.15)
    assert loss < 2.0, "a guess is worth 2.30"
    assert "no photographs" in (PACKAGED / "vit_nano" / "README.md").read_text("utf-8")
    assert (PACKAGED / "vit_nano" / "model.safetensors").stat().st_size <= 6_000_000
