"""The model card of a pushed run: sources, stand-ins and short budgets first, then what trained and how well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fptkit.files import ASSESSMENT, SUMMARY, find_json
from fptkit.recipe.load import LoadedRecipe
from fptkit.sources.decoding import decoding
from fptkit.specs import BackboneSpec, TaskSpec

UNKNOWN = "unknown"
"""The hub's identifier for licences that are not known."""

_TEXT = """---
{metadata}
---

# {title}

{sources}

## What it is

{about}

## Results

{results}

## Use

```sh
pip install fptkit
fptkit pull {repository}
fptkit predict {folder} FILE
```

In Python, `fptkit.load("{folder}").predict("path:FILE")`. The frozen part is
not in this repository: it is built from its own weights, and refused if its digest is not `{digest}`.{needs}

## Repeat

```sh
{repeat}
```

`recipe.yaml` has every option written out; `metrics.jsonl` has the curves. Made with {versions}.

## Licence

{licence}
"""


@dataclass(frozen=True)
class Card:
    """A model card.

    Args:
        text: README.md.
        licence: the hub's identifier of the licence; ``unknown`` if it is not known.
    """

    text: str
    licence: str


def write_card(folder: Path, files: Mapping[str, bytes], loaded: LoadedRecipe, repository: str, licence: str) -> Card:
    """Write the model card of a run.

    Args:
        folder: the run folder; of it, only sizes and intervals of the test are read.
        files: the files that are pushed, without folders of this machine.
        loaded: the recipe, with its plugins.
        repository: owner/name.
        licence: the licence of the trained tensors; empty if the user named none.
    """
    with decoding(folder / SUMMARY, "JSON"):
        summary, model = json.loads(files[SUMMARY]), json.loads(files["model.json"])
    licences = _Licences(loaded, summary, licence)
    tested = _mapping(find_json(folder / ASSESSMENT).get("splits"))
    name, versions = repository.partition("/")[2], summary.get("versions") or {}
    frozen = model.get("frozen") or {}
    text = _TEXT.format(
        metadata=_metadata(summary, name, licences.identifier),
        title=name,
        sources="\n".join(f"- {line}" for line in _sources(summary, loaded)),
        about="\n".join(f"- {line}" for line in _about(summary)),
        results=_results(summary, tested),
        repository=repository,
        folder=name,
        digest=frozen.get("digest"),
        needs=_needs(summary, loaded),
        repeat=_repeat(repository, name, summary, loaded),
        versions=", ".join(f"{each} {version}" for each, version in versions.items()),
        licence="\n".join(f"- {line}" for line in licences.lines()),
    )
    return Card(text, licences.identifier)


class _Licences:
    """The licences of weights, data and trained tensors."""

    def __init__(self, loaded: LoadedRecipe, summary: Mapping[str, Any], given: str) -> None:
        recipe, registry = loaded.recipe, loaded.registry
        drawn = summary["backbone"]["init"] != "pretrained" or summary["backbone"]["weights"] == "random"
        generated = summary["task"]["source"] in ("generated", "simulated")
        self.weights = "" if drawn else registry.get(BackboneSpec, recipe.backbone.name).licence
        self.data = "" if generated else registry.get(TaskSpec, recipe.task.name).licence
        self.drawn, self.generated, self.given = drawn, generated, given
        self.identifier = given.strip().lower().replace(" ", "-") or UNKNOWN

    def lines(self) -> Iterator[str]:
        """What is known about each."""
        yield f"of the trained tensors: {self.given or 'not stated by their owner'}"
        if self.drawn:
            yield "of the frozen weights: they were drawn at random"
        else:
            yield f"of the frozen weights, as fptkit knows it: {self.weights or 'not known'}; see their own card"
        if self.generated:
            yield "of the training data: they were generated"
        else:
            yield f"of the training data, as fptkit knows it: {self.data or 'not known'}"


def _metadata(summary: Mapping[str, Any], name: str, licence: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    task, backbone = summary["task"], summary["backbone"]
    results = [
        EvalResult(
            task_type="other",
            task_name=task["name"],
            dataset_type=task["name"],
            dataset_name=f"{task['name']} ({task['source']})",
            dataset_split=split,
            metric_type=metric,
            metric_name=metric,
            metric_value=value,
        )
        for split, values in _evaluated(summary).items()
        for metric, value in values.items()
    ]
    card = ModelCardData(
        license=licence,
        library_name="fptkit",
        tags=["fptkit", "frozen-pretrained-transformer", task["name"], backbone["name"]],
        datasets=_on_hub(task["source"]),
        base_model=_on_hub(backbone["weights"]),
        model_name=name if results else None,
        eval_results=results or None,
    )
    return card.to_yaml()


def _on_hub(entry: str) -> list[str] | None:
    """The repository of an entry ``hub:owner/name@revision``, in a list; None for other entries."""
    kind, _, place = str(entry).partition(":")
    return [place.partition("@")[0]] if kind == "hub" and "/" in place else None


def _evaluated(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The metrics of every test split; those of validation if no test was evaluated."""
    metrics = summary.get("metrics") or {}
    return metrics.get("test") or {"validation": metrics.get("validation") or {}}


def _sources(summary: Mapping[str, Any], loaded: LoadedRecipe) -> Iterator[str]:
    task, backbone = summary["task"], summary["backbone"]
    stand_in = " **This is a stand-in (fallback), not the source the recipe asks for first.**"
    yield f"**Data**: task `{task['name']}`, `{task['source']}`.{stand_in if task.get('stand_in') else ''}"
    init = "" if backbone["init"] == "pretrained" else f", initialised as `{backbone['init']}`"
    yield (
        f"**Frozen weights**: backbone `{backbone['name']}`, `{backbone['weights']}`{init}."
        f"{stand_in if backbone.get('stand_in') else ''}"
    )
    profile = loaded.recipe.pinned.profile
    if profile == "smoke":
        yield "**Smoke budget**: trained with the profile `smoke`, to see whether all of it runs; results mean little."
    elif profile:
        yield f"Profile `{profile}` of the recipe."
    if summary.get("data_fraction", 1.0) != 1.0:
        yield f"Trained on {summary['data_fraction']:.3g} of the training split."
    if summary["status"] != "finished":
        yield "No test split was evaluated; figures are those of the validation split, which chose the step."
    if (times := summary.get("times_tested", 0)) > 1:
        yield f"The test splits were evaluated {times} times."
    for line in (*summary.get("warnings", ()), *summary.get("notes", ())):
        yield " ".join(str(line).split())


def _about(summary: Mapping[str, Any]) -> Iterator[str]:
    counts = summary["parameters"]
    share = counts["trained"] / counts["total"]
    yield (
        f"freezing policy `{summary['freezing']}`: {counts['trained']:,} of {counts['total']:,} numbers trained "
        f"({share:.2%}); the others kept their values, which a digest before and after training proves"
    )
    yield f"encoder `{summary['encoder']}`, read-out `{summary['readout']}`, precision {summary['precision']}"
    yield (
        f"{summary['steps']:,} steps of {summary['batch_size']} examples at learning rate "
        f"{summary['learning_rate']:g}, seed {summary['seed']}; step {summary['best_step']:,} validated best"
    )


def _results(summary: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    rows = ["| split | metric | value | 95 % interval | examples |", "|---|---|---|---|---|"]
    fractions = summary.get("fractions") or ()
    for split, values in _evaluated(summary).items():
        assessed = _mapping(tested.get(split))
        for metric, value in values.items():
            shown = f"{value:.2%}" if metric in fractions else f"{value:.4g}"
            interval = _interval(assessed, metric, value, in_percent=metric in fractions)
            rows.append(f"| {split} | {metric} | {shown} | {interval} | {assessed.get('evaluated', 'not recorded')} |")
    text = "\n".join(rows)
    for split, accuracy in (summary.get("majority_accuracy") or {}).items():
        if split in _evaluated(summary):
            text += (
                f"\n\nAlways answering with the most frequent class of the training data: {accuracy:.2%} on {split}."
            )
    if (chance := summary.get("chance_accuracy")) is not None:
        text += f"\n\nGuessing: {chance:.2%}."
    return text + "\n\nOne run with one seed: the interval is that of the test examples, not of other seeds."


def _interval(assessed: Mapping[str, Any], metric: str, value: float, *, in_percent: bool) -> str:
    """The interval that was recorded for a metric, or a dash."""
    answers = _mapping(assessed.get("answers"))
    found = {
        "loss": (assessed.get("loss"), assessed.get("loss_interval")),
        "mean_squared_error": (answers.get("squared"), answers.get("squared_interval")),
        "mean_absolute_error": (answers.get("absolute"), answers.get("absolute_interval")),
    }
    if answers.get("answers"):
        found["accuracy"] = (answers.get("right", 0) / answers["answers"], answers.get("interval"))
    recorded, interval = found.get(metric, (None, None))
    # The metric of a task may be in another unit, or of other answers, than what was recorded under its name.
    if recorded is None or interval is None or abs(recorded - value) > 1e-4 * max(1.0, abs(value)):
        return "–"
    low, high = interval
    return f"{low:.2%} to {high:.2%}" if in_percent else f"{low:.4g} to {high:.4g}"


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _needs(summary: Mapping[str, Any], loaded: LoadedRecipe) -> str:
    weights = str(summary["backbone"]["weights"])
    text = ""
    if weights.startswith("path:"):
        text += f" They were a folder `{weights.removeprefix('path:')}`; name yours by `--weights path:FOLDER`."
    if names := [Path(file).name for file in loaded.recipe.plugins]:
        shown = ", ".join(f"`{each}`" for each in names)
        text += f" It needs the plugin {shown}, which is not here: `--plugin {names[0]}`."
    return text


def _repeat(repository: str, name: str, summary: Mapping[str, Any], loaded: LoadedRecipe) -> str:
    command = f"fptkit run {name}/recipe.yaml"
    source, weights = str(summary["task"]["source"]), str(summary["backbone"]["weights"])
    if source.startswith("path:"):
        command += f" --set task.source={source.split(',')[0]}"
    if weights.startswith("path:"):
        command += f" --set backbone.weights={weights}"
    return f"fptkit pull {repository}\n{command}"
