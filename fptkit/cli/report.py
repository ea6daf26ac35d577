"""``fptkit report``: what a study found, as text, tables or a page for the browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from fptkit.cli.shared import json_option, print_json

if TYPE_CHECKING:
    from fptkit.studies.results import Costs, StudyResults

_NAMES = {"markdown": "report.md", "csv": "results.csv", "html": "report.html"}


def _studies(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Studies under the ledger folder by name, then folders."""
    from fptkit.studies.results import RESULTS

    ledger = Path(context.params.get("ledger") or "studies")
    names = sorted(path.parent.name for path in ledger.glob(f"*/{RESULTS}"))
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="dir")]


@click.command()
@click.argument("study", shell_complete=_studies)
@click.option(
    "--against",
    multiple=True,
    metavar="PAPER",
    help="Compare with published figures, e.g. fpt2021 or rothermel2021. Repeatable.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", *_NAMES]),
    help="What to write; without it and without --output, the terminal's tables.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Where it goes, instead of stdout. Without --format, the three files of a report into a folder.",
)
@click.option("--figures", is_flag=True, help="Write the pictures of a Markdown report beside it, as SVG.")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Folder of the studies.",
)
@json_option
def report(
    study: str,
    against: Sequence[str],
    form: str | None,
    output: Path | None,
    figures: bool,
    ledger: Path,
    as_json: bool,
) -> None:
    """Report on STUDY, a folder of results or the name of a study under the ledger's folder.

    \b
    fptkit report rq2_pretraining_modality-nano
    fptkit report rothermel-nano --against rothermel2021
    fptkit report rothermel-nano --format markdown --output docs/results/rothermel.md --figures
    """
    from fptkit.errors import UsageError
    from fptkit.reporting.write import read_study

    _check_papers(against)
    if figures and (form != "markdown" or output is None):
        raise UsageError("--figures writes the pictures beside a file: give --format markdown and --output FILE too")
    if as_json and (form is not None or output is not None):
        raise UsageError("--json prints on stdout: give it without --format and --output")
    if form == "terminal" and output is not None:
        raise UsageError("--format terminal prints on stdout: give another --format for --output")
    folder = find_study(study, ledger)
    results, costs = read_study(folder)
    if as_json:
        print_json({"results": results.model_dump(mode="json"), "against": _pairs(results, against)})
    elif output is None and form in (None, "terminal"):
        from fptkit.reporting.terminal import print_results

        print_results(results, against=against)
    elif output is None:
        click.echo(_text(str(form), results, costs, against, folder, ledger, folder), nl=False)
    else:
        for path in _write(form, output, results, costs, against, folder, ledger, figures):
            click.echo(path)


def find_study(study: str, ledger: Path) -> Path:
    """The folder of a study, given as a path or by its name.

    Raises:
        UsageError: the folder is there and holds no results.
        UnknownNameError: there is no such folder, and no study of that name.
    """
    from fptkit.errors import UnknownNameError, UsageError
    from fptkit.studies.results import RESULTS

    for folder in (Path(study), ledger / study):
        if (folder / RESULTS).is_file():
            return folder
    for folder in (Path(study), ledger / study):
        if folder.is_dir():
            raise UsageError(f"{folder} holds no results of a study ({RESULTS}); fptkit study writes them")
    known = [path.parent.name for path in ledger.glob(f"*/{RESULTS}")]
    raise UnknownNameError("study", study, known, f"studies are looked for in {ledger}/ (--ledger)")


def _check_papers(names: Sequence[str]) -> None:
    """Told before anything is read, let alone written."""
    if names:
        from fptkit.errors import UnknownNameError
        from fptkit.published import published_names

        for name in names:
            if name not in published_names():
                raise UnknownNameError("published paper", name, published_names())


def _pairs(results: StudyResults, against: Sequence[str]) -> dict[str, Any]:
    if not against:
        return {}
    from fptkit.published import compare, load_published

    return {name: [pair.model_dump(mode="json") for pair in compare(results, load_published(name))] for name in against}


def _text(
    form: str,
    results: StudyResults,
    costs: Costs,
    against: Sequence[str],
    folder: Path,
    ledger: Path,
    destination: Path,
    pictures: str = "",
) -> str:
    """The report in one format. Runs are linked only from the study's own folder: elsewhere the links would break."""
    from fptkit.reporting.markdown import to_markdown
    from fptkit.reporting.page import to_html
    from fptkit.reporting.spreadsheet import to_csv
    from fptkit.reporting.write import command_of, links, report_of

    if form == "csv":
        return to_csv(results, costs)
    link = links(folder, ledger) if destination.resolve() == folder.resolve() else lambda address: ""
    made = report_of(results, costs, against=against, link=link, command=command_of(folder))
    return to_html(made) if form == "html" else to_markdown(made, pictures=pictures)


def _write(
    form: str | None,
    output: Path,
    results: StudyResults,
    costs: Costs,
    against: Sequence[str],
    folder: Path,
    ledger: Path,
    figures: bool,
) -> list[Path]:
    """The files, and the pictures beside a Markdown file in a folder of its name."""
    from fptkit.errors import UsageError
    from fptkit.reporting.write import report_of, write

    if form is None and output.suffix and not output.is_dir():
        by_suffix = {Path(name).suffix: each for each, name in _NAMES.items()}
        form = by_suffix.get(output.suffix)
        if form is None:
            raise UsageError(f"{output}: give --format; known endings are {', '.join(by_suffix)}")
    into_folder = form is None or output.is_dir()
    targets = {each: output / _NAMES[each] for each in ([form] if form else _NAMES)} if into_folder else {form: output}
    written = []
    for each, target in targets.items():
        pictures = f"{target.stem}_figures" if figures else ""
        text = _text(str(each), results, costs, against, folder, ledger, target.parent, pictures)
        written.append(write(target, text))
        if pictures:
            drawn = [one for section in report_of(results, costs).sections for one in section.pictures]
            written += [write(target.parent / pictures / f"{one.key}.svg", one.file()) for one in drawn]
    return written
