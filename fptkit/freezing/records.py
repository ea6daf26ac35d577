"""Records of the built-in freezing policies: which roles train."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    FPT_PAPER,
    FreezingPolicySpec,
    FreezingRule,
    FromOption,
)


@hookimpl
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:
    output, norm = FreezingRule(role="output"), FreezingRule(role="norm")
    # An encoder of frozen word embeddings has nothing that trains.
    encoder = FreezingRule(role="input", required=False)
    # Recurrent and rotary backbones have no position table, but use the same policies.
    position = FreezingRule(role="position", required=False)
    attention, feed_forward = FreezingRule(role="attention"), FreezingRule(role="feed_forward")
    last_attention = FreezingRule(role="attention", blocks=(-1,))
    fpt = (encoder, output, norm, position)
    unfreezing = FPT_PAPER + ", unfreezing on CIFAR-10"
    return [
        FreezingPolicySpec(
            name="fpt",
            summary="input, output, norms and positions train; attention, feed-forward and recurrent stay frozen",
            rules=fpt,
            reference=FPT_PAPER,
        ),
        FreezingPolicySpec(
            name="fpt_attention",
            summary="fpt and the attention of every block",
            rules=(*fpt, attention),
            reference=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_feed_forward",
            summary="fpt and the feed-forward of every block",
            rules=(*fpt, feed_forward),
            reference=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_feed_forward_attention",
            summary="fpt, feed-forward and attention of every block",
            rules=(*fpt, feed_forward, attention),
            reference=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_feed_forward_last_attention",
            summary="fpt, the feed-forward of every block and the attention of the last",
            rules=(*fpt, feed_forward, last_attention),
            reference=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_last_attention",
            summary="fpt and the attention of the last block",
            rules=(*fpt, last_attention),
            reference=unfreezing,
        ),
        FreezingPolicySpec(
            name="frozen_norm",
            summary="input, output and positions train; norms stay frozen too",
            rules=(encoder, output, position),
            reference="kzl/universal-computation, fpt.py, freeze_ln; not Table 16 of the paper, see input_output",
        ),
        FreezingPolicySpec(
            name="input_output",
            summary="input and output train; norms and positions stay frozen: the entire backbone does",
            rules=(encoder, output),
            reference=FPT_PAPER + ", Table 16, frozen layer norm",
        ),
        FreezingPolicySpec(
            name="output_only",
            summary="only the output layer trains: a linear probe on the frozen features",
            rules=(output,),
            reference=FPT_PAPER + ", section 3.9",
        ),
        FreezingPolicySpec(
            name="output_norm",
            summary="output and norms train",
            rules=(output, norm),
            reference=FPT_PAPER + ", successive ablation",
        ),
        FreezingPolicySpec(
            name="output_norm_input",
            summary="output, norms and input train: fpt without positions",
            rules=(output, norm, encoder),
            reference=FPT_PAPER + ", successive ablation",
        ),
        FreezingPolicySpec(
            name="bitfit",
            summary="input, output and every bias train",
            rules=(encoder, output, FreezingRule(role="all", kind="bias")),
            reference="Ben Zaken et al. 2022, BitFit, section 3; the input trains as well, since it is new",
        ),
        FreezingPolicySpec(
            name="top_k",
            summary="input, output and everything in the last k blocks train",
            rules=(encoder, output, FreezingRule(role="all", last=FromOption("k"))),
            options="fptkit.freezing.options:TopKOptions",
            reference="Howard and Ruder 2018, ULMFiT, section 3.3: the last layers are the least general",
        ),
        FreezingPolicySpec(
            name="full",
            summary="everything trains",
            rules=(FreezingRule(role="all"),),
            reference=FPT_PAPER,
        ),
        FreezingPolicySpec(
            name="custom",
            summary="free form: the rows under train in the recipe decide what trains",
            rules=(),
            free_form=True,
        ),
    ]
