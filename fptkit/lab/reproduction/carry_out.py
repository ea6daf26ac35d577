"""Carries out as much of the plan as fits into a budget; a killed call continues where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fptkit.errors import UsageError
from fptkit.files import find_json, write_json
from fptkit.lab.benchmarking.hours import Speed, shown_hours
from fptkit.lab.reproduction.arms import Preparation
from fptkit.lab.reproduction.compared import job_folder, result_of
from fptkit.lab.reproduction.counts import preparing_seconds, seconds_of
from fptkit.lab.reproduction.plan import PAPER, Job

SPENT = "spent.json"
"""File in the plan's folder: seconds spent so far, by job or preparation."""

STOPPED = 130
"""Exit code of a command that was interrupted (Ctrl-C, or the end of the budget)."""


class Start(Protocol):
    """Starts a command of fptkit and waits until it ends."""

    def __call__(self, arguments: Sequence[str], log: Path, *, within_s: float, tick: Callable[[float], None]) -> int:
        """Return the exit code; `STOPPED` if it was interrupted, and its state is saved.

        Args:
            arguments: those of ``fptkit``.
            log: file for what it prints.
            within_s: it is interrupted after so many seconds.
            tick: called from time to time, and at the end, with the seconds since the start.
        """
        ...


@dataclass(frozen=True)
class Settings:
    """How the plan is carried out.

    Args:
        folder: the plan's folder.
        hours: the budget in hours, over all calls with this folder; None: no limit.
        profile: ``paper``, or ``smoke`` to see whether everything runs.
        speed: the assumed speed of the machine.
    """

    folder: Path
    hours: float | None
    profile: str = PAPER
    speed: Speed = field(default_factory=Speed)


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs.

    Args:
        finished: jobs with results, of this call and earlier ones.
        failed: jobs that failed in this call, with the reason.
        left: jobs that did not fit into the budget.
        stopped: whether the call was interrupted.
        spent_s: seconds spent so far, over all calls.
    """

    finished: tuple[Job, ...]
    failed: Mapping[str, str]
    left: tuple[Job, ...]
    stopped: bool
    spent_s: float


class Spent:
    """Seconds spent on each job and preparation, kept in a file so that calls add up.

    Args:
        folder: the plan's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / SPENT
        self._seconds = {name: float(value) for name, value in find_json(self._file).items() if _is_number(value)}

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self._seconds.values())

    def of(self, name: str) -> float:
        """Seconds spent on one."""
        return self._seconds.get(name, 0.0)

    def counting(self, name: str) -> Callable[[float], None]:
        """A function to call with the seconds since now; they are added to what was spent on ``name``."""
        before = self.of(name)

        def keep(seconds: float) -> None:
            self._seconds[name] = before + seconds
            write_json(self._file, self._seconds)

        return keep


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def in_order(jobs: Sequence[Job], speed: Speed) -> list[Job]:
    """The jobs, the cheapest first, so that as many as possible fit into a budget."""
    return sorted(jobs, key=lambda job: (seconds_of(job, speed) + preparing_seconds(job, speed), job.name))


def carry_out(jobs: Sequence[Job], settings: Settings, start: Start, say: Callable[[str], None]) -> Outcome:
    """Carry out jobs until the budget is used up.

    A job starts only if it fits by its estimate, corrected by how long finished jobs took; one that takes longer than
    what is left is interrupted, and continues in a later call with a larger budget. A job that fails does not stop the
    others.

    Args:
        jobs: those to carry out.
        settings: how.
        start: starts commands.
        say: shows a line to the user.

    Raises:
        UsageError: the budget is not a number above 0.
    """
    if settings.hours is not None and not settings.hours > 0:
        raise UsageError(f"the budget is {settings.hours:g} hours; give a number above 0")
    return _Call(settings, start, say).carry_out(in_order(jobs, settings.speed))


class _Call:
    """One call: what was made, what failed, and what was spent."""

    def __init__(self, settings: Settings, start: Start, say: Callable[[str], None]) -> None:
        self._settings, self._start, self._say = settings, start, say
        self._spent = Spent(settings.folder)
        self._prepared: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._stopped = False

    def carry_out(self, jobs: Sequence[Job]) -> Outcome:
        """See `carry_out`."""
        finished: list[Job] = []
        left: list[Job] = []
        for number, job in enumerate(jobs, 1):
            if self._is_finished(job):
                finished.append(job)
            elif self._stopped or not self._fits(job, finished):
                left.append(job)
            else:
                self._say(f"[{number}/{len(jobs)}] {job.name}, about {self._about(job, finished)} hours")
                self._run(job)
                (finished if self._is_finished(job) else left).append(job)
        left = [job for job in left if job.name not in self._failed]
        return Outcome(tuple(finished), dict(self._failed), tuple(left), self._stopped, self._spent.total)

    def _is_finished(self, job: Job) -> bool:
        return result_of(job, self._settings.folder, self._settings.profile) is not None

    def _expected(self, job: Job, finished: Sequence[Job]) -> float:
        """Seconds that a job still needs: its estimate, corrected by the finished ones, without what it has already."""
        speed = self._settings.speed
        ahead = seconds_of(job, speed) * self._ratio(finished) - self._spent.of(job.name)
        made = {need.name for need in job.needs if self._spent.of(need.name)}
        preparing = 0.0 if made else preparing_seconds(job, speed) * self._ratio(finished)
        return max(ahead, 0.0) + preparing

    def _ratio(self, finished: Sequence[Job]) -> float:
        """How many times longer finished jobs took than estimated; 1 before the first."""
        counted = [job for job in finished if self._spent.of(job.name)]
        estimated = sum(seconds_of(job, self._settings.speed) for job in counted)
        return sum(self._spent.of(job.name) for job in counted) / estimated if estimated else 1.0

    def _about(self, job: Job, finished: Sequence[Job]) -> str:
        return "0.02" if self._settings.profile != PAPER else shown_hours(self._expected(job, finished))

    def _remaining(self) -> float:
        """Seconds left in the budget."""
        hours = self._settings.hours
        return float("inf") if hours is None else 3600 * hours - self._spent.total

    def _fits(self, job: Job, finished: Sequence[Job]) -> bool:
        if self._settings.profile != PAPER:
            return self._remaining() > 0
        return self._expected(job, finished) <= self._remaining()

    def _run(self, job: Job) -> None:
        """Run a job, after what it needs; note why it failed."""
        folder, profile = self._settings.folder, self._settings.profile
        for need in job.needs if profile == PAPER else ():
            if problem := self._prepare(need):
                self._fail(job, f"{need.name}: {problem}")
            if self._stopped or problem:
                return
        again = ["--retry-failed"] if job_folder(job, folder, profile).is_dir() else []
        log = folder / job.name / "log.txt"
        arguments = [*job.arguments(str(folder), profile), "--quiet", *again]
        code = self._start_one(job.name, arguments, log)
        if code not in (0, STOPPED):
            self._fail(job, f"{_last_error(log)} (exit code {code}; {log})")
        elif code == 0 and not self._is_finished(job):
            self._fail(job, f"it ended without a result; see {log}")

    def _prepare(self, need: Preparation) -> str:
        """Make what a job needs, once in a call; why that failed, or an empty text."""
        if need.name in self._prepared:
            return self._prepared[need.name]
        folder = self._settings.folder
        self._say(f"first: {need.name}")
        log = folder / "preparations" / f"{need.arguments[1]}.txt"
        code = self._start_one(need.name, [part.replace("{folder}", str(folder)) for part in need.arguments], log)
        problem = "" if code in (0, STOPPED) else f"{_last_error(log)} (exit code {code}; {log})"
        if code != STOPPED:
            self._prepared[need.name] = problem
        return problem

    def _start_one(self, name: str, arguments: Sequence[str], log: Path) -> int:
        log.parent.mkdir(parents=True, exist_ok=True)
        code = self._start(arguments, log, within_s=self._remaining(), tick=self._spent.counting(name))
        self._stopped = code == STOPPED
        return code

    def _fail(self, job: Job, reason: str) -> None:
        self._failed[job.name] = reason
        self._say(f"{job.name} failed: {reason}")


def _last_error(log: Path) -> str:
    """The last error that a command printed, with the line of details below it; else its last line."""
    lines: list[str] = []
    with suppress(OSError):
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error:")]
    if not errors:
        return lines[-1].strip() if lines else "it printed nothing"
    details = [line.strip() for line in lines[errors[-1] + 1 :][:1] if line.startswith(" ")]
    return ": ".join([lines[errors[-1]].removeprefix("error:").strip(), *details])
