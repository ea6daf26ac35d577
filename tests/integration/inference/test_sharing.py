"""Pushing runs to a hub and pulling them: what leaves the machine, what comes back, and every way it can fail."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import TINY, fptkit, process
from model_hub import TOKEN, Hub, model_hub, use
from whole_runs import start

from fptkit.errors import UsageError
from fptkit.inference.sharing.contents import check_private
from fptkit.inference.sharing.push import prepared
from fptkit.inference.trained import load
from fptkit.sources.weights import PACKAGED

pytestmark = pytest.mark.slow

RECIPE = """
description: kept in /home/jane/notes/birds.txt
task:
  name: text
  source: {{train: "path:{data}/train.csv", validation: "path:{data}/train.csv", test: "path:{data}/test.csv"}}
  text: review
  target: sentiment
  max_length: 12
backbone: {{name: gpt2, weights: ["path:{weights}"], blocks: {{keep: 1}}}}
train: {{batch_size: 8, max_steps: 4, validate_every: 2, patience: null}}
profiles: {{smoke: {{train: {{max_steps: 2}}}}}}
precision: float32
threads: 1
"""

SECRET = "the quick zebra never sleeps"
"""A sentence of the training data."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on files and weights in folders whose names have spaces."""
    base = tmp_path_factory.mktemp("a user")
    data, weights = base / "My Data", base / "My Weights"
    data.mkdir()
    shutil.copytree(PACKAGED / "gpt2_nano", weights)
    rows = [f"{SECRET} {n},{'good' if n % 2 else 'bad'}" for n in range(12)]
    for name in ("train", "test"):
        (data / f"{name}.csv").write_text("review,sentiment\n" + "\n".join(rows) + "\n")
    (base / "mine.yaml").write_text(RECIPE.format(data=data, weights=weights))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(base / "cache"))
        start(base / "mine.yaml", base / "run")
    return base / "run"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on generated data."""
    base = tmp_path_factory.mktemp("tiny")
    (base / "tiny.yaml").write_text(TINY)
    start(base / "tiny.yaml", base / "run")
    return base / "run"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with model_hub() as found:
        use(found.address, monkeypatch, tmp_path / "home")
        yield found


def push(*arguments: str | Path) -> Any:
    done = fptkit("push", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_what_is_pushed_can_be_pulled_and_answers_the_same(run: Path, hub: Hub, tmp_path: Path) -> None:
    push(run, "me/birds", "--licence", "mit")
    done = fptkit("pull", "me/birds", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pulled = tmp_path / "birds"
    assert {path.name for path in pulled.iterdir()} == {
        *("README.md", "fptkit.json", "metrics.jsonl", "model.json", "model.safetensors"),
        *("preparation.json", "recipe.yaml", "summary.json", "tokenizer.json"),
    }
    for name in ("model.safetensors", "tokenizer.json", "metrics.jsonl"):
        assert (pulled / name).read_bytes() == (run / name).read_bytes()
    texts = ["a zebra", "sleeps never never"]
    again = load(pulled, weights=f"path:{run.parent / 'My Weights'}", device="cpu")
    np.testing.assert_array_equal(again.logits(texts), load(run, device="cpu").logits(texts))


def test_nothing_of_the_machine_or_the_data_is_pushed(run: Path, hub: Hub) -> None:
    push(run, "me/birds")
    sent = b"\n".join(hub.received)
    files = hub.files("me/birds")
    everything = [sent, *files.values(), *(base64.b64encode(data) for data in files.values())]
    for trace in (str(run.parent), str(Path.home()) + "/", "/home/jane", "My Data", "a user", TOKEN, SECRET, "zebra"):
        for content in everything:
            assert trace.encode() not in content, trace
    recipe = yaml.safe_load(files["recipe.yaml"])
    assert recipe["task"]["source"]["train"] == "path:train.csv"
    assert recipe["backbone"]["weights"] == ["path:My Weights"]
    assert not [name for name in files if name.endswith((".csv", ".py")) or "checkpoint" in name]


def test_the_manifest_has_the_digest_of_every_file_but_the_card(run: Path, hub: Hub) -> None:
    push(run, "me/birds")
    files = hub.files("me/birds")
    digests = json.loads(files["fptkit.json"])["files"]
    assert digests.keys() == files.keys() - {"fptkit.json", "README.md", ".gitattributes"}
    assert all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in digests.items())


def test_other_weights_are_refused_with_both_digests(run: Path, hub: Hub, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    push(run, "me/birds")
    assert fptkit("pull", "me/birds", cwd=tmp_path).returncode == 0
    other = tmp_path / "other"
    shutil.copytree(run.parent / "My Weights", other)
    tensors = load_file(other / "model.safetensors")
    name = next(name for name in tensors if name.endswith("h.0.mlp.c_fc.weight"))
    tensors[name][0, 0] += 1
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    done = fptkit("predict", tmp_path / "birds", run.parent / "My Data" / "test.csv", "--weights", f"path:{other}")
    assert done.returncode == 3
    frozen = json.loads((run / "model.json").read_text())["frozen"]["digest"]
    assert frozen in done.stderr
    assert len({word.strip(".;,") for word in done.stderr.split() if len(word.strip(".;,")) == 64}) == 2
    assert done.stderr.count("\n") == 1


def test_a_private_repository(tiny: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(tiny, "me/secret", "--private")
    assert hub.repositories["me/secret"].private
    push(tiny, "me/secret", "--private")
    assert fptkit("pull", "me/secret", cwd=tmp_path).returncode == 0
    use(hub.address, monkeypatch, tmp_path / "other home", token=None)
    done = fptkit("pull", "me/secret", "--output", tmp_path / "again")
    assert done.returncode == 3
    assert "no such repository, or your token may not see it" in done.stderr


def test_a_public_repository_does_not_become_private_silently(tiny: Path, hub: Hub) -> None:
    push(tiny, "me/public")
    before = dict(hub.repositories["me/public"].commits)
    done = fptkit("push", tiny, "me/public", "--private")
    assert done.returncode == 2
    assert "me/public exists already and is public" in done.stderr
    assert hub.repositories["me/public"].commits == before


def test_a_repository_of_something_else_is_left_alone(tiny: Path, hub: Hub) -> None:
    hub.put("me/else", {"pytorch_model.bin": b"x", "README.md": b"mine"})
    done = fptkit("push", tiny, "me/else")
    assert done.returncode == 2
    assert "me/else holds something else (pytorch_model.bin)" in done.stderr
    assert hub.files("me/else")["README.md"] == b"mine"


def test_revisions(tiny: Path, hub: Hub, tmp_path: Path) -> None:
    push(tiny, "me/tiny", "--licence", "mit")
    push(tiny, "me/tiny", "--revision", "v2", "--licence", "apache-2.0")
    assert b"license: mit" in hub.files("me/tiny")["README.md"]
    assert b"license: apache-2.0" in hub.files("me/tiny", "v2")["README.md"]
    assert fptkit("pull", "me/tiny@v2", "--output", tmp_path / "v2").returncode == 0
    assert "license: apache-2.0" in (tmp_path / "v2" / "README.md").read_text()
    commit = hub.repositories["me/tiny"].branches["main"]
    assert fptkit("pull", f"me/tiny@{commit}", "--output", tmp_path / "commit").returncode == 0


def test_an_unknown_licence_is_said(tiny: Path, hub: Hub) -> None:
    done = push(tiny, "me/tiny")
    assert "name one by --licence" in done.stderr
    assert b"license: unknown" in hub.files("me/tiny")["README.md"]


@pytest.mark.parametrize(
    ("arguments", "token", "message"),
    [
        (["push", "RUN", "me/x"], None, "pushing needs a token; set HF_TOKEN, or log in with: hf auth login"),
        (["push", "RUN", "me/x"], "hf_wrong", "the hub does not accept your token"),
        (["push", "RUN", "other/x"], TOKEN, "your token has no right to write there"),
        (["pull", "me/none"], TOKEN, "the hub has no such repository"),
        (["pull", "me/full@nope"], TOKEN, "me/full has no revision 'nope'"),
        (["pull", "me/empty"], TOKEN, "me/empty holds no run of fptkit: it has no fptkit.json"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str],
    token: str | None,
    message: str,
    tiny: Path,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.put("me/empty", {"README.md": b"x"})
    hub.put("me/full", {"fptkit.json": b"{}"})
    use(hub.address, monkeypatch, tmp_path / "home", token=token)
    done = fptkit(*[str(tiny) if each == "RUN" else each for each in arguments], cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


@pytest.mark.parametrize("arguments", [["push", "RUN", "me/x"], ["pull", "me/x"]])
def test_without_a_network(arguments: list[str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [str(tiny) if each == "RUN" else each for each in arguments]
    use("http://127.0.0.1:9", monkeypatch, tmp_path)
    done = fptkit(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "http://127.0.0.1:9: the hub cannot be reached" in done.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = fptkit(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "HF_HUB_OFFLINE forbids asking the hub" in done.stderr


@pytest.mark.parametrize("name", ["x", "a/b/c", "me/", "/x", "me/a b", "me/../x", "me/a--b"])
def test_names_that_are_none(name: str, tiny: Path, hub: Hub, tmp_path: Path) -> None:
    for arguments in (["pull", name, "--output", tmp_path / "x"], ["push", tiny, name]):
        done = fptkit(*arguments)
        assert done.returncode == 2
        assert "expected owner/name" in done.stderr
    assert hub.requests == []


def test_a_folder_with_files_is_not_replaced(tiny: Path, hub: Hub, tmp_path: Path) -> None:
    push(tiny, "me/tiny")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "mine.txt").write_text("x")
    done = fptkit("pull", "me/tiny", cwd=tmp_path)
    assert done.returncode == 2
    assert "already exists" in done.stderr
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["mine.txt"]


def altered(hub: Hub, name: str, data: bytes | None, *, digest: bool) -> None:
    """Replace or remove a file of the pushed run; with ``digest``, also in the manifest, as its owner could."""
    files = dict(hub.files("me/tiny"))
    manifest = json.loads(files["fptkit.json"])
    if data is None:
        del files[name]
    else:
        files[name] = data
    if digest:
        manifest["files"][name] = hashlib.sha256(data or b"").hexdigest()
        files["fptkit.json"] = json.dumps(manifest).encode()
    hub.put("me/tiny", files)


@pytest.mark.parametrize(
    ("name", "data", "digest", "message"),
    [
        ("recipe.yaml", b"task: {name: bit_xor}\n", False, "recipe.yaml was altered"),
        ("model.safetensors", b"x", False, "model.safetensors was altered"),
        ("model.safetensors", b"x", True, "its digest is not that of model.json"),
        ("preparation.json", None, False, "preparation.json is missing"),
        ("evil.py", b"raise SystemExit", True, "lists 'evil.py', which is no file of a run"),
        ("../evil.json", b"x", True, "lists '../evil.json'"),
        ("model.pkl", b"x", True, "lists 'model.pkl'"),
        (".hidden.json", b"x", True, "lists '.hidden.json'"),
    ],
)
def test_altered_repositories_are_refused(
    name: str, data: bytes | None, digest: bool, message: str, tiny: Path, hub: Hub, tmp_path: Path
) -> None:
    push(tiny, "me/tiny")
    altered(hub, name, data, digest=digest)
    done = fptkit("pull", "me/tiny", cwd=tmp_path)
    assert done.returncode == 3
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


PLUGIN = """
from pathlib import Path
from fptkit import Options, TaskSpec, hookimpl

Path({marker!r}).touch()

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="mine", summary="mine", target="fptkit.tasks.bits:BitXor",
                     options="fptkit.tasks.options:BitXorOptions")]
"""


def test_pulled_plugins_are_never_executed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "mine.py").write_text(PLUGIN.format(marker=str(marker)))
    (tmp_path / "mine.yaml").write_text(TINY.replace("bit_xor", "mine").replace("\ntask", "\nplugins: [mine.py]\ntask"))
    start(tmp_path / "mine.yaml", tmp_path / "run")
    push(tmp_path / "run", "me/mine")
    assert b"mine.py" in hub.files("me/mine")["recipe.yaml"]
    assert not [name for name in hub.files("me/mine") if name.endswith(".py")]
    marker.unlink()
    # In a process of its own, since this one has loaded the plugin; its folder has a file of the name in the recipe.
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    done = process("pull", "me/mine", "--output", tmp_path / "pulled", cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert "uses the plugin mine.py. Code from a shared run is never executed" in done.stderr
    assert not (tmp_path / "pulled").exists()
    assert not marker.exists()
    done = fptkit("pull", "me/mine", "--output", tmp_path / "pulled", "--plugin", tmp_path / "mine.py")
    assert done.returncode == 0, done.stderr
    other = tmp_path / "executed, too"
    (tmp_path / "pulled" / "mine.py").write_text(PLUGIN.format(marker=str(other)))
    with pytest.raises(UsageError, match="never executed"):
        load(tmp_path / "pulled")
    assert not other.exists()
    assert load(tmp_path / "pulled", plugin_files=[tmp_path / "mine.py"]).task.name == "mine"


def test_a_token_in_a_recipe_is_not_pushed(tiny: Path, hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "run")
    path = tmp_path / "run" / "recipe.yaml"
    path.write_text(path.read_text().replace("description: ''", f"description: {TOKEN}"))
    done = fptkit("push", tmp_path / "run", "me/x")
    assert done.returncode == 2
    assert "recipe.yaml holds an access token; nothing was pushed" in done.stderr
    assert hub.requests == []


def test_a_folder_of_the_machine_in_a_preparation_is_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane.doe")
    with pytest.raises(UsageError, match=r"preparation.json names /home/jane.doe of this machine; nothing was pushed"):
        check_private({"preparation.json": b'{"vocabulary": "/home/jane.doe/words"}'}, None)
    check_private({"model.safetensors": b"/home/jane.doe/"}, None)


def test_a_dry_run_writes_what_would_be_pushed(run: Path, hub: Hub, tmp_path: Path) -> None:
    done = fptkit("push", run, "me/birds", "--dry-run", tmp_path / "look")
    assert done.returncode == 0
    assert hub.requests == []
    files, _ = prepared(run, "me/birds")
    assert {path.name: path.read_bytes() for path in (tmp_path / "look").iterdir()} == files


def test_a_delta_file_is_not_pushed(tiny: Path, hub: Hub, tmp_path: Path) -> None:
    assert fptkit("export", tiny, "--to", "safetensors", "--output", tmp_path / "d").returncode == 0
    done = fptkit("push", tmp_path / "d" / "delta.safetensors", "me/x")
    assert done.returncode == 2
    assert "push the run folder it came from" in done.stderr
