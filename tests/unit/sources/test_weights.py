"""Sources of weights: each reason why one is unavailable, and how long an unreachable hub may take."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (
    FileMetadataError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from safetensors.torch import save

from fptkit.errors import DataError, SourceError
from fptkit.sources import Unavailable, choose
from fptkit.sources.probe import OFFLINE_VARIABLES
from fptkit.sources.weights import known_weights, open_config, open_weights, packaged_weights, pretrained_on


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)


def test_a_silent_hub_is_given_up_within_three_seconds(
    online: None, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", silent)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_weights("hub:openai-community/gpt2")
    assert time.monotonic() - started < 3.5


def test_a_refusing_hub_is_given_up_at_once(online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_weights("hub:openai-community/gpt2")


@pytest.mark.parametrize("name", OFFLINE_VARIABLES)
def test_offline_uses_no_network(name: str, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("a connection was tried"))
    with pytest.raises(Unavailable, match=f"not in the local cache, and {name} forbids asking the hub"):
        open_weights("hub:openai-community/gpt2")
    with pytest.raises(Unavailable, match=f"config.json is not in the local cache, and {name} forbids"):
        open_config("hub:openai-community/gpt2")


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that has one repository, as the hub client asks for it."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path == "/":
            self.send_response(200)
            self.end_headers()
            return
        name = self.path.rsplit("/", 1)[-1]
        if not self.path.startswith("/someone/tiny/resolve/main/") or name not in self.files:
            missing = "EntryNotFound" if self.path.startswith("/someone/tiny/") else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", missing)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.files[name]
        self.send_response(200)
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def hub(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("ThisHub", (Hub,), {"files": {"config.json": b'{"model_type": "gpt2"}', "model.safetensors": b"x"}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(
        "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        raising=False,
    )
    yield handler
    server.shutdown()
    server.server_close()


def test_a_reachable_hub_is_downloaded_from(hub: type[Hub]) -> None:
    folder = open_weights("hub:someone/tiny")
    assert folder.config == {"model_type": "gpt2"}
    assert folder.file.read_bytes() == b"x"


def test_a_hub_without_the_repository_says_so(hub: type[Hub]) -> None:
    with pytest.raises(Unavailable, match="no public repository someone/other"):
        open_weights("hub:someone/other")


def test_a_repository_without_safetensors_says_so(hub: type[Hub]) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(Unavailable, match=r"no config\.json with model\.safetensors"):
        open_weights("hub:someone/tiny")


def test_a_repository_in_another_format_says_which(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files = {"config.json": b'{"model_type": "gpt2"}', "pytorch_model.bin": b"x"}
    monkeypatch.setattr(
        "huggingface_hub.HfApi.list_repo_files", lambda *args, **options: [*hub.files, "onnx/model.onnx"]
    )
    said = r'it holds pytorch_model\.bin, a pickle file.*from_pretrained\("someone/tiny"\)\.save_pretrained'
    with pytest.raises(Unavailable, match=f"has no config.json with model.safetensors; {said}"):
        open_weights("hub:someone/tiny")
    huggingface_hub.hf_hub_download("someone/tiny", "pytorch_model.bin")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match=f"^in the local cache {said}.*, and HF_HUB_OFFLINE forbids asking the hub"):
        open_weights("hub:someone/tiny")


def in_two_files() -> dict[str, bytes]:
    """A checkpoint split into two files with an index, as transformers saves large ones."""
    parts = {"part-1.safetensors": {"a": torch.ones(2)}, "part-2.safetensors": {"b": torch.zeros(3)}}
    index = {"metadata": {}, "weight_map": {tensor: name for name, tensors in parts.items() for tensor in tensors}}
    return {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{name: save(tensors) for name, tensors in parts.items()},
    }


def test_a_split_checkpoint_is_put_together(tmp_path: Path) -> None:
    for name, content in in_two_files().items():
        (tmp_path / name).write_bytes(content)
    tensors = open_weights(f"path:{tmp_path}").tensors()
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [1, 1], "b": [0, 0, 0]}
    (tmp_path / "part-2.safetensors").unlink()
    with pytest.raises(DataError, match=r"part-2\.safetensors is missing, but .*index\.json names it"):
        open_weights(f"path:{tmp_path}").tensors()


def test_a_split_checkpoint_comes_from_the_hub_and_is_found_again(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = in_two_files()
    assert set(open_weights("hub:someone/tiny").tensors()) == {"a", "b"}
    hub.files = {}
    assert set(open_weights("hub:someone/tiny").tensors()) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not readable as JSON"),
        ("{}", "not an index of safetensors files"),
        ('{"weight_map": 3}', "not an index of safetensors files"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "which is not a file in the same folder"),
        ('{"weight_map": {"a": 3}}', "which is not a file in the same folder"),
    ],
)
def test_an_invalid_index(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(DataError, match=said):
        open_weights(f"path:{tmp_path}").tensors()


@pytest.mark.parametrize("name", ["a--b/c", "-a/b", "a/b..c", "a/" + "b" * 200])
def test_an_invalid_name_is_unavailable(name: str) -> None:
    """Offline, like all tests: the name is checked by the hub's rules before the cache is searched."""
    with pytest.raises(Unavailable, match="cannot be looked up") as caught:
        open_weights(f"hub:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("no answer\nand no copy"),
        OfflineModeIsEnabled("offline"),
        FileMetadataError("no size"),
        HFValidationError("a strange name"),
        OSError("disk full"),
        RuntimeError("Data processing error: CAS service error"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_download_that_fails_says_why(hub: type[Hub], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(Unavailable) as caught:
        open_weights("hub:someone/tiny")
    reason = " ".join(str(error).split()) or "ConnectionResetError"
    assert str(caught.value) == f"downloading someone/tiny failed: {reason}"


def test_errors_of_fptkit_are_not_mistaken_for_the_hubs(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **options: {}["no such key"])
    with pytest.raises(KeyError):
        open_weights("hub:someone/tiny")


def test_something_else_than_a_hub_answers(online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def greet() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"220 mail.example ready\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Unavailable, match=r"cannot be reached \(220 mail"):
            open_weights("hub:openai-community/gpt2")


@pytest.mark.parametrize("present", [[], ["config.json"], ["model.safetensors"]])
def test_a_folder_that_lacks_a_file_says_which(tmp_path: Path, present: list[str]) -> None:
    for name in present:
        (tmp_path / name).write_text("{}")
    with pytest.raises(Unavailable) as caught:
        open_weights(f"path:{tmp_path}")
    for name in {"config.json", "model.safetensors"} - set(present):
        assert name in str(caught.value)


@pytest.mark.parametrize("place", ["a" * 5000, "~no-such-user/x"])
def test_a_place_that_cannot_be_read_is_unavailable(place: str) -> None:
    for opened in (open_weights, open_config):
        with pytest.raises(Unavailable, match="cannot be read: ") as raised:
            opened(f"path:{place}")
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("[]", "does not hold a JSON object"),
        ("null", "does not hold a JSON object"),
        ('"gpt2"', "does not hold a JSON object"),
    ],
    ids=["open", "deep", "list", "null", "text"],
)
def test_a_broken_config_is_no_reason_to_fall_back(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match=said):
        open_weights(f"path:{tmp_path}")


def test_unknown_packaged_weights_list_the_existing_ones() -> None:
    with pytest.raises(Unavailable, match="no weights 'gpt3'"):
        open_weights("builtin:gpt3")


def test_the_list_of_weights_names_each_packaged_one() -> None:
    rows = {row["name"] for row in known_weights()}
    assert {f"builtin:{name}" for name in packaged_weights()} < rows
    assert "hub:openai-community/gpt2" in rows


def test_choose_remembers_what_it_skipped() -> None:
    def open_entry(entry: str) -> str:
        if entry != "third":
            raise Unavailable(f"no {entry}")
        return entry.upper()

    choice = choose(["first", "second", "third"], open_entry, what="a thing")
    assert (choice.entry, choice.found, choice.stand_in) == ("third", "THIRD", True)
    assert choice.skipped == (("first", "no first"), ("second", "no second"))
    assert choose(["first", "third"], open_entry, what="a thing", pinned="gone").found == "THIRD"
    assert not choose(["third"], open_entry, what="a thing").stand_in
    with pytest.raises(SourceError) as caught:
        choose(["first", "second"], open_entry, what="a thing", advice="Do this.")
    assert caught.value.tried == (("first", "no first"), ("second", "no second"))
    assert str(caught.value).endswith("Do this.")


def test_a_config_with_strange_content_is_kept_for_the_backbone_to_judge(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert open_weights(f"path:{tmp_path}").config["model_type"] == "bert"


def test_folders_are_shown_from_home() -> None:
    from fptkit.sources import shown_folder

    assert shown_folder(Path.home() / "a" / "b") == "~/a/b"
    assert shown_folder(Path("elsewhere")) == "elsewhere"
    assert shown_folder(Path.home()) == str(Path.home())


def test_weights_of_a_folder_name_the_task_that_made_them(tmp_path: Path) -> None:
    (tmp_path / "measurement.json").write_text('{"task": "bit_memory", "steps": 3}')
    assert pretrained_on(f"path:{tmp_path}") == "bit_memory"
    for content in ("{}", "[]", "not json", '{"task": 3}'):
        (tmp_path / "measurement.json").write_text(content)
        assert pretrained_on(f"path:{tmp_path}") == ""
    entries = ("random", "builtin:bit_memory_nano", "hub:openai-community/gpt2", "path:nowhere", "path:~nobody/x")
    assert {pretrained_on(entry) for entry in entries} == {""}
