"""Resumable download of one file over HTTP; a wrong or incomplete file is never used.

Bytes go to ``NAME.part``; ``NAME.part.json`` beside it records which version of which address they belong to. The next
attempt, in this call or a later one, requests the rest. The file gets its name only when it is complete and matches its
checksum, if one is known.
"""

from __future__ import annotations

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
"""Called with the bytes received and the bytes in total; None if the server does not say."""

_CHUNK = 1 << 18
_RETRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Retries:
    """How long and how often a broken connection is tried.

    Args:
        timeout_s: seconds without a byte after which an attempt ends.
        attempts: number of attempts, at least 1.
        wait_s: seconds before the second attempt; doubled before each further one.
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
        size: its bytes.
        fetched: bytes received in this call; fewer than ``size`` if an earlier call received a part.
    """

    path: Path
    sha256: str
    size: int
    fetched: int


@dataclass(frozen=True)
class _Version:
    """Which bytes a part belongs to."""

    url: str
    etag: str
    modified: str

    @property
    def condition(self) -> str:
        """What the server is asked to compare before it sends only the rest; empty where it gave nothing to compare."""
        return self.modified if not self.etag or self.etag.startswith("W/") else self.etag


class _BrokenOff(Exception):
    """This attempt ended early; another may go on from where it stopped."""


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    retries: Retries = RETRIES,
) -> Downloaded:
    """Fetch ``url`` into ``destination``, continuing an earlier, broken attempt if that is safe.

    A part is continued when the server confirms that the file is still the same (``If-Range`` with its entity tag or
    date), or when ``sha256`` is given, which is checked at the end; otherwise the download starts again. An existing
    file is kept only if ``sha256`` is given and matches.

    Args:
        url: an http or https address.
        destination: where the file goes; its folder is made.
        sha256: digest it must have, in hexadecimal.
        size: bytes it must have.
        progress: see `Progress`.
        retries: how long and how often a broken connection is tried.

    Raises:
        UsageError: the address or the digest is not of the right form, or the destination cannot be written.
        SourceError: the server cannot be reached, refuses, or keeps breaking off; what came is kept for the next call.
        DataError: the file is whole but has another digest or size; it is removed.
    """
    if not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise UsageError(f"cannot fetch '{url}': expected an address that begins with http:// or https://")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"'{sha256}' is no SHA-256 digest: expected 64 hexadecimal digits")
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
    """The unfinished file and what is known of it."""

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.path = destination.with_name(destination.name + ".part")
        self.memo = destination.with_name(destination.name + ".part.json")
        self.fetched = 0  # bytes that came in this call
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(f"cannot make the folder {destination.parent}: {err}") from err

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.memo.unlink(missing_ok=True)

    def _known(self, url: str) -> _Version | None:
        try:
            known = _Version(**find_json(self.memo))
        except TypeError:  # no memo, or one that was spoilt: start again
            return None
        return known if known.url == url else None

    def attempt(
        self, url: str, timeout_s: float, progress: Progress | None, *, trusted: bool, size: int | None
    ) -> None:
        """One request: fetch the file, or the rest of it.

        Args:
            trusted: the digest will be checked, so a part may be continued without a word from the server.
            size: bytes the file must have, checked before anything is read.

        Raises:
            _BrokenOff: it ended early.
            HTTPError: the server refuses.
        """
        known = self._known(url)
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
                    raise _BrokenOff("the file on the server changed since the first part was fetched")
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
            self.remove()  # nothing follows the part: it is whole or belongs to another file; only a fresh copy tells
            raise _BrokenOff("the server has no more than the part that is here") from err
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as err:
            # ValueError where the server redirects to something that is no address.
            raise _BrokenOff(f"no connection ({getattr(err, 'reason', '') or err or type(err).__name__})") from err
        except OSError as err:
            raise UsageError(f"cannot write {self.path}: {err}") from err

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read(_CHUNK)
        except http.client.IncompleteRead as err:
            raise _BrokenOff("the connection broke off") from err
        except OSError as err:  # reset, timed out: not to be taken for a full disk
            raise _BrokenOff(f"the connection broke off ({err or type(err).__name__})") from err

    def finish(self, wanted: str | None, size: int | None, url: str) -> str:
        """Check the whole file, give it its name, and return its digest."""
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
    """Whether a 206 answer is the rest of the bytes that are there."""
    span = re.match(r"bytes ([0-9]{1,18})-", answer.headers.get("Content-Range", ""))
    same = (known.etag == now.etag or not now.etag) and (known.modified == now.modified or not now.modified)
    return span is not None and int(span[1]) == start and same


def _length(answer: http.client.HTTPResponse, start: int) -> int | None:
    """Bytes of the whole file, None where the server does not say."""
    if found := re.match(r"bytes [0-9]+-[0-9]+/([0-9]{1,18})$", answer.headers.get("Content-Range", "")):
        return int(found[1])
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into an existing folder and nowhere else.

    Devices, and names or links that lead out of the folder, are refused (tarfile's ``data`` filter).

    Raises:
        DataError: the file is no tar archive, is cut off, or holds a name that is refused.
        UsageError: this Python is too old to unpack safely.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UsageError("unpacking safely needs Python 3.10.12, 3.11.4 or later")
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except tarfile.FilterError as err:
        raise DataError(f"{archive}: refused to unpack: {err}") from err
    except (tarfile.TarError, zlib.error, EOFError, OSError) as err:
        raise DataError(f"{archive}: cannot be unpacked: {err}") from err
