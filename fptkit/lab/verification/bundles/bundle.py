"""Writes a bundle, and opens one to verify it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fptkit.errors import DataError, UsageError
from fptkit.lab.verification.bundles.archive import write_archive
from fptkit.lab.verification.bundles.crate import Member, crate, folders_of
from fptkit.lab.verification.bundles.layout import CRATE, README, SUMS, files_of, is_bundled, is_tensors
from fptkit.lab.verification.bundles.readme import readme
from fptkit.lab.verification.differences import Findings
from fptkit.lab.verification.manifest import files_in, read_manifest
from fptkit.lab.verification.verify import verify_run, verify_study
from fptkit.sources.download import file_sha256


def write_bundle(folder: Path, output: Path, *, checkpoints: bool = False, license_text: str = "") -> list[str]:
    """Write a study with its runs as one file, after verifying it.

    Args:
        folder: the study's folder.
        output: the file: ``.zip``, or ``.tar.xz``, which is about a fourth as large.
        checkpoints: whether to include checkpoints and trained tensors.
        license_text: address or text of the license; empty if none is stated.

    Returns:
        Paths of the files in the bundle.

    Raises:
        UsageError: the study has no manifest or does not agree with its runs, a run was continued since, or the file
            cannot be written.
    """
    folder = folder.resolve()
    _check_first(folder, verify_study(folder, tensors=checkpoints))
    manifest = read_manifest(folder)
    content: dict[str, Path | bytes] = dict(files_of(folder, manifest, checkpoints=checkpoints))
    content[README] = readme(manifest, folder.name, list(content), checkpoints=checkpoints).encode()
    members = {path: _member(content[path]) for path in sorted(content)}
    described = crate(manifest, folder.name, members, license_text)
    content[CRATE] = (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode()
    members[CRATE] = _member(content[CRATE])
    content[SUMS] = "".join(f"{members[path].digest}  {path}\n" for path in sorted(members)).encode()
    write_archive(output, {**content, **dict.fromkeys(folders_of(content), b"")})
    return sorted(content)


def is_bundle(folder: Path) -> bool:
    """Whether a folder is an unpacked bundle."""
    return (folder / CRATE).is_file() and (folder / SUMS).is_file()


def study_in(bundle: Path) -> Path:
    """The study's folder in an unpacked bundle.

    Raises:
        DataError: there is none, or several.
    """
    found = sorted(path.parent for path in bundle.glob("*/manifest.json"))
    if len(found) != 1:
        raise DataError(f"{bundle} is not a bundle of one study: it has {len(found)} folders with a manifest.json")
    return found[0]


def verify_bundle(bundle: Path, *, tensors: bool = True) -> Findings:
    """Verify an unpacked bundle: the digests of all its files, then the study in it.

    Args:
        bundle: its folder.
        tensors: whether to read tensor files, which may be large.

    Raises:
        DataError: it holds no study.
    """
    names = [name for name in files_in(bundle) if name != SUMS]
    checkpoints = any(is_tensors(name.partition("/")[2].partition("/")[2]) for name in names)
    findings = verify_study(
        study_in(bundle), tensors=tensors, may_lack=lambda name: not is_bundled(name, checkpoints=checkpoints)
    )
    listed = _sums(bundle)
    for name in sorted({*names, *listed}):
        if name not in listed:
            findings.wrong(name, f"is not listed in {SUMS}")
        elif name not in names:
            findings.wrong(name, f"is missing, but listed in {SUMS}")
        elif (tensors or not name.endswith(".safetensors")) and file_sha256(bundle / name) != listed[name]:
            findings.wrong(name, f"its SHA-256 is not the one in {SUMS}")
    return findings


def verify_bundled_run(folder: Path, *, tensors: bool = True) -> Findings:
    """Verify a run in an unpacked bundle.

    Args:
        folder: the run folder.
        tensors: whether to read tensor files, which may be large.
    """
    checkpoints = (folder / "model.json").with_suffix(".safetensors").is_file()
    return verify_run(folder, tensors=tensors, may_lack=lambda name: not is_bundled(name, checkpoints=checkpoints))


def _check_first(folder: Path, findings: Findings) -> None:
    if findings.differences:
        raise UsageError(
            f"{folder} does not agree with its runs, so no bundle is made of it; see: fptkit verify {folder}. If only "
            f"the statistics of another version differ: fptkit report {folder} --anew --save"
        )
    if findings.continued:
        raise UsageError(
            f"{folder}: runs were continued since the results were written; run its fptkit study command again, then "
            "bundle it"
        )


def _member(content: Path | bytes) -> Member:
    if isinstance(content, bytes):
        return Member(len(content), hashlib.sha256(content).hexdigest())
    return Member(content.stat().st_size, file_sha256(content))


def _sums(bundle: Path) -> dict[str, str]:
    """Digests by path; lines that are not of the form are left out, and their files then count as not listed."""
    try:
        lines = (bundle / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("  ") for line in lines)
    return {path: digest for digest, _, path in pairs if path}
