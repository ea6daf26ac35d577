"""What all tests share: no network, no writing outside temporary folders, and where real data lie."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests run side by side, each with tiny tensors: one thread each, set before torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent


LONGEST = ("tests/plugins/test_packages.py", "tests/integration/test_campaign.py", "tests/integration/test_compiled.py")
"""Files with tests of a minute. They come first: a worker that begins one last would be waited for by the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, and leave the order of the others."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="module", autouse=True)
def _kept_objects_are_not_searched() -> None:
    """What lives for the whole session, such as imported libraries, is not searched in each garbage collection.

    Otherwise one collection takes a second after ten thousand tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, _homes: Path) -> None:
    """No test sees the user's data, cache or plugins, asks a hub, or depends on the terminal."""
    # Not by tmp_path_factory: it reads the whole folder for each new name, 10 ms after ten thousand tests.
    home = Path(tempfile.mkdtemp(dir=_homes))
    for name in ("data", "cache"):
        (home / name).mkdir()
        monkeypatch.setenv(f"FPTKIT_{name.upper()}", str(home / name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FPTKIT_PLUGINS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shared_data() -> Path:
    """Folder of the real data sets, which are not part of this project."""
    folder = Path(os.environ.get("FPTKIT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set FPTKIT_SHARED_DATA)")
    return folder


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that holds ``RECIPE`` of the test's module, or that of `whole_runs`."""
    import whole_runs

    path = tmp_path / "tiny.yaml"
    path.write_text(getattr(request.module, "RECIPE", whole_runs.RECIPE))
    return path


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    from local_servers import never_answering

    with never_answering() as address:
        yield address


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text to pretrain on."""
    from pretraining_recipes import write_corpus

    return write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")
