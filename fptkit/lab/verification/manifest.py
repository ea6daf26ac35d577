"""``manifest.json`` in a study's folder: what the results rest on, with a digest of every file.

It also keeps each run's summary as the results used it. Another study may continue a run of a shared ledger later; the
results can still be derived from the record.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from fptkit.engine.code_version import digest_parts
from fptkit.errors import DataError, UsageError
from fptkit.files import CHECKPOINTS, LOCK, METRICS, RUN_REPORT, find_json, find_summary, read_json, write_text
from fptkit.lab.studies.job import LOG
from fptkit.lab.studies.locking.content import Plan
from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.plan import CellName, Trial
from fptkit.lab.studies.record import FILE as STUDY
from fptkit.lab.studies.record import STATE
from fptkit.lab.studies.results import COSTS, RESULTS, StudyResults, run_folder
from fptkit.sources.download import file_sha256

MANIFEST = "manifest.json"

OWN = (STATE, STUDY, RESULTS, COSTS, "report.md", "results.csv", "report.html")
"""Files of a study's folder with their digests here."""

PICTURES = "report_figures"
"""Folder of the pictures that ``report.md`` links to, if it has any."""

TENSOR_DIGESTS = ("model.json", f"{CHECKPOINTS}/*/state.json")
"""Files of a run folder that hold the digests of the tensor files beside them."""


Address = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _inside(name: str) -> str:
    if any(part in ("", "..") or set(part) & set("\\:\0") for part in name.split("/")):
        raise ValueError("is no path of a file inside the folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]
"""Path of a file inside a folder: a manifest may come from somebody else."""


class TrialRecord(BaseModel, frozen=True, extra="forbid"):
    """A run of a cell.

    Args:
        task, arm, data_fraction, learning_rate, seed, varied: its cell and trial.
        address: address of the run; cells may share runs.
    """

    task: str
    arm: str
    data_fraction: float
    learning_rate: float
    seed: int
    varied: str
    address: Address

    @property
    def key(self) -> tuple[CellName, Trial]:
        """Cell and trial."""
        return CellName(self.task, self.arm, self.data_fraction), Trial(self.learning_rate, self.seed, self.varied)


class RunRecord(BaseModel, frozen=True, extra="forbid"):
    """A run as the results used it.

    Args:
        status, reason, step, summary: its outcome, see `fptkit.lab.studies.outcome.Outcome`.
        files: SHA-256 of each file in its folder, by relative path; empty if it had not started or was in progress.
        folder: whether it had a folder.
        metrics_bytes, log_bytes: lengths of the two files that a continued run extends.
    """

    status: Status
    reason: str
    step: int
    summary: dict[str, Any]
    files: dict[FileName, str]
    folder: bool
    metrics_bytes: int = 0
    log_bytes: int = 0

    def outcome(self, address: str) -> Outcome:
        """The outcome of the run."""
        return Outcome(address, self.status, self.reason, self.step, self.summary)


class ReportRecord(BaseModel, frozen=True, extra="forbid"):
    """How a report was made.

    Args:
        against: papers that it compares with.
        pictures: folder of its pictures, relative to it; empty if it links to none.
    """

    against: tuple[str, ...] = ()
    pictures: str = ""


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """What the results of a study rest on.

    Args:
        format: format version of this file.
        digest: digest of everything else in it.
        made: when it was written, in UTC.
        reports: how each report was made, by file name; those not listed compare with no paper and have no pictures.
        locked: digest of the locked plan; empty if there was none.
        plan: the plan of the study as it was run.
        files: SHA-256 of each file in the study's folder, by relative path; without this one and ``plan.json``, which
            has a digest of its own.
        log: number of entries in the log of ``plan.json``.
        trials: the runs of each cell.
        runs: the runs, by address.
    """

    format: Literal[1] = 1
    digest: str
    made: str
    reports: dict[str, ReportRecord] = {}
    locked: str = ""
    plan: Plan
    files: dict[FileName, str]
    log: int = 0
    trials: tuple[TrialRecord, ...]
    runs: dict[Address, RunRecord]

    @property
    def text(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(), indent=2) + "\n"

    def sealed(self) -> Manifest:
        """The same with the right digest."""
        return self.model_copy(update={"digest": self.right_digest})

    @property
    def right_digest(self) -> str:
        """The digest that this content has."""
        content = self.model_dump(exclude={"digest"})
        return digest_parts([json.dumps(content, sort_keys=True, separators=(",", ":")).encode()])


def make_manifest(
    folder: Path,
    ledger_folder: Path,
    plan: Plan,
    results: StudyResults,
    outcomes: Mapping[str, Outcome],
) -> Manifest:
    """Record what the results of a study rest on, after all other files were written.

    Args:
        folder: the study's folder.
        ledger_folder: folder of the ledger.
        plan: the plan of the study as it was run.
        results: its results.
        outcomes: outcomes of its runs, by address.
    """
    from fptkit.lab.studies.locking import plan_file

    trials = tuple(TrialRecord(**row.model_dump(include={*TrialRecord.model_fields})) for row in results.runs)
    runs = {
        address: _run_record(run_folder(ledger_folder, address), outcomes.get(address) or Outcome(address))
        for address in dict.fromkeys(trial.address for trial in trials)
    }
    locked = plan_file.read(folder)
    return Manifest(
        digest="",
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        locked=results.plan,
        plan=plan,
        files=study_digests(folder),
        log=len(locked.log) if locked else 0,
        trials=trials,
        runs=runs,
    ).sealed()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a study's folder."""
    write_text(folder / MANIFEST, manifest.text)


def record_reports(folder: Path, paths: Iterable[Path], against: Sequence[str]) -> None:
    """Record reports that were written again into a study's folder, for example with published figures.

    Nothing is recorded if the folder has no manifest, or if the reports are in another folder.

    Args:
        folder: the study's folder.
        paths: files written: reports and their pictures.
        against: papers that the reports compare with.
    """
    if not (folder / MANIFEST).is_file():
        return
    manifest = read_manifest(folder)
    inside = [path.resolve() for path in paths if path.resolve().is_relative_to(folder.resolve())]
    names = [path.relative_to(folder.resolve()).as_posix() for path in inside]
    known = [name for name in names if name in OWN or name.startswith(f"{PICTURES}/")]
    pictures = PICTURES if len(known) > 1 and any(name.startswith(f"{PICTURES}/") for name in known) else ""
    made = {
        name: ReportRecord(against=tuple(against), pictures=pictures if name == "report.md" else "")
        for name in known
        if name in OWN
    }
    files = {**manifest.files, **{name: file_sha256(folder / name) for name in known}}
    changed = manifest.model_copy(update={"reports": {**manifest.reports, **made}, "files": files})
    write_manifest(folder, changed.sealed())


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a study's folder.

    Raises:
        UsageError: there is none.
        DataError: it is damaged, or written by another version of fptkit.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {MANIFEST}, so there is nothing to verify it with; run its fptkit study command again, "
            "which writes it and repeats no finished run"
        )
    content = read_json(path)
    try:
        return Manifest.model_validate(content)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path} is damaged, or written by another version of fptkit: {where}: {first['msg']}; replace it by an "
            "intact copy"
        ) from err


def study_digests(folder: Path) -> dict[str, str]:
    """Digest of every file that fptkit wrote into a study's folder, by relative path, except those that hold digests of
    themselves. Other files there are the user's own."""
    names = [name for name in files_in(folder) if name in OWN or name.startswith(f"{PICTURES}/")]
    return {name: file_sha256(folder / name) for name in names}


def run_digests(folder: Path) -> dict[str, str]:
    """Digest of every file in a run folder, by relative path, except its report, which is made from the others at any
    time.

    Those of tensor files are copied from the JSON files beside them, which the run wrote: they may be large.
    """
    known: dict[str, str] = {}
    for pattern in TENSOR_DIGESTS:
        for path in folder.glob(pattern):
            beside = path.parent.relative_to(folder)
            files = find_json(path).get("files")
            known |= {(beside / name).as_posix(): digest for name, digest in (files or {}).items()}
    return {name: known.get(name) or file_sha256(folder / name) for name in files_in(folder) if name != RUN_REPORT}


def files_in(folder: Path) -> list[str]:
    """Relative paths of the files in a folder, sorted; without locks and unfinished files."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not _is_passing(name))


def _is_passing(name: str) -> bool:
    """Whether a file is a lock, or one that is being written."""
    parts = name.split("/")
    return parts[-1].endswith(LOCK) or any(part.startswith(".") and part.endswith((".part", ".old")) for part in parts)


def _run_record(folder: Path, outcome: Outcome) -> RunRecord:
    at_rest = outcome.status not in ("waiting", "running") and same_json(find_summary(folder), outcome.summary)
    files = run_digests(folder) if at_rest else {}
    return RunRecord(
        status=outcome.status,
        reason=outcome.reason,
        step=outcome.step,
        summary=dict(outcome.summary),
        files=files,
        folder=folder.is_dir(),
        metrics_bytes=_size(folder / METRICS) if files else 0,
        log_bytes=_size(folder / LOG) if files else 0,
    )


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal; unlike in ``==``, NaN equals itself."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
