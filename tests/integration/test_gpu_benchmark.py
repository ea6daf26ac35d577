"""The script ``benchmarks/gpu.py``, as far as a CPU can run it: everything but graphs, waits and the official code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu


def test_a_dry_run_measures_a_tiny_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--dry-run", "--json", str(tmp_path / "gpu.json"), "--set", "precision=float32"])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["dry_run"], found["left_out"], len(found["rows"])) == (True, {}, 1)
    (row,) = found["rows"]
    assert (row["case"], row["recorded_shapes"], row["waits"]) == (
        "gpt2 nano 2 x 16",
        0,
        {"step": None, "evaluation": None},
    )
    assert row["kernels"].keys() == {"usual"}
    assert row["kernels"]["usual"]["kernels"] > 100, "operators of a whole step"
    assert row["kernels"]["usual"]["launches"] == 0
    assert [len(times) for times in row["seconds"].values()] == [1]
    assert "gpt2 nano 2 x 16 tokens in float32: " in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "torch finds no GPU here; --dry-run runs a tiny case on the CPU" in capsys.readouterr().err


def test_no_case_begins_after_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--dry-run", "--seconds", "-1", "--json", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text())["left_out"] == {"gpt2 nano 2 x 16": "after -1 s"}
    assert "gpt2 nano 2 x 16: left out: after -1 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "launches"),
    [
        ("cudaLaunchKernel", True),
        ("cudaLaunchKernelExC", True),
        ("cuLaunchKernel", True),
        ("cudaGraphLaunch", True),
        ("cudaMemcpyAsync", True),
        ("cudaStreamSynchronize", False),
        ("cudaMalloc", False),
        ("aten::cumsum", False),
        ("ampere_gemm_LaunchBounds", False),
    ],
)
def test_launches_are_calls_that_give_the_device_work(name: str, launches: bool) -> None:
    assert gpu._launches(name) == launches


@pytest.mark.parametrize("case", [case for case in gpu.CASES if case.body != "smollm2"], ids=lambda case: case.name)
def test_the_cases_are_recipes_that_load(case: gpu.Case) -> None:
    recipe = case.load(64, "device=cpu").recipe
    assert recipe.train.batch_size == 16
    assert recipe.task.options.patch_size == case.patch
