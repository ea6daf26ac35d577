"""The model card of a backbone pretrained on a task."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from fptkit.recipe.dump import component_mapping, dump_mapping
from fptkit.recipe.models import Recipe
from fptkit.specs import TaskSpec

_TEXT = """\
# {title}

{introduction}

**It is no language model**: it never saw text, and has neither word embedding nor tokeniser. It is meant as a frozen
backbone for other tasks, to be compared with one that was pretrained on something else.

| split | figures, weights as stored ({save_dtype}) | as trained |
|---|---|---|
{figures}

The figures are those of the entire model. Its input and output layers, which a weights folder does not need, are in
`input_output.safetensors`.
{majority}

## Training

- {steps:,} steps of {batch_size} examples: {examples:,} examples
- the weights are those of step {best_step:,}, the best on the validation split ({validation})
- {seconds:,.0f} s of training on {machine}, matrix products of the backbone in {precision}
- Adam, learning rate {learning_rate:g}, {clip}, seed {seed}

```
{command}
```

The resolved recipe, without folders:

```yaml
{recipe}```

## Data

{data}

## Limits

- Small, and trained on one task: it has only learnt what that task rewards.
{positions}- Its results are not comparable with published ones.
"""


def write_task_card(
    recipe: Recipe,
    task: TaskSpec,
    measured: Mapping[str, Any],
    *,
    described: str,
    positions: int,
    title: str,
    save_dtype: str,
) -> str:
    """Write the text of README.md.

    Args:
        recipe: the recipe of the run.
        task: the task's record.
        measured: content of measurement.json.
        described: architecture and sizes in words.
        positions: rows of the position table.
        title: heading.
        save_dtype: dtype of the stored weights.
    """
    train = recipe.train
    random = measured["started_from"] == "random"
    profile = f" --profile {recipe.pinned.profile}" if recipe.pinned.profile else ""
    start = "pretrained from random weights" if random else f"continued from {_plain(measured['started_from'])}"
    introduction = (
        f"{described} ({measured['parameters']:,} parameters), **{start} on the task `{recipe.task.name}`"
        f"{', on a fallback (stand-in) for the data it is named after' if measured['stand_in'] else ''}** by "
        "`fptkit pretrain`. All weights were trained."
    )
    return _TEXT.format(
        **{name: measured[name] for name in ("steps", "examples", "best_step", "seconds", "precision")},
        title=title,
        introduction=_wrapped(introduction),
        save_dtype=save_dtype,
        figures="\n".join(
            f"| {name} | **{_metrics(stored)}** | {_metrics(measured['test'].get(name, {}))} |"
            for name, stored in measured["test_as_stored"].items()
        ),
        majority=_majority(measured["majority_accuracy"]),
        batch_size=train.batch_size,
        validation=_metrics(measured["validation"]),
        machine=f"{measured['threads']} CPU thread(s)" if measured["device"] == "cpu" else measured["device"],
        learning_rate=train.learning_rate,
        clip="no clipping of the gradient"
        if train.clip_norm is None
        else f"gradient norm clipped at {train.clip_norm:g}",
        seed=train.seed,
        command=f"fptkit pretrain recipes/{recipe.pinned.recipe}.yaml{profile} --output {title}",
        recipe=_recipe(recipe),
        data=_wrapped(_data(task, measured)),
        positions=_positions(measured["tokens"], positions),
    )


def _data(task: TaskSpec, measured: Mapping[str, Any]) -> str:
    """Where the data are from; source and licence of a data set do not apply to its fallback."""
    notes = [f"{_plain(note).rstrip('.')}." for note in measured["notes"]]
    if not measured["stand_in"]:
        notes += [f"Source: {task.reference}."] if task.reference else []
        notes += [f"Licence: {task.licence}."] if task.licence else []
    about = f"Task `{task.name}` ({task.summary.rstrip('.')}), "
    about += f"protocol {measured['protocol']}, source {measured['source']}."
    return " ".join([about, *(note[:1].upper() + note[1:] for note in notes)])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in sorted(metrics.items()))


def _majority(majority: Mapping[str, float]) -> str:
    if not majority:
        return ""
    shares = ", ".join(f"{name} {value:.4f}" for name, value in majority.items())
    return f"\nAlways answering with the most frequent class of the training data gives an accuracy of: {shares}."


def _positions(trained: int, rows: int) -> str:
    if rows <= trained:
        return f"- Its position table has {rows:,} rows. For longer tasks, see `backbone.positions.extend`.\n"
    return (
        f"- The examples had at most {trained:,} tokens, so only the first {trained:,} of the {rows:,} rows of\n"
        "  the position table were trained; the others keep their random initialisation. Policies such as `fpt` train\n"
        "  all rows.\n"
    )


def _recipe(recipe: Recipe) -> str:
    """The settings that decide the weights; without folders, since a published card must not reveal local ones."""
    sections = {
        "task": component_mapping(recipe.task),
        **({"encoder": component_mapping(recipe.encoder)} if recipe.encoder else {}),
        "backbone": component_mapping(recipe.backbone),
        "freezing": component_mapping(recipe.freezing),
        "head": recipe.head.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json"),
        "precision": recipe.precision,
        "threads": recipe.threads,
    }
    return dump_mapping(_without_folders(sections))


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """``path:/home/me/models/mine`` -> ``path:mine``; other texts are unchanged."""
    return re.sub(r"^path:.*[/\\]", "path:", text)
