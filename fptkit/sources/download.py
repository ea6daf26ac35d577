"""Resumable download of one file over HTTP; a wrong or incomplete file is never used.

Bytes are written to ``NAME.part``; ``NAME.part.json`` records their address and version. The next attempt, in this call
or a later one, requests the rest. The file gets its final name only when it is complete and matches its checksum, if
one is known.
"""

from __future__ import annotations

import fnmatch
import hashlib
import http.client
import re
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.files import find_json, write_json

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes in total, or None if the server does not report the total."""

_CHUNK = 1 << 18
_RETRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Retries:
    """Time limit and number of attempts for a broken connection.

    Args:
        timeout_s: an attempt ends after this many seconds without data.
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
        progress: see `Progress`.
        retries: time limit and number of attempts for a broken connection.

    Raises:
        UsageError: the address or the digest is malformed, or the destination cannot be written.
        SourceError: the server cannot be reached, refuses, or keeps closing the connection; the bytes received are kept
            for the next call.
        DataError: the file is complete but has another digest or size; it is removed.
    """
    if not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise UsageError(f"cannot fetch '{url}': expected an address that begins with http:// or https://")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"'{sha256}' is not a SHA-256 digest: expected 64 hexadecimal digits")
    wanted = None if sha256 is None else sha256.lower()
    if wanted is not None and destination.is_file() and file_sha256(destination) == wanted:
        return Downloaded(destination, wanted, destination.stat().st_size, 0)

    part = _Part(destination)
    reason = ""
    for attempt in range(retries.attempts):
        if attempt:
            time.sleep(retries.wait_s * 2 ** (attempt - 1))
        try:
            part.attempt(url, retries.timeout_s, progress, trusted=wanted is not None, size=size)
            break
        except _BrokenOff as err:
            reason = str(err)
        except urllib.error.HTTPError as err:
            reason = f"the server answers {err.code} {err.reason}"
            err.close()
            if err.code not in _RETRY:
                raise SourceError(url, [(url, reason)]) from err
    else:
        there = part.size()
        kept = f" {there:,} bytes are kept; the same command continues from there." if there else ""
        raise SourceError(url, [(url, f"{reason} ({retries.attempts} attempts).{kept}")])
    digest = part.finish(wanted, size, url)
    return Downloaded(destination, digest, destination.stat().st_size, part.fetched)


class _Part:
    """The unfinished file and its recorded version."""

    def __init__(self, destination: Path) -> None:
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

    def attempt(
        self, url: str, timeout_s: float, progress: Progress | None, *, trusted: bool, size: int | None
    ) -> None:
        """One request: fetch the file, or the rest of it.

        Args:
            url: address of the file.
            timeout_s: time limit in seconds without data.
            progress: see `Progress`.
            trusted: the digest is checked later, so the download may be resumed without confirmation by the server.
            size: required size of the file, checked before anything is read.

        Raises:
            _BrokenOff: the attempt ended early.
            HTTPError: the server refuses.
            DataError: the server's file has another size.
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
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                version = _Version(url, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
                if answer.status == 206 and not (known and _continues(answer, start, known, version)):
                    self.remove()
                    raise _BrokenOff("the file on the server changed since the first part was downloaded")
                if answer.status != 206:
                    start = 0
                total = _length(answer, start)
                if size is not None and total is not None and total != size:
                    self.remove()
                    raise DataError(f"{url}: expected a file of {size:,} bytes, the server has {total:,}")
                write_json(self.memo, asdict(version))
                with self.path.open("ab" if start else "wb") as file:
                    done = start
                    while piece := self._read(answer):
                        file.write(piece)
                        done += len(piece)
                        self.fetched += len(piece)
                        if progress:
                            progress(done, total)
                if total is not None and done != total:
                    raise _BrokenOff(f"the connection broke off after {done:,} of {total:,} bytes")
        except urllib.error.HTTPError as err:
            if err.code != 416 or not start:
                raise
            err.close()
            self.remove()  # the part is complete or belongs to another file: only a fresh copy can tell which
            raise _BrokenOff("the server has no more bytes than were already received") from err
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as err:
            # ValueError: the server redirects to an invalid address.
            raise _BrokenOff(f"no connection ({getattr(err, 'reason', '') or err or type(err).__name__})") from err
        except OSError as err:
            raise UsageError(f"cannot write {self.path}: {err}") from err

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read(_CHUNK)
        except http.client.IncompleteRead as err:
            raise _BrokenOff("the connection broke off") from err
        except OSError as err:  # reset or timed out, not a full disk
            raise _BrokenOff(f"the connection broke off ({err or type(err).__name__})") from err

    def finish(self, wanted: str | None, size: int | None, url: str) -> str:
        """Check the complete file, rename it, and return its digest."""
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


def unpack(archive: Path, folder: Path, *, only: str = "*") -> None:
    """Unpack a tar archive, compressed or not, into an existing folder.

    Devices, and names or links that lead out of the folder, are refused (tarfile's ``data`` filter).

    Args:
        archive: the archive.
        folder: destination.
        only: pattern of the names to unpack, folders included, by the rules of `fnmatch`.

    Raises:
        DataError: the file is not a tar archive, is truncated, or contains a refused name.
        UsageError: this version of Python cannot unpack safely.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UsageError("cannot unpack safely with this Python; use 3.10.12, 3.11.4 or later")
    try:
        with tarfile.open(archive) as opened:
            wanted = (member for member in opened if fnmatch.fnmatchcase(member.name, only))
            opened.extractall(folder, members=wanted, filter="data")
    except tarfile.FilterError as err:
        raise DataError(f"{archive}: refused to unpack: {err}") from err
    except (tarfile.TarError, zlib.error, EOFError, OSError) as err:
        raise DataError(f"{archive}: cannot be unpacked: {err}") from err
