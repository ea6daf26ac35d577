"""Checks whether a server answers within a deadline, and whether the model hub may be contacted at all."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from fptkit.sources.decoding import one_line

DEADLINE_S = 2.0
"""Time limit in seconds for all servers together; the hub client's own retries take 28 s."""

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables of huggingface_hub; like there, the first one that is set and not empty decides."""


class NoAnswer(Exception):
    """No server answers; the message gives the reason for the first one."""


def first_answering(addresses: Sequence[str], *, any_status: bool = False) -> str:
    """Return the address that answers first. All are requested at the same time, through the environment's proxy.

    Args:
        addresses: http or https addresses, best first.
        any_status: count every HTTP status as an answer, including errors such as 404.

    Raises:
        NoAnswer: no server answers within `DEADLINE_S`.
    """
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def ask(address: str) -> None:
        answers.put((address, _problem_of(address, any_status)))

    # In threads, because Python's timeouts do not apply to host name lookups.
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
        return "" if any_status else f"the server answers {err.code} {one_line(str(err.reason))}"
    except Exception as err:  # whatever the server makes the library raise
        return one_line(str(getattr(err, "reason", "") or err)) or type(err).__name__
    return ""


def hub_problem() -> str:
    """Return why the model hub cannot be reached; empty if it answers. Uses no network in offline mode.

    The hub's address is ``HF_ENDPOINT``, as in huggingface_hub.
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
    """Return the setting that turns off access to the model hub; empty if there is none.

    The current environment decides; if it sets nothing, huggingface_hub's own setting decides.
    """
    from huggingface_hub import constants

    if any(os.environ.get(name) for name in OFFLINE_VARIABLES):
        return f"{name} forbids asking the hub" if (name := offline_variable()) else ""
    return "huggingface_hub is set to offline, which forbids asking the hub" if constants.HF_HUB_OFFLINE else ""


def offline_variable() -> str:
    """Return the name of the environment variable that turns off downloads; empty if none does.

    The first one that has a value decides.
    """
    from huggingface_hub import constants

    for name in OFFLINE_VARIABLES:
        if value := os.environ.get(name):
            return name if value.upper() in constants.ENV_VARS_TRUE_VALUES else ""
    return ""
