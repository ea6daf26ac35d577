"""``fptkit.study``: a study from Python; and one study from plan to reports, for the command line too."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fptkit.api.display import html_table, paragraph, quiet_libraries
from fptkit.api.notebook import in_notebook
from fptkit.api.notebook_study import NotebookStudyView
from fptkit.engine.team.launch import process_count
from fptkit.errors import UsageError
from fptkit.lab.reporting.write import Form, read_study, text_of
from fptkit.lab.studies.earlier import earlier_notes, earlier_runs, other_data_notes
from fptkit.lab.studies.launchers.base import LauncherOptions
from fptkit.lab.studies.launchers.choose import make_launcher
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.load import load_read_study, load_study
from fptkit.lab.studies.locking.lock import compare, numbered, record
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.progress import ProgressView, make_view
from fptkit.lab.studies.record import FILE, study_folder
from fptkit.lab.studies.results import StudyResults, read_results
from fptkit.lab.studies.runner import StudyEnd, StudyRunner
from fptkit.lab.studies.verdicts import Comparison
from fptkit.lab.verification.outputs import write_outputs
from fptkit.recipe.find import recipe_folders
from fptkit.recipe.given import override_texts, read_given
from fptkit.recipe.load import load_installed


@dataclass(frozen=True)
class StudyRequest:
    """A request to carry out a study.

    Args:
        study: the checked study.
        ledger_folder: folder of runs and results.
        launcher: how workers are started.
        overrides: the overrides it was loaded with.
        command: what started it, for the record.
        retry_failed: whether to retry runs that failed in an earlier call.
    """

    study: Study
    ledger_folder: Path
    launcher: LauncherOptions
    overrides: Sequence[str]
    command: Sequence[str]
    retry_failed: bool = False


def carry_out(request: StudyRequest, view_of: Callable[[], ProgressView], warn: Callable[[str], None]) -> StudyEnd:
    """Run what a study still needs, and write its results and reports.

    Args:
        request: the study, and how it is carried out.
        view_of: makes the view that shows the progress.
        warn: takes lines that the user must see, such as deviations from a locked plan.

    Raises:
        UsageError: the ledger or the study's folder cannot be used.
    """
    study, place = request.study, request.ledger_folder
    folder = study_folder(place, study)
    compared = compare(study, folder)
    with _writing(folder):
        record(folder, compared)
    if compared.deviations:
        warn("this call deviates from the locked plan:")
        for line in numbered(compared.deviations).splitlines():
            warn(line)
    with Ledger(place) as ledger:
        view = view_of()
        try:
            runner = StudyRunner(
                study,
                ledger,
                lambda modules: make_launcher(request.launcher, place, preload=modules),
                view,
                retry_failed=request.retry_failed,
            )
            unmade = runner.unmade()
            earlier = earlier_notes(study, folder, earlier_runs(unmade, ledger), keep=True)
            for line in (*earlier, *other_data_notes(unmade, ledger)):
                view.say(line)
            end = runner.carry_out()
        finally:
            view.close()
    with _writing(folder):
        write_outputs(study, end.outcomes, place, overrides=request.overrides, command=request.command)
    return end


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into one that says what is kept."""
    try:
        yield
    except OSError as err:
        raise UsageError(
            f"{folder}: the study cannot be recorded: {err}; its runs are kept, and the same call continues it"
        ) from err


@dataclass(frozen=True)
class StudyResult:
    """The results of a study. `fptkit.study` makes it.

    Args:
        folder: folder of the study, with its reports.
        ledger: folder of runs and results.
        results: everything the reports are made from, as in ``results.json``.
        failed: a line for each run that failed.

    Example:
        >>> import fptkit
        >>> found = fptkit.study("bit_xor_gpt2", profile="smoke", seeds=1, quiet=True)
        >>> [row["arm"] for row in found.scores()]
        ['bit_xor_gpt2']
        >>> found.report("markdown").startswith("# ")
        True
    """

    folder: Path
    ledger: Path
    results: StudyResults = field(repr=False)
    failed: tuple[str, ...] = ()

    def scores(self) -> list[dict[str, Any]]:
        """Return a row for each cell: its arm and task, and the mean of the main test metric over seeds."""
        return [
            {
                "task": cell.task,
                "arm": cell.arm,
                "data_fraction": cell.data_fraction,
                "metric": cell.metric,
                "mean": cell.main.mean if cell.main else None,
                "sem": cell.main.sem if cell.main else None,
                "seeds": len(cell.main.values) if cell.main else 0,
                "learning_rate": cell.chosen_rate,
                "complete": cell.complete,
            }
            for cell in self.results.cells
        ]

    def verdicts(self) -> list[dict[str, Any]]:
        """Return a row for each comparison of two arms, pretraining lifts included: difference, interval, verdict.

        ``difference`` is arm ``a`` minus arm ``b``, signed so that above 0 means ``a`` is better; ``low`` and ``high``
        are its 95 % interval, and ``p`` is corrected within its question. Figures are None if there is no test.
        """
        compared = (*self.results.comparisons, *self.results.lifts)
        first = {_row_key(each): _verdict_row(each) for each in reversed(compared)}
        return list(reversed(first.values()))

    def report(self, form: Form = "markdown") -> str:
        """Return the report of the study as text; the same files are in ``folder``.

        Args:
            form: ``markdown``, ``html`` or ``csv``.

        Raises:
            UsageError: the form is unknown.
        """
        if form not in ("markdown", "html", "csv"):
            raise UsageError(f"report: unknown form {form!r}; use markdown, html or csv")
        study = read_study(self.folder, self.ledger)
        return text_of(form, study, study.report(into=self.folder))

    def _repr_html_(self) -> str:
        """Scores, verdicts and warnings, for notebooks."""
        results = self.results
        title = f"{results.name}{f', profile {results.profile}' if results.profile else ''}"
        return "".join(
            [
                *(paragraph(f"warning: {text}") for text in results.warnings),
                *(paragraph(f"failed: {text}") for text in self.failed),
                html_table(self.scores(), caption=title),
                html_table(self.verdicts(), caption="comparisons") if self.verdicts() else "",
                paragraph(f"report: {self.folder / 'report.html'}"),
            ]
        )


def study(
    study: str | Path | Mapping[str, Any],
    *,
    profile: str | None = None,
    name: str = "study",
    ledger: str | Path = "studies",
    workers: int | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
    plugins: Sequence[str | Path] = (),
    **overrides: Any,
) -> StudyResult:
    """Run a study, like the command ``fptkit study``: its missing runs, in processes of their own.

    Finished runs are not repeated: the same call continues a study that was stopped.

    Args:
        study: name or file of a study, or of a recipe to study over seeds and learning rates; or its content.
        profile: name of one of its profiles, such as ``"smoke"``.
        name: name of the study if its content is given; it names its folder.
        ledger: folder of runs and results; studies in the same folder share common runs.
        workers: concurrent runs; None: as many as cores and memory allow.
        retry_failed: whether to retry runs that failed in an earlier call.
        quiet: whether to print failures only.
        plugins: plugin files, in addition to those of the study.
        overrides: values of the study, or of the recipe: ``seeds=3, learning_rates=[1e-3, 3e-3], controls=True``.

    Returns:
        The results: scores, verdicts and reports. Runs that failed are listed in ``failed``.

    Raises:
        RecipeError: study or overrides have faults; the error holds all of them.
        UsageError: the study cannot be carried out in this ledger.
        KeyboardInterrupt: SIGINT (the stop button of a notebook) or SIGTERM; the same call continues the study.

    Example:
        >>> import fptkit
        >>> found = fptkit.study("bit_xor_gpt2", profile="smoke", seeds=1, workers=1, quiet=True)
        >>> found.failed, found.results.seeds
        ((), (0,))
    """
    if process_count() > 1:
        raise UsageError("fptkit.study runs in one process; start it without torchrun or accelerate launch")
    quiet_libraries()
    texts, place = override_texts(overrides), Path(ledger)
    loaded = _loaded(study, name, profile, texts, plugins)
    file = str(study_folder(place, loaded) / FILE) if isinstance(study, Mapping) else str(study)
    command = _command(file, place, {} if isinstance(study, Mapping) else {"profile": profile, "overrides": texts})
    launcher = LauncherOptions(workers=workers)
    request = StudyRequest(loaded, place, launcher, texts, command, retry_failed=retry_failed)
    end = carry_out(request, lambda: _view(quiet=quiet), lambda text: print(text, file=sys.stderr))
    if end.signal_number:
        raise KeyboardInterrupt("the study was stopped and the state of its runs saved; the same call continues it")
    folder = study_folder(place, loaded)
    failed = tuple(f"arm {missing.cell.arm}: {missing.text}" for missing in end.failed)
    return StudyResult(folder, place, read_results(folder), failed)


def _loaded(
    given: str | Path | Mapping[str, Any],
    name: str,
    profile: str | None,
    overrides: Sequence[str],
    plugins: Sequence[str | Path],
) -> Study:
    if not isinstance(given, Mapping):
        return load_study(str(given), profile=profile, overrides=overrides, plugin_files=plugins)
    files = [Path(file) for file in plugins]
    registry = load_installed(files)
    file = read_given(given, recipe_folders(registry), name)
    return load_read_study(file, registry, profile=profile, overrides=overrides, given=files)


def _command(file: str, ledger: Path, applied: Mapping[str, Any]) -> list[str]:
    """The command line that does the same."""
    profile = ["--profile", applied["profile"]] if applied.get("profile") else []
    overrides = [part for text in applied.get("overrides", ()) for part in ("--set", text)]
    return ["fptkit", "study", file, *profile, *overrides, "--ledger", str(ledger)]


def _view(*, quiet: bool) -> ProgressView:
    return NotebookStudyView() if in_notebook() and not quiet else make_view(quiet=quiet)


def _row_key(compared: Comparison) -> tuple[Any, ...]:
    return compared.task, compared.data_fraction, frozenset((compared.a, compared.b))


def _verdict_row(compared: Comparison) -> dict[str, Any]:
    low, high = compared.interval or (None, None)
    return {
        "task": compared.task,
        "data_fraction": compared.data_fraction,
        "a": compared.a,
        "b": compared.b,
        "difference": compared.mean,
        "low": low,
        "high": high,
        "p": compared.p_holm,
        "verdict": compared.verdict,
        "note": compared.note,
    }
