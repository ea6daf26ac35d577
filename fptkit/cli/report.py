"""``fptkit report``: the results of a study, as text, tables or a page for the browser; or the report of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.shell_completion import CompletionItem

from fptkit.cli.completion import completes
from fptkit.cli.shared import json_option, load_registry, plugin_option, print_json
from fptkit.registry import in_use

if TYPE_CHECKING:
    from fptkit.lab.reporting.of_plugins import Own
    from fptkit.lab.reporting.write import Form, StudyFiles
    from fptkit.lab.studies.results import StudyResults

_FORMATS = ("terminal", "markdown", "csv", "html")


def studies(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Studies under the ledger folder by name, then folders."""
    from fptkit.lab.studies.results import RESULTS

    ledger = Path(context.params.get("ledger") or "studies")
    names = sorted(path.parent.name for path in ledger.glob(f"*/{RESULTS}"))
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="dir")]


@click.command()
@click.argument("study", shell_complete=studies)
@click.option(
    "--against",
    multiple=True,
    metavar="PAPER",
    shell_complete=completes("published"),
    help="Compare with published figures, e.g. fpt2021 or rothermel2021. Repeatable.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="Format of the report. Default: tables for the terminal, or with --output, all three files.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="File or folder to write to, instead of stdout. Without --format, a folder for all three files.",
)
@click.option("--figures", is_flag=True, help="Write the pictures of a Markdown report next to it, as SVG.")
@click.option(
    "--anew",
    is_flag=True,
    help="Derive the results again from the stored runs, with the statistics of this version; run nothing.",
)
@click.option(
    "--save", is_flag=True, help="With --anew: replace the stored results and reports, if the runs are as they were."
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Folder of the studies.",
)
@json_option
@plugin_option
def report(
    study: str,
    against: Sequence[str],
    form: str | None,
    output: Path | None,
    figures: bool,
    anew: bool,
    save: bool,
    ledger: Path,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Report on STUDY, a folder of results or the name of a study in the ledger folder; or on a run, by its folder.

    The report of a run is written to report.html in its folder, unless --output or --format say otherwise.

    \b
    fptkit report runs/mnist_gpt2-2026-01-31-120000
    fptkit report rq2_pretraining_modality-nano
    fptkit report rothermel-nano --against rothermel2021
    fptkit report rothermel-nano --format markdown --output docs/results/rothermel.md --figures
    fptkit report rothermel-nano --anew
    fptkit report rothermel-nano --anew --save
    """
    from fptkit.errors import UsageError
    from fptkit.lab.reporting.of_plugins import of_study
    from fptkit.lab.reporting.write import read_study, text_of
    from fptkit.lab.verification.manifest import record_reports

    load_registry(plugin_files)
    _check_papers(against)
    if figures and (form != "markdown" or output is None):
        raise UsageError("--figures writes the pictures next to a file: give --format markdown and --output FILE too")
    if as_json and (form is not None or output is not None):
        raise UsageError("--json prints on stdout: give it without --format and --output")
    if form == "terminal" and output is not None:
        raise UsageError("--format terminal prints on stdout: give another --format for --output")
    if save and (not anew or against or as_json or form is not None or output is not None):
        raise UsageError("--save replaces the stored results and reports: give it with --anew and nothing else")
    if is_run_folder(Path(study)):
        _report_on_run(Path(study), form, output, figures=figures, as_json=as_json, others=bool(against) or anew)
        return
    folder = find_study(study, ledger)
    found = read_study(folder, folder.parent)  # a study's folder is in the ledger folder
    remedies: Sequence[str] = ()
    if save:
        from fptkit.lab.verification.outputs import renew_outputs

        renew_outputs(folder)
        click.echo(f"{folder}: results and reports are those of this version; the runs are as they were")
        return
    if anew:
        found, remedies = _derived_anew(found)
    if as_json:
        print_json({"results": found.results.model_dump(mode="json"), "against": _pairs(found.results, against)})
    elif output is not None:
        own = of_study(found.results)
        written = list(_write(found, form, output, against, figures, own))
        if not anew:  # reports derived again are not those of the stored results
            record_reports(folder, written, against, own)
        for path in written:
            click.echo(path)
    elif form in (None, "terminal"):
        from fptkit.lab.reporting.terminal import print_results

        print_results(found.results, against=against)
    else:
        report = found.report(against=against, own=of_study(found.results))
        click.echo(text_of(cast("Form", form), found, report), nl=False)
    for remedy in remedies:
        click.echo(remedy, err=True)


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a run, and no study."""
    from fptkit.lab.reporting.single_run.read import is_run
    from fptkit.lab.studies.results import RESULTS

    return is_run(folder) and not (folder / RESULTS).is_file()


def _report_on_run(
    folder: Path, form: str | None, output: Path | None, *, figures: bool, as_json: bool, others: bool
) -> None:
    """Write or print the report of a run.

    Raises:
        UsageError: an option does not go with a run, or the run cannot be read.
    """
    from fptkit.errors import UsageError
    from fptkit.files import RUN_REPORT
    from fptkit.lab.reporting.markdown import to_markdown
    from fptkit.lab.reporting.page import to_html
    from fptkit.lab.reporting.single_run.read import read_run
    from fptkit.lab.reporting.single_run.write import run_report
    from fptkit.lab.reporting.write import write, write_pictures

    if others:
        raise UsageError(f"{folder} is a run: --against and --anew are for studies; leave them out")
    form = form or (output is not None and not output.is_dir() and _by_suffix(output)) or "html"
    if form not in ("html", "markdown"):
        raise UsageError(f"{folder} is a run, which has no report as {form}; use --format html or markdown")
    if as_json:
        found = read_run(folder)
        assessed = None if found.assessed is None else found.assessed.model_dump(mode="json")
        print_json({"summary": dict(found.summary), "assessment": assessed})
        return
    report = run_report(folder, in_use())
    default = {"html": RUN_REPORT, "markdown": "report.md"}[form]
    target = (output / default if output.is_dir() else output) if output is not None else folder / default
    pictures = f"{target.stem}_figures" if figures else ""
    written = [write(target, to_html(report) if form == "html" else to_markdown(report, pictures=pictures))]
    if pictures:
        written += write_pictures(report, target.parent / pictures)
    for path in written:
        click.echo(path)


def find_study(study: str, ledger: Path) -> Path:
    """The folder of a study, given as a path or by its name.

    Raises:
        UsageError: the folder holds no results.
        UnknownNameError: there is no such folder, and no study of that name.
    """
    from fptkit.errors import UnknownNameError, UsageError
    from fptkit.lab.studies.results import RESULTS

    for folder in (Path(study), ledger / study):
        if (folder / RESULTS).is_file():
            return folder
    for folder in (Path(study), ledger / study):
        if folder.is_dir():
            raise UsageError(f"{folder} holds no results of a study ({RESULTS}); fptkit study writes them")
    known = [path.parent.name for path in ledger.glob(f"*/{RESULTS}")]
    raise UnknownNameError("study", study, known, f"studies are looked up in {ledger}/ (--ledger)")


def _derived_anew(found: StudyFiles) -> tuple[StudyFiles, Sequence[str]]:
    """The study with results derived again, and what to do about what they lack."""
    from fptkit.lab.studies.anew import derive_anew

    anew = derive_anew(found.folder, found.ledger_folder)
    return replace(found, results=anew.results), anew.remedies


def _check_papers(names: Sequence[str]) -> None:
    """Raise before anything is read or written.

    Raises:
        UnknownNameError: there are no published figures of that name.
    """
    if names:
        from fptkit.errors import UnknownNameError
        from fptkit.lab.published import published_names

        for name in names:
            if name not in published_names():
                raise UnknownNameError("published paper", name, published_names())


def _pairs(results: StudyResults, against: Sequence[str]) -> dict[str, Any]:
    if not against:
        return {}
    from fptkit.lab.published import compare, load_published

    return {name: [pair.model_dump(mode="json") for pair in compare(results, load_published(name))] for name in against}


def _write(
    found: StudyFiles, form: str | None, output: Path, against: Sequence[str], figures: bool, own: Own
) -> Iterator[Path]:
    """Write one file, or without a format all three; pictures go next to a Markdown file, in a folder of its name."""
    from fptkit.lab.reporting.write import FILES, text_of, write, write_pictures

    form = form or _by_suffix(output)
    whole_folder = form is None or output.is_dir()
    forms = [cast("Form", form)] if form else list(FILES)
    report = found.report(into=output if whole_folder else output.parent, against=against, own=own)
    for one in forms:
        target = output / FILES[one] if whole_folder else output
        pictures = f"{target.stem}_figures" if figures else ""
        yield write(target, text_of(one, found, report, pictures=pictures))
        if pictures:
            yield from write_pictures(report, target.parent / pictures)


def _by_suffix(output: Path) -> str | None:
    """The format that a file's name implies; None for a folder, whether it exists or not."""
    from fptkit.errors import UsageError
    from fptkit.lab.reporting.write import FILES

    if output.is_dir() or not output.suffix:
        return None
    known = {Path(name).suffix: form for form, name in FILES.items()}
    if output.suffix not in known:
        raise UsageError(f"{output}: its suffix is none of {', '.join(known)}; give --format too")
    return known[output.suffix]
