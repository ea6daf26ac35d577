"""Make the bodies of this package: pretrain each, and copy its weights and card into the package.

    python plugins/fptkit-bodies/make.py --text corpus.txt.xz             about 25 minutes of one core for each body
    python plugins/fptkit-bodies/make.py --text corpus.txt.xz --status    what is made, and how far the others are

A stopped or killed call continues where it was: call it again. One core; in the background, prefix ``nohup nice``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from fptkit_bodies import find


def is_made(name: str) -> bool:
    """Whether the package holds a body with its card."""
    return all((find.WEIGHTS / name / file).is_file() for file in find.FILES)


def arguments(name: str, text: Path, folder: Path, profile: str | None) -> list[str]:
    """The arguments of ``fptkit`` that pretrain a body, or continue it.

    Args:
        name: a key of `fptkit_bodies.find.BODIES`.
        text: English text for the body ``english``.
        folder: folder of the pretrainings.
        profile: profile of the recipe; None for the real size.
    """
    recipe = find.WEIGHTS.parent / "recipes" / f"body_{name}.yaml"
    given = ["--profile", profile] if profile else []
    data = ["--set", f"data.path={text}"] if name == "english" else []
    return ["pretrain", str(recipe), *given, *data, "--output", str(folder / name), "--resume"]


def install(made: Path, name: str) -> None:
    """Copy a finished body into the package; its card names the recipe of this package."""
    target = find.WEIGHTS / name
    target.mkdir(parents=True, exist_ok=True)
    for file in find.FILES:  # the weights first: the card says that all is there
        shutil.copyfile(made / file, target / file)
    card = (target / "README.md").read_text("utf-8")
    data = " --set data.path=corpus.txt.xz" if name == "english" else ""
    command = f"fptkit pretrain body_{name} --output {name}{data}"
    (target / "README.md").write_text(re.sub("^fptkit pretrain .*$", command, card, flags=re.MULTILINE), "utf-8")


def status(name: str, folder: Path) -> str:
    """In words: made, or the last step that was validated."""
    if is_made(name):
        return "made"
    metrics = folder / name / "metrics.jsonl"
    rows = metrics.read_text("utf-8").splitlines() if metrics.is_file() else []
    steps = [json.loads(row)["step"] for row in rows if row.endswith("}")]
    return f"step {steps[-1]:,}" if steps else "not started"


@click.command()
@click.option("--text", type=click.Path(path_type=Path, dir_okay=False), required=True, help="English text.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/bodies"), show_default=True
)
@click.option("--profile", metavar="NAME", help="Profile of the recipes; smoke: seconds, nothing is installed.")
@click.option("--status", "only_status", is_flag=True, help="Print what is made; make nothing.")
@click.argument("names", nargs=-1, type=click.Choice(list(find.BODIES)))
def main(text: Path, output: Path, profile: str | None, *, only_status: bool, names: Sequence[str]) -> None:
    """Make the bodies NAMES, all without any."""
    for name in names or find.BODIES:
        if only_status or (profile is None and is_made(name)):
            click.echo(f"{name}: {status(name, output)}")
            continue
        command = [sys.executable, "-m", "fptkit", *arguments(name, text, output, profile)]
        ended = subprocess.run(command, check=False)
        if ended.returncode:
            raise SystemExit(ended.returncode)
        if profile is None:
            install(output / name, name)
        click.echo(f"{name}: finished")


if __name__ == "__main__":
    main()
