"""Talking to a hub: names of repositories, the token, and its errors in one line each."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator

from fptkit.errors import HubError, UsageError
from fptkit.sources.hub import hub_errors
from fptkit.sources.probe import hub_problem

_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[\w])?/[\w](?:[\w.-]*[\w])?", re.ASCII)


def check_name(repository: str) -> None:
    """Raise if a text is not ``owner/name``.

    Raises:
        UsageError: it is not.
    """
    if not _NAME.fullmatch(repository) or "--" in repository or ".." in repository or len(repository) > 96:
        raise UsageError(
            f"{repository!r} is not the name of a repository; expected owner/name of letters, digits, '-', '_' and '.'"
        )


def address() -> str:
    """The address of the hub: ``HF_ENDPOINT``, or Hugging Face's."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def token() -> str | None:
    """The user's token: ``HF_TOKEN``, or that of ``hf auth login``."""
    from huggingface_hub import get_token

    return get_token()


def check_answers() -> None:
    """Raise if the hub does not answer.

    Raises:
        HubError: it does not, or settings forbid asking it.
    """
    if problem := hub_problem():
        raise HubError(f"{address()}: {problem}")


@contextlib.contextmanager
def large_files() -> Iterator[None]:
    """Upload large files as every hub takes them: by Git LFS. Hugging Face alone has a storage of its own (Xet)."""
    from huggingface_hub import constants

    before = getattr(constants, "HF_HUB_DISABLE_XET", False)
    constants.HF_HUB_DISABLE_XET = before or address() != "https://huggingface.co"
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextlib.contextmanager
def one_line_errors(repository: str, revision: str | None, doing: str) -> Iterator[None]:
    """Turn the hub client's errors into a `HubError` of one line.

    Args:
        repository: owner/name.
        revision: branch, tag or commit; None: the main branch.
        doing: what failed, such as ``"pushing"``.

    Raises:
        HubError: the block raised one of them.
    """
    from huggingface_hub import errors

    where = f"{repository}@{revision}" if revision else repository
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client's, about its own libraries
            yield
    except errors.GatedRepoError as err:
        raise HubError(f"{where}: its owner must grant you access first, at {address()}/{repository}") from err
    except errors.RevisionNotFoundError as err:
        raise HubError(
            f"{where}: {repository} has no revision '{revision}'; use a branch, tag or commit of it"
        ) from err
    except errors.RepositoryNotFoundError as err:
        raise HubError(
            f"{where}: the hub has no such repository, or your token may not see it; log in with: hf auth login"
        ) from err
    except hub_errors() as err:
        status = getattr(getattr(err, "response", None), "status_code", None)
        raise HubError(f"{where}: {_reason(status, err, doing)}") from err


def _reason(status: int | None, err: Exception, doing: str) -> str:
    if status == 401:
        return "the hub does not accept your token; log in again with: hf auth login"
    if status == 403:
        return (
            f"{doing} is forbidden: your token has no right to write there; create one that has, or use your own name"
        )
    text = getattr(err, "server_message", None) or " ".join(str(err).split()) or type(err).__name__
    return f"{doing} failed: {text[:300]}"
