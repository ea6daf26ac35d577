"""The pages of the answers say what the bundles hold, and are current."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from finished_studies import TWO_ARMS, finished
from study_results import answer, cell, comparison, study

from fptkit.lab.studies.locking import plan_file
from fptkit.lab.studies.results import Effort
from fptkit.lab.verification.bundles.archive import unpacked, write_archive
from fptkit.lab.verification.bundles.bundle import verify_bundle, write_bundle
from fptkit.numerics.precision import EQUIVALENT_IN_INT8

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

import answer_pages as answers  # noqa: E402
import answer_tables as tables  # noqa: E402


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bundle, of made-up runs: that of study rq4."""
    place = tmp_path_factory.mktemp("made")
    made = finished(place, TWO_ARMS + "targets: {bit_xor: 0.5}\n")
    (place / "bundles").mkdir()
    write_bundle(made, place / "bundles" / "rq4.zip")
    return place / "bundles"


def test_a_page_shows_the_figures_of_its_bundle(folder: Path) -> None:
    text = answers.page_text("rq4", folder)
    results = answers.read_bundle(folder / "rq4.zip").results
    (one,) = results.comparisons
    assert one.mean is not None
    row = next(line for line in text.splitlines() if line.startswith("| bit_xor | random − language |"))
    assert f"{100 * one.mean:+.1f}".replace("-", "−") in row
    assert one.verdict in row
    for arm in results.cells:
        mean = arm.test[arm.test_split].mean
        assert mean is not None
        assert f"| {arm.arm} | {100 * mean:.1f} ± " in text
    assert "**Does language help?**" in text
    assert "12 runs, 0.0 core-hours" in text
    assert "fptkit verify docs/results/bundles/rq4.zip --rerun 1" in text
    effort = results.cells[0].effort
    assert effort is not None
    assert f"| bit_xor | language | 50 % | {effort.reached} of 3 |" in text


def test_deviations_are_counted_beside_the_plan_and_listed() -> None:
    followed = study().model_copy(update={"plan": "a1b2c3d4e5f6a7b8"})
    assert answers._plan(followed) == "plan a1b2c3d4e5f6, locked before the first run"
    late = followed.model_copy(update={"deviations": ("the plan was locked after 7 runs of this study",)})
    assert answers._plan(late) == "plan a1b2c3d4e5f6, locked, with 1 deviation (below)"
    two = late.model_copy(update={"deviations": (*late.deviations, "margin: 2 (plan: 1)")})
    assert answers._plan(two).endswith("with 2 deviations (below)")
    assert "deviates from the plan: margin: 2 (plan: 1)" in answers._limits(two)
    assert answers._plan(study()) == "not locked"


def test_a_page_follows_its_bundle_and_links_to_pictures_that_are_written(folder: Path, tmp_path: Path) -> None:
    text, pictures = answers.page_text("rq4", folder), answers.pictures(folder)
    assert pictures
    assert all(f"]({name})" in text and svg.startswith("<svg") for name, svg in pictures.items())
    stale = answers.stale_pictures(tmp_path, folder)
    assert {path.relative_to(tmp_path).as_posix() for path, _ in stale} == pictures.keys()
    for path, svg in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg, "utf-8")
    assert not answers.stale_pictures(tmp_path, folder)


def test_a_study_that_is_under_way_says_so(folder: Path) -> None:
    bundle = answers.read_bundle(folder / "rq4.zip")
    assert not any("Under way" in line for line in answers._head(bundle))
    first, *others = bundle.results.cells
    cells = (first.model_copy(update={"complete": False}), *others)
    results = bundle.results.model_copy(update={"cells": cells})
    part = replace(bundle, study=replace(bundle.study, results=results))
    assert f"**Under way: {len(others)} of {len(cells)} cells have all their runs" in "\n".join(answers._head(part))


def test_tasks_without_results_are_named_and_have_no_rows() -> None:
    cells = [
        cell(task, arm, seeds=(0, 1, 2), rates=(1e-3,), level=0.5) for task in ("a", "b", "c") for arm in ("one", "two")
    ]
    begun = [one if one.task == "b" else one.model_copy(update={"test": {}, "complete": False}) for one in cells]
    found = [comparison("b", "one", "two", 0.02, verdict="better")]
    found += [comparison(task, "one", "two", 0.0, verdict="not enough evidence") for task in ("a", "c")]
    results = study(("a", "b", "c"), ("one", "two")).model_copy(
        update={"cells": tuple(begun), "comparisons": tuple(found)}
    )
    shown = tables.with_results(results)
    assert "\n".join(tables.levels(shown)).splitlines()[1].startswith("| arm | b |")
    assert [line.split(" | ")[0] for line in tables.differences(shown).splitlines()[2:]] == ["| b"]
    limits = list(answers._limits(results))
    assert limits[0] == "anything about a and c: no results yet"
    assert not any(line.startswith("one against two") for line in limits)
    assert [picture.key for picture in answers._pictures(results)] == ["forest-0-0", "steps-0-0"]

    nothing = results.model_copy(
        update={"cells": tuple(one.model_copy(update={"test": {}}) for one in cells), "comparisons": tuple(found[1:])}
    )
    assert tables.with_results(nothing) == nothing
    assert next(answers._limits(nothing)) == "anything about a, b and c: no results yet"


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz"])
def test_a_bundle_is_found_by_the_name_of_its_study(folder: Path, tmp_path: Path, suffix: str) -> None:
    with unpacked(folder / "rq4.zip") as bundle:
        write_archive(
            tmp_path / f"rq4{suffix}",
            {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()},
        )
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    assert list(answers.bundles(tmp_path)) == ["rq4"]
    assert answers.page_text("rq4", tmp_path) == answers.page_text("rq4", folder).replace("rq4.zip", f"rq4{suffix}")


def test_a_study_without_a_bundle_is_said_not_to_be_run(folder: Path) -> None:
    assert "Not run yet" in answers.page_text("rq1", folder)
    rows = {row[0]: row for row in answers.summary_rows(folder)}
    assert rows["[rq1](rq1.md)"][1] == "not run yet"
    assert rows["[rq4](rq4.md)"][2] in ("0 of 1", "1 of 1")
    assert set(rows) >= {"[language](rq2.md)", "[faults_fpt2021](faults.md)"}


def tenths(number: float) -> str:
    """With one decimal, and without a sign if that is 0."""
    text = f"{number:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def test_the_table_of_the_readme_says_what_was_found_from_either_arm(folder: Path) -> None:
    (one,) = answers.read_bundle(folder / "rq4.zip").results.comparisons
    assert (one.a, one.b) == ("random", "language")
    rows = [("rq4", "random", "language", "so"), ("rq4", "language", "random", "turned"), ("rq1", "a", "b", "not run")]
    (so, said, link), (turned, other, _) = answers.headline_rows(folder, rows)
    assert (so, turned, link) == ("so", "turned", "[rq4](docs/results/rq4.md)")
    assert one.mean is not None
    assert one.interval is not None
    low, high = (tenths(100 * bound) for bound in one.interval)
    size = f"{abs(100 * one.mean):.1f}"
    signs = "+−" if one.mean > 0 else "−+"
    verdict = one.verdict if answers.is_decided(one) else "undecided"
    assert said == f"**{verdict}** on Bit XOR {signs[0]}{size} [{low}, {high}]"
    low, high = (tenths(-100 * bound) for bound in reversed(one.interval))
    verdict = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    assert other == f"**{verdict}** on Bit XOR {signs[1]}{size} [{low}, {high}]"


def test_rows_of_the_readme_are_of_studies_and_arms_that_exist() -> None:
    for name, a, b, _ in answers.HEADLINES:
        study = yaml.safe_load((ROOT / "benchmarks" / "answers" / f"{name}.yaml").read_text("utf-8"))
        assert {a, b} <= study["arms"].keys()


def test_auto_takes_int8_only_where_its_bundles_found_no_difference_on_any_task() -> None:
    studies = {"builtin:gpt2_nano": ("int8", "int8_images", "int8_equal")}
    assert studies.keys() == EQUIVALENT_IN_INT8.keys()
    for weights, page in EQUIVALENT_IN_INT8.items():
        assert (ROOT / "docs" / "results" / page).is_file()
        found: dict[str, set[str]] = {}
        for name in studies[weights]:
            for one in answers.bundles()[name].results.comparisons:
                if {one.a, one.b} == {"int8", "bfloat16"}:
                    found.setdefault(one.task, set()).add(one.verdict)
        assert len(found) == 6
        assert all("same" in verdicts and not verdicts & {"better", "worse"} for verdicts in found.values())


@pytest.mark.parametrize(
    ("verdict", "paper", "said"),
    [
        ("better", 5.0, "agrees"),
        ("worse", -5.0, "agrees"),
        ("better", -5.0, "disagrees"),
        ("same", 0.9, "agrees"),
        ("same", 1.1, "disagrees"),
        ("better", 0.5, "disagrees"),
        ("undecided", 5.0, "can't tell"),
        ("not enough evidence", -5.0, "can't tell"),
    ],
)
def test_the_direction_of_the_paper(verdict: str, paper: float, said: str) -> None:
    assert tables.agreement(comparison("bit_xor", "a", "b", 0.02, verdict=verdict), paper) == said


def test_differences_of_the_paper_are_those_of_its_tables() -> None:
    arms = {"language": {"weights": "builtin:gpt2_nano"}, "random": {"weights": "random", "init": "random"}}
    of = {"backbone": "gpt2", "freezing": "fpt", "task_name": "cifar10", "blocks": 4, "width": 256}
    results = study(("cifar10",), tuple(arms))
    cells = tuple(
        cell("cifar10", arm, seeds=results.seeds, rates=results.learning_rates, level=0.5, **of, **more)
        for arm, more in arms.items()
    )
    found = tables.paper_differences(results.model_copy(update={"cells": cells}))
    # Lu et al. 2021, Table 2, 12 blocks, the size nearest to ours: CIFAR-10, language 68.2, random 61.7
    assert found == {("cifar10", "language", "random"): pytest.approx(68.2 - 61.7)}


def test_arms_that_the_paper_does_not_tell_apart_have_no_difference_there() -> None:
    results = study(("cifar10",), ("int8", "bfloat16"))
    of = {"backbone": "gpt2", "freezing": "fpt", "task_name": "cifar10", "blocks": 4, "width": 256}
    cells = tuple(
        cell("cifar10", arm, seeds=(0, 1, 2), rates=(1e-3,), level=0.5, weights="builtin:gpt2_nano", **of)
        for arm in results.arms
    )
    assert results.comparisons
    assert not tables.paper_differences(results.model_copy(update={"cells": cells}))


def test_steps_to_the_target_are_compared_over_all_seeds() -> None:
    """A seed that did not reach it took longer than all that did."""
    steps = {
        ("more", "a"): (100, 200, 500),
        ("more", "b"): (100, 200),  # of three: the median is 200 in both
        ("late", "a"): (100,),
        ("late", "b"): (400, 400, 300),
        ("early", "a"): (50, 50, 900),
        ("early", "b"): (60, 60),
        ("never", "a"): (100,),
        ("never", "b"): (),
        ("alone", "a"): (100,),
    }
    tasks = tuple(dict.fromkeys(task for task, _ in steps))
    cells = []
    for (task, arm), reached in steps.items():
        effort = Effort(target=0.8, steps=reached, flops=(), reached=len(reached), seeds=3)
        cells.append(cell(task, arm, seeds=(0, 1, 2), rates=(1e-3,), level=0.5, effort=effort))
    results = study(tasks, ("a", "b")).model_copy(update={"cells": tuple(cells)})
    assert tables.steps_compared(results, "a", "b") == (
        "steps to the target, in the median of all seeds, not tested: a needs, compared with b, more on late; as many "
        "on more; fewer on early; on never neither reaches it in half of its seeds"
    )
    nothing = [one.model_copy(update={"effort": None}) for one in cells]
    assert not tables.steps_compared(results.model_copy(update={"cells": tuple(nothing)}), "a", "b")
    assert tables.steps_compared(results, "a", "b") in list(answers._conclusions(results))


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["same", "undecided", "same"], ["a against b: the same on bit_memory and listops"]),
        (["same", "same", "same"], ["a against b: the same on all 3 tasks"]),
        (["better", "undecided", "undecided"], ["a against b: better on bit_memory"]),
        (["undecided"] * 3, ["nothing: no comparison is decided"]),
    ],
)
def test_all_tasks_are_those_of_the_study(verdicts: list[str], said: list[str]) -> None:
    tasks = ("bit_memory", "bit_xor", "listops")
    found = [comparison(task, "a", "b", 0.0, verdict=one) for task, one in zip(tasks, verdicts, strict=True)]
    results = study(tasks, ("a", "b")).model_copy(update={"comparisons": tuple(found), "answers": (), "cells": ()})
    assert list(answers._conclusions(results)) == said


@pytest.mark.parametrize(("verdict", "turned"), [("better", "worse"), ("same", "same"), ("undecided", "")])
def test_the_answer_over_all_tasks_is_a_conclusion(verdict: str, turned: str) -> None:
    tasks = ("bit_memory", "bit_xor", "listops")
    compared = [comparison(task, "a", "b", 0.02, verdict="undecided") for task in tasks]
    over = answer(compared, verdict=verdict)
    results = study(tasks, ("a", "b"))
    cells = tuple(one.model_copy(update={"effort": None}) for one in results.cells)
    results = results.model_copy(update={"comparisons": tuple(compared), "answers": (over,), "cells": cells})
    conclusions = list(answers._conclusions(results))
    assert len(conclusions) == 1
    assert over.mean is not None
    size = f"{100 * over.mean:.1f}"
    if not turned:
        assert conclusions == ["nothing: no comparison is decided"]
        assert answers._in_short(results, "a", "b").startswith("**undecided** on Bit Memory")
        return
    assert ("a is better than b" if verdict == "better" else "a and b are the same") in conclusions[0]
    assert "over 3 tasks" in conclusions[0]
    assert size in conclusions[0]
    assert answers._in_short(results, "a", "b").startswith(f"**{verdict}** over 3 tasks +{size}")
    assert answers._in_short(results, "b", "a").startswith(f"**{turned}** over 3 tasks −{size}")


@pytest.mark.parametrize("name", [row["study"] for row in answers._planned()])
def test_every_study_has_the_plan_that_was_locked_before_its_first_run(name: str, tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "docs" / "results" / "plans" / f"{name}.json", tmp_path / plan_file.FILE)
    locked = plan_file.read(tmp_path)
    assert locked is not None
    assert (locked.late, locked.faults) == ("", ())
    assert locked.plan.study == name
    if name in answers.bundles():
        assert answers.bundles()[name].results.plan == locked.digest


def test_every_page_of_the_plan_exists() -> None:
    for page in {*(row["page"] for row in answers._planned()), *answers.OTHERS}:
        text = (ROOT / "docs" / "results" / f"{page}.md").read_text("utf-8")
        assert f"<!-- generated: answers {page} -->" in text
        assert all(
            f"## Study `{name}`" in text and answers.command_of(name) in text for name in answers.studies_of(page)
        )


@pytest.mark.parametrize("file", answers.bundle_files(), ids=lambda file: file.name)
def test_published_bundles_agree_with_their_runs(file: Path) -> None:
    with unpacked(file) as bundle:
        assert not verify_bundle(bundle).differences
