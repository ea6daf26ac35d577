"""The small run and the small study that are disturbed, and what must be the same afterwards."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from children import in_child

RUN = """
task: {name: bit_xor, bits: 2, validation_size: 8, test_size: 8}
backbone: {name: random, size: nano, blocks: 1, width: 8, heads: 1, dropout: 0.1}
train: {batch_size: 4, max_steps: 6, validate_every: 2, checkpoint_every: 2, log_every: 2, patience: null}
precision: float32
threads: 1
"""
STUDY = """
tasks:
  xor: {task: {name: bit_xor, bits: 2, validation_size: 8, test_size: 8}}
arms:
  random:
    backbone: {name: random, size: nano, blocks: 1, width: 8, heads: 1, dropout: 0.1}
    train: {batch_size: 4, validate_every: 2, checkpoint_every: 2, log_every: 2, patience: null}
    precision: float32
    threads: 1
learning_rates: [1e-3, 1e-2]
seeds: 1
budget: {steps: 6}
"""
SMALL_STUDY = STUDY.replace("learning_rates: [1e-3, 1e-2]", "learning_rates: [1e-3]")

MODULES = (
    *("torch", "safetensors.torch", "filelock", "fptkit.registry", "fptkit.recipe.load", "fptkit.engine.run"),
    *("fptkit.cli.main", "fptkit.cli.run", "fptkit.cli.study", "fptkit.api.studies", "fptkit.cli.console"),
    *(
        "fptkit.lab.studies.load",
        "fptkit.lab.studies.runner",
        "fptkit.lab.studies.summarise",
        "fptkit.lab.reporting.write",
    ),
    *(
        "fptkit.lab.verification.outputs",
        "fptkit.lab.reporting.terminal",
        "fptkit.tasks.bits",
        "fptkit.backbones.random",
    ),
    *(
        "fptkit.encoders.linear",
        "fptkit.engine.assessment.file",
        "fptkit.lab.reporting.document",
        "jinja2",
        "scipy.stats",
    ),
)
"""What runs and studies import."""

LIMIT_S = 120.0
"""A run or study that takes longer on the clock hangs."""


def fptkit(*arguments: str) -> None:
    """In a child: the installed command. Workers are forked from this process, which has loaded the libraries."""
    from fptkit.cli import entry
    from fptkit.lab.studies.launchers import local

    local._context = lambda *_: multiprocessing.get_context("fork")  # type: ignore[assignment]
    sys.argv = ["fptkit", *arguments]
    # Python handles SIGINT from its start on, which for an installed command is before anything of fptkit.
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        entry.command()


def run_command(folder: Path) -> Callable[[], None]:
    """The small run in ``folder/run``, which continues it."""
    return functools.partial(_in, folder, RUN, "run", "r.yaml", "--output", "run", "--resume", "--quiet")


def study_command(folder: Path, text: str = STUDY, *, workers: int = 1) -> Callable[[], None]:
    """The small study in ``folder/ledger``, which continues it."""
    more = ("--ledger", "ledger", "--workers", str(workers), "--threads", "1", "--quiet", "--retry-failed")
    return functools.partial(_in, folder, text, "study", "r.yaml", *more)


def _in(folder: Path, text: str, command: str, *arguments: str) -> None:
    os.chdir(folder)
    file = folder / "r.yaml"
    if not file.exists():
        file.write_text(text)
    fptkit(command, *arguments)


def undisturbed(folder: Path, command: Callable[[], None]) -> None:
    """Carry out a run or study in a child.

    Raises:
        RuntimeError: it does not end well.
    """
    log = folder / "log"
    ended = in_child(command, log, limit_s=LIMIT_S)
    if ended.code:
        raise RuntimeError(f"the undisturbed one ended with {ended.code}: {log.read_text(errors='replace')[-3000:]}")


def result_of_run(folder: Path) -> dict[str, Any]:
    """Everything a run gives, without what measures time and memory."""
    run = folder / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    (checkpoint,) = (run / "checkpoints").glob("step-00000006")
    return {
        "model": (run / "model.safetensors").read_bytes(),
        "trained": (checkpoint / "trained.safetensors").read_bytes(),
        "optimizer": (checkpoint / "optimizer.safetensors").read_bytes(),
        "lines": [{key: value for key, value in line.items() if key != "examples_per_second"} for line in lines],
        **{key: summary[key] for key in ("status", "metrics", "steps", "best_step")},
        "assessment": (run / "assessment.json").read_bytes(),
        "preparation": (run / "preparation.json").read_bytes(),
    }


def result_of_study(folder: Path) -> dict[str, Any]:
    """What a study gives: its results, byte for byte."""
    return {"results.json": (folder / "ledger" / "r" / "results.json").read_bytes()}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Names of what differs."""
    return [name for name in theirs if ours.get(name) != theirs[name]]
