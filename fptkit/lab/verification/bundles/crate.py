"""The description of a bundle for machines, ``ro-crate-metadata.json``.

Source: RO-Crate Metadata Specification 1.2, https://w3id.org/ro/crate/1.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from fptkit.lab.studies.results import RESULTS
from fptkit.lab.verification.bundles.layout import CRATE, FORMATS, description_of
from fptkit.lab.verification.manifest import Manifest

SPECIFICATION = "https://w3id.org/ro/crate/1.2"

NO_LICENSE = "No license is stated. Ask the authors before using this beyond reading and checking it."


@dataclass(frozen=True)
class Member:
    """A file of a bundle.

    Args:
        size: in bytes.
        digest: SHA-256.
    """

    size: int
    digest: str


def crate(manifest: Manifest, folder_name: str, members: Mapping[str, Member], license_text: str) -> dict[str, Any]:
    """The metadata of a bundle.

    Args:
        manifest: manifest of the study.
        folder_name: the study's folder in the bundle.
        members: every other file in the bundle, by path.
        license_text: address or text of the license; empty if none is stated.
    """
    plan = manifest.plan
    title = f"{plan.study}, profile {plan.profile}" if plan.profile else plan.study
    about = [plan.settings.get("question", ""), plan.settings.get("description", "")]
    described = " ".join([*filter(None, about), f"A study of fptkit {plan.fptkit} with its runs."])
    license_id = license_text if license_text.startswith(("http://", "https://")) else "#license"
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Study {title}",
        "description": described,
        "datePublished": manifest.made,
        "license": {"@id": license_id},
        "hasPart": _parts("", members),
        "mentions": {"@id": "#study"},
    }
    return {
        "@context": f"{SPECIFICATION}/context",
        "@graph": [
            {
                "@id": CRATE,
                "@type": "CreativeWork",
                "conformsTo": {"@id": SPECIFICATION},
                "about": {"@id": "./"},
            },
            root,
            *_folders(members),
            *(_file(path, member) for path, member in members.items()),
            {
                "@id": license_id,
                "@type": "CreativeWork",
                "name": license_text or "No license stated",
                "description": license_text or NO_LICENSE,
            },
            {
                "@id": "#fptkit",
                "@type": "SoftwareApplication",
                "name": "fptkit",
                "description": "frozen pretrained transformers for any modality, compared fairly",
                "url": "https://pypi.org/project/fptkit/",
                "version": plan.fptkit,
                "identifier": plan.code,
            },
            {
                "@id": "#study",
                "@type": "CreateAction",
                "name": f"fptkit study {plan.study}",
                "description": "trained and evaluated every run, and derived the results",
                "endTime": manifest.made,
                "instrument": {"@id": "#fptkit"},
                "result": {"@id": quote(f"{folder_name}/{RESULTS}")},
            },
        ],
    }


def _parts(folder: str, members: Iterable[str]) -> list[dict[str, str]]:
    """References to the files and folders directly inside a folder of the bundle, ``""`` for its root."""
    below = (path[len(folder) :].partition("/") for path in members if path.startswith(folder))
    names = dict.fromkeys(f"{folder}{name}{slash}" for name, slash, _ in below)
    return [{"@id": quote(name)} for name in sorted(names)]


def folders_of(paths: Iterable[str]) -> list[str]:
    """The folders that paths lie in, each with a slash at its end."""
    return sorted({f"{parent}/" for path in paths for parent in map(str, PurePosixPath(path).parents) if parent != "."})


def _folders(members: Iterable[str]) -> list[dict[str, Any]]:
    """Entities of all folders."""
    paths = list(members)
    return [
        {
            "@id": quote(folder),
            "@type": "Dataset",
            "name": folder.rstrip("/"),
            "description": _folder_description(folder),
            "hasPart": _parts(folder, paths),
        }
        for folder in folders_of(paths)
    ]


def _folder_description(folder: str) -> str:
    parts = folder.rstrip("/").split("/")
    if parts[0] != "runs":
        return "results, reports and records of the study"
    return "every run of the study" if len(parts) == 1 else "one run" if len(parts) == 2 else "checkpoints of a run"


def _file(path: str, member: Member) -> dict[str, Any]:
    return {
        "@id": quote(path),
        "@type": "File",
        "name": path,
        "description": description_of(path),
        "encodingFormat": FORMATS.get(PurePosixPath(path).suffix, "application/octet-stream"),
        "contentSize": str(member.size),
        "sha256": member.digest,
    }
