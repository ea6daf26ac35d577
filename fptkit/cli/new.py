"""``fptkit new``: a package to start from, with hooks, options, implementation, recipe and tests; a recipe."""

from __future__ import annotations

import datetime
import keyword
import re
from pathlib import Path
from string import Template

import click

from fptkit import __version__
from fptkit.cli.new_recipe import recipe
from fptkit.files import write_text
from fptkit.specs import NOUNS

TEMPLATES = Path(__file__).parent.parent / "templates"

KINDS = [noun for noun in NOUNS if (TEMPLATES / noun).is_dir()]
"""Kinds of components with a template of a package: each has a folder of templates."""

REQUIREMENTS = {"click": "click>=8.1", "pydantic": "pydantic>=2.9", "torch": "torch>=2.6"}
"""By module: what a package asks for if it imports the module."""


@click.group()
def new() -> None:
    """Create something to start from: a recipe for your own data, or a package."""


new.add_command(recipe)


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
@click.option("--kind", type=click.Choice(KINDS), default="task", show_default=True, help="Kind of component it adds.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the package, new or empty. Default: fptkit-NAME.",
)
def plugin(name: str, kind: str, output: Path | None) -> None:
    """Create the package fptkit-NAME with one component of a KIND, ready to install, test and run.

    NAME is the name of the component in recipes, in lower-case letters, digits and underscores.
    """
    from fptkit.errors import UsageError

    _check_name(name, kind)
    folder = output or Path(f"fptkit-{name.replace('_', '-')}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} already exists and is not an empty folder; choose another with --output")
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
        f"  pytest {folder}\n  {_first_use(name, kind)}",
        err=True,
    )


def _first_use(name: str, kind: str) -> str:
    """The command that uses the new component."""
    if kind == "command":
        return f"fptkit {name} --help"
    return f"fptkit run {name} --profile smoke" if _has_recipe(kind) else f"fptkit show {kind} {name}"


def _has_recipe(kind: str) -> bool:
    return (TEMPLATES / kind / "recipe.yaml.template").is_file()


def _check_name(name: str, kind: str) -> None:
    """Refuse a name that recipes or Python cannot use, or that a component of fptkit has already.

    Raises:
        UsageError: the name is one of these.
    """
    from fptkit.errors import UsageError
    from fptkit.registry import load_plugins

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(f"'{name}' cannot be a name; use lower-case letters, digits and single underscores: my_task")
    registry = load_plugins(selection="")
    if name in registry.names(NOUNS[kind].record):
        raise UsageError(f"fptkit already has a {kind} '{name}'; choose another name")


def _files(name: str, kind: str) -> dict[str, str]:
    """Path in the package -> text."""
    values = _values(name, kind)
    package = values["package"]
    sources = {
        "pyproject.toml": "common/pyproject.toml",
        "README.md": "common/README.md",
        "LICENSE": "common/LICENSE",
        ".gitignore": "common/gitignore",
        ".github/workflows/test.yml": "common/test.yml",
        **{f"{package}/{file}": f"{kind}/{file}" for file in ("__init__.py", *_modules(kind))},
        **({f"{package}/recipes/{name}.yaml": f"{kind}/recipe.yaml"} if _has_recipe(kind) else {}),
        **{f"{package}/{file}": f"{kind}/{file}" for file in _data_files(kind)},
        "tests/test_contract.py": f"{kind}/test_contract.py",
    }
    return {path: Template(_template(source)).substitute(values) for path, source in sources.items()}


def _values(name: str, kind: str) -> dict[str, str]:
    """What the placeholders of templates stand for."""
    package = f"fptkit_{name}"
    versions = _versions()
    values = {
        "name": name,
        "kind": NOUNS[kind].record.kind,
        "show_kind": kind,
        "package": package,
        "distribution": package.replace("_", "-"),
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "files": "".join(f"| `{package}/{file}` | {holds} |\n" for file, holds in _modules(kind).items()),
        "versions": versions,
        "dependencies": ", ".join(f'"{one}"' for one in (f"fptkit{versions}", *_requirements(kind))),
        "year": str(datetime.date.today().year),
    }
    values["what"] = Template(_template(f"{kind}/about.md").rstrip("\n")).substitute(values)
    values["use"] = Template(_template(_use(kind))).substitute(values)
    values["recipe"] = (
        f"| `{package}/recipes/{name}.yaml` | a recipe, found by the name `{name}` |\n" if _has_recipe(kind) else ""
    )
    return values


def _versions() -> str:
    """The versions of fptkit that a new package says it works with: until names may change, see docs/plugins/api.md."""
    major, minor = (int(part) for part in __version__.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">={major}.{minor},<{major}.{minor + 1}"


def _requirements(kind: str) -> list[str]:
    """What the package imports besides fptkit, with the versions that fptkit itself asks for."""
    text = "".join(_template(f"{kind}/{file}") for file in _modules(kind))
    return [needed for module, needed in REQUIREMENTS.items() if re.search(rf"^(import|from) {module}\b", text, re.M)]


def _use(kind: str) -> str:
    """The template of the commands by which a component is used."""
    return f"{kind}/use.sh" if (TEMPLATES / kind / "use.sh.template").is_file() else "common/use.sh"


def _data_files(kind: str) -> list[str]:
    """Files of a package that hold data."""
    return [path.name.removesuffix(".template") for path in (TEMPLATES / kind).glob("data_*.template")]


def _modules(kind: str) -> dict[str, str]:
    """The modules of a package other than its hooks, each with the first line of its docstring."""
    names = sorted(path.name.removesuffix(".template") for path in (TEMPLATES / kind).glob("*.py.template"))
    return {
        name: _template(f"{kind}/{name}").splitlines()[0].strip('"').replace("``", "`")
        for name in names
        if name not in ("__init__.py", "test_contract.py")
    }


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.template").read_text(encoding="utf-8")
