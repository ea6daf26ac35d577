"""Make the answers: lock the plans of all studies, carry them out within their budgets, and bundle the results.

    python benchmarks/answers.py --data DIR --cores 2        all studies in the order of answers/plan.yaml
    python benchmarks/answers.py rq2 rq4 --data DIR          two of them
    python benchmarks/answers.py --status                    hours spent, what is decided, what is bundled
    python benchmarks/answers.py rq2 --bundle                bundle what a stopped study has so far; run nothing
    python benchmarks/answers.py --estimate --data DIR       core-hours of each
    python benchmarks/answers.py --smoke                     minutes: does everything run? Nothing is published

In the background, prefix ``nohup nice``; SIGTERM stops it, and the run in progress saves its state. Start it in the
root of the repository with a relative DIR: runs record both as they are given, and bundles are published. A call that
was stopped or killed continues when the same command is called again; hours count over all calls. DIR holds the files
of ``answers_plan.DATA``. All plans are locked before the first run and copied to ``docs/results/plans``. A study ends
when all its comparisons are decided or have all their seeds, or when its budget is spent; then it is verified, and its
bundle is written to ``docs/results/bundles``, as a zip file, which the code of every plan can write. Nothing is
committed. Afterwards, ``fptkit bundle LEDGER/STUDY --output docs/results/bundles/STUDY.tar.xz`` with today's code makes
it smaller, and ``python docs/generate.py`` writes the pages.

On another machine, or without the ledger, a call continues from what is published: plans, hours and the runs of the
bundles are taken from ``docs/results``. The code must be that of the plan, at the commit that ``docs/results/plan.md``
names; with other code, all runs are made anew, and the results say that the study deviates from its plan.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from answers_plan import SECONDS_PER_TFLOP, Question, data_overrides, estimated, questions

from fptkit.errors import FptkitError, UsageError
from fptkit.files import find_json, locked_folder
from fptkit.lab.reproduction.carry_out import SPENT, STOPPED, Spent
from fptkit.lab.reproduction.process import start_process
from fptkit.lab.verification.bundles.archive import unpacked
from fptkit.lab.verification.bundles.bundle import study_in
from fptkit.sources.archive import unpack

PROGRAM = (sys.executable, "-c", "import sys; sys.argv[0] = 'fptkit'; from fptkit.cli.main import main; main()")
"""Starts fptkit as its command does. Runs record their command line, which must not hold paths of this machine."""

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
DECIDED = ("better", "worse", "same")


@dataclass(frozen=True)
class Place:
    """Where a call works.

    Args:
        ledger: folder of the runs.
        results: folder of ``bundles`` and ``plans``.
        data: folder of the data; None for the sources that the studies name.
        cores: number of runs at a time, each on one core.
        smoke: whether to use the profile smoke.
    """

    ledger: Path
    results: Path
    data: Path | None
    cores: int
    smoke: bool = False

    def folder(self, question: Question) -> Path:
        """The study's own folder."""
        return self.ledger / (f"{question.study}-smoke" if self.smoke else question.study)

    def bundle(self, question: Question) -> Path:
        """The bundle that is written when the study ends."""
        return self.results / "bundles" / f"{question.study}.zip"

    def packed_anew(self, question: Question) -> Path:
        """The same, packed anew to publish it."""
        return self.bundle(question).with_suffix(".tar.xz")

    def published(self, question: Question) -> Path | None:
        """The bundle there is, in either form; None if there is none."""
        files = (self.bundle(question), self.packed_anew(question))
        return next((file for file in files if file.is_file()), None)

    def plan(self, question: Question) -> Path:
        """The copy of the locked plan."""
        return self.results / "plans" / f"{question.study}.json"

    @property
    def hours(self) -> Path:
        """The copy of the hours spent."""
        return self.results / SPENT

    def log(self, question: Question) -> Path:
        """What the study's commands print."""
        return self.ledger / f"{question.study}.log"

    def spent(self, question: Question) -> float:
        """Core-hours spent so far."""
        return Spent(self.ledger).of(question.study) / 3600

    def arguments(self, question: Question, *command: str) -> list[str]:
        """Arguments of ``fptkit`` for a command about the study as it is planned."""
        data = [] if self.smoke else data_overrides(question, self.data)
        profile = ["--profile", "smoke"] if self.smoke else []
        given = [part for text in data for part in ("--set", text)]
        file = os.path.relpath(question.file)
        return [*command, file, *profile, *given, "--ledger", str(self.ledger)]


def missing(question: Question) -> list[str]:
    """Packages that a study needs and that are not installed."""
    return [name for name in question.needs if importlib.util.find_spec(name.replace("-", "_")) is None]


def unmade_weights(question: Question) -> list[str]:
    """Bodies of fptkit-bodies that a study needs and that were not made yet."""
    if "fptkit-bodies" not in question.needs:
        return []
    find = importlib.import_module("fptkit_bodies.find")
    return [name for name in find.BODIES if not (find.WEIGHTS / name / "model.safetensors").is_file()]


def decided(folder: Path) -> tuple[int, int]:
    """Number of decided comparisons of a study, and of all; zeros before its first results."""
    results: dict[str, Any] = find_json(folder / "results.json")
    verdicts = [one["verdict"] for one in results.get("comparisons", ())]
    return sum(verdict in DECIDED for verdict in verdicts), len(verdicts)


def is_complete(folder: Path) -> bool:
    """Whether every run that a study needs is finished; false before its first results."""
    results: dict[str, Any] = find_json(folder / "results.json")
    return bool(results.get("cells")) and all(cell["complete"] for cell in results["cells"])


def restore(asked: Sequence[Question], place: Place) -> None:
    """Take from the published results what the ledger lacks: plans, hours spent, and the studies and runs of bundles.

    Runs in a bundle have no checkpoints. A finished run is not repeated; one that was stopped begins anew. A restored
    study can be bundled again after it was continued, since its manifest names files that bundles leave out.

    Raises:
        DataError: a bundle is damaged.
    """
    place.ledger.mkdir(parents=True, exist_ok=True)
    for question in asked:
        folder, bundle = place.folder(question), place.published(question)
        if bundle is not None and not (folder / "results.json").is_file():
            with _opened(bundle) as content:
                _restore_runs(content / "runs", place.ledger / "runs")
                _restore_study(study_in(content), folder)
        elif place.plan(question).is_file() and not (folder / "plan.json").is_file():
            folder.mkdir(exist_ok=True)
            shutil.copyfile(place.plan(question), folder / "plan.json")
    if place.hours.is_file() and not (place.ledger / SPENT).is_file():
        shutil.copyfile(place.hours, place.ledger / SPENT)


@contextlib.contextmanager
def _opened(bundle: Path) -> Iterator[Path]:
    """Unpack a bundle; with the code of older plans, `unpacked` knows zip files only."""
    if bundle.suffix == ".zip":
        with unpacked(bundle) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        unpack(bundle, Path(place))
        yield Path(place)


def _restore_study(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    files = [path for path in source.iterdir() if path.is_file()]
    # The results come last: they show that all is there.
    for file in sorted(files, key=lambda file: file.name == "results.json"):
        shutil.copyfile(file, target / file.name)


def _restore_runs(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for run in source.iterdir():
        if not (target / run.name).exists():
            partial = target / f".{run.name}.part"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(run, partial)
            partial.rename(target / run.name)


def lock_all(asked: Sequence[Question], place: Place) -> None:
    """Lock the plan of every study that is not locked yet, and keep a copy.

    Raises:
        UsageError: a package is missing, or a plan cannot be locked.
    """
    for question in asked:
        if lacking := missing(question):
            commands = " ".join(f"./plugins/{name}" for name in lacking)
            raise UsageError(f"{question.study} needs packages that are not installed; pip install {commands}")
    for question in asked:
        if not (place.folder(question) / "plan.json").is_file():
            _fptkit(place.arguments(question, "study", "lock"), f"{question.study}: its plan cannot be locked")
        place.plan(question).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place.folder(question) / "plan.json", place.plan(question))


def _fptkit(arguments: Sequence[str], problem: str) -> str:
    """Run a command of fptkit that takes seconds; returns what it printed.

    Raises:
        UsageError: it failed.
    """
    ended = subprocess.run([*PROGRAM, *arguments], check=False, capture_output=True, text=True, encoding="utf-8")
    if ended.returncode:
        said = "\n".join(text.strip() for text in (ended.stderr, ended.stdout) if text.strip())
        raise UsageError(f"{problem}: {said}")
    return ended.stdout


def carry_out(question: Question, place: Place) -> str:
    """Continue a study until it ends or its budget is spent, then bundle it. Returns what became of it, in words.

    Raises:
        KeyboardInterrupt: the call was stopped before; the study's state is saved.
        UsageError: a command failed, or weights are missing.
    """
    if place.published(question) is not None and (
        is_complete(place.folder(question)) or place.spent(question) >= 0.999 * question.core_hours
    ):
        return "bundled before"
    if not place.smoke and (lacking := unmade_weights(question)):
        raise UsageError(f"its weights are not made: {', '.join(lacking)}; python plugins/fptkit-bodies/make.py")
    left = question.core_hours - place.spent(question)
    if left > 0:
        code = _run(question, place, within_s=3600 * left / place.cores)
        if code == STOPPED and place.spent(question) < 0.999 * question.core_hours:
            raise KeyboardInterrupt
        if code not in (0, STOPPED):
            raise UsageError(f"{question.study} ended with exit status {code}; see {place.log(question)}")
    if not (place.folder(question) / "results.json").is_file():
        raise UsageError("its budget ended before the first results; raise core_hours in answers/plan.yaml")
    return publish(question, place)


def publish(question: Question, place: Place) -> str:
    """Write the bundle of a study as it is, and the hours spent. Returns what is decided, in words.

    Raises:
        UsageError: it has no results, or they do not agree with its runs.
    """
    if not (place.folder(question) / "results.json").is_file():
        raise UsageError("it has no results yet")
    found, count = decided(place.folder(question))
    _bundle(question, place)
    if not place.smoke and (place.ledger / SPENT).is_file():
        shutil.copyfile(place.ledger / SPENT, place.hours)
    return f"{found} of {count} comparisons decided, {place.spent(question):.2f} core-hours"


def _run(question: Question, place: Place, *, within_s: float) -> int:
    """Run the study's command; the hours count times the number of cores."""
    count = Spent(place.ledger).counting(question.study)
    arguments = [*place.arguments(question, "study"), "--workers", str(place.cores), "--threads", "1", "--quiet"]
    place.log(question).parent.mkdir(parents=True, exist_ok=True)
    return start_process(
        [*arguments, "--retry-failed"],
        place.log(question),
        within_s=within_s,
        tick=lambda seconds: count(seconds * place.cores),
        program=PROGRAM,
    )


def _bundle(question: Question, place: Place) -> None:
    """Verify the study and write its bundle, complete or not at all."""
    folder, bundle = place.folder(question), place.bundle(question)
    _fptkit(["verify", str(folder)], f"{question.study} does not agree with its runs")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    partial = bundle.with_suffix(".part")
    _fptkit(["bundle", str(folder), "--output", str(partial)], f"{question.study} cannot be bundled")
    partial.replace(bundle)
    place.packed_anew(question).unlink(missing_ok=True)


def state(question: Question, place: Place) -> str:
    """A line about a study: hours, decisions, whether it is locked and bundled."""
    found, count = decided(place.folder(question))
    locked = (place.folder(question) / "plan.json").is_file()
    words = "bundled" if place.published(question) is not None else "locked" if locked else "not locked"
    hours = f"{place.spent(question):.2f} of {question.core_hours:g} core-hours"
    return f"{question.study}: {words}, {hours}, {found} of {count} comparisons decided"


def show_estimate(asked: Sequence[Question], data: Path | None, rate: float) -> None:
    """Print runs and core-hours of each study, and their sums."""
    click.echo(f"core-hours at {rate:g} s per TFLOP of one core; without runs that a study above makes")
    rows = list(estimated(asked, data, rate))
    for question, row in zip(asked, rows, strict=True):
        runs = f"{row.runs_least}" if row.runs_least == row.runs_most else f"{row.runs_least} to {row.runs_most}"
        click.echo(f"{row.study}: {runs} runs, {row.least:.1f} to {row.most:.1f}, budget {question.core_hours:g}")
    budget = sum(question.core_hours for question in asked)
    least, most = sum(row.least for row in rows), sum(row.most for row in rows)
    click.echo(f"together: {least:.1f} to {most:.1f}, budget {budget:.1f}: {budget / 2:.1f} hours of two cores")


def _asked(names: Sequence[str]) -> tuple[Question, ...]:
    known = {question.study: question for question in questions()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"there is no study '{unknown[0]}'; choose of {', '.join(known)}")
    return tuple(question for name, question in known.items() if not names or name in names)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder of the data.")
@click.option("--cores", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time, a core each.")
@click.option("--ledger", type=click.Path(path_type=Path), default=Path("answers"), show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Default: docs/results.")
@click.option("--rate", type=float, default=SECONDS_PER_TFLOP, show_default=True, help="Seconds per TFLOP and core.")
@click.option("--estimate", "only_estimate", is_flag=True, help="Print core-hours; run nothing.")
@click.option("--status", "only_status", is_flag=True, help="Print how far it is; run nothing.")
@click.option("--bundle", "only_bundle", is_flag=True, help="Bundle what the studies have so far; run nothing.")
@click.option("--smoke", is_flag=True, help="Profile smoke, in LEDGER/smoke: does everything run?")
@click.argument("names", nargs=-1)
def main(
    data: Path | None,
    cores: int,
    ledger: Path,
    results: Path,
    rate: float,
    names: Sequence[str],
    *,
    only_estimate: bool,
    only_status: bool,
    only_bundle: bool,
    smoke: bool,
) -> None:
    """The command line."""
    place = Place(ledger, results, data, cores)
    if smoke:
        place = Place(ledger / "smoke", ledger / "smoke", None, cores, smoke=True)
    try:
        asked = _asked(names)
        if only_estimate:
            show_estimate(asked, data, rate)
        elif only_status:
            for question in asked:
                click.echo(state(question, place))
        else:
            make(asked, place, publish if only_bundle else carry_out)
    except FptkitError as err:
        raise click.ClickException(str(err)) from err
    except KeyboardInterrupt:
        click.echo("stopped; the same command continues", err=True)
        raise SystemExit(STOPPED) from None


def make(asked: Sequence[Question], place: Place, what: Callable[[Question, Place], str] = carry_out) -> None:
    """Lock all plans, then carry the studies out in turn; one that fails does not stop the others.

    Args:
        asked: the studies.
        place: where.
        what: what to do with each, `carry_out` or `publish`.

    Raises:
        UsageError: another call uses the ledger, a plan cannot be locked, or a study failed; all others were carried
            out before.
    """
    failed = []
    with locked_folder(place.ledger, "call of answers.py"):
        restore(asked if place.smoke else questions(), place)
        lock_all(asked if place.smoke else questions(), place)
        for question in asked:
            try:
                click.echo(f"{question.study}: {what(question, place)}")
            except UsageError as err:
                failed.append(question.study)
                click.echo(f"{question.study}: {err}", err=True)
    if failed:
        raise UsageError(f"failed: {', '.join(failed)}; the same command tries them again")


if __name__ == "__main__":
    main()
