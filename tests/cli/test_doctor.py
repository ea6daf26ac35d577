"""``fptkit doctor``, ``prefetch`` and ``clean`` as commands: what they print, and their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, fptkit

from fptkit.lab.doctor import hardware, rates
from fptkit.numerics import kernels

BACKBONE = "{name: random, size: nano, blocks: 1, width: 16, heads: 2}"
NO_WEIGHTS = TINY.replace(BACKBONE, "{name: gpt2, weights: 'hub:a/b'}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small matrices, no compiling, an empty cache of the hub."""
    monkeypatch.setattr(rates, "SIZES", {"cpu": (64,)})
    monkeypatch.setattr(kernels, "why_not", lambda: "no C compiler was found")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def written(folder: Path, text: str = TINY) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(text)
    return file


def findings(content: Mapping[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for section in content["sections"].values() for one in section}


def test_a_machine_in_order(tmp_path: Path) -> None:
    done = fptkit("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert names[:3] == ["installation", "packages", "terminal"]
    assert names.index("folders") < names.index("torch") < names.index("matrix rates")
    assert "warning: not used: no C compiler was found" in done.stdout
    assert lines[-1].startswith("fptkit can run here (")


def test_as_json(tmp_path: Path) -> None:
    done = fptkit("doctor", "--json", cwd=tmp_path)
    content = json.loads(done.stdout)
    assert (content["can_run"], done.stderr) == (True, "")
    assert sum(content["counts"].values()) == sum(map(len, content["sections"].values()))
    found = findings(content)
    assert found["float32"]["facts"]["operations_per_second"] > 0
    assert found["hub"]["state"] == "note"
    assert found["precision"]["facts"]["device"] in ("cpu", "cuda")


def test_a_broken_torch_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for arguments in (["doctor"], ["doctor", str(written(tmp_path))]):
        done = fptkit(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert "fault: cannot be imported" in done.stdout
        assert done.stdout.splitlines()[-1].partition(" (1 fault")[0].endswith("cannot run here")


def test_a_look_that_fails_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise ValueError("what is\nthis")

    monkeypatch.setattr(hardware, "instructions", broken)
    done = fptkit("doctor", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: cannot be examined: what is this" in done.stdout
    assert "matrix rates" in done.stdout


def test_a_recipe_that_can_run(tmp_path: Path) -> None:
    content = json.loads(fptkit("doctor", written(tmp_path), "--json", cwd=tmp_path).stdout)
    found = findings(content)
    assert content["can_run"]
    assert found["data bit_xor"]["text"] == "generated"
    assert found["memory"]["facts"]["bytes"] > 700 * 2**20
    assert found["time"]["facts"]["seconds"] > 0


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (NO_WEIGHTS, 3, "weights gpt2    fault: missing: hub:a/b: not in the local cache"),
        (NO_WEIGHTS.replace("'hub:a/b'", "['hub:a/b', 'builtin:gpt2_nano']"), 0, "uses the fallback builtin:gpt2_nano"),
        (TINY.replace("bits: 3", "bits: 0"), 2, ""),
        (TINY.replace("bit_xor", "bit_xr"), 2, ""),
        (f"{TINY}shuffle_tokens: true\n", 0, "tiny.yaml can run here"),
    ],
)
def test_recipes_and_exit_codes(text: str, code: int, words: str, tmp_path: Path) -> None:
    done = fptkit("doctor", written(tmp_path, text).name, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stdout


def test_what_a_run_can_download_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fptkit.lab.doctor.surroundings.hub_problem", lambda: "")
    done = fptkit("doctor", written(tmp_path, NO_WEIGHTS), cwd=tmp_path)
    assert done.returncode == 0
    assert "not here; a run downloads it first" in done.stdout


@pytest.mark.parametrize(
    ("total", "available", "state", "code"), [(2**20, 2**20, "fault", 1), (2**40, 1, "warning", 0)]
)
def test_too_little_memory(
    total: int, available: int, state: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "memory", lambda: (total, available))
    done = fptkit("doctor", written(tmp_path), cwd=tmp_path)
    assert done.returncode == code
    assert f"{state}: about " in done.stdout


def test_options_of_a_recipe_need_one(tmp_path: Path) -> None:
    assert fptkit("doctor", "--profile", "smoke", cwd=tmp_path).returncode == 2


def test_prefetch_and_its_check(tmp_path: Path) -> None:
    written(tmp_path)
    done = fptkit("prefetch", "tiny.yaml", "--set", "task.bits=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fptkit prefetch tiny.yaml --set task.bits=4 --check --manifest tiny.prefetch.json" in done.stdout
    done = fptkit("prefetch", "tiny.yaml", "--set", "task.bits=4", "--check", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "everything is here")
    done = fptkit("prefetch", "tiny.yaml", "--check", "--json", cwd=tmp_path)
    content = json.loads(done.stdout)
    assert (done.returncode, content["complete"], content["needs"][0]["state"]) == (3, False, "differs")


def test_prefetch_of_what_is_missing(tmp_path: Path) -> None:
    written(tmp_path, NO_WEIGHTS)
    for arguments in (["prefetch", "tiny.yaml"], ["prefetch", "tiny.yaml", "--check"]):
        done = fptkit(*arguments, cwd=tmp_path)
        assert done.returncode == 3
        assert "error: weights of gpt2: hub:a/b: " in done.stderr
    assert "on a machine with network: fptkit prefetch tiny.yaml; then copy" in done.stderr
    assert fptkit("prefetch", "tiny.yaml", "--check", "--manifest", "none.json", cwd=tmp_path).returncode == 3
    assert fptkit("prefetch", "tny.yaml", cwd=tmp_path).returncode == 2


def test_clean_removes_only_what_is_chosen_and_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("fptkit.lab.caches.kernel_folder", lambda: tmp_path / "kernels")
    features = tmp_path / "features" / ("0" * 32) / "features"
    features.parent.mkdir(parents=True)
    features.write_bytes(b"x" * 2048)
    assert "features     2.0 KiB" in fptkit("clean").stdout
    assert "2.0 KiB would be removed" in fptkit("clean", "--features").stdout
    assert fptkit("clean", "--kernels", "--digests", "--yes").returncode == 0
    assert features.exists()
    assert fptkit("clean", "--yes").returncode == 2
    done = fptkit("clean", "--features", "--yes")
    assert (done.returncode, done.stdout) == (0, "features: 2.0 KiB removed\n")
    assert not features.exists()
    content = json.loads(fptkit("clean", "--all", "--json").stdout)
    assert [cache["bytes"] for cache in content["caches"]] == [0] * 5


def test_clean_reports_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_CACHE", str(tmp_path))
    features = tmp_path / "features" / ("0" * 32) / "features"
    features.parent.mkdir(parents=True)
    features.write_bytes(b"x" * 2048)
    monkeypatch.setattr("fptkit.lab.caches.remove", lambda item: "is in use by another process")
    done = fptkit("clean", "--features", "--yes")
    assert (done.returncode, "0 B removed" in done.stdout) == (1, True)
    assert done.stderr == f"error: {features.parent} is in use by another process\n"
