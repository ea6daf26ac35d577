"""The model card of a model pretrained on symbols from a random source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fptkit.lab.pretraining.model_card import training_fields
from fptkit.lab.pretraining.options import SyntheticRecipe

_TEXT = """\
---
library_name: transformers
---
# {title}

A GPT-2 of {blocks} blocks, width {width}, {heads} heads and {positions} positions ({parameters:,} parameters),
pretrained from random weights by `fptkit pretrain` on **symbols without meaning, drawn from {source}**. **It is no
language model**: it never saw text and has no tokeniser. It is the control for the claim that pretraining on language
matters: if a frozen model does as well with these weights, the reason is not language
(Wang et al. 2023, arXiv 2310.00771).

| all held-out symbols, weights as stored ({save_dtype}) | nats per symbol |
|---|---|
| loss | **{loss:.4f}** |
| the source itself on the same symbols | {own:.4f} |
| entropy rate of the source: the floor of the expected loss | {entropy:.4f} |
| knowing only the frequencies of the symbols | {unigram:.4f} |
| knowing nothing | {uniform:.4f} |

{held_out_tokens:,} held-out symbols, in windows of {positions}, each predicted once from the symbols before it in its
window.

| positions | nats per symbol |
|---|---|
{places}

## Training

{stage}

- {step:,} steps of {batch_tokens:,} symbols: {tokens:,} symbols, each generated once and never seen again
- {seconds:,.0f} s of wall clock on {threads} CPU thread(s), matrix products in {arithmetic}
- schedule: {warmup_steps} steps of warm-up, constant, then linear to zero{cooldown};
  the cooldown takes {cooldown_share:.0%} of all steps
- sequence lengths {lengths}; in the cooldown {cooldown_lengths} (fraction of steps)
- optimiser: {optimizer}; gradient norm clipped at {gradient_clip:g}; dropout {dropout:g}; seed {seed}

```
fptkit pretrain recipes/pretrain_synthetic.yaml --output {title}{profile}
```

The resolved recipe:

```json
{recipe}
```

## Data

{data}

Nothing was downloaded and nothing is under a licence: the recipe's seeds reproduce the symbols.

## Limits

- Not a model of language, code or any other human text.
- It has learnt {lesson}; its data have no longer dependencies.
- The word embedding in `model.safetensors` belongs to the {vocabulary:,} symbols. `fptkit run` does not use it.
"""

_SOURCES = {
    "markov": (
        "a Markov chain",
        "{vocabulary:,} symbols from a Markov chain of order 1. Each row of its transition matrix is the softmax of "
        "standard normal numbers divided by {temperature:g} (seed {seed}); sequences start from the chain's stationary "
        "distribution.",
        "to look one symbol back",
    ),
    "iid": (
        "independent draws",
        "{vocabulary:,} symbols, each drawn independently of all others; the symbol of rank r has a probability "
        "proportional to r to the power of -{zipf_exponent:g}.",
        "the frequencies of the symbols and nothing about their order, since there is nothing to learn",
    ),
}


def write_synthetic_card(recipe: SyntheticRecipe, measured: Mapping[str, Any], *, title: str, parameters: int) -> str:
    """Write the text of README.md.

    Args:
        recipe: the recipe of the training.
        measured: content of measurement.json.
        title: heading.
        parameters: number of parameters.
    """
    data = recipe.data
    source, described, lesson = _SOURCES[data.source]
    return _TEXT.format(
        **{**measured, **recipe.model.model_dump()},
        **training_fields(recipe, measured),
        title=title,
        parameters=parameters,
        source=source,
        profile=" --profile iid" if data.source == "iid" else "",
        data=described.format(**data.model_dump()),
        lesson=lesson,
        vocabulary=data.vocabulary,
        held_out_tokens=data.held_out_tokens,
        own=measured["validation_source_nats_per_token"],
        entropy=measured["entropy_rate_nats_per_token"],
        uniform=measured["uniform_nats_per_token"],
        unigram=measured["unigram_nats_per_token"],
        recipe=recipe.model_dump_json(indent=2),
    )
