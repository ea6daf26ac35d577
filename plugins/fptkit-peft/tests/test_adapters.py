"""Adapters: as many numbers as the formula says, nothing changed at the start, gradients where they belong.

And the same result as peft's own merged model in another library's network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from parts import BLOCKS, POLICIES, TOKENS, WIDTH, adapted, adapters, disturb, model_of, small
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from fptkit import Backbone, BackboneSpec
from fptkit.freezing import FreezeProof, apply_policy
from fptkit.registry import load_plugins
from fptkit.specs import FreezingPolicySpec

D = WIDTH
FOUR = [(D, D)] * 4
ATTENTION = {
    "gpt2": [(D, 3 * D), (D, D)],  # one map for queries, keys and values, and the output's
    "vit": [(D, 3 * D), (D, D)],
    "bert": FOUR,
    "t5_encoder": FOUR,
    "longformer": FOUR,  # its three maps for global attention are not used and get no adapter
}
FEED_FORWARD = [(D, 4 * D), (4 * D, D)]
NORMS = {"gpt2": 2 * BLOCKS + 1, "vit": 2 * BLOCKS + 1, "bert": 2 * BLOCKS + 1, "longformer": 2 * BLOCKS + 1}
LIKES = list(ATTENTION)


def count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def tokens() -> Tensor:
    return torch.randn(2, TOKENS, D, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("like", LIKES)
@pytest.mark.parametrize("rank", [1, 5])
@pytest.mark.parametrize("roles", [("attention",), ("feed_forward",), ("attention", "feed_forward")])
def test_lora_trains_rank_times_inputs_and_outputs(like: str, rank: int, roles: tuple[str, ...]) -> None:
    model, groups = adapted(like, "lora", rank=rank, roles=roles)
    matrices = [*(ATTENTION[like] if "attention" in roles else []), *(FEED_FORWARD if "feed_forward" in roles else [])]
    expected = BLOCKS * rank * sum(inputs + outputs for inputs, outputs in matrices)
    assert count(adapters(model).values()) == expected
    bare = model_of(small(like))
    fpt = apply_policy(bare, load_plugins(selection="").get(FreezingPolicySpec, "fpt"))
    around = sum(count(group.parameters.values()) for group in fpt)
    assert sum(count(group.parameters.values()) for group in groups) == around + expected


@pytest.mark.parametrize(
    ("config", "matrices", "inner"),
    [
        # A gated feed-forward: two maps lead in, one leads out. Queries have two heads, keys and values share one.
        (
            {"model_type": "llama", "intermediate_size": 40, "num_key_value_heads": 1},
            [(D, D), (D, D // 2), (D, D // 2), (D, D), (D, 40), (D, 40), (40, D)],
            40,
        ),
        # The library's own GPT-2 stores its weights as GPT-2's checkpoints do.
        ({"model_type": "gpt2"}, [(D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)], 4 * D),
    ],
    ids=["llama", "gpt2"],
)
def test_any_model_of_transformers(config: dict[str, Any], matrices: list[tuple[int, int]], inner: int) -> None:
    spec = load_plugins(selection="").get(BackboneSpec, "huggingface")
    sizes = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8}
    options = spec.options_model().model_validate({"weights": "random", "config": {**sizes, **config}, "dropout": 0.0})
    expected = {
        "lora": 8 * sum(inputs + outputs for inputs, outputs in matrices),
        "ia3": sum(outputs for inputs, outputs in matrices if inner not in (inputs, outputs)) + inner,
    }
    for policy, count_a_block in expected.items():
        backbone = spec.resolve()(options, positions=TOKENS, seed=0, pinned=None).eval()
        before = backbone(tokens()).detach()
        model = model_of(backbone)
        apply_policy(model, POLICIES[policy])
        torch.testing.assert_close(model.backbone(tokens()), before)
        assert count(adapters(model).values()) == 2 * count_a_block, policy


def test_dora_trains_one_further_number_an_output() -> None:
    expected = BLOCKS * sum(4 * (i + o) + o for i, o in [*ATTENTION["gpt2"], *FEED_FORWARD])
    assert count(adapters(adapted("gpt2", "dora", rank=4)[0]).values()) == expected


@pytest.mark.parametrize("like", LIKES)
def test_ia3_trains_a_factor_for_every_attention_output_and_inner_activation(like: str) -> None:
    expected = BLOCKS * (sum(outputs for _, outputs in ATTENTION[like]) + 4 * D)
    assert count(adapters(adapted(like, "ia3")[0]).values()) == expected


@pytest.mark.parametrize("like", list(NORMS))
def test_ln_tuning_trains_copies_of_the_norms(like: str) -> None:
    model, _ = adapted(like, "ln_tuning")
    assert count(adapters(model).values()) == NORMS[like] * 2 * D
    frozen = {n for n, role in model.parameter_roles().items() if role.role == "norm"}
    assert len(frozen) == 2 * NORMS[like]
    assert not any(model.get_parameter(name).requires_grad for name in frozen)


@pytest.mark.parametrize("like", LIKES)
@pytest.mark.parametrize("policy", ["lora", "dora", "ia3", "ln_tuning"])
def test_at_the_start_the_output_is_that_of_the_bare_backbone(like: str, policy: str) -> None:
    lengths = torch.tensor([TOKENS, TOKENS - 2])
    keep = torch.tensor([[TOKENS - 1], [TOKENS - 3]])
    with torch.no_grad():
        expected = small(like)(tokens(), lengths, keep)
        torch.testing.assert_close(adapted(like, policy)[0].backbone(tokens(), lengths, keep), expected)


@pytest.mark.parametrize("like", LIKES)
@pytest.mark.parametrize("policy", ["lora", "dora", "ia3", "ln_tuning"])
def test_every_adapter_counts_and_gets_a_gradient(like: str, policy: str) -> None:
    """With B not 0, A has gradients too. One token is read out, which triggers shortcuts of backbones."""
    model, _ = adapted(like, policy)
    before = model(torch.ones(2, TOKENS, 4))
    disturb(adapters(model).values())
    inputs = torch.randn(2, TOKENS, 4, generator=torch.Generator().manual_seed(4))
    functional.cross_entropy(model(inputs), torch.tensor([0, 2])).backward()
    assert not torch.allclose(model(torch.ones(2, TOKENS, 4)), before, atol=1e-3)
    roles = model.parameter_roles()
    for name, parameter in model.named_parameters():
        if roles[name].role == "adapter":
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        elif not parameter.requires_grad:
            assert parameter.grad is None, name


def test_at_the_start_a_gradient_reaches_b_and_not_a() -> None:
    """B is 0, and A's gradient has it as a factor."""
    model, _ = adapted("gpt2", "lora")
    model(torch.randn(2, TOKENS, 4)).square().sum().backward()
    for name, parameter in adapters(model).items():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()) == ("lora_B" in name), name


@pytest.mark.parametrize("policy", ["lora", "dora"])
def test_the_seed_draws_a_and_nothing_else_is_drawn(policy: str) -> None:
    first, again, other = (adapters(adapted("gpt2", policy, seed=seed)[0]) for seed in (1, 1, 2))
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    torch.manual_seed(9)
    expected = torch.rand(3)
    model = model_of(small("gpt2"))
    torch.manual_seed(9)
    apply_policy(model, POLICIES[policy], seed=3)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("like", LIKES)
def test_an_adapter_has_the_block_of_its_matrix(like: str) -> None:
    model, groups = adapted(like, "lora", freeze=["adapter"], train=[{"role": "adapter", "blocks": [-1]}])
    trained = {name for group in groups for name in group.parameters} & adapters(model).keys()
    assert len(trained) * BLOCKS == len(adapters(model))
    assert {model.parameter_roles()[name].block for name in trained} == {BLOCKS - 1}
    assert all(f".{BLOCKS - 1}." in name for name in trained)


def test_learning_rates_and_roles_of_fpt_can_be_changed() -> None:
    _, groups = adapted("gpt2", "lora", freeze=["norm", "position"], learning_rate_multipliers={"adapter": 3})
    by_rate = {group.learning_rate_multiplier: group.parameters.keys() for group in groups}
    assert by_rate.keys() == {1.0, 3.0}
    assert {name.partition(".")[0] for name in by_rate[1.0]} == {"encoder", "head"}
    assert all(".lora_" in name for name in by_rate[3.0])


@pytest.mark.parametrize("policy", ["lora", "dora", "ia3", "ln_tuning"])
def test_training_changes_no_frozen_weight_and_every_adapter(policy: str) -> None:
    """With frozen matrices in bfloat16 under autocast, as the engine stores them; adapters stay float32."""
    model, groups = adapted("gpt2", policy)
    roles = model.parameter_roles()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and roles[name].role in ("attention", "feed_forward"):
            parameter.data = parameter.data.bfloat16()
    model.mixed = True
    proof = FreezeProof(model)
    before = {name: parameter.detach().clone() for name, parameter in adapters(model).items()}
    assert all(value.dtype == torch.float32 for value in before.values())
    optimizer = torch.optim.AdamW([p for group in groups for p in group.parameters.values()], lr=1e-2, weight_decay=0)
    proof.check_optimizer(optimizer)
    inputs, targets = torch.randn(8, TOKENS, 4), torch.arange(8) % 3
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    proof.check_unchanged()
    for name, parameter in adapters(model).items():
        assert parameter.dtype == torch.float32, name
        assert not torch.equal(parameter, before[name]), name


def test_ln_tuning_is_fpt_with_the_pretrained_norms_kept() -> None:
    """The same numbers train, so the same steps give the same model."""
    plain, tuned = model_of(small("gpt2")), model_of(small("gpt2"))
    fpt = load_plugins(selection="").get(FreezingPolicySpec, "fpt")
    made = [apply_policy(plain, fpt), apply_policy(tuned, POLICIES["ln_tuning"])]
    inputs, targets = torch.randn(8, TOKENS, 4), torch.arange(8) % 3
    outputs = []
    for model, groups in zip((plain, tuned), made, strict=True):
        optimizer = torch.optim.SGD([p for group in groups for p in group.parameters.values()], lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            functional.cross_entropy(model.eval()(inputs), targets).backward()
            optimizer.step()
        outputs.append(model(inputs).detach())
    torch.testing.assert_close(*outputs)


def gpt2_of_transformers() -> tuple[nn.Module, list[str], Callable[[str], str]]:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=1, n_positions=TOKENS, n_embd=D, n_layer=BLOCKS, n_head=2, attn_implementation="eager"
    )
    return GPT2Model(config), ["c_attn", "c_proj", "c_fc"], lambda name: name


def bert_of_transformers() -> tuple[nn.Module, list[str], Callable[[str], str]]:
    from transformers import BertConfig, BertModel

    bare: Any = small("bert")
    model = BertModel(BertConfig.from_dict(bare.model.config.to_dict() | {"vocab_size": 5}), add_pooling_layer=False)
    targets = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
    return model, targets, lambda name: name.removeprefix("model.")


@pytest.mark.parametrize(
    ("like", "make"), [("gpt2", gpt2_of_transformers), ("bert", bert_of_transformers)], ids=["gpt2", "bert"]
)
@pytest.mark.parametrize("policy", ["lora", "dora"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_result_is_that_of_peft_merged_into_the_model_of_transformers(
    like: str, make: Callable[[], tuple[nn.Module, list[str], Callable[[str], str]]], policy: str
) -> None:
    """Modules there are named by hand and adapted by ``get_peft_model``; then peft adds the updates to the weights."""
    ours: Backbone = adapted(like, policy, rank=3, alpha=6)[0].backbone
    roles = ours.parameter_roles()
    disturb(value for name, value in ours.named_parameters() if roles[name].role == "adapter")
    theirs, targets, renamed = make()
    config = LoraConfig(r=3, lora_alpha=6, target_modules=targets, use_dora=policy == "dora")
    peft_model = get_peft_model(theirs, config)
    state = {
        f"base_model.model.{renamed(name.removeprefix('base.'))}": value for name, value in ours.state_dict().items()
    }
    missing, unexpected = peft_model.load_state_dict(state, strict=False)
    assert not unexpected
    assert not [name for name in missing if "word" not in name and "wte" not in name], missing
    merged = peft_model.merge_and_unload().eval()
    assert not any("lora" in name for name, _ in merged.named_parameters())
    with torch.no_grad():
        expected = merged(inputs_embeds=tokens()).last_hidden_state
        torch.testing.assert_close(ours(tokens()), expected, atol=2e-5, rtol=1e-4)
        bare = small(like)(tokens())
    assert (expected - bare).abs().max() > 0.1  # the adapters were not idle
