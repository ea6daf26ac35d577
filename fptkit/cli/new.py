"""``fptkit new plugin``: a package to start from, with hooks, options, implementation, recipe and tests."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

import click

from fptkit.files import write_text

TEMPLATES = Path(__file__).parent.parent / "templates"

_MODULES = {
    "task": {"options.py": "the options a recipe may give", "task.py": "the task; imports torch"},
    "backbone": {"options.py": "the options a recipe may give", "backbone.py": "the backbone; imports torch"},
    "encoder": {"options.py": "the options a recipe may give", "encoder.py": "the encoder; imports torch"},
    "policy": {},
    "listener": {"options.py": "the options a recipe may give", "listener.py": "the listener"},
}
_WHAT = {
    "task": "A task for [fptkit](https://pypi.org/project/fptkit/): does a string of bits hold more ones than zeros?\n"
    "Put your own data in its place.",
    "backbone": "A backbone for [fptkit](https://pypi.org/project/fptkit/): a gated recurrent network. Put your own in "
    "its place.",
    "encoder": "An encoder for [fptkit](https://pypi.org/project/fptkit/): sines and cosines of every number, then a "
    "linear map.\nPut your own in its place.",
    "policy": "A freezing policy for [fptkit](https://pypi.org/project/fptkit/): norms and positions learn ten times "
    "slower.",
    "listener": "A listener for [fptkit](https://pypi.org/project/fptkit/): training losses as a table.",
}


@click.group()
def new() -> None:
    """Write a package to start from."""


@new.command(
    "plugin",
    epilog="""\b
Examples:
  fptkit new plugin moons --kind task
  pip install -e './fptkit-moons[dev]'
  fptkit run moons --profile smoke
""",
)
@click.argument("name")
@click.option("--kind", type=click.Choice(list(_MODULES)), default="task", show_default=True, help="What it adds.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the package; it must not hold anything. Default: fptkit-NAME.",
)
def plugin(name: str, kind: str, output: Path | None) -> None:
    """Write the package fptkit-NAME with one component of a KIND, ready to install, test and run.

    NAME is the word recipes will use, in lower-case letters, digits and underscores.
    """
    from fptkit.errors import UsageError

    _check_name(name, kind)
    folder = output or Path(f"fptkit-{name.replace('_', '-')}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there already and not an empty folder; name another with --output")
        files = _files(name, kind)
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            write_text(target, text)
    except OSError as err:
        raise UsageError(f"cannot write {folder}: {err}") from err
    for path in files:
        click.echo(folder / path)
    click.echo(
        f"\nnext:\n  pip install -e '{folder if folder.is_absolute() else f'./{folder}'}[dev]'\n"
        f"  pytest {folder}\n  fptkit run {name} --profile smoke",
        err=True,
    )


def _check_name(name: str, kind: str) -> None:
    """Refuse a name that recipes or Python cannot use, or that is taken by a component that comes with fptkit.

    Raises:
        UsageError: it is one of these.
    """
    from fptkit.errors import UsageError
    from fptkit.registry import load_plugins
    from fptkit.specs import KINDS

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(f"'{name}' cannot be a name; use lower-case letters, digits and single underscores: my_task")
    registry = load_plugins(selection="")
    if name in registry.names(KINDS[kind]):
        raise UsageError(f"fptkit has a {kind} '{name}' already; take another name")


def _files(name: str, kind: str) -> dict[str, str]:
    """Path in the package -> text."""
    package = f"fptkit_{name}"
    values = {
        "name": name,
        "kind": {"policy": "freezing policy"}.get(kind, kind),
        "show_kind": kind,
        "package": package,
        "distribution": package.replace("_", "-"),
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "what": _WHAT[kind],
        "files": "".join(f"| `{package}/{file}` | {holds} |\n" for file, holds in _MODULES[kind].items()),
    }
    sources = {
        "pyproject.toml": "common/pyproject.toml",
        "README.md": "common/README.md",
        ".gitignore": "common/gitignore",
        **{f"{package}/{file}": f"{kind}/{file}" for file in ("__init__.py", *_MODULES[kind])},
        f"{package}/recipes/{name}.yaml": f"{kind}/recipe.yaml",
        "tests/test_contract.py": f"{kind}/test_contract.py",
    }
    return {
        path: Template((TEMPLATES / f"{source}.template").read_text(encoding="utf-8")).substitute(values)
        for path, source in sources.items()
    }
