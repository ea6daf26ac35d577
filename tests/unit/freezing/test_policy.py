"""Every built-in policy and every change a recipe makes: the exact parameters that train, and at which rate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.engine.build import build
from fptkit.engine.run import RunRequest, run
from fptkit.errors import FreezingError
from fptkit.freezing import TrainedGroup, apply_policy, count_as_paper
from fptkit.freezing.options import FreezingOptions
from fptkit.freezing.records import fptkit_freezing_policies
from fptkit.interfaces import Backbone, Classes, ParameterRole, Vectors, keep_tokens
from fptkit.model import CrossModalModel, Head
from fptkit.recipe.load import load_recipe
from fptkit.specs import ROLES, FreezingPolicySpec, FreezingRule

POLICIES = {policy.name: policy for policy in fptkit_freezing_policies()}
BLOCKS = range(4)  # of GPT-2 nano


def with_backbone(backbone: Backbone) -> CrossModalModel:
    encoder = LinearEncoder(LinearOptions(), input=Vectors(4), width=backbone.width)
    return CrossModalModel(encoder, backbone, Head(Classes(3), backbone.width, readout="last"))


@pytest.fixture(scope="module")
def nano() -> CrossModalModel:
    """GPT-2 nano; every test applies a policy of its own."""
    return with_backbone(random_gpt2("nano", positions=6, seed=0))


class NormedLstm(Backbone):
    """Two recurrent layers, each with a norm; no attention and no positions."""

    width, blocks, causal = 8, 2, True

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(8, 8, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            tokens = norm(layer(tokens)[0])
        return keep_tokens(tokens, keep)

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        return {
            name: ParameterRole("norm" if name.startswith("norms") else "recurrent", int(name.split(".")[1]))
            for name, _ in self.named_parameters()
        }


def both(*places: str) -> set[str]:
    return {f"{place}.{part}" for place in places for part in ("weight", "bias")}


# The parameters of Hugging Face's GPT-2, by its own names, and the plain encoder and head around it.
OUTPUT = both("head.map.0")
INPUT = both("encoder.map.0")
POSITION = {"backbone.wpe.weight"}
NORM = both(*(f"backbone.h.{i}.ln_{k}" for i in BLOCKS for k in (1, 2)), "backbone.ln_f")
FEED_FORWARD = both(*(f"backbone.h.{i}.mlp.{part}" for i in BLOCKS for part in ("c_fc", "c_proj")))
ATTENTION = {i: both(f"backbone.h.{i}.attn.c_attn", f"backbone.h.{i}.attn.c_proj") for i in BLOCKS}
ALL_ATTENTION = set[str]().union(*ATTENTION.values())
FPT = INPUT | OUTPUT | NORM | POSITION
EVERYTHING = FPT | FEED_FORWARD | ALL_ATTENTION

EXPECTED = {
    "bitfit": INPUT | OUTPUT | {name for name in EVERYTHING if name.endswith(".bias")},
    "fpt": FPT,
    "fpt_attention": FPT | ALL_ATTENTION,
    "fpt_feed_forward": FPT | FEED_FORWARD,
    "fpt_feed_forward_attention": EVERYTHING,
    "fpt_feed_forward_last_attention": FPT | FEED_FORWARD | ATTENTION[3],
    "fpt_last_attention": FPT | ATTENTION[3],
    "frozen_norm": INPUT | OUTPUT | POSITION,
    "full": EVERYTHING,
    "input_output": INPUT | OUTPUT,
    "output_norm": OUTPUT | NORM,
    "output_norm_input": OUTPUT | NORM | INPUT,
    "output_only": OUTPUT,
    "top_k": INPUT | OUTPUT | {name for name in EVERYTHING if name.startswith("backbone.h.3.")},
}


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def rates(groups: list[TrainedGroup]) -> dict[str, float]:
    return {name: group.learning_rate_multiplier for group in groups for name in group.parameters}


def changed(model: CrossModalModel, name: str, **options: Any) -> dict[str, float]:
    """The multiplier of every trained parameter under a policy with changes."""
    made = rates(apply_policy(model, POLICIES[name], FreezingOptions(**options)))
    assert made.keys() == trained(model)
    return made


# The table of policies


def test_every_policy_but_the_free_form_is_expected_below() -> None:
    assert POLICIES.keys() == EXPECTED.keys() | {"custom"}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_each_policy_trains(name: str, nano: CrossModalModel) -> None:
    assert {parameter for parameter, _ in nano.named_parameters()} == EVERYTHING
    groups = apply_policy(nano, POLICIES[name])
    assert trained(nano) == EXPECTED[name]
    assert rates(groups) == dict.fromkeys(EXPECTED[name], 1.0)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_policy_on_a_recurrent_backbone(name: str) -> None:
    """The paper's LSTM row is fpt: recurrent weights stay frozen. What unfreezes attention has nothing to do here."""
    model = with_backbone(NormedLstm())
    if "attention" in name or "feed_forward" in name:
        missing = "feed_forward" if "feed_forward" in name else "attention"
        with pytest.raises(FreezingError) as caught:
            apply_policy(model, POLICIES[name])
        assert f"policy '{name}': the rule for role '{missing}'" in str(caught.value)
        assert str(caught.value).endswith(
            "Roles here: input (2 tensors), norm (4 tensors), output (2 tensors), recurrent (8 tensors)"
        )
        return
    apply_policy(model, POLICIES[name])
    norms = both("backbone.norms.0", "backbone.norms.1")
    recurrent = {name for name, _ in model.named_parameters() if ".layers." in name}
    parts = {
        "bitfit": {name for name in INPUT | OUTPUT | norms if not name.startswith("backbone.")}
        | {name for name, _ in model.backbone.named_parameters(prefix="backbone") if "bias" in name},
        "fpt": INPUT | OUTPUT | norms,
        "frozen_norm": INPUT | OUTPUT,
        "full": INPUT | OUTPUT | norms | recurrent,
        "input_output": INPUT | OUTPUT,
        "output_norm": OUTPUT | norms,
        "output_norm_input": INPUT | OUTPUT | norms,
        "output_only": OUTPUT,
        "top_k": INPUT | OUTPUT | {name for name in norms | recurrent if name.split(".")[2] == "1"},
    }
    assert len(recurrent) == 8
    assert trained(model) == parts[name]


@pytest.mark.parametrize(
    ("size", "blocks", "width", "count"),
    [
        # input 16 x D + D, output 10 x D, two norms a block 2 x 2 x D x blocks, positions 64 x D:
        ("base", 12, 768, 106_752),  # 13,056 + 7,680 + 36,864 + 49,152
        ("medium", 24, 1024, 191_488),  # 17,408 + 10,240 + 98,304 + 65,536: the paper says 190 K
        ("large", 36, 1280, 300_800),  # 21,760 + 12,800 + 184,320 + 81,920: the paper says 300 K
    ],
)
def test_the_counts_of_the_paper(size: Any, blocks: int, width: int, count: int) -> None:
    """Lu et al. 2021, CIFAR-10 in 64 tokens of 16 numbers, 12, 24 and 36 layers; the modules are real, on no device."""
    with torch.device("meta"):
        backbone = random_gpt2(size, positions=64, seed=0)
        encoder = LinearEncoder(LinearOptions(), input=Vectors(16), width=width)
        model = CrossModalModel(encoder, backbone, Head(Classes(10), width, readout="last"))
    apply_policy(model, POLICIES["fpt"])
    assert (backbone.blocks, backbone.width) == (blocks, width)
    assert count_as_paper(model) == count
    in_truth = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert in_truth == count + 10 + 2 * width  # the output's biases and the final norm, which the paper leaves out


# What a recipe changes


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (None, {0, 1, 2, 3}),
        ((0, 2), {0, 2}),
        ((-1,), {3}),
        ((-4, 3, 3), {0, 3}),
        ("2:", {2, 3}),
        ("-1:", {3}),
        (":1", {0}),
        (":-2", {0, 1}),
        ("0:4", {0, 1, 2, 3}),
        ("::2", {0, 2}),
        ("1:4:2", {1, 3}),
    ],
)
def test_rows_for_some_blocks(blocks: Any, expected: set[int], nano: CrossModalModel) -> None:
    changed(nano, "custom", train=[{"role": "attention", "blocks": blocks}])
    assert trained(nano) == set[str]().union(*(ATTENTION[i] for i in expected))


def test_a_row_with_blocks_leaves_out_everything_outside_them(nano: CrossModalModel) -> None:
    changed(nano, "custom", train=[{"role": "norm", "blocks": ":"}])
    assert trained(nano) == NORM - both("backbone.ln_f")
    changed(nano, "custom", train=[{"role": "all", "blocks": [1]}])
    assert trained(nano) == {name for name in EVERYTHING if name.startswith("backbone.h.1.")}


def test_rows_roles_and_multipliers_in_their_order(nano: CrossModalModel) -> None:
    found = changed(
        nano,
        "fpt",
        train=[
            {"role": "norm", "blocks": [-1], "learning_rate_multiplier": 0.5},
            {"role": "feed_forward", "blocks": "3:", "learning_rate_multiplier": 0.2},
        ],
        freeze=["position", "norm"],
        learning_rate_multipliers={"norm": 0.1, "input": 3, "feed_forward": 5},
    )
    assert found == {
        **dict.fromkeys(OUTPUT, 1.0),
        **dict.fromkeys(INPUT, 3.0),
        **dict.fromkeys(both("backbone.h.3.ln_1", "backbone.h.3.ln_2"), 0.05),
        **dict.fromkeys(both("backbone.h.3.mlp.c_fc", "backbone.h.3.mlp.c_proj"), 1.0),
    }


def test_of_two_rows_the_later_one_counts(nano: CrossModalModel) -> None:
    rows = [{"role": "norm", "learning_rate_multiplier": 2}, {"role": "norm", "blocks": [0]}]
    found = changed(nano, "output_only", train=rows)
    first = both("backbone.h.0.ln_1", "backbone.h.0.ln_2")
    assert found == {**dict.fromkeys(OUTPUT | first, 1.0), **dict.fromkeys(NORM - first, 2.0)}


def test_roles_can_be_taken_out_of_all(nano: CrossModalModel) -> None:
    found = changed(nano, "full", freeze=["attention", "feed_forward"], learning_rate_multipliers={"norm": 0.1})
    assert found == {**dict.fromkeys(INPUT | OUTPUT | POSITION, 1.0), **dict.fromkeys(NORM, 0.1)}


def test_policies_of_plugins_take_the_same_options(nano: CrossModalModel) -> None:
    rules = (FreezingRule(role="norm", blocks="2:"), FreezingRule(role="output", learning_rate_multiplier=4))
    own = FreezingPolicySpec(name="mine", summary="of a plugin", rules=rules)
    groups = apply_policy(nano, own, FreezingOptions(learning_rate_multipliers={"output": 0.5}))
    upper = both(*(f"backbone.h.{i}.ln_{k}" for i in (2, 3) for k in (1, 2)))
    assert rates(groups) == {**dict.fromkeys(upper, 1.0), **dict.fromkeys(OUTPUT, 2.0)}


# Failures


ROLES_OF_NANO = (
    "Roles here: attention (16 tensors), feed_forward (16 tensors), input (2 tensors), norm (18 tensors), "
    "output (2 tensors), position (1 tensor)"
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": [{"role": "recurrent"}]}, "the rule for role 'recurrent' touches no parameter of this model"),
        ({"train": [{"role": "position", "blocks": [0]}]}, "the rule for role 'position' in blocks 0 touches no"),
        ({"train": [{"role": "norm", "blocks": "4:"}]}, "the rule for role 'norm' in blocks 4: touches no parameter"),
        ({"train": [{"role": "norm", "blocks": "2:1"}]}, "in blocks 2:1 touches no parameter"),
        ({"train": [{"role": "norm", "blocks": [0, 4]}]},
         "in blocks 0, 4: no block 4 in this model, which has 4, 0 to 3"),
        ({"train": [{"role": "norm", "blocks": [-5, 1, 9]}]}, "no block -5, 9 in this model"),
        ({"train": [{"role": "norm", "blocks": "0:12"}]}, "in blocks 0:12: no block 12 in this model, which has 4"),
        ({"train": [{"role": "norm", "blocks": "-6:"}]}, "no block -6 in this model"),
    ],
)  # fmt: skip
def test_a_row_that_the_model_cannot_follow(options: Any, message: str, nano: CrossModalModel) -> None:
    with pytest.raises(FreezingError) as caught:
        apply_policy(nano, POLICIES["fpt"], FreezingOptions(**options))
    assert str(caught.value).startswith("freezing policy 'fpt': ")
    assert message in str(caught.value)
    assert str(caught.value).endswith(ROLES_OF_NANO)


def test_roles_of_full_that_the_model_does_not_have(nano: CrossModalModel) -> None:
    with pytest.raises(FreezingError, match="freeze 'recurrent' touches no trained parameter of this model"):
        changed(nano, "full", freeze=["recurrent"])
    with pytest.raises(FreezingError, match="learning_rate_multipliers 'embedding' touches no trained parameter"):
        changed(nano, "full", learning_rate_multipliers={"embedding": 2})


def test_roles_that_may_be_missing_may_be_named() -> None:
    """One recipe for backbones with and without a position table."""
    model = with_backbone(NormedLstm())
    changed(model, "fpt", freeze=["position"])
    found = changed(model, "fpt", learning_rate_multipliers={"position": 2})
    assert set(found.values()) == {1.0}
    with pytest.raises(FreezingError, match="the rule for role 'position' touches no parameter"):
        changed(model, "fpt", train=[{"role": "position"}])


def test_nothing_that_trains_is_an_error() -> None:
    policy = FreezingPolicySpec(name="mine", summary="x", rules=(FreezingRule(role="position", required=False),))
    with pytest.raises(FreezingError, match=r"'mine': nothing of this model would train\. Roles here: input"):
        apply_policy(with_backbone(NormedLstm()), policy)


def test_a_model_without_blocks() -> None:
    backbone = NormedLstm()
    backbone.blocks = 0
    with pytest.raises(FreezingError, match="no block 0 in this model, which has none"):
        changed(with_backbone(backbone), "custom", train=[{"role": "norm", "blocks": [0]}])


@pytest.mark.parametrize(
    ("name", "options", "where", "message"),
    [
        ("fpt", {"freeze": ["attention"]}, ("freeze", 0), "policy 'fpt' does not train 'attention' here\n"
         "trained: input, output, position, norm"),
        ("fpt", {"freeze": ["norm", "norm"]}, ("freeze", 1), "role 'norm' is named twice"),
        ("custom", {}, (), "policy 'custom' has no rows of its own: give them, as in train: [{role: output}]"),
        ("custom", {"train": [{"role": "norm"}], "freeze": ["norm"]}, ("freeze", 0),
         "policy 'custom' does not train 'norm' here\ntrained: none"),
        ("output_only", {"freeze": ["output"]}, ("freeze",),
         "nothing would train: these are all the roles of policy 'output_only'"),
        ("full", {"freeze": list(ROLES)}, ("freeze",), "nothing would train"),
        ("fpt", {"freeze": ["norm"], "learning_rate_multipliers": {"norm": 2}}, ("learning_rate_multipliers", "norm"),
         "policy 'fpt' does not train 'norm' here\ntrained: input, output, position"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_policy(
    name: str, options: Any, where: Any, message: str, nano: CrossModalModel
) -> None:
    ((keys, said),) = FreezingOptions(**options).misfits(POLICIES[name])
    assert keys == where
    assert said.startswith(message)
    with pytest.raises(FreezingError, match=r"^freezing: "):  # whoever builds without a recipe learns it too
        apply_policy(nano, POLICIES[name], FreezingOptions(**options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("full", {"freeze": ["attention"], "learning_rate_multipliers": {"norm": 2}}),
        ("fpt", {"freeze": ["norm"], "train": [{"role": "norm", "blocks": [0]}]}),
        ("output_only", {"freeze": ["output"], "train": [{"role": "norm"}]}),
        ("output_only", {"train": [{"role": "all", "blocks": [0]}], "learning_rate_multipliers": {"norm": 2}}),
    ],
)
def test_options_that_fit(name: str, options: Any) -> None:
    assert list(FreezingOptions(**options).misfits(POLICIES[name])) == []


# The optimiser


RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 16, test_size: 16}
backbone: {name: random, size: nano, blocks: 2, width: 32, heads: 2, dropout: 0}
freezing:
  name: fpt
  train: [{role: attention, blocks: [1], learning_rate_multiplier: 0.5}]
  learning_rate_multipliers: {norm: 0.1, input: 3}
train: {learning_rate: 1e-2, max_steps: 1, validate_every: 1, batch_size: 8}
precision: float32
device: cpu
threads: 1
"""


@pytest.mark.slow
def test_the_first_step_of_adam_shows_every_multiplier(tmp_path: Path) -> None:
    """Adam's first step is the learning rate times the gradient's sign, so the largest move of a tensor is its rate."""
    (tmp_path / "x.yaml").write_text(RECIPE, encoding="utf-8")
    loaded = load_recipe(str(tmp_path / "x.yaml"))
    before = dict(build(loaded.recipe, loaded.registry, torch.device("cpu")).model.named_parameters())
    summary = run(RunRequest(loaded, tmp_path / "run"))
    assert summary["freezing"] == "fpt"
    assert summary["freezing_options"] == {
        "train": [{"role": "attention", "blocks": [1], "learning_rate_multiplier": 0.5}],
        "learning_rate_multipliers": {"norm": 0.1, "input": 3.0},
    }
    after = load_file(tmp_path / "run" / "model.safetensors")
    attention = both("backbone.h.1.attn.c_attn", "backbone.h.1.attn.c_proj")
    assert after.keys() == {name for name in FPT if ".h.2." not in name and ".h.3." not in name} | attention
    for name, tensor in after.items():
        factor = 0.5 if name in attention else 0.1 if ".ln_" in name else 3 if name.startswith("encoder.") else 1
        moved = float((tensor - before[name].detach()).abs().max())
        assert moved == pytest.approx(1e-2 * factor, rel=2e-3), name
