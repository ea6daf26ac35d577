"""The model card of a pretrained language model: training, figures and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.lab.pretraining.options import LengthMix, PretrainRecipe, PretrainTrain, SyntheticRecipe

_TEXT = """\
---
language: en
library_name: transformers
pipeline_tag: text-generation
---
# {title}

A GPT-2 of {blocks} blocks, width {width}, {heads} heads and {positions} positions ({parameters:,} parameters),
pretrained from random weights by `fptkit pretrain` with a byte-level BPE of {vocabulary:,} tokens. It is meant as a
frozen backbone for other modalities on machines that cannot reach a hub, not for generating text.

| all held-out text, weights as stored ({save_dtype}) | |
|---|---|
| loss | **{loss:.4f} nats per token** |
| bits per byte | **{bits:.4f}** |
| tokens, bytes | {validation_tokens:,}, {validation_bytes:,} |

Windows of {positions} tokens, each token predicted once from the tokens before it in its window. Nats per token depend
on the tokeniser; compare models by bits per byte: total loss / ln 2 / bytes of text, where separators count in the loss
but not in the bytes.

Loss by position in the window, which shows how far back the model uses its context:

| positions | nats per token |
|---|---|
{places}

## Training

{stage}

- {step:,} steps of {batch_tokens:,} tokens: {tokens:,} tokens, {epochs:.2f} times the training text
- {seconds:,.0f} s of wall clock on {threads} CPU thread(s), matrix products in {arithmetic}
- schedule: {warmup_steps} steps of warm-up, constant, then linear to zero{cooldown};
  the cooldown takes {cooldown_share:.0%} of all steps
- sequence lengths {lengths}; in the cooldown {cooldown_lengths} (fraction of steps)
- optimiser: {optimizer}; gradient norm clipped at {gradient_clip:g}; dropout {dropout:g}; seed {seed}

```
{command}
```

The resolved recipe, without folders:

```json
{recipe}
```

## Data

{summary}

{licence}

| | documents | bytes | tokens |
|---|---|---|---|
| training | {train_documents:,} | {train_bytes:,} | {train_tokens:,} |
| held out | {validation_documents:,} | {validation_bytes:,} | {validation_tokens:,} |

SHA-256 of the training file: `{corpus_sha256}`

## Limits

- Small, and trained briefly ({epochs:.1f} passes over {train_megabytes:.0f} MB): far from what its size could learn,
  and much farther from openai-community/gpt2 (124 M parameters, 40 GB of text). Its results are not
  comparable with published ones.
- It knows the English of its corpus. Facts, style and biases are those of its sources; nothing was filtered.
- The held-out text comes from the same collections as the training text: loss on other text is higher.
- Never tested for the quality or safety of generated text.
"""


def mix(lengths: LengthMix) -> str:
    """Sequence lengths with the fraction of steps of each."""
    total = sum(lengths.weights)
    pairs = zip(lengths.tokens, lengths.weights, strict=True)
    return ", ".join(f"{length} ({weight / total:.0%})" for length, weight in pairs)


def optimizer_rule(train: PretrainTrain) -> str:
    """The optimizers in words."""
    rule = f"AdamW (rate {train.adamw_learning_rate:g})"
    if train.optimizer == "muon":
        rule = f"Muon (rate {train.muon_learning_rate:g}) for the blocks' matrices, {rule} for the rest"
    return f"{rule}, weight decay {train.weight_decay:g} on the blocks' matrices"


def _without_folders(recipe: PretrainRecipe) -> dict[str, Any]:
    """The recipe as a dictionary with bare file names: a published card must not reveal local folders."""
    fields = recipe.model_dump()
    for name in ("path", "validation_path"):
        if fields["data"][name]:
            fields["data"][name] = Path(fields["data"][name]).name
    return fields


def stage(measured: Mapping[str, Any]) -> str:
    """Whether the training was finished when it was exported, as a sentence."""
    if measured["end"] is not None and measured["step"] >= measured["end"]:
        return "Finished: the learning rates fell to zero."
    return (
        f"**Taken at step {measured['step']:,}, before the training ended**: the learning rates had not fallen to "
        "zero, so the loss is higher than it will be."
    )


def training_fields(recipe: PretrainRecipe | SyntheticRecipe, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Fields shared by the cards of next-token prediction: training and result, by the names in the templates."""
    train, start = recipe.train, measured["cooldown_from"]
    return {
        **{
            name: getattr(train, name)
            for name in ("batch_tokens", "warmup_steps", "cooldown_share", "gradient_clip", "seed")
        },
        "save_dtype": recipe.save_dtype,
        "loss": measured["validation_loss_nats_per_token"],
        "places": "\n".join(f"| {place} | {nats:.4f} |" for place, nats in measured["nats_by_position"].items()),
        "stage": stage(measured),
        "threads": train.threads or "all",
        "cooldown": "" if start is None else f" from step {start:,} to step {measured['end']:,}",
        "lengths": mix(train.sequence_lengths),
        "cooldown_lengths": mix(train.cooldown_sequence_lengths),
        "optimizer": optimizer_rule(train),
    }


def write_model_card(
    recipe: PretrainRecipe, measured: Mapping[str, Any], facts: Mapping[str, Any], *, title: str, parameters: int
) -> str:
    """Write the text of README.md.

    Args:
        recipe: the recipe of the training.
        measured: content of measurement.json.
        facts: sizes and digest of the corpus.
        title: heading.
        parameters: number of parameters.
    """
    data = recipe.data
    fields = _without_folders(recipe)
    paths = {f"data.{name}": fields["data"][name] for name in ("path", "validation_path") if fields["data"][name]}
    command = " ".join(f"--set {name}={value}" for name, value in paths.items())
    return _TEXT.format(
        **{**facts, **measured, **recipe.model.model_dump()},
        **training_fields(recipe, measured),
        title=title,
        parameters=parameters,
        vocabulary=recipe.tokenizer.vocabulary,
        bits=measured["validation_bits_per_byte"],
        epochs=measured["tokens"] / facts["train_tokens"],
        command=f"fptkit pretrain recipes/pretrain_language.yaml --output {title} {command}",
        recipe=json.dumps(fields, indent=2),
        summary=data.summary or "Not described.",
        licence=data.licence or "Licence not stated.",
        train_megabytes=facts["train_bytes"] / 1e6,
    )
