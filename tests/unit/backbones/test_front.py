"""Positions and prefixes at the input, against the same done by hand with the library's models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

from fptkit.backbones.front import Front, make_front
from fptkit.backbones.gpt2_build import build_gpt2
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.backbones.lstm.build import build_lstm
from fptkit.backbones.lstm.options import LstmOptions
from fptkit.backbones.options import FrontOptions, Gpt2Options, PositionOptions, PrefixOptions, RandomOptions
from fptkit.backbones.random import build_random
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.options import VitOptions
from fptkit.backbones.words import find_words
from fptkit.errors import DataError, ShapeError
from fptkit.freezing import apply_policy
from fptkit.freezing.proof import FreezeProof
from fptkit.interfaces import Backbone, Classes, ParameterRole, keep_tokens
from fptkit.model import CrossModalModel, Head, Readout
from fptkit.numerics.recompute import recompute_blocks
from fptkit.registry import load_plugins
from fptkit.seeds import generator_for
from fptkit.sources.weights import open_weights
from fptkit.specs import FreezingPolicySpec

WIDTH, TOKENS = 32, 7
LLAMA = {"model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA |= {"intermediate_size": 48, "vocab_size": 11, "bos_token_id": 3}
BERT = {"model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT |= {"intermediate_size": 48, "vocab_size": 11, "max_position_embeddings": 40}
GEMMA = {**LLAMA, "model_type": "gemma3_text", "head_dim": 8, "num_key_value_heads": 2}


def save(config: dict[str, Any], folder: Path) -> Any:
    """Save a model of the library with random weights; return it."""
    kind = config["model_type"]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.AutoModel.from_config(transformers.CONFIG_MAPPING[kind](**config)).eval()
    model.save_pretrained(folder)
    return model


def model_of(
    options: HuggingFaceOptions | Gpt2Options | RandomOptions,
    make: Any = build_huggingface,
    *,
    readout: Readout = "last",
    tokens: int = TOKENS,
) -> CrossModalModel:
    asked = FrontOptions.of(options)
    backbone = make(options, positions=tokens + asked.prefix.count, seed=0)
    front = make_front(asked, backbone, tokens=tokens, seed=5)
    output = Classes(3, tokens=2 if readout == "last_k" else 1)
    torch.manual_seed(2)
    encoder = nn.Linear(4, backbone.width)
    return CrossModalModel(encoder, backbone, Head(output, backbone.width, readout=readout), front=front).eval()


def some(count: int = TOKENS, width: int = 4, *, rows: int = 3) -> Tensor:
    return torch.randn((rows, count, width), generator=generator_for(7, "some"))


def test_a_model_without_a_table_gets_trained_positions_which_are_added_as_by_hand(tmp_path: Path) -> None:
    library = save(LLAMA, tmp_path)
    built = model_of(HuggingFaceOptions(weights=f"path:{tmp_path}"), readout="mean")
    assert built.front is not None
    positions = built.front.positions
    assert positions is not None
    assert positions.shape == (TOKENS, WIDTH)
    assert float(positions.detach().std()) == pytest.approx(0.02, rel=0.15)
    inputs = some(5)
    with torch.no_grad():
        by_hand = library(inputs_embeds=built.encoder(inputs) + positions[:5]).last_hidden_state
        torch.testing.assert_close(built.hidden(inputs)[0], by_hand)


@pytest.mark.parametrize("readout", ["last", "last_k", "mean"])
@pytest.mark.parametrize("kind", ["bos", "learned"])
def test_a_prefix_is_put_in_front_as_by_hand_and_never_read(tmp_path: Path, kind: str, readout: Readout) -> None:
    library = save(LLAMA, tmp_path)
    count = 1 if kind == "bos" else 3
    prefix = {"kind": kind, "tokens": count}
    built = model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", prefix=prefix), readout=readout)
    assert built.front is not None
    front = library.get_input_embeddings().weight[3:4] if kind == "bos" else built.front.prefix
    assert front is not None
    inputs = some()
    with torch.no_grad():
        tokens = built.encoder(inputs) + built.front.positions
        whole = library(inputs_embeds=torch.cat((front.expand(3, -1, -1), tokens), 1)).last_hidden_state
        real = whole[:, count:]
        read = {"last": real[:, -1:], "last_k": real[:, -2:], "mean": real.mean(1, keepdim=True)}[readout]
        expected = built.head.output.arrange(built.head.map(read))
        torch.testing.assert_close(built(inputs), expected)


@pytest.mark.parametrize("readout", ["last", "last_k", "mean"])
@pytest.mark.parametrize("config", [LLAMA, BERT], ids=["causal", "bidirectional"])
def test_padding_never_changes_a_prediction(config: dict[str, Any], readout: Readout) -> None:
    prefix = {"kind": "learned", "tokens": 2}
    built = model_of(HuggingFaceOptions(weights="random", config=config, prefix=prefix), readout=readout)
    inputs, lengths = some(), torch.tensor([7, 4, 2])
    with torch.no_grad():
        padded = built(inputs, lengths)
        other = inputs.clone()
        other[1, 4:], other[2, 2:] = 9.0, -9.0
        torch.testing.assert_close(built(other, lengths), padded)
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(built(inputs[row : row + 1, :length])[0], padded[row], rtol=1e-4, atol=1e-5)


def test_a_table_of_the_body_covers_the_prefix_too(tmp_path: Path) -> None:
    """In GPT-2 the prefix has the first rows, as the first words of a text have."""
    built = model_of(Gpt2Options(weights="random", size="nano", prefix={"kind": "learned", "tokens": 2}), build_gpt2)
    assert built.backbone.max_positions == TOKENS + 2
    assert built.front is not None
    assert built.front.positions is None
    assert built.front.prefix is not None
    inputs = some()
    with torch.no_grad():
        tokens = torch.cat((built.front.prefix.expand(3, -1, -1), built.encoder(inputs)), 1)
        torch.testing.assert_close(built.hidden(inputs)[0], built.backbone(tokens)[:, -1:])


@pytest.mark.parametrize("kind", ["learned", "none"])
def test_a_table_that_is_not_used_adds_nothing_and_never_trains(kind: str) -> None:
    options = Gpt2Options(weights="random", size="nano", positions={"kind": kind})
    built = model_of(options, build_gpt2)
    plain = build_gpt2(Gpt2Options(weights="random", size="nano"), positions=TOKENS, seed=0).eval()
    with torch.no_grad():
        plain.wpe.weight.zero_()
        tokens = built.encoder(some())
        if kind == "learned":
            assert built.front is not None
            tokens = tokens + built.front.positions
        torch.testing.assert_close(built.hidden(some())[0], plain(tokens)[:, -1:])
    apply_policy(built, policy("full"))
    assert not built.backbone.wpe.weight.requires_grad
    assert any(f"own table is not used ({kind})" in note for note in built.backbone.notes)


def policy(name: str) -> FreezingPolicySpec:
    return load_plugins(selection="").get(FreezingPolicySpec, name)


@pytest.mark.parametrize(
    ("name", "positions", "prefix"),
    [("fpt", True, True), ("full", True, True), ("input_output", False, True), ("output_only", False, False)],
)
def test_policies_train_positions_like_tables_and_a_prefix_like_the_encoder(
    name: str, positions: bool, prefix: bool
) -> None:
    options = HuggingFaceOptions(weights="random", config=LLAMA, prefix={"kind": "learned", "tokens": 3})
    built = model_of(options)
    before = sum(parameter.numel() for parameter in built.parameters())
    trained = {each for group in apply_policy(built, policy(name)) for each in group.parameters}
    assert ("front.positions" in trained) == positions
    assert ("front.prefix" in trained) == prefix
    plain = model_of(HuggingFaceOptions(weights="random", config=LLAMA, positions={"kind": "none"}))
    assert plain.front is None
    assert before - sum(parameter.numel() for parameter in plain.parameters()) == (TOKENS + 3) * WIDTH


def test_the_begin_of_text_never_trains_and_is_part_of_the_frozen_digest(tmp_path: Path) -> None:
    save(LLAMA, tmp_path)
    built = model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", prefix={"kind": "bos"}))
    apply_policy(built, policy("full"))
    assert [name for name, parameter in built.named_parameters() if not parameter.requires_grad] == ["front.prefix"]
    before = FreezeProof(built).digest
    assert built.front is not None
    assert built.front.prefix is not None
    with torch.no_grad():
        built.front.prefix += 1
    assert FreezeProof(built).digest != before


@pytest.mark.parametrize("config", [LLAMA, GEMMA], ids=["llama", "gemma3, which scales its words"])
def test_the_begin_of_text_is_the_row_of_the_model(tmp_path: Path, config: dict[str, Any]) -> None:
    library = save(config, tmp_path)
    built = model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", prefix={"kind": "bos"}))
    assert built.front is not None
    assert built.front.prefix is not None
    expected = library.get_input_embeddings()(torch.tensor([3]))
    torch.testing.assert_close(built.front.prefix, expected)
    words = find_words(open_weights(f"path:{tmp_path}"))
    assert torch.equal(words.row(3), words.read()[3])


def test_the_packaged_gpt2_has_a_begin_of_text() -> None:
    built = model_of(Gpt2Options(weights="builtin:gpt2_nano", prefix={"kind": "bos"}), build_gpt2)
    assert built.front is not None
    assert built.front.prefix is not None
    assert torch.equal(built.front.prefix[0], find_words(open_weights("builtin:gpt2_nano")).read()[0])


def save_tokenizer(folder: Path, *, begins: bool) -> None:
    """A tokenizer like BERT's, which puts a token in front of each text, or like T5's, which does not."""
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]" if begins else "$A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def test_a_tokenizer_may_say_what_begins_a_text(tmp_path: Path) -> None:
    library = save(BERT, tmp_path)
    save_tokenizer(tmp_path, begins=True)
    built = model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", prefix={"kind": "bos"}))
    assert built.front is not None
    torch.testing.assert_close(built.front.prefix, library.get_input_embeddings().weight[1:2])


@pytest.mark.parametrize("tokenizer", ["none", "T5", "broken"])
def test_an_unknown_begin_of_text_is_an_error_with_advice(tmp_path: Path, tokenizer: str) -> None:
    save(BERT, tmp_path)
    if tokenizer == "T5":
        save_tokenizer(tmp_path, begins=False)
    elif tokenizer == "broken":
        (tmp_path / "tokenizer.json").write_text("{")
    options = HuggingFaceOptions(weights=f"path:{tmp_path}", prefix={"kind": "bos"})
    with pytest.raises(ShapeError, match=r"begins a text is unknown: .*use backbone\.prefix\.kind: learned"):
        model_of(options)


def test_a_begin_of_text_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    save({**LLAMA, "bos_token_id": None}, tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"bos_token_id": null', '"bos_token_id": 11'))
    with pytest.raises(ShapeError, match="token 11 begins a text, but it has 11 word embeddings"):
        model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", prefix={"kind": "bos"}))


@pytest.mark.parametrize("init", ["random", "flat_0.02", "statistics"])
def test_a_control_gets_a_random_vector_as_long_as_a_word(tmp_path: Path, init: str) -> None:
    """Nothing of the checkpoint but its sizes may be in a control."""
    library = save({**LLAMA, "hidden_size": 512, "head_dim": 8}, tmp_path)
    built = model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", init=init, prefix={"kind": "bos"}))
    assert built.front is not None
    assert built.front.prefix is not None
    assert float(built.front.prefix.detach().norm()) == pytest.approx(built.backbone.embedding_norm, rel=0.15)
    own = library.get_input_embeddings().weight[3]
    assert abs(float(torch.cosine_similarity(built.front.prefix[0], own, dim=0).detach())) < 0.2


def test_a_body_without_words_has_no_begin_of_text() -> None:
    for made in (
        build_vit(VitOptions(weights="random", size="nano"), positions=3, seed=0),
        build_lstm(LstmOptions(size="nano"), positions=3, seed=0),
    ):
        with pytest.raises(ShapeError, match="has no word embeddings, so no token begins its texts; use kind: learned"):
            make_front(FrontOptions(prefix=PrefixOptions(kind="bos")), made, tokens=2, seed=0)


class Plugin(Backbone):
    """A causal backbone in a few lines, as a plugin has one: each token gets the mean of those up to it."""

    width, causal, weights = 4, True, "package"

    def __init__(self, *, places: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.places = places

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        counts = torch.arange(1, tokens.shape[1] + 1)[:, None]
        return keep_tokens(tokens.cumsum(1) / counts * self.scale, keep)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        return {"scale": ParameterRole("norm")}

    def adds_positions(self) -> bool:
        return self.places


def test_a_plugins_backbone_needs_nothing_but_its_options() -> None:
    body = Plugin()
    body.begin_of_text = torch.tensor([1.0, 2.0, 3.0, 4.0])
    front = make_front(FrontOptions(PositionOptions(), PrefixOptions(kind="bos")), body, tokens=3, seed=0)
    assert front is not None
    assert front.positions is not None
    tokens = some(3)
    with torch.no_grad():
        last = front.run(body, tokens, None, torch.full((3, 1), 2))
        mean = (tokens + front.positions).sum(1) + body.begin_of_text
        torch.testing.assert_close(last[:, 0], mean / 4)


def test_a_plugins_checkpoint_that_fptkit_cannot_read_is_an_error() -> None:
    with pytest.raises(ShapeError, match="its weights 'package' are no checkpoint to read it from; use "):
        make_front(FrontOptions(prefix=PrefixOptions(kind="bos")), Plugin(), tokens=3, seed=0)
    body = Plugin()
    body.begin_of_text = torch.ones(3)
    with pytest.raises(ShapeError, match=r"the embedding has shape \(3,\), but the backbone takes 4 numbers"):
        make_front(FrontOptions(prefix=PrefixOptions(kind="bos")), body, tokens=3, seed=0)


@pytest.mark.parametrize("kind", ["learned", "none"])
def test_positions_that_a_backbone_computes_cannot_be_left_out(kind: Any) -> None:
    with pytest.raises(ShapeError, match=f"kind '{kind}': this backbone computes its positions and cannot be run"):
        make_front(FrontOptions(PositionOptions(kind=kind)), Plugin(places=True), tokens=3, seed=0)
    assert make_front(FrontOptions(PositionOptions()), Plugin(places=True), tokens=3, seed=0) is None


def test_a_table_that_does_not_exist_is_an_error() -> None:
    options = HuggingFaceOptions(weights="random", config=LLAMA, positions={"kind": "table"})
    with pytest.raises(ShapeError, match=r"kind 'table': this backbone has no position table .* use learned"):
        model_of(options)


@pytest.mark.parametrize(
    ("like", "learned"),
    [("gpt2", False), ("vit", False), ("bert", False), ("longformer", False), ("t5_encoder", True), ("lstm", False)],
)
def test_auto_trains_positions_in_transformers_without_a_table(like: Any, learned: bool) -> None:
    options = RandomOptions(like=like, size="nano", blocks=1)
    built = build_random(options, positions=TOKENS, seed=0)
    front = make_front(FrontOptions.of(options), built, tokens=TOKENS, seed=0)
    assert (front is not None) == learned


@pytest.mark.parametrize(
    ("kind", "further", "learned"),
    [
        ("mpnet", {}, False),  # a table of positions, and one of distances
        ("roformer", {"embedding_size": WIDTH}, True),  # a table that only rotates
        ("xglm", {"d_model": WIDTH, "ffn_dim": 64, "num_layers": 1, "attention_heads": 4}, False),  # computes waves
        ("gpt_neox", {}, True),
        ("bloom", {"n_layer": 1, "n_head": 4}, True),
    ],
)
def test_where_positions_come_from_is_measured(kind: str, further: dict[str, Any], learned: bool) -> None:
    config = {**BERT, "model_type": kind, "num_hidden_layers": 1, **further}
    built = model_of(HuggingFaceOptions(weights="random", config=config))
    assert (built.front is not None) == learned
    assert built.backbone.adds_positions() != learned
    assert bool(built.backbone.position_tables()) == (kind == "mpnet")


def test_length_makes_more_positions_but_never_fewer_than_the_task_has() -> None:
    options = HuggingFaceOptions(weights="random", config=LLAMA, positions={"length": 20})
    front = model_of(options).front
    assert front is not None
    assert front.positions is not None
    assert len(front.positions) == 20
    with pytest.raises(ShapeError, match=r"backbone\.positions\.length 3 is less than the 7 tokens of the task"):
        model_of(HuggingFaceOptions(weights="random", config=LLAMA, positions={"length": 3}))
    with pytest.raises(ShapeError, match="8 tokens do not fit the 7 trained positions"):
        model_of(HuggingFaceOptions(weights="random", config=LLAMA))(some(8))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"positions": {"kind": "learned", "extend": "tile"}}, "extend is for the backbone's own table"),
        ({"positions": {"kind": "none", "length": 4}}, "kind: none has none; leave it out"),
        ({"prefix": {"kind": "bos", "tokens": 2}}, "tokens is for kind: learned"),
        ({"prefix": {"tokens": 2}}, "tokens is for kind: learned"),
        ({"prefix": {"kind": "learned", "tokens": 0}}, "greater than or equal to 1"),
        ({"positions": {"kind": "rotary"}}, "'auto', 'table', 'learned' or 'none'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Gpt2Options(**options)


def test_the_same_seed_draws_the_same_values_whatever_the_prefix() -> None:
    def drawn(seed: int, prefix: PrefixOptions) -> Front:
        front = make_front(FrontOptions(PositionOptions(), prefix), Plugin(), tokens=3, seed=seed)
        assert front is not None
        return front

    first, second = drawn(1, PrefixOptions()), drawn(1, PrefixOptions(kind="learned", tokens=2))
    assert first.positions is not None
    assert second.positions is not None
    assert torch.equal(first.positions, second.positions)
    other = drawn(2, PrefixOptions())
    assert other.positions is not None
    assert not torch.equal(first.positions, other.positions)


def test_recomputed_blocks_have_the_same_gradients() -> None:
    options = HuggingFaceOptions(weights="random", config=LLAMA, prefix={"kind": "learned", "tokens": 2})
    gradients = []
    for again in (False, True):
        built = model_of(options).train()
        if again:
            recompute_blocks(built.backbone, "huggingface")
        built(some()).square().sum().backward()
        assert built.front is not None
        assert built.front.positions is not None
        assert built.front.prefix is not None
        gradients.append((built.front.positions.grad, built.front.prefix.grad))
    for kept, recomputed in zip(*gradients, strict=True):
        assert torch.equal(kept, recomputed)


def test_words_that_are_missing_have_no_begin_of_text(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save(LLAMA, tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: each for name, each in load_file(file).items() if "embed_tokens" not in name}, file)
    with pytest.raises((ShapeError, DataError)):
        model_of(HuggingFaceOptions(weights=f"path:{tmp_path}", prefix={"kind": "bos"}))
