"""Verifies whatever a path leads to: a bundle, a study or a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import UsageError
from fptkit.files import RECIPE, SUMMARY
from fptkit.lab.studies.results import RESULTS
from fptkit.lab.verification.bundles.archive import unpacked
from fptkit.lab.verification.bundles.bundle import is_bundle, study_in, verify_bundle, verify_bundled_run
from fptkit.lab.verification.differences import Findings
from fptkit.lab.verification.manifest import MANIFEST, read_manifest
from fptkit.lab.verification.unsealed import verify_unsealed
from fptkit.lab.verification.verify import verify_run, verify_study


@dataclass(frozen=True)
class Options:
    """How to verify.

    Args:
        tensors: whether to read tensor files, which may be large.
        reruns: number of runs to draw and repeat.
        seed: seed that draws them; None to derive it from the results.
        runs: names of runs to repeat.
        say: prints progress.
    """

    tensors: bool = True
    reruns: int = 0
    seed: int | None = None
    runs: tuple[str, ...] = ()
    say: Callable[[str], None] = lambda text: None

    @property
    def repeat(self) -> str:
        """The option that asks for runs to be repeated; empty if none does."""
        return "--run" if self.runs else "--rerun" if self.reruns else ""


def verify_path(path: Path, options: Options) -> Findings:
    """Verify a bundle (one file, or unpacked), a study's folder or a run's folder.

    Args:
        path: path of the file or folder.
        options: how.

    Raises:
        UsageError: it is none of these, or a run that was asked for cannot be repeated.
        DataError: it is damaged, or unsafe to unpack.
    """
    if path.is_file():
        with unpacked(path) as folder:
            return _bundle(folder, options)
    folder = path.resolve()
    for place in (folder, folder.parent):
        if is_bundle(place):
            return _bundle(place, options)
    if (folder / MANIFEST).is_file():
        return _with_reruns(folder, verify_study(folder, tensors=options.tensors), options)
    if (folder / RESULTS).is_file():
        if options.repeat:
            raise UsageError(
                f"{options.repeat} needs {MANIFEST}, which fptkit study writes into {path}: run the study again"
            )
        return verify_unsealed(folder, tensors=options.tensors)
    if (folder / SUMMARY).is_file():
        if options.repeat:
            raise UsageError(
                f"{options.repeat} is for runs of a study; repeat this one with: fptkit run {path / RECIPE}"
            )
        verify = verify_bundled_run if is_bundle(folder.parent.parent) else verify_run
        return verify(folder, tensors=options.tensors)
    raise UsageError(
        f"{path} is neither a study's folder ({RESULTS}) nor a run's ({SUMMARY}); give one of them, or a bundle (.zip, "
        ".tar.xz)"
    )


def _bundle(folder: Path, options: Options) -> Findings:
    return _with_reruns(study_in(folder), verify_bundle(folder, tensors=options.tensors), options)


def _with_reruns(folder: Path, findings: Findings, options: Options) -> Findings:
    """Add the comparison with repeated runs, unless what is stored is in disorder already."""
    if options.repeat and findings.differences:
        findings.notes.append("no run was repeated, since the files do not agree")
    elif options.repeat:
        from fptkit.lab.verification.rerun import rerun

        rerun(
            folder.parent,
            read_manifest(folder),
            findings,
            count=options.reruns,
            seed=options.seed,
            names=options.runs,
            say=options.say,
        )
    return findings
