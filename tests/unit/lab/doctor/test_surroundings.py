"""What the doctor says about installation, plugins, folders, data and hub, also where something is wrong."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fptkit.lab.doctor import surroundings
from fptkit.lab.doctor.findings import Finding
from fptkit.registry import Plugin


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {one.name: one for one in findings}


def required(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], *texts: str) -> dict[str, Finding]:
    """The findings about packages, if fptkit requires these texts and these versions are installed."""

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    class Metadata:
        def get_all(self, key: str) -> list[str]:
            return ["audio", "dev"]

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: list(texts))
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: Metadata())
    monkeypatch.setattr(importlib.metadata, "version", version)
    return by_name(surroundings.packages())


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("torch>=2.6", "rich>=13", 'soundfile>=0.12; extra == "audio"', 'pytest; extra == "dev"')
    found = required(monkeypatch, {"torch": "2.5.0", "rich": "14.0"}, *texts)
    assert found["required"].state == "fault"
    assert found["required"].text == "missing: torch>=2.6 (installed: 2.5.0)"
    assert found["extra audio"].state == "note"
    assert found["extra audio"].advice == "if you need it: pip install 'fptkit[audio]'"
    assert "extra dev" not in found


def test_packages_that_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = required(
        monkeypatch,
        {"torch": "2.6.0+cpu", "soundfile": "0.13"},
        "torch>=2.6",
        'soundfile>=0.12; extra == "audio"',
        'absent; python_version < "3"',
    )
    assert {name: (one.state, one.text) for name, one in found.items()} == {
        "required": ("ok", "all installed"),
        "extras": ("ok", "installed: audio"),
    }


def test_fptkit_that_is_only_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    (found,) = surroundings.packages()
    assert found.state == "note"


def test_plugins_that_failed_or_are_slow() -> None:
    good = Plugin("good", "distribution", "good-tasks", "1.0", status="loaded", seconds=0.1)
    slow = Plugin("slow", "distribution", "slow-tasks", "1.0", status="loaded", seconds=3.0)
    broken = Plugin("broken", "distribution", "broken-tasks", "2.0", status="failed", reason="ImportError: no")
    found = by_name(surroundings.plugins([good, slow, broken, Plugin("builtin", "builtin")]))
    assert {name: one.state for name, one in found.items()} == {"good": "ok", "slow": "warning", "broken": "warning"}
    assert "ImportError: no" in found["broken"].text
    assert [one.text for one in surroundings.plugins([])] == ["none installed besides fptkit's own"]


def test_folders_that_can_be_written_or_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "deep" / "data"))
    found = by_name(surroundings.folders())
    assert found["data"].state == "ok"
    assert "not created yet" in found["data"].text
    assert not (tmp_path / "deep").exists()
    assert found["working folder"].facts["free_bytes"] > 0


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "file"))
    monkeypatch.setenv("FPTKIT_CACHE", str(tmp_path / "file"))
    found = by_name(surroundings.folders())
    assert (found["data"].state, found["features"].state) == ("warning", "warning")
    assert "not writable: Not a directory" in found["data"].text
    assert "FPTKIT_DATA" in found["data"].advice


def test_folders_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**where: object) -> None:
        raise PermissionError(13, "Permission denied")

    def hidden(self: Path, **options: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for exists in (Path.exists, hidden):
        monkeypatch.setattr(Path, "exists", exists)
        found = by_name(surroundings.folders())
        assert found["working folder"].state == "warning"
        assert "not writable: Permission denied" in found["data"].text


def test_a_disk_that_is_almost_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 10**12, 5 * 2**20))
    found = by_name(surroundings.folders())["working folder"]
    assert (found.state, "5.0 MiB free" in found.text) == ("warning", True)


def test_data_sets_and_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path))
    (tmp_path / "listops").mkdir()
    for name in ("basic_train", "basic_val", "basic_test"):
        (tmp_path / "listops" / f"{name}.tsv").write_text("x")
    found = by_name(surroundings.data())
    assert (found["listops"].state, found["listops"].facts["state"]) == ("ok", "by_hand")
    assert (found["remote_homology"].state, found["remote_homology"].advice) == (
        "note",
        "fptkit data fetch remote_homology",
    )
    (tmp_path / "listops" / "basic_val.tsv").unlink()
    assert by_name(surroundings.data())["listops"].state == "warning"


def test_data_sets_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10, MNIST

    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path))
    assert {by_name(surroundings.data())[name].state for name in ("mnist", "cifar10")} == {"note"}
    places = [f"MNIST/raw/{name}" for name, _ in MNIST.resources]
    places += [f"{CIFAR10.base_folder}/{name}" for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]]
    for place in places:
        file = tmp_path / "torchvision" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    found = by_name(surroundings.data())
    assert found["mnist"].text.startswith("4 B in ")
    assert found["cifar10"].state == "ok"


def test_a_hub_that_must_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = surroundings.asked_hub()()
    assert (found.state, found.text) == ("note", "not asked: HF_HUB_OFFLINE forbids asking the hub")


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (found,) = surroundings.asked_hub()()
    assert (found.state, found.facts["address"]) == ("note", "http://127.0.0.1:9")
    assert "cannot be reached" in found.text


def test_a_hub_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from model_hub import model_hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with model_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        (found,) = surroundings.asked_hub()()
    assert (found.state, found.facts["problem"]) == ("ok", "")
