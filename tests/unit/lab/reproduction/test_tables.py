"""The plan as tables: every figure with its value, and sums that add up."""

from __future__ import annotations

import pytest

from fptkit.lab.benchmarking.hours import Speed
from fptkit.lab.published import load_published
from fptkit.lab.reproduction.plan import chosen, plan
from fptkit.lab.reproduction.tables import FOLDER, Planned, dry_run_rows, figure_rows, sums, within
from fptkit.registry import load_plugins


@pytest.fixture(scope="module")
def plans() -> list[Planned]:
    registry = load_plugins(selection="")
    return [Planned(job, registry) for job in plan()]


def test_a_table_has_a_row_for_every_figure_in_the_papers_order(plans: list[Planned]) -> None:
    rows = figure_rows(plans, "rothermel2021", "table_1")
    assert [row["figure"] for row in rows][:2] == ["frozen, random, listops", "frozen, random, mnist"]
    assert [row["theirs"] for row in rows][:4] == ["38.9 ± 0.3", "98.0 ± 0.0", "61.8 ± 0.2", "44.2 ± 0.3"]
    assert {row["runs"] for row in rows} == {"15"}
    assert len(rows) == len(load_published("rothermel2021").of("table_1"))


def test_weights_and_data_are_named(plans: list[Planned]) -> None:
    weights = {plan.job.arm: plan.weights for plan in plans if plan.job.name.startswith("fpt2021/mnist/")}
    assert weights["frozen_language"] == "hub:openai-community/gpt2"
    assert weights["frozen_random"] == weights["full_lstm"] == "random"
    assert weights["frozen_bit_memory"] == "made here, see below"
    assert weights["frozen_vit"].startswith("hub:timm/vit_base_patch16_224")
    data = {plan.job.figure.task: plan.job.task.data for plan in plans}
    assert "fptkit data fetch" in data["remote_homology"]


def test_sums_are_those_of_the_rows(plans: list[Planned]) -> None:
    by_paper = {row["paper"]: row for row in sums(plans)}
    assert [by_paper[name]["jobs"] for name in ("fpt2021", "rothermel2021", "all")] == ["50", "16", "66"]
    assert by_paper["all"]["figures"] == "72"
    assert by_paper["all"]["runs"] == str(50 + 16 * 15)


def test_a_budget_is_filled_with_the_cheapest_jobs(plans: list[Planned]) -> None:
    """What is made first counts once; a pretraining before the first job that needs it."""
    assert within(plans, 1e9) == len(plans)
    assert within(plans, 0.0) == 0
    assert 0 < within(plans, 1) < within(plans, 10) < within(plans, 100)
    two = [plan for plan in plans if plan.job.name.endswith(("bit_xor/frozen_bit_memory", "mnist/frozen_bit_memory"))]
    rows = dry_run_rows(two, FOLDER, 1e6)
    assert float(rows[0]["all"]) > float(rows[0]["hours"])
    assert float(rows[1]["all"]) - float(rows[0]["all"]) == pytest.approx(float(rows[1]["hours"]), abs=0.06)


def test_a_faster_machine_takes_fewer_hours() -> None:
    jobs = chosen(plan(), ["fpt2021/cifar10_lra/frozen_language"])
    registry = load_plugins(selection="")
    slow, fast = (Planned(jobs[0], registry, speed=Speed(tflops=rate)).seconds for rate in (10, 40))
    assert slow == pytest.approx(4 * fast, rel=0.01)
