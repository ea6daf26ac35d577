"""Creates the launcher that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptkit.errors import UsageError
from fptkit.lab.studies.launchers.base import Launcher, LauncherOptions


def make_launcher(options: LauncherOptions, folder: Path, *, preload: Sequence[str] = ()) -> Launcher:
    """Create the launcher that ``options`` name.

    Args:
        options: the launcher, its number of workers and its parameters.
        folder: folder of the ledger.
        preload: modules that every run needs.

    Raises:
        UsageError: it needs an extra that is not installed, its options are wrong, or its cluster does not answer.
    """
    if options.slurm and options.name != "slurm":
        raise UsageError("--slurm sets parameters of Slurm jobs: use it with --launcher slurm")
    match options.name:
        case "local":
            from fptkit.lab.studies.launchers.local import LocalLauncher

            return LocalLauncher(options, preload=preload)
        case "ray":
            from fptkit.lab.studies.launchers.ray import RayLauncher

            return RayLauncher(options)
        case "slurm":
            from fptkit.lab.studies.launchers.slurm import SlurmLauncher

            return SlurmLauncher(options, folder)
