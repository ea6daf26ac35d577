"""Files of the hub, from a server on this machine: what is fetched, resumed, checked and refused, and every reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_layouts import GPT2, gpt2
from model_hub import TOKEN, Fault, Hub, Repository, model_hub, use
from safetensors.torch import load

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.sources.download import Retries
from fptkit.sources.hub import NotInRepository, cached_file, download_hub_file, find_hub_file, repository_of
from fptkit.sources.tokenizers import find_tokenizer
from fptkit.sources.weights import open_config, open_weights

BLOB = "/lfs/"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return gpt2()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub that holds GPT-2; nobody is logged in, and no time passes between attempts."""
    monkeypatch.setattr("fptkit.sources.hub.RETRIES", Retries(timeout_s=10, attempts=3, wait_s=0))
    with model_hub() as found:
        use(found.address, monkeypatch, tmp_path / "home", token=None)
        found.put(GPT2, files)
        yield found


def log_in(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)


def test_a_place_has_a_repository_and_perhaps_a_revision() -> None:
    assert repository_of("a/b@v1.0") == ("a/b", "v1.0")
    assert repository_of("a/b") == repository_of("a/b@") == ("a/b", None)


def test_a_file_is_fetched_once(hub: Hub, files: dict[str, bytes]) -> None:
    first = find_hub_file(GPT2, "model.safetensors", None)
    assert first.read_bytes() == files["model.safetensors"]
    before = len(hub.requests)
    assert find_hub_file(GPT2, "model.safetensors", None) == first == cached_file(GPT2, "model.safetensors", None)
    assert len(hub.requests) == before
    assert hub.asked(f"GET {BLOB}") == 1
    assert not [path for path in first.parents[2].rglob("*") if ".part" in path.name]


@pytest.mark.parametrize("after", [1000, 20_000])
def test_an_interrupted_download_continues_in_the_next_call(hub: Hub, files: dict[str, bytes], after: int) -> None:
    """Signed addresses differ between calls; the part is continued nevertheless, since the digest is known."""
    hub.faults = [Fault(BLOB, after=after), Fault(BLOB, status=503, times=2)]
    with pytest.raises(Unavailable, match=rf"failed: .*{after:,} bytes are kept; the same command continues"):
        open_weights(f"hub:{GPT2}")
    assert cached_file(GPT2, "model.safetensors", None) is None
    assert set(open_weights(f"hub:{GPT2}").tensors()) == set(load(files["model.safetensors"]))
    assert hub.ranges[-1].endswith(f"bytes={after}-")


def test_a_broken_connection_resumes_within_a_call(hub: Hub, files: dict[str, bytes]) -> None:
    hub.faults = [Fault(BLOB, after=5000), Fault(BLOB, after=7000)]
    assert find_hub_file(GPT2, "model.safetensors", None).read_bytes() == files["model.safetensors"]
    assert [place.rpartition(" ")[2] for place in hub.ranges] == ["bytes=5000-", "bytes=12000-"]


def test_a_part_without_a_memo_starts_again(hub: Hub, files: dict[str, bytes]) -> None:
    hub.faults = [Fault(BLOB, after=5000), Fault(BLOB, status=503, times=2)]
    with pytest.raises(Unavailable):
        open_weights(f"hub:{GPT2}")
    next(Path(find_hub_file(GPT2, "config.json", None)).parents[2].rglob("*.part.json")).unlink()
    assert find_hub_file(GPT2, "model.safetensors", None).read_bytes() == files["model.safetensors"]
    assert not hub.ranges


def test_a_wrong_digest_is_an_error_and_leaves_nothing(hub: Hub, files: dict[str, bytes]) -> None:
    """Of the right size, so that the client itself would not notice."""
    find_hub_file(GPT2, "config.json", None)
    wrong = files["model.safetensors"][:-1] + b"?"
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    hub.lfs[digest] = wrong
    for _ in range(2):  # not even the second time
        with pytest.raises(DataError, match=f"^hub:{GPT2}: model.safetensors is not the file .* expected SHA-256"):
            open_weights(f"hub:{GPT2}")
    assert cached_file(GPT2, "model.safetensors", None) is None
    hub.lfs[digest] = files["model.safetensors"]
    assert open_weights(f"hub:{GPT2}").file.read_bytes() == files["model.safetensors"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("config.json", status=503),
        Fault("config.json", status=500, times=2),
        Fault("config.json", status=503, methods=("HEAD",)),
        Fault(BLOB, status=502, times=2),
        Fault("model.safetensors", status=504, methods=("HEAD",)),
    ],
    ids=lambda fault: f"{fault.methods[0]}-{fault.status}-{fault.times}",
)
def test_a_server_that_fails_and_then_answers(hub: Hub, fault: Fault) -> None:
    hub.faults = [Fault(fault.path, fault.status, times=fault.times, methods=fault.methods)]
    assert open_weights(f"hub:{GPT2}").config["n_embd"] == 16
    assert not any(one.times for one in hub.faults)


def test_a_server_that_keeps_failing(hub: Hub) -> None:
    hub.faults = [Fault("config.json", status=503, times=99)]
    with pytest.raises(Unavailable, match=f"downloading {GPT2} failed: .*503"):
        open_config(f"hub:{GPT2}")
    assert hub.asked("GET /openai-community/gpt2/resolve/main/config.json") == 3


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub) -> None:
    commit = hub.put(GPT2, {**gpt2(seed=1), "config.json": b'{"n_embd": 1}'}, "v2")
    for revision in ("v2", commit):
        assert open_config(f"hub:{GPT2}@{revision}") == {"n_embd": 1}
    assert open_config(f"hub:{GPT2}")["n_embd"] == 16


def test_a_revision_that_does_not_exist(hub: Hub) -> None:
    said = f"{GPT2} has no revision 'v9'; give a branch, tag or commit of {hub.address}/{GPT2}/commits"
    for open_it in (open_weights, open_config, find_tokenizer):
        with pytest.raises(Unavailable) as caught:
            open_it(f"hub:{GPT2}@v9")
        assert str(caught.value) == said


def test_a_moved_branch_does_not_change_what_is_cached(hub: Hub) -> None:
    """A study's runs use one checkpoint, whatever is published meanwhile."""
    first = open_weights(f"hub:{GPT2}").file
    hub.put(GPT2, gpt2(seed=1))
    assert open_weights(f"hub:{GPT2}").file == first


def test_a_gated_repository_asks_for_a_login(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[GPT2].gated = "login"
    with pytest.raises(Unavailable) as caught:
        open_weights(f"hub:{GPT2}")
    assert str(caught.value) == (
        f"{GPT2} requires a login: ask for access at {hub.address}/{GPT2}, then run `hf auth login`"
    )
    log_in(monkeypatch, TOKEN)
    assert open_weights(f"hub:{GPT2}").config["n_embd"] == 16


def test_a_gated_repository_whose_owner_refuses(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[GPT2].gated = "access"
    log_in(monkeypatch, TOKEN)
    with pytest.raises(Unavailable, match=f"^your account has no access to {GPT2}: ask for it at http"):
        open_weights(f"hub:{GPT2}")


def test_a_private_repository_and_a_token_that_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["me/mine"] = Repository(private=True)
    with pytest.raises(Unavailable, match=r"^the hub has no public repository me/mine$"):
        open_weights("hub:me/mine")
    log_in(monkeypatch, "hf_expired")
    with pytest.raises(Unavailable, match=r"^the hub refuses your token for me/mine: run `hf auth login`, or unset"):
        open_weights("hub:me/mine")


def test_a_file_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(NotInRepository, match=f"^{GPT2} has no tokenizer.json$"):
        download_hub_file(GPT2, "tokenizer.json", None)
    with pytest.raises(Unavailable, match=f"^{GPT2} has no tokenizer.json$"):
        find_tokenizer(f"hub:{GPT2}")


def test_large_files_on_the_hub_itself_are_left_to_the_client_of_a_user(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the client knows where a token may go; without a token they are fetched here."""
    monkeypatch.setattr("fptkit.sources.hub.urlsplit", lambda address: type("Split", (), {"netloc": "one host"}))
    assert find_hub_file(GPT2, "model.safetensors", None).read_bytes() == files["model.safetensors"]


def test_offline_uses_what_is_cached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_weights(f"hub:{GPT2}@main").file
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = len(hub.requests)
    assert open_weights(f"hub:{GPT2}@main").file == first
    with pytest.raises(Unavailable, match="not in the local cache, and HF_HUB_OFFLINE forbids asking the hub"):
        open_weights(f"hub:{GPT2}@v2")
    assert len(hub.requests) == before
