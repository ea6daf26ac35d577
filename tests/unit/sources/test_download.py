"""Downloads from a real HTTP server on this machine that can break connections, ignore ranges and change files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from local_servers import serving

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.sources.download import Retries, _Redirects, _Refused, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server does, and what it was asked.

    Args:
        cuts: bytes after which the next answers break off, one by one.
        statuses: statuses of the next answers, one by one, in place of the file.
    """

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    honours_condition: bool = True
    says_length: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            state.asked.append((asked, condition))
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            start = 0
            same = condition in (None, state.etag, state.modified) or not state.honours_condition
            if asked and state.ranges and same:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= len(state.content):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            if state.modified:
                self.send_header("Last-Modified", state.modified)
            if state.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cuts.pop(0)] if state.cuts else body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        state.url = f"{address}/data.bin"
        yield state


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_downloaded_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    got = download(server.url, tmp_path / "new" / "data.bin", progress=lambda done, total: seen.append((done, total)))
    assert got.path.read_bytes() == CONTENT
    assert (got.sha256, got.size, got.fetched) == (DIGEST, len(CONTENT), len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert leftovers(tmp_path / "new") == {"data.bin"}
    assert server.asked == [(None, None)]


def test_a_broken_connection_resumes_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000]
    got = download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert got.path.read_bytes() == CONTENT
    assert got.fetched == len(CONTENT)
    assert server.asked == [(None, None), ("bytes=300000-", '"one"'), ("bytes=500000-", '"one"')]


def test_a_later_call_resumes_where_an_earlier_one_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]
    with pytest.raises(SourceError, match="300,000 bytes are kept; the same command continues from there") as caught:
        download(server.url, tmp_path / "data.bin", retries=Retries(attempts=1))
    assert caught.value.exit_code == 3
    assert caught.value.what == server.url
    assert leftovers(tmp_path) == {"data.bin.part", "data.bin.part.json"}
    seen: list[int] = []
    got = download(
        server.url, tmp_path / "data.bin", retries=Retries(attempts=1), progress=lambda done, total: seen.append(done)
    )
    assert got.path.read_bytes() == CONTENT
    assert got.fetched == len(CONTENT) - 300_000
    assert min(seen) > 300_000
    assert leftovers(tmp_path) == {"data.bin"}


def test_a_part_of_another_address_is_not_continued(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]
    with pytest.raises(SourceError):
        download(server.url, tmp_path / "data.bin", retries=Retries(attempts=1))
    download(server.url + "?mirror", tmp_path / "data.bin")
    assert server.asked[-1] == (None, None)


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [300_000]
    got = download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert got.path.read_bytes() == CONTENT
    assert got.fetched == len(CONTENT) + 300_000


@pytest.mark.parametrize("honours_condition", [True, False])
def test_a_changed_file_starts_again(server: Server, tmp_path: Path, honours_condition: bool) -> None:
    server.cuts = [300_000]
    with pytest.raises(SourceError):
        download(server.url, tmp_path / "data.bin", retries=Retries(attempts=1))
    server.content, server.etag, server.honours_condition = CONTENT[::-1], '"two"', honours_condition
    got = download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert got.path.read_bytes() == CONTENT[::-1]


def test_without_entity_tag_the_date_is_compared(server: Server, tmp_path: Path) -> None:
    server.etag, server.modified, server.cuts = None, "Mon, 01 Jan 2024 00:00:00 GMT", [300_000]
    download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert server.asked[1] == ("bytes=300000-", server.modified)


def test_with_nothing_to_compare_only_a_digest_allows_resuming(server: Server, tmp_path: Path) -> None:
    server.etag, server.cuts = None, [300_000]
    download(server.url, tmp_path / "plain.bin", retries=Retries(wait_s=0))
    assert server.asked[1] == (None, None)
    server.cuts = [300_000]
    download(server.url, tmp_path / "checked.bin", retries=Retries(wait_s=0), sha256=DIGEST)
    assert server.asked[3] == ("bytes=300000-", None)


def test_a_weak_entity_tag_is_not_relied_on(server: Server, tmp_path: Path) -> None:
    server.etag, server.cuts = 'W/"one"', [300_000]
    download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert server.asked[1] == (None, None)


def test_a_part_that_is_already_complete_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]
    with pytest.raises(SourceError):
        download(server.url, tmp_path / "data.bin", retries=Retries(attempts=1))
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    got = download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert got.path.read_bytes() == CONTENT


def test_a_damaged_memo_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"junk")
    (tmp_path / "data.bin.part.json").write_text('{"url": ')
    assert download(server.url, tmp_path / "data.bin").path.read_bytes() == CONTENT


def test_a_wrong_digest_removes_the_file(server: Server, tmp_path: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(DataError, match=f"expected SHA-256 {wrong}") as caught:
        download(server.url, tmp_path / "data.bin", sha256=wrong)
    assert DIGEST in str(caught.value)
    assert leftovers(tmp_path) == set()


def test_a_right_digest_in_capitals_is_accepted_and_saves_a_second_download(server: Server, tmp_path: Path) -> None:
    download(server.url, tmp_path / "data.bin", sha256=DIGEST.upper())
    assert download(server.url, tmp_path / "data.bin", sha256=DIGEST).fetched == 0
    assert len(server.asked) == 1


def test_an_existing_file_without_a_digest_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"old")
    assert download(server.url, tmp_path / "data.bin").path.read_bytes() == CONTENT


def test_a_wrong_size_is_refused_before_anything_is_read(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file of 5 bytes, the server has 1,048,576"):
        download(server.url, tmp_path / "data.bin", size=5)
    assert leftovers(tmp_path) == set()


def test_a_wrong_size_is_found_if_the_server_does_not_report_it(server: Server, tmp_path: Path) -> None:
    server.says_length = False
    seen: list[int | None] = []
    download(server.url, tmp_path / "data.bin", progress=lambda done, total: seen.append(total))
    assert set(seen) == {None}
    with pytest.raises(DataError, match="expected 5 bytes"):
        download(server.url, tmp_path / "data.bin", size=5)


def test_a_dead_link_is_not_tried_twice(server: Server, tmp_path: Path) -> None:
    server.statuses = [404, 404]
    with pytest.raises(SourceError, match="the server answers 404"):
        download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0))
    assert len(server.asked) == 1
    assert leftovers(tmp_path) == set()


def test_a_busy_server_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    assert download(server.url, tmp_path / "data.bin", retries=Retries(wait_s=0)).path.read_bytes() == CONTENT
    server.statuses = [503] * 9
    with pytest.raises(SourceError, match=r"the server answers 503 .*\(2 attempts\)"):
        download(server.url, tmp_path / "data.bin", retries=Retries(attempts=2, wait_s=0))
    assert len(server.asked) == 5


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no connection"):
        download("http://127.0.0.1:1/data.bin", tmp_path / "data.bin", retries=Retries(attempts=2, wait_s=0))


ODD_ANSWERS = [
    b"HTTP/1.0 302 Found\r\nLocation: http://[::1\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: \xb2\r\n\r\nx",
    b"HTTP/1.0 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx",
    b"220 mail.example ready\r\n",
    b"",
]


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=lambda answer: str(answer[:40]))
def test_an_odd_answer_is_no_crash(answer: bytes, tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)

        def serve() -> None:
            connection, _ = listening.accept()
            connection.recv(65536)
            connection.sendall(answer)
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/data.bin"
        with contextlib.suppress(SourceError):  # some of them hold a body all the same
            assert download(url, tmp_path / "data.bin", retries=Retries(attempts=1)).path.read_bytes() == b"x"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "data.bin", "ftp://example.org/x", "http://"])
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="http"):
        download(url, tmp_path / "data.bin")


def test_a_digest_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        download("http://127.0.0.1:1/x", tmp_path / "data.bin", sha256="d41d8cd98f00b204e9800998ecf8427e")


def test_a_destination_that_cannot_be_created_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot create the folder"):
        download(server.url, tmp_path / "file" / "data.bin")
    (tmp_path / "data.bin.part").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*data\.bin\.part"):
        download(server.url, tmp_path / "data.bin")


# --- servers that are not trusted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_that_is_too_large_is_not_kept(server: Server, tmp_path: Path, says_length: bool) -> None:
    server.says_length = says_length
    with pytest.raises(DataError, match="at most 500,000 are expected; it was not kept"):
        download(server.url, tmp_path / "data.bin", most_bytes=500_000)
    assert leftovers(tmp_path) == set()
    assert len(server.asked) == 1


@contextlib.contextmanager
def answering(*lines: bytes, then: Callable[[socket.socket], None] = lambda open_: None) -> Iterator[str]:
    """A server that sends the same to everybody; its address."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = listening.accept()
                with taken, contextlib.suppress(OSError):
                    taken.recv(1 << 16)
                    taken.sendall(b"\r\n".join((*lines, b"")))
                    then(taken)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/data.bin"
        listening.shutdown(socket.SHUT_RDWR)


def trickle(taken: socket.socket) -> None:
    """A byte now and then, long after the test ended."""
    for _ in range(600):
        taken.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((b"HTTP/1.1 200 OK", b"Content-Length: 900000", b""), r"only \d+ bytes arrived in"),
        ((b"HTTP/1.1 200 OK", b"X-Never-Ending: "), "no answer within 0.4 s"),
    ],
    ids=["content", "headers"],
)
def test_a_server_that_sends_almost_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: tuple[bytes, ...], said: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    retries = Retries(timeout_s=0.1, attempts=1)
    with answering(*lines, then=trickle) as url, pytest.raises(SourceError, match=said):
        download(url, tmp_path / "data.bin", retries=retries)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (b"ftp://127.0.0.1/x", "redirects from http to ftp://127.0.0.1/x, which is not followed"),
        (b"file:///etc/hostname", "(which is not followed|not allowed)"),
        (b"data:text/plain,x", "(which is not followed|not allowed)"),
        (b"http://[::1", "no connection"),
        (b"http://127.0.0.1:99999999/", "no connection"),
        (b"http://\xff\x1b[31m/", "no connection"),
    ],
)
def test_redirects_elsewhere_are_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: bytes, said: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    lines = (b"HTTP/1.1 302 Found", b"Location: " + place, b"Content-Length: 0", b"")
    with answering(*lines) as url, pytest.raises(SourceError, match=said) as found:
        download(url, tmp_path / "data.bin", retries=Retries(timeout_s=2, attempts=1))
    assert str(found.value).replace("\n", "").isprintable()


def test_https_is_not_left() -> None:
    request = urllib.request.Request("https://example.org/a")
    follow = _Redirects().redirect_request
    with pytest.raises(_Refused, match=r"from https to http://example\.org/b"):
        follow(request, io.BytesIO(), 302, "Found", {}, "http://example.org/b")
    assert follow(request, io.BytesIO(), 302, "Found", {}, "https://example.org/b").full_url == "https://example.org/b"
