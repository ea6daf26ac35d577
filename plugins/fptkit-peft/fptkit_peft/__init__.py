"""The hooks of fptkit-peft. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import FreezingPolicySpec, FreezingRule, RecipeFolderSpec, hookimpl

# What trains in addition to the adapters: the rules of the policy fpt; the rule for norms is separate.
_AROUND = (
    FreezingRule(role="input"),
    FreezingRule(role="output"),
    FreezingRule(role="position", required=False),
    FreezingRule(role="adapter"),
)
_NORM = FreezingRule(role="norm")


@hookimpl
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:
    return [
        FreezingPolicySpec(
            name="lora",
            summary="LoRA: fpt plus a low-rank update of every frozen attention and feed-forward matrix",
            rules=(*_AROUND, _NORM),
            prepare="fptkit_peft.prepare:add_lora",
            options="fptkit_peft.options:LoraOptions",
            source="Hu et al. 2022, arXiv 2106.09685; huggingface/peft",
            extra="peft",
        ),
        FreezingPolicySpec(
            name="dora",
            summary="DoRA: lora with the magnitude of every matrix column trained separately from its direction",
            rules=(*_AROUND, _NORM),
            prepare="fptkit_peft.prepare:add_dora",
            options="fptkit_peft.options:LoraOptions",
            source="Liu et al. 2024, arXiv 2402.09353; huggingface/peft",
            extra="peft",
        ),
        FreezingPolicySpec(
            name="ia3",
            summary="(IA)³: fpt plus trained factors on attention outputs and hidden feed-forward activations",
            rules=(*_AROUND, _NORM),
            prepare="fptkit_peft.prepare:add_ia3",
            options="fptkit_peft.options:Ia3Options",
            source="Liu et al. 2022, arXiv 2205.05638; huggingface/peft",
            extra="peft",
        ),
        FreezingPolicySpec(
            name="ln_tuning",
            summary="LN tuning: fpt with a trained copy of every norm; the pretrained norms remain in the model",
            rules=_AROUND,
            prepare="fptkit_peft.prepare:add_ln_tuning",
            source="Zhao et al. 2023, arXiv 2312.11420; huggingface/peft",
            extra="peft",
        ),
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="peft", summary="recipes of fptkit-peft", folder=folder)]
