"""``fptkit bench`` and ``fptkit validate --estimate`` on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import TINY, fptkit


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.mark.slow
def test_bench_prints_a_line_a_figure_and_leaves_nothing_behind(tiny: Path) -> None:
    code, out, err = fptkit("bench", tiny, "--steps", "2", "--repeats", "2", cwd=tiny.parent)
    assert (code, err) == (0, "")
    first, *lines = out.splitlines()
    assert re.match(
        r"tiny: bit_xor with random \(random\) on cpu, 1 thread, frozen weights in (bfloat16|float32)$", first
    )
    rows = dict(re.split(r" {2,}", line, maxsplit=1) for line in lines[1:])
    assert any(re.match(r" *batch {2,}8 examples, 48 tokens", line) for line in lines)
    assert re.fullmatch(r"[\d.,]+ ms \(\d+%\)", rows["batch"])  # the stage of that name comes last
    assert re.match(r"[\d.,]+ ms \(median of 2 x 2; [\d.,]+ to [\d.,]+\)", rows["step"])
    assert {"examples", "tokens", "operations", "fraction of that", "peak memory", "forward", "backward"} <= rows.keys()
    assert sorted(path.name for path in tiny.parent.iterdir()) == ["tiny.yaml"]


@pytest.mark.slow
def test_bench_as_json(tiny: Path) -> None:
    code, out, _ = fptkit(
        "bench", tiny, "--steps", "1", "--repeats", "3", "--set", "precision=float32", "--json", cwd=tiny.parent
    )
    figures = json.loads(out)
    assert code == 0
    assert (figures["precision"], figures["repeats"], figures["examples"], figures["tokens"]) == ("float32", 3, 8, 48)
    assert set(figures["stages_ms"]) == {"batch", "forward", "backward", "optimiser"}
    assert figures["share_of_matrix_rate"] == pytest.approx(
        figures["flops_per_step"] / figures["step_ms"] * 1000 / figures["matrix_rates"]["float32"]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "0 is not in the range"),
        (["--repeats", "0"], "0 is not in the range"),
        (["--set", "train.batch_size=0"], "train.batch_size"),
        (["--profile", "none"], "none"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(tiny: Path, arguments: list[str], said: str) -> None:
    code, out, err = fptkit("bench", tiny, *arguments, cwd=tiny.parent)
    assert code == 2
    assert out == ""
    assert said in err


def test_bench_of_a_pretraining_recipe_is_refused(tmp_path: Path) -> None:
    code, _, err = fptkit("bench", "pretrain_language", cwd=tmp_path)
    assert code == 2
    assert "this is a pretraining recipe" in err


@pytest.mark.slow
def test_validate_estimates_on_request(tiny: Path) -> None:
    code, out, err = fptkit("validate", tiny, "--estimate", cwd=tiny.parent)
    assert (code, err) == (0, "")
    first, *lines = out.splitlines()
    assert first.endswith("tiny.yaml: ok")
    rows = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines)
    # One block of width 16: 12 D^2 + 13 D, positions 6 D, final norm 2 D, encoder 2 D, head (D + 1) x 2.
    total = 12 * 256 + 13 * 16 + 6 * 16 + 2 * 16 + 2 * 16 + 17 * 2
    trained = 2 * 2 * 16 + 6 * 16 + 2 * 16 + 2 * 16 + 17 * 2
    assert rows["parameters"] == f"{total:,}, of which {trained} train ({trained / total:.2%})"
    assert rows["batch"] == "8 x 6 tokens"
    assert set(rows) >= {"memory", "- frozen", "- trained", "- gradients", "- optimizer", "- activations", "operations"}
    assert rows["operations"].endswith("in 6 steps")
    assert fptkit("validate", tiny, cwd=tiny.parent) == (0, first + "\n", "")


def test_an_estimate_without_a_config_is_reported_and_the_others_continue(tiny: Path) -> None:
    far = tiny.parent / "far.yaml"
    far.write_text(
        TINY.replace("name: random, size: nano, blocks: 1, width: 16, heads: 2", "name: gpt2, weights: 'hub:a/b'")
    )
    code, out, err = fptkit("validate", far, tiny, "--estimate", cwd=tiny.parent)
    assert code == 3
    assert "Parameters and memory cannot be estimated without it" in err
    assert "parameters" in out


def test_an_estimate_has_hours_and_says_what_they_assume(tiny: Path) -> None:
    code, out, err = fptkit("validate", tiny, "--estimate", cwd=tiny.parent)
    assert (code, err) == (0, "")
    assert "< 0.02 hours, assuming 10 TFLOP/s and at least 20 ms for a step" in out
    longer = ("--set", "train.max_steps=360000000")
    hours = []
    for rate in ("1e-6", "2e-6"):
        _, out, _ = fptkit("validate", tiny, "--estimate", "--rate", rate, *longer, cwd=tiny.parent)
        line = next(line for line in out.splitlines() if line.startswith("  time"))
        hours.append(float(line.split()[1].replace(",", "")))
        assert f"assuming {float(rate):g} TFLOP/s" in line
    assert hours[0] == pytest.approx(2 * hours[1], rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "5"), "--rate is for the time of an estimate: give --estimate too"),
        (("--estimate", "--rate", "0"), "0.0 is not in the range"),
        (("--estimate", "--rate", "fast"), "'fast' is not a valid float"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(tiny: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = fptkit("validate", tiny, *arguments, cwd=tiny.parent)
    assert code == 2
    assert said in err
