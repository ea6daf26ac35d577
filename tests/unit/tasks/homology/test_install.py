"""Fetching TAPE's archive from a local server: installed, checked, recorded, or refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from local_servers import serving

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.sources import data_sets
from fptkit.sources.data_sets import DATA_SETS, MANIFEST, fetch, status
from fptkit.tasks.homology.options import RemoteHomologyOptions
from fptkit.tasks.homology.records import Record, write_records
from fptkit.tasks.homology.task import RemoteHomology

COUNTS = DATA_SETS["remote_homology"].records
Archive = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "remote_homology"


def contents(counts: dict[str, int]) -> dict[str, bytes]:
    """Files like TAPE's, with the profile that is not stored."""
    record = {"primary": "MKVW", "fold_label": 1194, "superfamily_label": 5, "family_label": 6, "id": "d1abc__",
              "evolutionary": [[0.25, 0.5]] * 4}  # fmt: skip
    text = json.dumps(record)
    return {f"remote_homology/{stem}.json": f"[{', '.join([text] * count)}]".encode() for stem, count in counts.items()}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """Makes an archive of these files and returns its address."""
    monkeypatch.setenv("no_proxy", "*")
    web = tmp_path / "web"
    web.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(web))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    def archive(files: dict[str, bytes], name: str = "a.tar.gz") -> str:
        with tarfile.open(web / name, "w:gz", compresslevel=1) as packed:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
        return f"{address}/{name}"

    with serving(Handler) as address:
        yield archive


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Pretend that TAPE has a handful of records."""
    counts = {stem: number + 1 for number, stem in enumerate(COUNTS)}
    data_set = DATA_SETS["remote_homology"]
    table = {"remote_homology": type(data_set)(**{**vars(data_set), "records": counts})}
    for module in ("fptkit.sources.data_sets", "fptkit.tasks.homology.install", "fptkit.tasks.homology.task"):
        monkeypatch.setattr(f"{module}.DATA_SETS", table)
    return counts


def test_the_address_is_tapes_json_archive() -> None:
    """As in TAPE's README; the LMDB format is data_pytorch/ with pickled records."""
    url = "https://s3.amazonaws.com/songlabdata/proteindata/data_raw_pytorch/remote_homology.tar.gz"
    assert DATA_SETS["remote_homology"].url == url
    assert list(COUNTS.values()) == [12_312, 736, 718, 1_254, 1_272]


def test_nothing_is_there_at_first(folder: Path) -> None:
    here = status("remote_homology")
    assert (here.state, here.folder, here.size) == ("absent", folder, 0)
    assert len(here.missing) == 5
    with pytest.raises(UnknownNameError, match="unknown data set 'remote_homolgy'") as caught:
        status("remote_homolgy")
    assert caught.value.suggestion == "remote_homology"


def test_a_whole_archive_is_installed_recorded_and_used(folder: Path, serve: Archive) -> None:
    url = serve(contents(dict(COUNTS)))
    seen: list[tuple[int, int | None]] = []
    here = fetch("remote_homology", url=url, progress=lambda done, total: seen.append((done, total)))
    archive = (folder.parents[1] / "web" / "a.tar.gz").read_bytes()
    assert here.state == "fetched"
    assert here.manifest["sha256"] == hashlib.sha256(archive).hexdigest()
    assert (here.manifest["url"], here.manifest["size"], here.manifest["records"]) == (url, len(archive), COUNTS)
    assert "TAPE publishes none" in str(here.manifest["checksum"])
    assert seen[-1] == (len(archive), len(archive))
    names = {f"{stem}.json.gz" for stem in COUNTS}
    assert {path.name for path in folder.iterdir()} - {".lock"} == {MANIFEST, *names}
    assert set(here.manifest["files"]) == names  # type: ignore[call-overload]
    first = json.loads(gzip.decompress((folder / "remote_homology_valid.json.gz").read_bytes()))[0]
    assert first == {"primary": "MKVW", "protein_length": 4, "fold_label": 1194, "superfamily_label": 5,
                     "family_label": 6, "id": "d1abc__"}  # fmt: skip
    task = RemoteHomology(RemoteHomologyOptions(), seed=0)
    assert (task.source, task.stand_in, task.output.count) == ("tape", False, 1195)


def test_what_is_there_is_not_fetched_again(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    url = serve(contents(few))
    first = fetch("remote_homology", url=url)
    dead = "http://127.0.0.1:1/x"
    again = fetch("remote_homology", url=dead)
    assert again.manifest == first.manifest
    assert fetch("remote_homology", url=dead, sha256=str(first.manifest["sha256"]).upper()).state == "fetched"
    with pytest.raises(DataError, match="use --force to fetch it again"):
        fetch("remote_homology", url=dead, sha256="0" * 64)
    other = {**contents(few), "readme": b"another archive"}
    with pytest.raises(DataError, match=r"not the expected one(.|\n)*recorded before; accept another .* with --digest"):
        fetch("remote_homology", url=serve(other), force=True)
    digest = hashlib.sha256((folder.parents[1] / "web" / "a.tar.gz").read_bytes()).hexdigest()
    assert fetch("remote_homology", url=url, sha256=digest, force=True).manifest["sha256"] == digest


def test_a_fetched_file_that_was_changed_is_not_read(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    fetch("remote_homology", url=serve(contents(few)))
    write_records(folder / "remote_homology_valid.json.gz", [Record("MKVW", 1194, 5, 6, "another")])
    with pytest.raises(DataError, match=r"valid\.json\.gz: not the file that was fetched"):
        RemoteHomology(RemoteHomologyOptions(), seed=0)


def test_files_put_there_by_hand_are_not_overwritten(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    folder.mkdir(parents=True)
    mine = folder / "remote_homology_train.json"
    mine.write_text("[]")
    assert status("remote_homology").state == "incomplete"
    with pytest.raises(DataError, match=r"did not fetch: remote_homology_train\.json"):
        fetch("remote_homology", url=serve(contents(few)))
    assert mine.read_text() == "[]"
    here = fetch("remote_homology", url=serve(contents(few)), force=True)
    assert here.state == "fetched"
    assert not mine.exists()  # else it could be taken for a split that was fetched


def test_all_files_put_there_by_hand_are_reported_as_such(folder: Path, few: dict[str, int]) -> None:
    folder.mkdir(parents=True)
    for stem in few:
        (folder / f"{stem}.lmdb").mkdir()
        (folder / f"{stem}.lmdb" / "data.mdb").write_bytes(b"1234")
    here = status("remote_homology")
    assert (here.state, here.size, here.manifest, here.missing) == ("by_hand", 20, {}, ())


def test_a_dead_link_says_what_else_to_do(folder: Path, serve: Archive) -> None:
    with pytest.raises(SourceError) as caught:
        fetch("remote_homology", url=serve({}).replace("a.tar", "b.tar"))
    assert caught.value.exit_code == 3
    assert caught.value.what == "data set remote_homology"
    for words in ("404", "path:DIR", "simulated"):
        assert words in str(caught.value)
    assert status("remote_homology").state == "absent"


def test_a_wrong_digest_installs_nothing(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    with pytest.raises(DataError, match="the file is not the expected one and was removed"):
        fetch("remote_homology", url=serve(contents(few)), sha256="0" * 64)
    assert status("remote_homology").state == "absent"


def bad_count(files: dict[str, bytes]) -> None:
    files["remote_homology/remote_homology_valid.json"] = files["remote_homology/remote_homology_train.json"]


def missing(files: dict[str, bytes]) -> None:
    del files["remote_homology/remote_homology_valid.json"]


def damaged(files: dict[str, bytes]) -> None:
    files["remote_homology/remote_homology_valid.json"] = b"[{"


def archive_within(files: dict[str, bytes]) -> None:
    files["remote_homology/remote_homology_valid.json"] = gzip.compress(b"tar")


def leads_outside(files: dict[str, bytes]) -> None:
    files["../../../escaped.json"] = b"[]"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bad_count, r"remote_homology_valid\.json: 1 records, TAPE's has 2"),
        (missing, r"the archive has no remote_homology_valid\.json, \.json\.gz or \.lmdb"),
        (damaged, "damaged JSON"),
        (archive_within, "binary data instead of text"),
        (leads_outside, "refused to unpack"),
    ],
)
def test_a_wrong_archive_installs_nothing(
    folder: Path,
    serve: Archive,
    few: dict[str, int],
    spoil: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:
    files = contents(few)
    spoil(files)
    with pytest.raises(DataError, match=message):
        fetch("remote_homology", url=serve(files))
    assert {path.name for path in folder.iterdir()} <= {".lock"}
    assert not list(folder.parents[1].rglob("escaped.json"))


def test_a_page_in_place_of_the_archive_is_named(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    url = serve({})
    (folder.parents[1] / "web" / "moved.tar.gz").write_text("<html>moved</html>")
    with pytest.raises(DataError, match="not readable as a tar archive"):
        fetch("remote_homology", url=url.replace("a.tar", "moved.tar"))


def test_a_failed_renewal_leaves_what_was_there(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    before = fetch("remote_homology", url=serve(contents(few)))
    files = contents(few)
    missing(files)
    with pytest.raises(DataError):
        fetch("remote_homology", url=serve(files, "b.tar.gz"), force=True)
    assert status("remote_homology") == before


def test_a_file_that_was_lost_is_fetched_again(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    url = serve(contents(few))
    fetch("remote_homology", url=url)
    (folder / "remote_homology_valid.json.gz").unlink()
    assert status("remote_homology").state == "incomplete"
    assert fetch("remote_homology", url=url).state == "fetched"


def test_a_spoilt_manifest_counts_as_none(folder: Path, serve: Archive, few: dict[str, int]) -> None:
    fetch("remote_homology", url=serve(contents(few)))
    (folder / MANIFEST).write_text("{")
    assert status("remote_homology").state == "by_hand"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot create the folder .*\$FPTKIT_DATA"):
        fetch("remote_homology", url="http://127.0.0.1:1/x")


def test_every_data_set_names_an_installer_that_is_there() -> None:
    import importlib

    for data_set in data_sets.DATA_SETS.values():
        module, _, function = data_set.installer.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
