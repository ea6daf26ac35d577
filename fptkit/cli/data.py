"""``fptkit data``: which data sets are available here, and downloading them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fptkit.cli.shared import json_option, print_json, print_rows
from fptkit.engine.terminal import console as make_console

_STATES = {
    "fetched": "downloaded and complete",
    "by_hand": "complete, put there by hand",
    "incomplete": "incomplete",
    "absent": "not available",
}


@click.group()
def data() -> None:
    """Show and download data sets. They are stored in $FPTKIT_DATA, else in the user's data folder."""


@data.command()
@json_option
def status(as_json: bool) -> None:
    """Show which data sets are available, and where they are looked up."""
    from fptkit.sources import data_sets

    found = [data_sets.status(name) for name in data_sets.DATA_SETS]
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "state": one.state,
                    "folder": str(one.folder),
                    "files": {stem: str(path) for stem, path in one.files.items()},
                    "missing": list(one.missing),
                    "bytes": one.size,
                    "manifest": dict(one.manifest),
                }
                for one in found
            ]
        )
        return
    print_rows(
        [{"name": one.name, "state": _STATES[one.state], "folder": str(one.folder)} for one in found],
    )
    for one in found:
        if one.missing:
            described = data_sets.DATA_SETS[one.name]
            click.echo(f"\n{one.name} needs these files, each as {' or '.join(described.extensions)}:")
            for stem in described.records:
                click.echo(f"  {stem}{'' if stem in one.missing else '   (available)'}")
            click.echo(described.advice)


@data.command()
@click.argument("name")
@click.option("--url", help="Another URL of the archive, such as a mirror.")
@click.option("--digest", "--sha256", "sha256", metavar="DIGEST", help="SHA-256 digest the archive must have.")
@click.option("--force", is_flag=True, help="Download again and replace existing files.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Folder to unpack into.")
@json_option
def fetch(name: str, url: str | None, sha256: str | None, force: bool, folder: Path | None, as_json: bool) -> None:
    """Download data set NAME, check it and unpack it. An interrupted download is continued."""
    from fptkit.sources import data_sets

    described = data_sets.find_data_set(name)
    click.echo(f"{described.summary}\nsource: {described.source}\nlicence: {described.licence}", err=True)
    if url and url.lower().startswith("http:") and not sha256:
        click.echo("warning: anybody between here and an http server can change the archive; add --digest", err=True)
    with _progress(described.name) as progress:
        done = data_sets.fetch(name, url=url, sha256=sha256, force=force, folder=folder, progress=progress)
    if as_json:
        print_json(
            {"name": done.name, "state": done.state, "folder": str(done.folder), "manifest": dict(done.manifest)}
        )
        return
    click.echo(f"{done.name}: {_STATES[done.state]} in {done.folder}")
    if done.manifest:
        click.echo(f"archive SHA-256 {done.manifest.get('sha256')} ({described.checksum})", err=True)


class _progress:
    """A progress bar on a terminal, a line at each tenth elsewhere; a context manager that returns the callback."""

    def __init__(self, name: str) -> None:

        self._name = name
        self._console = make_console(stderr=True)
        self._bar: Any = None
        self._tenth = -1

    def __enter__(self) -> Callable[[int, int | None], None]:
        if self._console.is_terminal:
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

            self._bar = Progress(
                "{task.description}",
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._name, total=None)
            self._bar.start()
        return self._report

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _report(self, done: int, total: int | None) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif total and done * 10 // total > self._tenth:
            self._tenth = done * 10 // total
            self._console.print(f"{self._name}: {done / 2**20:.1f} of {total / 2**20:.1f} MiB", soft_wrap=True)
