"""Repeats some runs of a study and compares them with the stored ones."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fptkit.engine.code_version import code_version, digest_parts
from fptkit.engine.control import PREFIX
from fptkit.errors import UsageError, clipped, nearest
from fptkit.files import CHECKPOINTS, ENVIRONMENT, METRICS, RECIPE, find_json, find_summary
from fptkit.lab.studies.job import LOG, Job, carried_environment
from fptkit.lab.studies.launchers.base import Ended, Launcher, LauncherOptions
from fptkit.lab.studies.launchers.choose import make_launcher
from fptkit.lab.studies.results import run_folder
from fptkit.lab.verification.differences import Findings, json_differences
from fptkit.lab.verification.manifest import Manifest, RunRecord, run_digests
from fptkit.sources.decoding import decoding

POINTS = 0.02
"""Tolerance for metrics between 0 and 1, where equal bits cannot be expected: 2 points."""

RELATIVE = 0.05
"""The same for other metrics, relative to the stored value."""

TOLERANCE = f"{100 * POINTS:g} points for metrics between 0 and 1, {100 * RELATIVE:g} % for others"

_ENVIRONMENT = ("processor", "processor_model", "vector_instructions", "code")
_SUMMARY = ("device", "threads", "precision", "processes", "parts", "evaluation_parts", "compiled")
_VERSIONS = ("torch", "numpy")
_KERNELS = "CPU kernels are not used"
"""Facts in a run's files that must be the same for equal bits, and the beginning of a note that must be."""

POLL_S = 1.0


@dataclass(frozen=True)
class Stored:
    """A run to repeat.

    Args:
        address: its address.
        name: its name, for people.
        folder: its folder.
        record: its record in the manifest.
    """

    address: str
    name: str
    folder: Path
    record: RunRecord


def rerun(
    ledger_folder: Path,
    manifest: Manifest,
    findings: Findings,
    *,
    count: int = 0,
    seed: int | None = None,
    names: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Repeat runs from their resolved recipes, named or randomly drawn ones, and compare tensors and metrics.

    If processor, threads, device, library versions and code are those of the stored run, the trained tensors must have
    the same bits and all metrics must be equal. Otherwise the selection metric must agree within `TOLERANCE`.

    Args:
        ledger_folder: folder of the ledger.
        manifest: the study's manifest.
        findings: receives what does not agree.
        count: number of runs to draw.
        seed: seed of the draw; None to derive it from the digest of the results.
        names: of runs, as of `named`.
        say: prints progress.

    Raises:
        UsageError: as of `named`.
    """
    asked = named(ledger_folder, manifest, names)
    if manifest.plan.code != code_version():
        findings.notes.append(
            f"the runs were made by another version of the code ({manifest.plan.code[:12]}, fptkit "
            f"{manifest.plan.fptkit}; this is {code_version()[:12]}): they are repeated with this one, and equal bits "
            "cannot be expected"
        )
        say(f"note: {findings.notes[-1]}")
    drawn = draw(ledger_folder, manifest, count=count, seed=seed)
    if len(drawn) < count:
        findings.notes.append(f"only {len(drawn)} runs can be repeated; others were limited by time, or not finished")
    runs = [*asked, *(one for one in drawn if one not in asked)]
    if not runs:
        return
    with tempfile.TemporaryDirectory(prefix="fptkit-rerun-") as place:
        # Features are computed again, too.
        environment = {**carried_environment(), "FPTKIT_CACHE": str(Path(place) / "cache")}
        launcher = make_launcher(LauncherOptions("local", workers=1), Path(place))
        try:
            for number, stored in enumerate(runs, start=1):
                say(f"repeating run {number} of {len(runs)}: {stored.name}")
                again = Path(place) / str(number)
                ended = _repeat(launcher, stored, again, environment)
                _compare(stored, again, ended, findings)
                shutil.rmtree(again, ignore_errors=True)
        finally:
            launcher.close()


def draw(ledger_folder: Path, manifest: Manifest, *, count: int, seed: int | None) -> list[Stored]:
    """Draw runs that can be repeated, without replacement.

    Args:
        ledger_folder: folder of the ledger.
        manifest: the study's manifest.
        count: number of runs.
        seed: seed of the draw; None to derive it from the digest of the results, so that everyone draws the same.
    """
    found = list(_repeatable(ledger_folder, manifest))
    seed = int(manifest.files.get("results.json", "0")[:15], 16) if seed is None else seed
    return random.Random(seed).sample(found, min(count, len(found)))  # nosec B311: repeatable, no secret


def named(ledger_folder: Path, manifest: Manifest, names: Sequence[str]) -> list[Stored]:
    """The runs with these names, each once.

    Args:
        ledger_folder: folder of the ledger.
        manifest: the study's manifest.
        names: of the runs' folders, or the first digits of them.

    Raises:
        UsageError: a name means no run, several, or one that cannot be repeated.
    """
    repeatable = {stored.address: stored for stored in _repeatable(ledger_folder, manifest)}
    found: dict[str, Stored] = {}
    for name in names:
        meant = [address for address in manifest.runs if name and address.startswith(name)]
        folders = [run_folder(ledger_folder, address).name for address in meant or manifest.runs]
        if not meant:
            suggestion = nearest(name, folders)
            text = (
                f" Did you mean '{suggestion}'?" if suggestion else " The study's report names the folder of each run."
            )
            raise UsageError(f"the study has no run '{clipped(name)}'.{text}")
        if len(meant) > 1:
            some = " and ".join(folders[:2])
            raise UsageError(f"'{name}' are the first digits of {len(meant)} runs, such as {some}: give more digits")
        if meant[0] not in repeatable:
            status = manifest.runs[meant[0]].status
            raise UsageError(
                f"run {folders[0]} cannot be repeated: it was limited by time, or has no result ({status})"
            )
        found[meant[0]] = repeatable[meant[0]]
    return list(found.values())


def _repeatable(ledger_folder: Path, manifest: Manifest) -> Iterator[Stored]:
    """Runs that have a result and were not limited by time, sorted by address."""
    names = {
        trial.address: f"{trial.key[0]}, rate {trial.learning_rate:g}, seed {trial.seed}" for trial in manifest.trials
    }
    for address in sorted(manifest.runs):
        record = manifest.runs[address]
        folder = run_folder(ledger_folder, address)
        at_rest = record.status in ("paused", "validated", "finished", "diverged")
        if at_rest and record.summary.get("max_seconds") is None and (folder / RECIPE).is_file():
            yield Stored(address, names[address], folder, record)


def _repeat(launcher: Launcher, stored: Stored, folder: Path, environment: Mapping[str, str]) -> Ended:
    summary = stored.record.summary
    folder.mkdir()
    launcher.start(
        Job(
            address=stored.address,
            name=stored.name,
            recipe=(stored.folder / RECIPE).read_text(encoding="utf-8"),
            folder=folder,
            working_folder=Path.cwd(),
            threads=summary.get("threads", 1),
            until_step=summary["steps"] if stored.record.status == "paused" else None,
            open_test=stored.record.status == "finished",
            environment=environment,
        )
    )
    while True:
        for ended in launcher.wait(POLL_S):
            return ended


def _compare(stored: Stored, folder: Path, ended: Ended, findings: Findings) -> None:
    name = f"repeated {stored.name} ({stored.folder.name})"
    status = ended.result.status if ended.result else "lost"
    if status != stored.record.status:
        reason = (ended.result.reason if ended.result else ended.death) or _last_line(folder / LOG)
        findings.wrong(name, f"ended as {status}, not as {stored.record.status}: {reason}")
        return
    before, now = stored.record.summary, find_summary(folder)
    differing = _differing(stored, folder, now)
    tensors = _tensors_equal(stored.record, run_digests(folder))
    metrics = list(json_differences(name, _metrics(before), _metrics(now)))
    lines = _lines(stored) != _evaluations((folder / METRICS).read_bytes())
    if tensors is not False and not metrics and not lines:
        findings.notes.append(f"{name}: equal{'' if tensors is None else ', bit for bit'}")
    elif not differing:
        findings.differences += metrics
        if tensors is False:
            findings.wrong(name, "its trained tensors have other bits")
        if lines:
            findings.wrong(name, f"its lines in {METRICS} differ")
    else:
        _compare_roughly(name, before, now, differing, findings)


def _compare_roughly(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], differing: str, findings: Findings
) -> None:
    """Compare the selection metric within the tolerance."""
    metric = before.get("selection", {}).get("metric", "")
    fraction = metric in before.get("fractions", ())
    ours, theirs = _values(before, metric), _values(now, metric)
    far = [
        place
        for place, value in ours.items()
        if place not in theirs or abs(theirs[place] - value) > (POINTS if fraction else RELATIVE * abs(value))
    ]
    for place in far:
        findings.wrong(name, f"{theirs.get(place)}, stored {ours[place]}: beyond the tolerance of {TOLERANCE}", place)
    if not far:
        findings.notes.append(f"{name}: equal within {TOLERANCE}; equal bits cannot be expected, since {differing}")


def _differing(stored: Stored, folder: Path, now: Mapping[str, Any]) -> str:
    """What differs between the two runs' machines and versions; empty if bits must be equal."""
    environments = find_json(stored.folder / ENVIRONMENT), find_json(folder / ENVIRONMENT)
    summaries = stored.record.summary, now
    found = [key for key in _ENVIRONMENT if environments[0].get(key) != environments[1].get(key)]
    found += [key for key in _SUMMARY if summaries[0].get(key) != summaries[1].get(key)]
    versions = [summary.get("versions", {}) for summary in summaries]
    found += [name for name in _VERSIONS if versions[0].get(name) != versions[1].get(name)]
    slow = [any(note.startswith(_KERNELS) for note in summary.get("notes", ())) for summary in summaries]
    found += ["CPU kernels"] if slow[0] != slow[1] else []
    if not environments[0].get("processor_model"):
        found.append("the model of the processor, which is not recorded")
    return f"these differ: {', '.join(found)}" if found else ""


def _tensors_equal(record: RunRecord, now: Mapping[str, str]) -> bool | None:
    """Whether the trained tensors have the same bits; None if the stored run recorded none."""
    names = [name for name in record.files if name == "model.safetensors"] or [
        name for name in record.files if name.startswith(f"{CHECKPOINTS}/") and name.endswith("/trained.safetensors")
    ]
    return all(record.files[name] == now.get(name) for name in names) if names else None


def _metrics(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {key: summary.get(key) for key in ("metrics", "steps", "best_step", "parameters")}


def _lines(stored: Stored) -> str:
    with (stored.folder / METRICS).open("rb") as file:
        return _evaluations(file.read(stored.record.metrics_bytes))


def _evaluations(text: bytes) -> str:
    """Digest of the lines of a metrics file, without the speed of training and what listeners measured."""
    with decoding(METRICS, "lines of JSON"):
        records = [json.loads(line) for line in text.splitlines()]
    records = [record for record in records if not str(record.get("split")).startswith(PREFIX)]
    kept = [{key: value for key, value in record.items() if key != "examples_per_second"} for record in records]
    return digest_parts(json.dumps(record, sort_keys=True).encode() for record in kept)


def _values(summary: Mapping[str, Any], metric: str) -> dict[str, float]:
    """The selection metric by split."""
    metrics = summary.get("metrics", {})
    splits = {"validation": metrics.get("validation", {}), **metrics.get("test", {})}
    return {split: values[metric] for split, values in splits.items() if metric in values}


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it left no log"
    return lines[-1] if lines else "its log is empty"
