"""Files of repositories on the model hub: from the local cache, or downloaded into it.

huggingface_hub keeps the cache and finds the files. Large files, whose SHA-256 the hub announces, are fetched by
`fptkit.sources.download` into the place where the client looks for them: the client removes what it has of a file when
it is interrupted, and compares only the size. That holds for repositories stored by Xet too, which the hub also serves
over HTTP.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.sources.choice import Unavailable
from fptkit.sources.download import RETRIES, download
from fptkit.sources.probe import hub_problem

if TYPE_CHECKING:
    from huggingface_hub.file_download import HfFileMetadata

_DIGEST = re.compile(r"[0-9a-f]{64}")


class NotInRepository(Unavailable):
    """The repository exists and has no file of this name."""


def repository_of(place: str) -> tuple[str, str | None]:
    """Split ``ORG/NAME[@REVISION]`` into repository and revision; None is the default branch."""
    repository, _, revision = place.partition("@")
    return repository, revision or None


def cached_file(repository: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a repository from the local cache, or None. Uses no network.

    Args:
        repository: ORG/NAME.
        name: path of the file in the repository.
        revision: branch, tag or commit; None: the default branch.

    Raises:
        Exception: one of `hub_errors`; the name of the repository is invalid, or the cache cannot be read.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def find_hub_file(repository: str, name: str, revision: str | None) -> Path:
    """Return a file of a repository from the local cache, or else download it. Arguments as for `cached_file`.

    Raises:
        Unavailable: it is not in the cache and cannot be downloaded; the message gives the reason.
        DataError: the downloaded file has the wrong digest.
    """
    try:
        found = cached_file(repository, name, revision)
    except hub_errors() as err:
        raise Unavailable(f"the {name} of {repository} is not available: {one_line(err)}") from err
    if found is None and (problem := hub_problem()):
        raise Unavailable(f"its {name} is not in the local cache, and {problem}")
    return found or download_hub_file(repository, name, revision)


def download_hub_file(repository: str, name: str, revision: str | None) -> Path:
    """Download a file of a repository into the local cache, unless it is there already. Arguments as for `cached_file`.

    Raises:
        NotInRepository: the repository has no such file.
        Unavailable: it cannot be downloaded; the message gives the reason.
        DataError: it has another SHA-256 than the hub announces; it is removed.
    """
    from huggingface_hub import hf_hub_download

    try:
        _fetch_large(repository, name, revision)
        return Path(_patiently(lambda: hf_hub_download(repository, name, revision=revision)))
    except hub_errors() as err:
        raise _as_unavailable(err, repository, name, revision) from err


def hub_errors() -> tuple[type[Exception], ...]:
    """Exceptions that the hub client may raise.

    They have no common base class. The client's module of errors also has the HTTPError of httpx or requests, whichever
    it uses; hf_xet raises RuntimeError if a transfer fails.
    """
    from huggingface_hub import errors

    own = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, OSError, RuntimeError)


def one_line(err: Exception) -> str:
    """The message of an exception on one line; without one, its class."""
    return " ".join(str(err).split()) or type(err).__name__


def _as_unavailable(err: Exception, repository: str, name: str, revision: str | None) -> Unavailable:
    """The reason why a file cannot be downloaded, and what to do about it."""
    from huggingface_hub import errors, get_token

    token, page = get_token(), f"{_endpoint()}/{repository}"
    if isinstance(err, errors.GatedRepoError):  # also a RepositoryNotFoundError
        if token:
            return Unavailable(f"your account has no access to {repository}: ask for it at {page}")
        return Unavailable(f"{repository} requires a login: ask for access at {page}, then run `hf auth login`")
    if isinstance(err, errors.RepositoryNotFoundError):
        readable = " that your token may read" if token else ""
        return Unavailable(f"the hub has no {'' if token else 'public '}repository {repository}{readable}")
    if isinstance(err, errors.RevisionNotFoundError):
        return Unavailable(f"{repository} has no revision '{revision}'; give a branch, tag or commit of {page}/commits")
    # A LocalEntryNotFoundError, one of its subclasses, only says that the hub did not answer and the cache is empty.
    if isinstance(err, errors.EntryNotFoundError) and not isinstance(err, errors.LocalEntryNotFoundError):
        return NotInRepository(f"{repository} has no {name}")
    if _status(err) == 401 and token:
        return Unavailable(f"the hub refuses your token for {repository}: run `hf auth login`, or unset HF_TOKEN")
    return Unavailable(f"downloading {repository} failed: {one_line(err)}")


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT.rstrip("/")


def _status(err: Exception) -> int | None:
    """HTTP status of an error of the hub client; None if it is not about an answer."""
    return getattr(getattr(err, "response", None), "status_code", None)


def _patiently(call: Callable[[], str]) -> str:
    """Call again if the server failed (5xx): the client does that only for requests without a body.

    Raises:
        Exception: what the last call raises, or another error than a server's.
    """
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(RETRIES.attempts - 1):
        try:
            return call()
        except HfHubHTTPError as err:
            if (_status(err) or 0) < 500:
                raise
        time.sleep(RETRIES.wait_s * 2**attempt)
    return call()


def _fetch_large(repository: str, name: str, revision: str | None) -> None:
    """Fetch a large file resumably into the client's cache; leave all other files to the client.

    Raises:
        Unavailable: the connection broke off too often; what is there is kept.
        DataError: the file has another digest than announced.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name

    address = hf_hub_url(repository, name, revision=revision)
    try:
        found = get_hf_file_metadata(address)
    except hub_errors():
        return  # the client asks again, more patiently, and says why
    if not _is_fetched_here(found, address):
        return
    folder = repo_folder_name(repo_id=repository, repo_type="model")
    blob = Path(constants.HF_HUB_CACHE, folder, "blobs", str(found.etag))
    try:
        _fetch(found, blob, Path(constants.HF_HUB_CACHE, ".locks", folder, f"{found.etag}.lock"), name)
    except DataError as err:
        seen = " ".join(str(err).partition("\n")[2].split())
        raise DataError(
            f"hub:{repository}: {name} is not the file that the hub announces, and was removed: {seen}. "
            "Try again; if it happens again, the server or a proxy is at fault"
        ) from err
    except SourceError as err:
        if blob.with_name(blob.name + ".part").is_file():
            reasons = "; ".join(reason for _, reason in err.tried)
            raise Unavailable(f"downloading {name} of {repository} failed: {reasons}") from err
    except (UsageError, OSError):
        return  # the cache is not writable: the client says so


def _is_fetched_here(found: HfFileMetadata, address: str) -> bool:
    """Whether a file has a known digest, and an address that needs no token: the client knows where tokens may go."""
    from huggingface_hub import get_token

    place = found.location or ""
    if not _DIGEST.fullmatch(found.etag or "") or not re.match("https?://", place):
        return False
    return urlsplit(place).netloc != urlsplit(address).netloc or get_token() is None


def _fetch(found: HfFileMetadata, blob: Path, lock: Path, name: str) -> None:
    """Download a file to its place, one process at a time, with the client's bar.

    Raises:
        SourceError, DataError, UsageError: see `fptkit.sources.download.download`.
    """
    from filelock import FileLock
    from huggingface_hub.utils.tqdm import tqdm

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # the client's own lock of this file
        if blob.exists():
            return
        bar: Any = tqdm(total=found.size, unit="B", unit_scale=True, desc=name, disable=None)
        with bar:
            download(
                found.location,
                blob,
                sha256=found.etag,
                size=found.size,
                progress=lambda done, total: bar.update(done - bar.n),
                retries=RETRIES,
            )
