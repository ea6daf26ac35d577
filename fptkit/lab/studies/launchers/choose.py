"""Creates the launcher that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from fptkit.errors import PluginError, UsageError
from fptkit.lab.studies.launchers.base import Launcher, LauncherOptions
from fptkit.options import Options
from fptkit.registry import in_use
from fptkit.specs import LauncherSpec
from fptkit.specs.guard import during

_METHODS = ("start", "wait", "stop", "close")


def make_launcher(options: LauncherOptions, folder: Path, *, preload: Sequence[str] = ()) -> Launcher:
    """Create the launcher that ``options`` name.

    Args:
        options: the launcher, its number of workers and its parameters.
        folder: folder of the ledger.
        preload: modules that every run needs.

    Raises:
        UnknownNameError: no plugin brings it.
        UsageError: it needs an extra that is not installed, its options are wrong, or its cluster does not answer.
        PluginError: that of a plugin cannot be imported, or lacks a part of `Launcher`.
    """
    spec, own = check_launcher(options)
    with during(of=spec):
        made: Launcher = spec.resolve()(replace(options, own=own), folder, preload=preload)
    lacking = [name for name in _METHODS if not callable(getattr(made, name, None))]
    lacking += [name for name in ("slots", "threads", "description") if not hasattr(made, name)]
    if lacking:
        raise PluginError(f"{spec}: {type(made).__name__} has no {', '.join(lacking)}, which a launcher needs")
    return made


def check_launcher(options: LauncherOptions) -> tuple[LauncherSpec, Options]:
    """The record of the launcher that ``options`` name, and its own options, checked.

    Raises:
        UnknownNameError: no plugin brings it.
        UsageError: its options are wrong.
        PluginError: its options model cannot be imported.
    """
    spec = in_use().get(LauncherSpec, options.name)
    if options.slurm and spec.name != "slurm":
        raise UsageError("--slurm sets parameters of Slurm jobs: use it with --launcher slurm")
    model = spec.options_model()
    try:
        return spec, model.model_validate(dict(options.given))
    except ValidationError as err:
        fault = err.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        known = ", ".join(model.model_fields) or "none"
        raise UsageError(f"--launcher-option {name}: {fault['msg']}; options of {spec}: {known}") from err


def parse_options(pairs: Sequence[str]) -> dict[str, str]:
    """Parse ``NAME=VALUE`` texts.

    Raises:
        UsageError: one is not of this form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--launcher-option: expected NAME=VALUE, got '{pair}'")
        if name.strip() in found:
            raise UsageError(f"--launcher-option: {name.strip()} is given twice; leave one out")
        found[name.strip()] = value.strip()
    return found
