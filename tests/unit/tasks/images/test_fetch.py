"""The source ``torchvision`` against a real HTTP server on this machine, and against none."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import socket
import struct
import tarfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from local_servers import serving
from torchvision.datasets import CIFAR10, MNIST

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.tasks.images import fetch
from fptkit.tasks.images.readers import Form

fetch_digests = dict(fetch.SHA256)
GREY, COLOUR = Form(28, (1,)), Form(32, (3,))


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes())


def mnist_files() -> dict[str, bytes]:
    labels = np.arange(12, dtype=np.uint8) % 3
    images = np.arange(12 * 784, dtype=np.uint64).reshape(12, 28, 28).astype(np.uint8)
    arrays = (images, labels, images[:6], labels[:6])
    return {name: idx(array) for (name, _), array in zip(MNIST.resources, arrays, strict=True)}


def cifar_files() -> dict[str, bytes]:
    batch = {"data": np.full((4, 3072), 9, np.uint8), "labels": [0, 1, 2, 0]}
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    return {name: pickle.dumps({**batch, "batch_label": name}, protocol=2) for name in (*names, "batches.meta")}


def packed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Server:
    """Serves files by name and records requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with small data sets in the same layout; torchvision is patched with their checksums."""
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            state.asked.append(f"{self.command} {name}")
            if name not in state.files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.files[name])))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(state.files[name])

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    mnist, cifar = mnist_files(), cifar_files()
    archive = packed(cifar)
    state.files = {**mnist, "cifar-10-python.tar.gz": archive}
    monkeypatch.setattr(MNIST, "resources", [(name, md5(content)) for name, content in mnist.items()])
    for label in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, label, [[name, md5(cifar[name])] for name, _ in getattr(CIFAR10, label)])
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in state.files.items()}
    monkeypatch.setattr(fetch, "SHA256", digests)
    with serving(Handler) as state.url:
        monkeypatch.setattr(MNIST, "mirrors", [f"{state.url}/first/", f"{state.url}/second/"])
        monkeypatch.setattr(CIFAR10, "url", f"{state.url}/cifar-10-python.tar.gz")
        yield state


def gets(server: Server) -> list[str]:
    return [line for line in server.asked if line.startswith("GET")]


def test_mnist_is_fetched_once(server: Server) -> None:
    splits = fetch.fetched_mnist(GREY)
    assert splits["train"].images.shape == (12, 28, 28, 1)
    assert splits["test"].labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert gets(server) == [f"GET {name}" for name in mnist_files()]
    server.asked.clear()
    again = fetch.fetched_mnist(GREY)
    assert server.asked == [], "nothing is asked where all files are here"
    assert np.array_equal(again["train"].images, splits["train"].images)


def test_cifar_is_fetched_once(server: Server) -> None:
    splits = fetch.fetched_cifar10(COLOUR)
    assert splits["train"].images.shape == (20, 32, 32, 3)
    assert splits["test"].labels.tolist() == [0, 1, 2, 0]
    server.asked.clear()
    fetch.fetched_cifar10(COLOUR)
    assert server.asked == []
    assert not (fetch.torchvision_folder() / "cifar-10-python.tar.gz").exists(), "the archive is not kept twice"


def test_what_fptkit_fetched_torchvision_reads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = fetch.fetched_cifar10(COLOUR)
    meta = pickle.dumps({"label_names": ["a", "b", "c"]}, protocol=2)
    (fetch.torchvision_folder() / "cifar-10-batches-py" / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5(meta)})
    theirs = CIFAR10(fetch.torchvision_folder(), train=True, download=False)
    assert np.array_equal(theirs.data, splits["train"].images)
    assert theirs.targets == splits["train"].labels.tolist()


def test_what_torchvision_fetched_is_taken(server: Server) -> None:
    folder = fetch.torchvision_folder() / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / name).write_bytes(content)
        (folder / name.removesuffix(".gz")).write_bytes(b"torchvision unpacks here, without a checksum")
    assert len(fetch.fetched_mnist(GREY)["train"]) == 12
    assert server.asked == []


def test_a_damaged_file_is_fetched_again(server: Server) -> None:
    fetch.fetched_mnist(GREY)
    folder = fetch.torchvision_folder() / "MNIST" / "raw"
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"spoilt")
    server.asked.clear()
    assert len(fetch.fetched_mnist(GREY)["test"]) == 6
    assert gets(server) == ["GET t10k-labels-idx1-ubyte.gz"]


def test_a_damaged_file_without_a_server(server: Server) -> None:
    fetch.fetched_mnist(GREY)
    (fetch.torchvision_folder() / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"spoilt")
    server.files.clear()
    with pytest.raises(Unavailable, match=r"t10k-labels-idx1-ubyte\.gz is damaged \(wrong checksum\).* answers 404"):
        fetch.fetched_mnist(GREY)


def test_a_page_in_place_of_the_file(server: Server) -> None:
    """The page that a network with a login form sends."""
    server.files = dict.fromkeys(server.files, b"<html>please log in</html>")
    for fetched, form in ((fetch.fetched_mnist, GREY), (fetch.fetched_cifar10, COLOUR)):
        with pytest.raises(Unavailable, match="the file is not the expected one and was removed"):
            fetched(form)
    kept = [path.name for path in fetch.torchvision_folder().rglob("*") if path.is_file() and path.name != ".lock"]
    assert kept == []


def test_an_archive_in_which_a_batch_is_missing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    files = cifar_files()
    del files["data_batch_3"]
    archive = server.files["cifar-10-python.tar.gz"] = packed(files)
    monkeypatch.setitem(fetch.SHA256, "cifar-10-python.tar.gz", hashlib.sha256(archive).hexdigest())
    with pytest.raises(DataError, match=r"it has no cifar-10-batches-py/data_batch_3; remove it"):
        fetch.fetched_cifar10(COLOUR)


def test_the_digests_are_of_the_files_that_torchvision_names() -> None:
    assert fetch_digests.keys() == {*dict(MNIST.resources), CIFAR10.filename}


def test_the_second_mirror(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [f"{closed_port()}/", f"{server.url}/second/"])
    assert len(fetch.fetched_mnist(GREY)["train"]) == 12


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_no_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR10, "url", f"{closed_port()}/cifar-10-python.tar.gz")
    with pytest.raises(Unavailable, match=r"not in .*cifar-10-batches-py, and http.* cannot be reached \(.*refused"):
        fetch.fetched_cifar10(COLOUR)


@pytest.mark.slow
def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(MNIST, "mirrors", [address, address])
        start = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached"):
            fetch.fetched_mnist(GREY)
        assert time.monotonic() - start < 3


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "file"))
    with pytest.raises(Unavailable, match=r"MNIST.raw, which is not writable \("):
        fetch.fetched_mnist(GREY)


def test_a_folder_that_may_only_be_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch.fetched_mnist(GREY)

    class Locked:
        def __init__(self, path: Path) -> None:
            raise AssertionError("files that are there need no lock, which would be written")

    monkeypatch.setattr(fetch, "FileLock", Locked)
    assert len(fetch.fetched_mnist(GREY)["train"]) == 12
