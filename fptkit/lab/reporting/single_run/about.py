"""What a run was, what its result depends on, and how it is repeated."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.training.words import parts_in_words
from fptkit.files import ASSESSMENT, RECIPE
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Point, Section, Table, row
from fptkit.lab.reporting.single_run.read import RunFiles
from fptkit.lab.studies.suggest import Suggestion

SMOKE = "A smoke run: its budget only shows that everything works. The figures mean nothing."

_STATUS = {
    "paused": "The run is paused: there is no result yet.",
    "running": "The run has not ended, or was killed: there is no result yet.",
    "interrupted": "The run was interrupted: there is no result yet.",
    "diverged": "The run diverged: there is no result.",
    "failed": "The run failed: there is no result.",
}


def banner(files: RunFiles) -> str:
    """What makes all figures meaningless; empty for nothing."""
    if (status := _STATUS.get(str(files.summary.get("status")))) is not None:
        reason = str(files.summary.get("reason") or "")
        return f"{status} {reason}".strip()
    return SMOKE if files.profile == "smoke" else ""


def status_of(files: RunFiles) -> str:
    """How far the run is, in one sentence."""
    summary = files.summary
    steps = f"{wording.counted(summary.get('steps', 0), 'step')}, best step {summary.get('best_step', 0):,}"
    text = f"{str(summary.get('status', 'unknown')).capitalize()}: {steps}, seed {summary.get('seed', '?')}"
    ended = {
        "patience": "ended by early stopping",
        "seconds": "ended by its time limit",
        "listener": f"ended by {summary.get('stopped_by')}",
    }.get(str(summary.get("ended_by")), "")
    return f"{', '.join(filter(None, [text, ended]))}. Made from the files of {files.folder}."


def warnings(files: RunFiles) -> Iterator[str]:
    """What the result depends on and a reader must know first."""
    summary = files.summary
    task, backbone = summary["task"], summary.get("backbone") or {}
    if task.get("stand_in"):
        yield (
            f"Fallback (stand-in) data: {task.get('source')}, not the first source of the recipe. The result is not "
            "comparable with published ones."
        )
    if backbone.get("stand_in"):
        yield (
            f"Fallback (stand-in) weights: {backbone.get('weights')}, not those that the backbone is named after. The "
            "result is not comparable with published ones."
        )
    yield from map(str, summary.get("warnings", ()))
    yield from _about_the_test(files)
    if (fraction := summary.get("data_fraction", 1.0)) != 1.0:
        yield f"Trained on {wording.share(fraction)} of the training data."
    if summary.get("best_step") and summary.get("best_step") == summary.get("steps"):
        yield "The best step is the last one: longer training may give a better result."
    if summary.get("best_step") == 0 and summary.get("steps"):
        yield "The best step is step 0, before any training: training made the model worse on validation."


def _about_the_test(files: RunFiles) -> Iterator[str]:
    for name, split in files.splits.items():
        if split.size is None:
            yield f"{name} has no fixed examples: {split.evaluated:,} were generated for this evaluation."
        elif split.evaluated != split.size:
            yield (
                f"{name} is sampled: batches with {split.evaluated:,} examples were drawn from {split.size:,}, as the "
                f"protocol {files.summary['task'].get('protocol')} says."
            )
    if (times := files.summary.get("times_tested", 1)) > 1:
        yield f"The test splits were evaluated {times} times: choices made in between may have used the test."
    if files.tested and not files.splits:
        yield (
            f"There is no {ASSESSMENT} for this result, since an older version of fptkit made the run: confusion, "
            "figures per class, calibration and the worst errors are missing. Running the recipe again makes them."
        )


def what_was_run(files: RunFiles) -> Section:
    """Task, model, training and machine."""
    table = Table(
        "Task, model and training.", row("what", "value"), tuple(row(*fact) for fact in _facts(files)), opened=True
    )
    return Section("what", "What was run", tables=(table,))


def notes(files: RunFiles) -> Section:
    """What data, weights and machine had to say before training."""
    return Section("notes", "Notes", points=tuple(Point(str(note)) for note in files.summary.get("notes", ())))


def _facts(files: RunFiles) -> Iterator[tuple[str, str]]:
    summary = files.summary
    task, backbone = summary["task"], summary.get("backbone") or {}
    yield "task", f"{task.get('name')}, protocol {task.get('protocol')}"
    yield "data", f"{task.get('source')}{' † fallback (stand-in)' if task.get('stand_in') else ''}"
    if data := summary.get("data"):
        size = f", {wording.counted(data['files'], 'file')}" if data.get("files") else ""
        yield "content of the data", f"digest {str(data.get('digest', ''))[:16]}{size}"
    yield "backbone", _backbone(backbone)
    yield "weights", f"{_weights(backbone)}{' ‡ fallback (stand-in)' if backbone.get('stand_in') else ''}"
    changed = ", changed by the recipe" if summary.get("freezing_options") else ""
    yield "freezing", f"{summary.get('freezing')}{changed}"
    yield "encoder and pooling", f"{summary.get('encoder')}, {summary.get('readout')}"
    if summary.get("shuffle_tokens"):
        yield "control", "the backbone gets the tokens of each example in random order"
    yield (
        "training",
        f"at most {summary.get('max_steps', 0):,} steps of {summary.get('batch_size')} examples, learning rate "
        f"{wording.rate(summary.get('learning_rate'))}, schedule {summary.get('schedule')}",
    )
    if parts := parts_in_words(summary):
        yield "parts of the training", parts
    yield "seed", _seeds(summary)
    yield "chosen by", f"validation {files.metric.name.replace('_', ' ')}, at step {summary.get('best_step', 0):,}"


def _backbone(backbone: Mapping[str, Any]) -> str:
    parts = [str(backbone.get("name"))]
    parts += [wording.counted(backbone["blocks"], "block")] if backbone.get("blocks") else []
    parts += [f"width {backbone['width']:,}"] if backbone.get("width") else []
    return ", ".join(parts)


def _weights(backbone: Mapping[str, Any]) -> str:
    init, weights = backbone.get("init", "pretrained"), backbone.get("weights")
    return str(weights) if init == "pretrained" or weights == "random" else f"{weights}, values replaced (init {init})"


def _seeds(summary: Mapping[str, Any]) -> str:
    seed = summary.get("seed")
    apart = [f"{name} {own}" for name, own in (summary.get("seeds") or {}).items() if own != seed]
    return f"{seed} ({', '.join(apart)})" if apart else str(seed)


def repeat(files: RunFiles, control: Suggestion | None) -> Section:
    """The commands that repeat the run and compare it with its control, and the versions behind it.

    Args:
        files: of the run.
        control: the study that compares it with random weights; None if there is none.
    """
    recipe = shlex.quote(str(files.folder / RECIPE))
    lines = ["# the same run again", f"fptkit run {recipe}"]
    if control is not None:
        lines += [f"# its control, random weights, over seeds: {wording.counted(control.runs, 'run')}", control.command]
    facts = [("command", _command(files.environment)), *_versions(files)]
    table = Table(
        "Command and versions of this run.", row("what", "value"), tuple(row(*one) for one in facts if one[1])
    )
    no_control = "There is no control with random weights: the weights are random already, or cannot be replaced."
    said = (no_control,) if control is None else ()
    return Section("repeat", "How to repeat it", paragraphs=said, code="\n".join(lines), tables=(table,))


def _command(environment: Mapping[str, Any]) -> str:
    words = list(map(str, environment.get("command") or ()))
    if not words:
        return ""
    name = Path(words[0]).name
    return shlex.join(["fptkit" if name in ("__main__.py", "fptkit", "fptkit.exe") else name, *words[1:]])


def _versions(files: RunFiles) -> Iterator[tuple[str, str]]:
    environment = files.environment
    versions = files.summary.get("versions") or environment.get("versions") or {}
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    yield "code", ", ".join(str(code)[:16] for code in environment.get("code", ()))
    yield "platform", str(environment.get("platform", ""))
    yield "processor", f"{environment.get('processor_model', '')} {environment.get('vector_instructions', '')}".strip()
    plugins = [plugin for plugin in environment.get("plugins", ()) if plugin.get("name") != "builtin"]
    yield "plugins", ", ".join(f"{plugin.get('name')} {plugin.get('version', '')}".strip() for plugin in plugins)
