"""Whether a server answers, within a deadline, and whether the model hub may be asked at all."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

DEADLINE_S = 2.0
"""How long servers that do not answer may take, all together; the hub client's own retries take 28 s."""

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""As huggingface_hub reads them: the first that is set and not empty decides."""


class NoAnswer(Exception):
    """No server answers; the message says why the first one does not."""


def first_answering(addresses: Sequence[str], *, any_status: bool = False) -> str:
    """The first address whose server answers. All are asked at once, through the proxy that the environment names.

    Args:
        addresses: http or https, best first.
        any_status: whether a server answers even if it says that there is nothing at the address.

    Raises:
        NoAnswer: none does within `DEADLINE_S`.
    """
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def ask(address: str) -> None:
        answers.put((address, _problem_of(address, any_status)))

    # In threads, because looking up a host name obeys no timeout of Python's.
    for address in addresses:
        threading.Thread(target=ask, args=(address,), daemon=True).start()
    deadline = time.monotonic() + DEADLINE_S
    problems: dict[str, str] = {}
    with contextlib.suppress(queue.Empty):
        while len(problems) < len(addresses):
            address, problem = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if not problem:
                return address
            problems[address] = problem
    raise NoAnswer(problems.get(addresses[0], f"no answer within {DEADLINE_S:g} s"))


def _problem_of(address: str, any_status: bool) -> str:
    """Why a server does not answer; empty if it does."""
    try:
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "fptkit"})
        urllib.request.urlopen(request, timeout=DEADLINE_S).close()
    except urllib.error.HTTPError as err:
        err.close()
        return "" if any_status else f"the server answers {err.code} {err.reason}"
    except (OSError, ValueError, http.client.HTTPException) as err:
        return str(getattr(err, "reason", "") or err) or type(err).__name__
    return ""


def hub_problem() -> str:
    """Why the model hub cannot be asked; empty if it answers. Asks no network where the hub is not to be asked.

    Its address is ``HF_ENDPOINT``, as huggingface_hub reads it.
    """
    from huggingface_hub import constants

    if forbidden := offline_reason():
        return forbidden
    try:
        first_answering([os.environ.get("HF_ENDPOINT") or constants.ENDPOINT], any_status=True)
    except NoAnswer as err:
        return f"the hub cannot be reached ({err})"
    return ""


def offline_reason() -> str:
    """What forbids asking the model hub; empty if nothing does.

    The environment decides as it is now; where it says nothing, huggingface_hub's own setting does.
    """
    from huggingface_hub import constants

    for name in OFFLINE_VARIABLES:
        if value := os.environ.get(name):
            return f"{name} forbids asking the hub" if value.upper() in constants.ENV_VARS_TRUE_VALUES else ""
    return "huggingface_hub is set to offline, which forbids asking the hub" if constants.HF_HUB_OFFLINE else ""
