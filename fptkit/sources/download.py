"""Resumable download of one file over HTTP; a wrong or incomplete file is never used.

A server is not trusted: what it sends is limited in size, an attempt in which almost nothing arrives ends, and
redirects are followed only to http and https, and never from https to http.

Bytes are written to ``NAME.part``; ``NAME.part.json`` records their address and version. The next attempt, in this call
or a later one, requests the rest. The file gets its final name only when it is complete and matches its checksum, if
one is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.files import find_json, write_json
from fptkit.sources.decoding import one_line

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes in total, or None if the server does not report the total."""

MOST_BYTES = 64 * 2**30
"""Most bytes of a file, if the caller knows no better limit."""

_CHUNK = 1 << 18
_SLOWEST = 100
"""Bytes per second; an attempt that is slower for `Retries.timeout_s` seconds ends."""

_RETRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Retries:
    """Time limit and number of attempts for a broken connection.

    Args:
        timeout_s: an attempt ends after this many seconds without data, or with almost none.
        attempts: number of attempts, at least 1.
        wait_s: seconds before the second attempt; doubled before each further attempt.
    """

    timeout_s: float = 30.0
    attempts: int = 4
    wait_s: float = 1.0


RETRIES = Retries()


@dataclass(frozen=True)
class Downloaded:
    """A complete file.

    Args:
        path: the file.
        sha256: its digest, in hexadecimal.
        size: its size in bytes.
        fetched: bytes received in this call; fewer than ``size`` if an earlier call received some.
    """

    path: Path
    sha256: str
    size: int
    fetched: int


@dataclass(frozen=True)
class _Version:
    """The version of a remote file that a partial download belongs to."""

    url: str
    etag: str
    modified: str

    @property
    def condition(self) -> str:
        """Validator for ``If-Range``: strong entity tag or date; empty if the server sent neither."""
        return self.modified if not self.etag or self.etag.startswith("W/") else self.etag


class _BrokenOff(Exception):
    """This attempt ended early; another may continue from the bytes received."""


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    most_bytes: int = MOST_BYTES,
    progress: Progress | None = None,
    retries: Retries = RETRIES,
) -> Downloaded:
    """Download ``url`` to ``destination``, and resume an earlier attempt if that is safe.

    An earlier attempt is resumed if the server confirms that the file has not changed (``If-Range`` with its entity tag
    or date), or if ``sha256`` is given, which is checked at the end; otherwise the download starts again. With
    ``sha256``, the address may have another query than before, as signed ones have. An existing file is kept only if
    ``sha256`` is given and matches.

    Args:
        url: an http or https address.
        destination: path of the file; its folder is created if missing.
        sha256: required digest of the file, in hexadecimal.
        size: required size of the file in bytes.
        most_bytes: a larger file is refused.
        progress: see `Progress`.
        retries: time limit and number of attempts for a broken connection.

    Raises:
        UsageError: the address or the digest is malformed, or the destination cannot be written.
        SourceError: the server cannot be reached, refuses, or keeps closing the connection; the bytes received are kept
            for the next call.
        DataError: the file is complete but has another digest or size, or is too large; it is removed.
    """
    if not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise UsageError(f"cannot fetch '{url}': expected an address that begins with http:// or https://")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"'{sha256}' is not a SHA-256 digest: expected 64 hexadecimal digits")
    wanted = None if sha256 is None else sha256.lower()
    if wanted is not None and destination.is_file() and file_sha256(destination) == wanted:
        return Downloaded(destination, wanted, destination.stat().st_size, 0)

    part = _Part(destination, size, most_bytes)
    reason = ""
    for attempt in range(retries.attempts):
        if attempt:
            time.sleep(retries.wait_s * 2 ** (attempt - 1))
        try:
            part.attempt(url, retries.timeout_s, progress, trusted=wanted is not None)
            break
        except _BrokenOff as err:
            reason = str(err)
        except urllib.error.HTTPError as err:
            reason = f"the server answers {err.code} {one_line(str(err.reason))}"
            err.close()
            if err.code not in _RETRY:
                raise SourceError(url, [(url, reason)]) from err
    else:
        there = part.size()
        kept = f" {there:,} bytes are kept; the same command continues from there." if there else ""
        raise SourceError(url, [(url, f"{reason} ({retries.attempts} attempts).{kept}")])
    digest = part.finish(wanted, url)
    return Downloaded(destination, digest, destination.stat().st_size, part.fetched)


class _Part:
    """The unfinished file and its recorded version."""

    def __init__(self, destination: Path, size: int | None, most_bytes: int) -> None:
        self._required, self._most = size, most_bytes
        self.destination = destination
        self.path = destination.with_name(destination.name + ".part")
        self.memo = destination.with_name(destination.name + ".part.json")
        self.fetched = 0  # bytes received in this call
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(f"cannot create the folder {destination.parent}: {err}") from err

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.memo.unlink(missing_ok=True)

    def _known(self, url: str, *, trusted: bool) -> _Version | None:
        try:
            known = _Version(**find_json(self.memo))
        except TypeError:  # missing or damaged memo: start again
            return None
        same = known.url == url or (trusted and known.url.partition("?")[0] == url.partition("?")[0])
        return known if same else None

    def attempt(self, url: str, timeout_s: float, progress: Progress | None, *, trusted: bool) -> None:
        """One request: fetch the file, or the rest of it.

        Args:
            url: address of the file.
            timeout_s: time limit in seconds without data.
            progress: see `Progress`.
            trusted: the digest is checked later, so the download may be resumed without confirmation by the server.

        Raises:
            _BrokenOff: the attempt ended early.
            HTTPError: the server refuses.
            DataError: the server's file has another size, or is too large.
            UsageError: the file cannot be written.
        """
        known = self._known(url, trusted=trusted)
        start = self.size() if known and (known.condition or trusted) else 0
        request = urllib.request.Request(url, headers={"User-Agent": "fptkit", "Accept-Encoding": "identity"})
        if start and known:
            request.add_header("Range", f"bytes={start}-")
            if known.condition:
                request.add_header("If-Range", known.condition)
        try:
            answer = _opened(request, timeout_s)
        except urllib.error.HTTPError as err:
            if err.code != 416 or not start:
                raise
            err.close()
            self.remove()  # the part is complete or belongs to another file: only a fresh copy can tell which
            raise _BrokenOff("the server has no more bytes than were already received") from err
        with answer:
            version = _Version(url, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
            if answer.status == 206 and not (known and _continues(answer, start, known, version)):
                self.remove()
                raise _BrokenOff("the file on the server changed since the first part was downloaded")
            start = start if answer.status == 206 else 0
            total = _length(answer, start)
            self._check_size(url, total)
            with self._writing():
                write_json(self.memo, asdict(version))
            self._receive(answer, start, total, timeout_s, progress)

    def _check_size(self, url: str, total: int | None) -> None:
        """Check the size that the server reports, before anything is read."""
        if total is None:
            return
        if self._required is not None and total != self._required:
            self.remove()
            raise DataError(f"{url}: expected a file of {self._required:,} bytes, the server has {total:,}")
        if total > self._most:
            raise self._too_large(url, f"{total:,}")

    def _too_large(self, url: str, size: str) -> DataError:
        self.remove()
        return DataError(f"{url}: a file of {size} bytes, at most {self._most:,} are expected; it was not kept")

    def _receive(
        self,
        answer: http.client.HTTPResponse,
        start: int,
        total: int | None,
        timeout_s: float,
        progress: Progress | None,
    ) -> None:
        """Write what arrives to the file; ``start`` bytes of it are there."""
        with self._writing():
            file = self.path.open("ab" if start else "wb")
        done, begun, received = start, time.monotonic(), 0
        with file:
            while piece := self._read(answer):
                with self._writing():
                    file.write(piece)
                done, received = done + len(piece), received + len(piece)
                self.fetched += len(piece)
                if done > self._most:
                    raise self._too_large(answer.url, f"more than {self._most:,}")
                if progress:
                    progress(done, total)
                if (waited := time.monotonic() - begun) > timeout_s:
                    if received < _SLOWEST * waited and done != total:
                        raise _BrokenOff(f"only {received:,} bytes arrived in {waited:.0f} s")
                    begun, received = time.monotonic(), 0
        if total is not None and done != total:
            raise _BrokenOff(f"the connection broke off after {done:,} of {total:,} bytes")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise UsageError(f"cannot write {self.path}: {err}") from err

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        """What has arrived, without waiting for more, so that the speed is known."""
        try:
            return answer.read1(_CHUNK)
        except http.client.IncompleteRead as err:
            raise _BrokenOff("the connection broke off") from err
        except Exception as err:  # whatever the server makes the library raise
            raise _BrokenOff(f"the connection broke off ({one_line(str(err)) or type(err).__name__})") from err

    def finish(self, wanted: str | None, url: str) -> str:
        """Check the complete file, rename it, and return its digest."""
        size = self._required
        digest, there = file_sha256(self.path), self.size()
        if (wanted is not None and digest != wanted) or (size is not None and there != size):
            self.remove()
            expected = f"SHA-256 {wanted}" if wanted is not None and digest != wanted else f"{size:,} bytes"
            raise DataError(
                f"{url}: the file is not the expected one and was removed.\n"
                f"expected {expected}\ngot      SHA-256 {digest}, {there:,} bytes"
            )
        self.path.replace(self.destination)
        self.memo.unlink(missing_ok=True)
        return digest


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http, where anybody could change the file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to follow a redirect with; see `urllib.request.HTTPRedirectHandler`."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after == "http"):
            fp.close()
            raise _Refused(f"the server redirects from {before} to {one_line(newurl)[:100]}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Refused(Exception):
    """An answer that is not used."""


def _opened(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    """The server's answer.

    Raises:
        HTTPError: it refuses.
        SourceError: it redirects to an address that is not followed.
        _BrokenOff: anything else, or it sends its headers too slowly.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.build_opener(_Redirects).open(request, timeout=timeout_s))
        except Exception as err:  # whatever the server makes the library raise
            answers.put(err)

    # In a thread, because Python's timeouts begin again with each byte, and do not apply to host name lookups.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=4 * timeout_s)
    except queue.Empty:
        raise _BrokenOff(f"no answer within {4 * timeout_s:g} s") from None
    if isinstance(answer, urllib.error.HTTPError):
        raise answer
    if isinstance(answer, _Refused):
        raise SourceError(request.full_url, [(request.full_url, str(answer))]) from answer
    if isinstance(answer, Exception):
        reason = getattr(answer, "reason", "") or answer or type(answer).__name__
        raise _BrokenOff(f"no connection ({one_line(str(reason))})") from answer
    return cast(http.client.HTTPResponse, answer)


def _continues(answer: http.client.HTTPResponse, start: int, known: _Version, now: _Version) -> bool:
    """True if a 206 answer continues the bytes already received."""
    span = re.match(r"bytes ([0-9]{1,18})-", answer.headers.get("Content-Range", ""))
    same = (known.etag == now.etag or not now.etag) and (known.modified == now.modified or not now.modified)
    return span is not None and int(span[1]) == start and same


def _length(answer: http.client.HTTPResponse, start: int) -> int | None:
    """Size of the complete file in bytes; None if the server does not report it."""
    if found := re.match(r"bytes [0-9]+-[0-9]+/([0-9]{1,18})$", answer.headers.get("Content-Range", "")):
        return int(found[1])
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
