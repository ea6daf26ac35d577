"""``plan.json`` in a study's folder: the locked plan, when it was locked, and a log of deviations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from fptkit.engine.code_version import digest_parts
from fptkit.errors import DataError
from fptkit.files import read_json, write_text
from fptkit.lab.studies.locking.content import Plan

FILE = "plan.json"


class LogEntry(BaseModel, frozen=True, extra="forbid"):
    """A deviation, and the call of ``fptkit study`` that was the first to find it.

    Args:
        time: when, in UTC.
        deviation: the deviation in words.
        digest: digest of this entry and of the digest before it, so that an altered log is noticed.
    """

    time: str
    deviation: str
    digest: str


class _Content(BaseModel, frozen=True, extra="forbid"):
    """Content of ``plan.json``.

    Args:
        format: format version of this file.
        digest: digest of everything but the log.
        locked: when the plan was locked, in UTC.
        late: empty, or how many runs of the study existed when it was locked.
        plan: the plan.
        log: deviations, in the order in which they were found.
    """

    format: Literal[1]
    digest: str
    locked: str
    late: str
    plan: Plan
    log: tuple[LogEntry, ...]


@dataclass(frozen=True)
class PlanFile:
    """A plan file.

    Args:
        content: its content as JSON data. Digests are computed from this, so that they stay right when a later version
            of fptkit adds fields.
        checked: the same, checked.
    """

    content: Mapping[str, Any]
    checked: _Content

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.checked.plan

    @property
    def digest(self) -> str:
        """The digest as it is in the file."""
        return self.checked.digest

    @property
    def locked(self) -> str:
        """When the plan was locked, in UTC."""
        return self.checked.locked

    @property
    def late(self) -> str:
        """Empty, or how many runs of the study existed when it was locked."""
        return self.checked.late

    @property
    def log(self) -> tuple[LogEntry, ...]:
        """Deviations, in the order in which they were found."""
        return self.checked.log

    @property
    def faults(self) -> tuple[str, ...]:
        """What was changed by hand, in words; empty if all digests are right."""
        found = []
        if (digest := _digest_of(self.content)) != self.digest:
            found.append(f"{FILE} was changed after it was locked: its digest is {digest[:12]}, not {self.digest[:12]}")
        for place, entry in enumerate(self.log):
            if entry.digest != _chained(self.digest, self.log[:place], entry.time, entry.deviation):
                found.append(f"the log of {FILE} was changed: entry {place + 1} does not match its digest")
                break  # all later ones depend on it
        return tuple(found)

    def logged(self, found: Iterable[str]) -> PlanFile:
        """The file with the deviations that its log lacks, each with the present time."""
        log = list(self.log)
        known = {entry.deviation for entry in log}
        for deviation in dict.fromkeys(found):
            if deviation not in known:
                when = _now()
                digest = _chained(self.digest, log, when, deviation)
                log.append(LogEntry(time=when, deviation=deviation, digest=digest))
        return _checked({**self.content, "log": [entry.model_dump() for entry in log]})


def locked_now(plan: Plan, *, runs: int = 0) -> PlanFile:
    """Lock a plan now.

    Args:
        plan: the plan.
        runs: number of runs of the study that exist already.
    """
    content = {
        "format": 1,
        "locked": _now(),
        "late": f"locked after {runs} run{'' if runs == 1 else 's'}" if runs else "",
        "plan": plan.model_dump(mode="json"),
    }
    return _checked({"format": 1, "digest": _digest_of(content), **content, "log": []})


def read(folder: Path) -> PlanFile | None:
    """The plan file in a study's folder; None if there is none.

    Raises:
        DataError: it is damaged, or written by another version of fptkit.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return _checked(read_json(path))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path} is damaged, or written by another version of fptkit: {where}: {first['msg']}; put back the file "
            "as it was locked"
        ) from err


def write(folder: Path, file: PlanFile) -> None:
    """Write the plan file of a study's folder, which is created if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, text_of(file))


def text_of(file: PlanFile) -> str:
    """The text of a plan file."""
    return json.dumps(file.content, indent=2) + "\n"


def _checked(content: Mapping[str, Any]) -> PlanFile:
    return PlanFile(content, _Content.model_validate(content))


def _digest_of(content: Mapping[str, Any]) -> str:
    return _digest({key: value for key, value in content.items() if key not in ("digest", "log")})


def _chained(first: str, before: Sequence[LogEntry], when: str, deviation: str) -> str:
    previous = before[-1].digest if before else first
    return _digest({"previous": previous, "time": when, "deviation": deviation})


def _digest(content: Any) -> str:
    return digest_parts([json.dumps(content, sort_keys=True, separators=(",", ":")).encode()])


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
