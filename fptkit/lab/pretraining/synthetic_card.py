"""The model card of a model pretrained on symbols from a random source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fptkit.lab.pretraining.model_card import training_fields
from fptkit.lab.pretraining.options import SyntheticData, SyntheticRecipe
from fptkit.lab.pretraining.procedures import PROCEDURES

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
{entropy}| knowing only the frequencies of the symbols | {unigram:.4f} |
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
{command}
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
- It can have learnt {lesson}{reach}.
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


_ENTROPY = "| entropy rate of the source: the floor of the expected loss | {:.4f} |\n"
_NO_FURTHER = "; its data have no longer dependencies"
_WHOLE_EXAMPLES = (
    " The loss of the source is that of a model that sees the whole example; a window that begins within an example "
    "hides a part of it."
)


def write_synthetic_card(
    recipe: SyntheticRecipe, measured: Mapping[str, Any], *, vocabulary: int, title: str, parameters: int
) -> str:
    """Write the text of README.md.

    Args:
        recipe: the recipe of the training.
        measured: content of measurement.json.
        vocabulary: number of symbols of the source.
        title: heading.
        parameters: number of parameters.
    """
    data = recipe.data
    return _TEXT.format(
        **{**measured, **recipe.model.model_dump()},
        **training_fields(recipe, measured),
        **_described(data),
        title=title,
        parameters=parameters,
        command=_command(data, title),
        vocabulary=vocabulary,
        held_out_tokens=data.held_out_tokens,
        own=measured["validation_source_nats_per_token"],
        entropy=_ENTROPY.format(rate) if (rate := measured.get("entropy_rate_nats_per_token")) is not None else "",
        uniform=measured["uniform_nats_per_token"],
        unigram=measured["unigram_nats_per_token"],
        recipe=recipe.model_dump_json(indent=2),
    )


def _described(data: SyntheticData) -> dict[str, str]:
    """What the card says about the source: its name, its data, and what can be learnt from them."""
    if data.source not in PROCEDURES:
        source, text, lesson = _SOURCES[data.source]
        return {"source": source, "data": text.format(**data.model_dump()), "lesson": lesson, "reach": _NO_FURTHER}
    procedure = PROCEDURES[data.source]
    text = f"A stream of independent examples, each after a separator: {procedure.summary.format(**data.model_dump())}."
    return {
        "source": f"a procedure ({data.source})",
        "data": text + _WHOLE_EXAMPLES,
        "lesson": procedure.lesson,
        "reach": "",
    }


def _command(data: SyntheticData, title: str) -> str:
    """The command that makes the model, with the shipped recipe or the recipe that the card shows."""
    if data.source in PROCEDURES:
        return f"fptkit pretrain recipe.json --output {title}    # recipe.json: the resolved recipe below"
    return f"fptkit pretrain recipes/pretrain_synthetic.yaml --output {title}" + _PROFILES.get(data.source, "")


_PROFILES = {"iid": " --profile iid"}
