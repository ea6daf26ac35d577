"""The plan: a job for every figure, commands that load, and what differs is what a report will say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from fptkit.cli.main import cli
from fptkit.cli.study import study
from fptkit.cli.study_options import load
from fptkit.errors import UnknownNameError
from fptkit.lab.published import arm_kind, compare, load_published
from fptkit.lab.reproduction.arms import TABLES
from fptkit.lab.reproduction.differences import differences, expected_cell, load_job
from fptkit.lab.reproduction.plan import Job, chosen, plan
from fptkit.lab.studies.results import CellResult, StudyResults
from fptkit.registry import Registry, load_plugins

JOBS = plan()
NAMES = [job.name for job in JOBS]
FEW = (
    "fpt2021/listops/frozen_language",
    "fpt2021/cifar10/frozen_language_36_blocks",
    "fpt2021/cifar10/full_random_3_blocks",
    "fpt2021/cifar10_lra/frozen_random",
    "fpt2021/remote_homology/frozen_bit_memory",
    "fpt2021/mnist/full_lstm",
    "fpt2021/bit_xor/frozen_statistics",
    "fpt2021/mnist/frozen_vit",
    "rothermel2021/listops/frozen_random",
    "rothermel2021/cifar10_lra/full_language",
)
"""Every arm and every task at least once."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins(selection="")


def named(name: str) -> Job:
    return next(job for job in JOBS if job.name == name)


def test_every_figure_of_the_tables_is_in_one_job() -> None:
    planned = [(job.paper, figure.table, figure.row, figure.column) for job in JOBS for figure in job.figures]
    wanted = [
        (paper, figure.table, figure.row, figure.column)
        for paper, tables in TABLES.items()
        for table in tables
        for figure in load_published(paper).of(table)
    ]
    assert sorted(planned) == sorted(wanted)
    assert len(planned) == 21 + 35 + 16


def test_the_same_model_on_a_task_runs_once() -> None:
    """FPT of Table 1 is the frozen GPT-2 of Table 2, but for CIFAR-10, where it has 36 blocks."""
    assert len(NAMES) == len(set(NAMES)) == 66
    both = {job.figure.task for job in JOBS if {figure.table for figure in job.figures} == {"table_1", "table_2"}}
    assert both == {"bit_memory", "bit_xor", "listops", "mnist", "cifar10_lra", "remote_homology"}
    assert [figure.value for figure in named("fpt2021/cifar10/frozen_language_36_blocks").figures] == [72.1]
    assert [figure.value for figure in named("fpt2021/cifar10/frozen_language").figures] == [68.2]


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("profile", ["paper", "smoke"])
def test_a_command_is_one_of_fptkit_and_loads_as_a_study(name: str, profile: str) -> None:
    job = named(name)
    program, command, *arguments = shlex.split(job.command("some folder", profile))
    assert (program, command) == ("fptkit", "study")
    # With the settings of the group: a command keeps the names of its help option from the first use.
    given = study.make_context("study", arguments, **cli.context_settings).params
    assert given["ledger_folder"] == Path(f"some folder/{name}")
    found, _ = load(given)
    assert [cell.name.task for cell in found.cells] == [job.figure.task]
    recipe = found.cells[0].loaded.recipe
    assert (recipe.precision, recipe.task.options.protocol) == ("float32", job.figure.protocol)  # type: ignore[attr-defined]
    runs = len(found.settings.first_seeds) * len(found.settings.learning_rates)
    assert runs == (job.runs if profile == "paper" else 1)


@pytest.mark.parametrize("name", FEW)
def test_a_job_is_compared_with_its_figures(name: str, registry: Registry) -> None:
    """Its arm has the kind of theirs, and a report will match the two."""
    job, paper = named(name), load_published(name.partition("/")[0])
    cell = expected_cell(job, load_job(job, registry, "folder"))
    kind, why = arm_kind(cell)
    assert kind is not None, why
    assert {(figure.body, figure.freezing) for figure in job.figures} == {tuple(kind)}
    results = as_results(cell)
    matched = [pair.theirs for pair in compare(results, paper) if pair.ours and pair.theirs]
    assert [(one.task, one.value) for one in matched] == [(job.figure.task, job.figure.value)]


def as_results(cell: CellResult) -> StudyResults:
    return StudyResults(
        name="made", code_version="", tasks=(cell.task,), arms=(cell.arm,), reference=cell.arm, seeds=(0,),
        learning_rates=(1e-3,), search="", budget="", confidence=0.95,
        comparisons=(), cells=(cell.model_copy(update={"common": None}),),
    )  # fmt: skip


def test_what_differs_is_said_in_advance(registry: Registry) -> None:
    def said(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        job = named(name)
        return differences(job, job.figure, load_published(job.paper), load_job(job, registry, "folder"))

    reasons, notes = said("fpt2021/mnist/frozen_language")
    assert reasons == ()
    assert "their seeds and spread are not recorded" in notes
    assert any("quoted from Tay et al. 2020" in reason for reason in said("fpt2021/listops/full_random_3_blocks")[0])
    assert not any(reason.startswith("D12") for reason in said("fpt2021/mnist/full_lstm")[0])  # it is the paper's own
    assert any("D11" in note for note in said("rothermel2021/mnist/frozen_random")[1])


@pytest.mark.parametrize("jobs", [FEW, pytest.param(NAMES, marks=pytest.mark.slow)], ids=["few", "all"])
def test_no_job_is_shorter_than_the_paper_says_or_otherwise_set_up(jobs: Sequence[str], registry: Registry) -> None:
    """What we can set is set: only what the paper's own figures lack is left."""
    ours = ("training:", "learning rate:", "precision:", "protocol:", "split:", "read-out:", "data:", "seeds:", "head:")
    for job in map(named, jobs):
        paper = load_published(job.paper)
        for figure in job.figures:
            reasons, _ = differences(job, figure, paper, load_job(job, registry, "folder"))
            assert not [reason for reason in reasons if reason.startswith(ours)], job.name


def test_jobs_are_chosen_by_name_beginning_or_pattern() -> None:
    assert [job.name for job in chosen(JOBS, [])] == NAMES
    assert {job.arm for job in chosen(JOBS, ["rothermel2021/mnist"])} == {
        *("frozen_random", "frozen_language", "full_random", "full_language")
    }
    assert len(chosen(JOBS, ["*/mnist/frozen_language", "fpt2021/mnist/full_lstm"])) == 3
    assert len(chosen(JOBS, ["fpt2021/", "fpt2021/cifar10"])) == 50  # not mistaken for cifar10_lra
    assert len(chosen(JOBS, ["fpt2021/cifar10"])) == 8
    with pytest.raises(UnknownNameError) as caught:
        chosen(JOBS, ["fpt2021/mnits"])
    assert caught.value.suggestion == "fpt2021/mnist"
