"""What fptkit brings itself, through the same hooks as any plugin."""

from __future__ import annotations

from pathlib import Path

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    BackboneSpec,
    EncoderSpec,
    FreezingPolicySpec,
    FreezingRule,
    RecipeFolderSpec,
    TaskSpec,
)

_FPT = "Lu et al. 2021, arXiv 2103.05247"


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="gpt2",
            summary="GPT-2 with weights from the hub, a folder, the package, or drawn at random",
            target="fptkit.backbones.gpt2_build:build_gpt2",
            options="fptkit.backbones.options:Gpt2Options",
            source="Radford et al. 2019; openai-community/gpt2",
            licence="MIT",
        ),
        BackboneSpec(
            name="random",
            summary="an architecture with random weights: the control for 'pretraining helps'",
            target="fptkit.backbones.random:build_random",
            options="fptkit.backbones.options:RandomOptions",
            source=_FPT + ", Table 2",
        ),
    ]


@hookimpl
def fptkit_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="linear",
            summary="one linear map for every token vector, optionally with hidden layers",
            target="fptkit.encoders.linear:LinearEncoder",
            options="fptkit.encoders.options:LinearOptions",
            accepts=("vectors",),
            source=_FPT,
        ),
        EncoderSpec(
            name="symbols",
            summary="an embedding of discrete symbols, optionally with hidden layers",
            target="fptkit.encoders.symbols:SymbolEncoder",
            options="fptkit.encoders.options:SymbolOptions",
            accepts=("symbols",),
            source=_FPT,
        ),
    ]


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="bit_memory",
            summary="recall which of several bit strings comes back masked",
            target="fptkit.tasks.bits:BitMemory",
            options="fptkit.tasks.options:BitMemoryOptions",
            source=_FPT + "; Miconi et al. 2018",
        ),
        TaskSpec(
            name="bit_xor",
            summary="the bitwise XOR of two bit strings",
            target="fptkit.tasks.bits:BitXor",
            options="fptkit.tasks.options:BitXorOptions",
            source=_FPT,
        ),
        TaskSpec(
            name="remote_homology",
            summary="the fold of a protein from its amino acids, at three distances from the training families",
            target="fptkit.tasks.homology.task:RemoteHomology",
            options="fptkit.tasks.homology.options:RemoteHomologyOptions",
            source="TAPE, Rao et al. 2019; SCOP 1.75, Hou et al. 2018",
        ),
    ]


@hookimpl
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:
    return [
        FreezingPolicySpec(
            name="fpt",
            summary="input, output, layer norms and positions train; attention and feed-forward stay frozen",
            rules=(
                FreezingRule(role="input"),
                FreezingRule(role="output"),
                FreezingRule(role="norm"),
                FreezingRule(role="position", required=False),
            ),
            source=_FPT,
        ),
        FreezingPolicySpec(
            name="output_only",
            summary="only the output layer trains: a linear probe on the frozen features",
            rules=(FreezingRule(role="output"),),
            source=_FPT + ", section 3.8",
        ),
        FreezingPolicySpec(
            name="full",
            summary="everything trains",
            rules=(FreezingRule(role="all"),),
            source=_FPT,
        ),
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    packaged = Path(__file__).parent / "recipes"
    checkout = Path(__file__).parent.parent / "recipes"
    return [
        RecipeFolderSpec(
            name="fptkit",
            summary="the experiments of the paper",
            folder=packaged if packaged.is_dir() else checkout,
        )
    ]
