"""What a bundle holds: the files of a study and its runs, laid out as in a ledger folder, and what each of them is."""

from __future__ import annotations

from pathlib import Path

from fptkit.files import ADDRESS, CHECKPOINTS, ENVIRONMENT, METRICS, PREPARATION, RECIPE, SUMMARY
from fptkit.lab.studies.locking.plan_file import FILE as PLAN
from fptkit.lab.studies.record import FILE as STUDY
from fptkit.lab.studies.results import COSTS, RESULTS, run_folder
from fptkit.lab.verification.manifest import MANIFEST, PICTURES, Manifest

CRATE = "ro-crate-metadata.json"
README = "README.md"
SUMS = "sha256sums.txt"

OF_STUDY = {
    "report.md": "the report: tables, comparisons and warnings in words, as Markdown",
    "report.html": "the same report with charts, for a browser; needs nothing else",
    "results.csv": "one row for each cell (arm, task, fraction of the data): test, validation, seeds, rates, costs",
    RESULTS: "every figure: cells, rates, comparisons, answers, runs; the reports are made from it",
    COSTS: "seconds and memory of each run",
    STUDY: "the resolved study: tasks, arms, learning rates, seeds; and the command that ran it",
    PLAN: "the plan that was locked before the first run, its digest, and a log of deviations",
    MANIFEST: "what the results rest on: the plan as it was run, each run's outcome, and SHA-256 of every file",
}
"""Files of a study's folder, with their descriptions."""

OF_RUN = {
    SUMMARY: "result of the run: status, metrics of validation and test, counts, versions",
    METRICS: "one JSON object per line: training, validation and test over the steps",
    RECIPE: "the resolved recipe: every setting of the run; running it repeats the run",
    ENVIRONMENT: "versions, platform, processor, command, digest of the code",
    ADDRESS: "address of the run: digest of everything that decides its result",
    PREPARATION: "what the model takes and gives, and how new inputs are prepared for it",
    "model.json": "SHA-256 of the trained tensors, the step they are from, and the frozen part they belong to",
}
"""Files of a run folder, with their descriptions. Without ``assessment.json``, which has examples of the data."""

TENSORS = {
    "model.safetensors": "trained tensors of the best step, by parameter name",
    "trained.safetensors": "trained tensors at a checkpoint",
    "optimizer.safetensors": "state of the optimizer at a checkpoint",
    "state.json": "state of training at a checkpoint, and SHA-256 of its tensors",
}
"""Files of a run folder that only bundles with checkpoints hold."""

OF_BUNDLE = {
    README: "this file",
    CRATE: "the same for machines: RO-Crate 1.2 (https://w3id.org/ro/crate/1.2)",
    SUMS: "SHA-256 of every other file; check all with: sha256sum -c sha256sums.txt",
}

FORMATS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".html": "text/html",
    ".yaml": "application/yaml",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
    ".safetensors": "application/octet-stream",
    "": "text/plain",
}
"""Media types by suffix."""


def is_tensors(name: str) -> bool:
    """Whether a file of a run folder is only in bundles with checkpoints."""
    return name == "model.safetensors" or name.startswith(f"{CHECKPOINTS}/")


def is_bundled(name: str, *, checkpoints: bool) -> bool:
    """Whether a bundle holds a file, by its path in the study's folder or in a run folder."""
    if is_tensors(name):
        return checkpoints
    return name in OF_STUDY or name in OF_RUN or name.startswith(f"{PICTURES}/")


def description_of(path: str) -> str:
    """What a file of a bundle is, by its path in the bundle."""
    name = path.rpartition("/")[2]
    if f"/{PICTURES}/" in path:
        return "a chart of report.md"
    for known in (OF_BUNDLE if "/" not in path else {}, OF_STUDY, OF_RUN, TENSORS):
        if name in known:
            return known[name]
    return "a file of the study"


def files_of(folder: Path, manifest: Manifest, *, checkpoints: bool) -> dict[str, Path]:
    """The files of a study and its runs that a bundle holds, by their path in it.

    Args:
        folder: the study's folder.
        manifest: its manifest.
        checkpoints: whether to include tensor files.
    """
    own = [name for name in (*manifest.files, MANIFEST, PLAN) if is_bundled(name, checkpoints=checkpoints)]
    found = {f"{folder.name}/{name}": folder / name for name in own if (folder / name).is_file()}
    for address, record in manifest.runs.items():
        there, name_of = run_folder(folder.parent, address), run_folder(Path(), address).as_posix()
        for name in record.files:
            if is_bundled(name, checkpoints=checkpoints):
                found[f"{name_of}/{name}"] = there / name
    return found
