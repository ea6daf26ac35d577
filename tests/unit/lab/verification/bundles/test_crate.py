"""The metadata of a bundle as an RO-Crate; with the libraries for it, they are the judges."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from finished_studies import TWO_ARMS, finished

from fptkit.lab.verification.bundles.bundle import write_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose name is not plain ASCII."""
    text = TWO_ARMS.replace("[1e-3, 1e-2]", "[1e-3]").replace("seeds: 3", "seeds: 1")
    return finished(tmp_path_factory.mktemp("made"), text, name="mein größter Versuch")


@pytest.fixture(scope="module")
def path(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("bundle") / "b.zip"
    write_bundle(made, found, checkpoints=True, license_text="https://creativecommons.org/licenses/by/4.0/")
    return found


@pytest.fixture(scope="module")
def entities(path: Path) -> dict[str, dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("ro-crate-metadata.json"))
    assert content["@context"] == "https://w3id.org/ro/crate/1.2/context"
    found = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(found) == len(content["@graph"]), "every entity has an @id of its own"
    return found


def test_the_root_has_what_the_specification_demands(entities: dict[str, dict[str, Any]]) -> None:
    """Source: RO-Crate 1.2, sections Metadata Descriptor and Root Data Entity."""
    descriptor = entities["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    root = entities["./"]
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert "Does language help?" in root["description"]
    assert root["datePublished"].endswith("Z")
    assert root["license"] == {"@id": "https://creativecommons.org/licenses/by/4.0/"}
    assert entities[root["license"]["@id"]]["name"]


def test_every_reference_has_its_entity(entities: dict[str, dict[str, Any]]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict) and set(value) == {"@id"}:
            return [value["@id"]]
        if isinstance(value, (dict, list)):
            children = value.values() if isinstance(value, dict) else value
            return [found for child in children for found in references(child)]
        return []

    for entity in entities.values():
        for reference in references(list(entity.values())):
            assert reference in entities or reference == "https://w3id.org/ro/crate/1.2", reference


def test_every_file_is_described_and_reached_from_the_root(entities: dict[str, dict[str, Any]], path: Path) -> None:
    from urllib.parse import unquote

    reached, waiting = set(), ["./"]
    while waiting:
        for part in entities[waiting.pop()].get("hasPart", ()):
            assert part["@id"] not in reached, "each is in one folder"
            reached.add(part["@id"])
            waiting.append(part["@id"])
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    themselves = {"ro-crate-metadata.json", "sha256sums.txt"}
    assert {unquote(name) for name in reached} == set(sizes) - themselves
    for name in reached:
        entity = entities[name]
        assert " " not in name
        assert name.isascii()
        assert entity["description"]
        if entity["@type"] == "File":
            assert entity["contentSize"] == str(sizes[unquote(name)])
            assert len(entity["sha256"]) == 64
            assert "/" in entity["encodingFormat"]
            assert entity["description"] != "a file of the study", name


def test_without_a_license_the_bundle_says_so(made: Path, tmp_path: Path) -> None:
    write_bundle(made, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
    (entity,) = (one for one in graph if one["@id"] == "#license")
    assert entity["name"] == "No license stated"


def test_the_library_for_crates_reads_it(path: Path) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate")
    found = rocrate.ROCrate(str(path))
    assert found.version == "1.2"
    assert found.name == "Study mein größter Versuch"
    with zipfile.ZipFile(path) as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
    assert len([one for one in found.data_entities if one.type == "File"]) == len(files) - 2
