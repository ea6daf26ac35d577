"""Finds out what is to be verified: a bundle, a study or a run."""

from __future__ import annotations

from pathlib import Path

from fptkit.errors import UsageError
from fptkit.files import SUMMARY
from fptkit.lab.studies.results import RESULTS
from fptkit.lab.verification.bundles.archive import unpacked
from fptkit.lab.verification.bundles.bundle import is_bundle, verify_bundle
from fptkit.lab.verification.differences import Findings
from fptkit.lab.verification.manifest import MANIFEST
from fptkit.lab.verification.verify import verify_run, verify_study


def verify_path(path: Path, *, tensors: bool = True) -> Findings:
    """Verify a bundle (a zip file, or unpacked), a study's folder or a run's folder.

    Args:
        path: path of the zip file or folder.
        tensors: whether to read tensor files, which may be large.

    Raises:
        UsageError: it is none of these.
        DataError: it is damaged, or unsafe to unpack.
    """
    if path.is_file():
        with unpacked(path) as folder:
            return verify_bundle(folder, tensors=tensors)
    if is_bundle(path):
        return verify_bundle(path, tensors=tensors)
    if is_bundle(path.resolve().parent):
        return verify_bundle(path.resolve().parent, tensors=tensors)
    if (path / MANIFEST).is_file() or (path / RESULTS).is_file():
        return verify_study(path.resolve(), tensors=tensors)
    if (path / SUMMARY).is_file():
        return verify_run(path.resolve(), tensors=tensors)
    raise UsageError(
        f"{path} is neither a study's folder ({RESULTS}) nor a run's ({SUMMARY}); give one of them, or a bundle (.zip)"
    )
