"""The records are complete, their options are documented, and fptkit's own checks hold for what they prepare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fptkit_peft
import pytest
from parts import POLICIES, TOKENS, adapted, disturb, small

from fptkit import BackboneSpec, FreezingPolicySpec
from fptkit.registry import load_plugins
from fptkit.testing import check_backbone


@pytest.mark.parametrize("policy", POLICIES.values(), ids=str)
def test_every_option_is_described(policy: FreezingPolicySpec) -> None:
    for name, field in policy.options_model().model_fields.items():
        assert field.description, f"{policy}: {name}"


@pytest.mark.parametrize("like", ["gpt2", "vit", "bert", "t5_encoder", "longformer"])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_adapted_backbone_keeps_the_contract(policy: str, like: str) -> None:
    """Shapes, padding, batch independence, causality, and ``keep``, for which some backbones skip computation."""
    backbone = adapted(like, policy)[0].backbone
    roles = backbone.parameter_roles()
    disturb(value for name, value in backbone.named_parameters() if roles[name].role == "adapter")
    options = load_plugins(selection="").get(BackboneSpec, "random").options_model().model_validate({"like": like})
    check_backbone(lambda tokens: backbone, tokens=TOKENS, options=options)


def test_what_the_backbone_says_of_itself_stays() -> None:
    base, (model, _) = small("gpt2"), adapted("gpt2", "lora")
    facts = "width max_positions causal embedding_norm begin_of_text blocks weights stand_in notes"
    for fact in facts.split():
        assert getattr(model.backbone, fact) == getattr(base, fact), fact


def test_the_recipes_are_where_the_record_says() -> None:
    (folder,) = fptkit_peft.fptkit_recipes()
    assert (Path(folder.folder) / "lora_bit_xor.yaml").is_file()


@pytest.mark.slow
def test_records_and_options_load_neither_torch_nor_peft() -> None:
    code = (
        "import sys, fptkit_peft, fptkit_peft.options; "
        "sys.exit(bool({'torch', 'peft', 'transformers'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
