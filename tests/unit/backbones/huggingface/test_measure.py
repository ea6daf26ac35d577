"""Measuring what a model does by running a few tokens."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from fptkit.backbones.huggingface import families
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.measure import measure, measure_padding
from fptkit.backbones.huggingface.model import HuggingFaceBackbone
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.engine.team.sharding import _check_all_run
from fptkit.errors import DataError, ShapeError, UsageError
from fptkit.seeds import generator_for

WIDTH = 16
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 7,
    "max_position_embeddings": 20,
}
CTRL = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "dff": 24, "vocab_size": 7}


def drawn(kind: str, positions: int = 9, **config: Any) -> HuggingFaceBackbone:
    content = {**(config or SIZES), "model_type": kind}
    return build_huggingface(HuggingFaceOptions(weights=("random",), config=content), positions=positions, seed=0)


def inputs(rows: int = 1, tokens: int = 9) -> Tensor:
    return torch.randn((rows, tokens, WIDTH), generator=generator_for(0, "inputs"))


def test_a_model_that_changes_its_input_gets_a_copy() -> None:
    backbone, tokens = drawn("ctrl", **CTRL), inputs()
    before = tokens.clone()
    first = backbone(tokens)
    assert backbone.overwrites
    assert torch.equal(tokens, before)
    assert torch.equal(backbone(tokens), first)
    backbone(tokens.requires_grad_()).sum().backward()  # a leaf must not be changed in place
    assert not drawn("bert").overwrites


def test_parameters_that_no_token_reaches_are_dropped_with_a_note() -> None:
    backbone = drawn("luke", **SIZES, entity_vocab_size=5, entity_emb_size=4)
    (note,) = [note for note in backbone.notes if "does not use" in note]
    # By hand: 5 x 4 entities, 4 x 16 projection, 20 x 16 positions, 2 x 16 types, 2 x 16 of a norm.
    assert "does not use 468 parameters for token vectors, which are dropped: entity_embeddings" in note
    assert not any("entity" in name for name, _ in backbone.named_parameters())
    assert not any("does not use" in note for note in drawn("bert").notes)


def test_blocks_that_mix_no_tokens_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(families.REFUSED, "mra")
    with pytest.raises(UsageError, match="do not mix tokens; its attention may need kernels"):
        drawn("mra")


def test_a_block_that_does_not_run_is_named() -> None:
    backbone = drawn("llama")
    blocks: Any = backbone.model.get_submodule(backbone.block_list)
    blocks.append(copy.deepcopy(blocks[0]))
    with pytest.raises(DataError, match=r"here: the model does not run its block 2 \(layers\)"):
        measure(backbone, "here", DataError)


def test_a_model_with_random_outputs_is_refused() -> None:
    backbone = drawn("bert")
    unchanged = backbone.model.forward

    def noisy(**given: Any) -> Any:
        output = unchanged(**given)
        output.last_hidden_state = output.last_hidden_state + torch.randn_like(output.last_hidden_state)
        return output

    backbone.model.forward = noisy  # type: ignore[method-assign]
    with pytest.raises(ShapeError, match="BertModel gives another output each time for the same tokens"):
        measure_padding(backbone, 9)


@torch.no_grad()
def test_lengths_that_run_apart_keep_their_places() -> None:
    backbone = drawn("fnet").eval()
    assert backbone.apart
    assert any("sequences of each length are run separately" in note for note in backbone.notes)
    tokens, lengths = inputs(5), torch.tensor([4, 9, 2, 4, 9])
    given = backbone(tokens, lengths)
    assert given.shape == tokens.shape
    for row, length in enumerate(lengths.tolist()):
        alone = backbone(tokens[row : row + 1, :length])[0]
        torch.testing.assert_close(given[row, :length], alone, atol=1e-5, rtol=0)
    keep = torch.tensor([[0, 3], [1, 8], [0, 1], [2, 3], [0, 8]])
    picked = backbone(tokens, lengths, keep)
    assert torch.equal(picked, torch.stack([given[row, places] for row, places in enumerate(keep)]))


def test_gradients_of_lengths_that_run_apart_are_those_of_each_alone() -> None:
    backbone, lengths = drawn("fnet").eval(), torch.tensor([4, 9, 4])
    tokens = inputs(3).requires_grad_()
    output = backbone(tokens, lengths)
    sum(output[row, :length].square().sum() for row, length in enumerate(lengths.tolist())).backward()  # type: ignore[union-attr]
    for row, length in enumerate(lengths.tolist()):
        alone = tokens.detach()[row : row + 1, :length].requires_grad_()
        backbone(alone).square().sum().backward()
        assert tokens.grad is not None
        assert alone.grad is not None
        torch.testing.assert_close(tokens.grad[row, :length], alone.grad[0], atol=1e-5, rtol=1e-5)
        assert not bool(torch.any(tokens.grad[row, length:]))


def test_lengths_that_run_apart_cannot_be_sharded() -> None:
    with pytest.raises(UsageError, match=r"runs sequences of each length separately.*set it to never"):
        _check_all_run(drawn("fnet"), "huggingface")
    _check_all_run(drawn("bert"), "huggingface")


def test_a_model_that_needs_one_length_is_named() -> None:
    """Nyströmformer cuts its sequence into landmarks; without its landmarks' length it does not run."""
    with pytest.raises((ShapeError, UsageError), match="does not run on"):
        drawn("nystromformer", **SIZES, num_landmarks=4, segment_means_seq_len=16)


@torch.no_grad()
def test_narrow_words_report_the_norm_at_the_width_of_the_blocks() -> None:
    torch.manual_seed(0)
    backbone = drawn("albert", **SIZES, embedding_size=8)
    assert backbone.width == WIDTH
    assert backbone.embedding_norm is not None
    # Rows normalised to norm sqrt(8), by a matrix of standard deviation 0.02: sqrt(8 * 16) * 0.02.
    assert backbone.embedding_norm == pytest.approx((8 * WIDTH) ** 0.5 * 0.02, rel=0.3)


def test_rwkv_keeps_its_weights_between_training_and_evaluation() -> None:
    """The library divides weights of later blocks in place for evaluation, by default from block 6 on."""
    config = {"hidden_size": WIDTH, "num_hidden_layers": 8, "vocab_size": 7, "context_length": 20}
    backbone, tokens = drawn("rwkv", **config), inputs()
    before = {name: parameter.clone() for name, parameter in backbone.named_parameters()}
    evaluated = backbone.eval()(tokens)
    trained = backbone.train()(tokens)
    torch.testing.assert_close(trained, evaluated, atol=0, rtol=0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in backbone.named_parameters())
