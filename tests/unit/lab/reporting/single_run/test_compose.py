"""The report of a run: what it says, first things first, and what is missing; escaping, one file, determinism, size."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from run_folders import PIXEL, classes_of, make_run_folder, mistake, numbers_of, places_of, split_of

from fptkit.engine.assessment.records import Content, Place, SplitAssessed
from fptkit.errors import DataError, UsageError
from fptkit.lab.reporting.document import Report, Section
from fptkit.lab.reporting.markdown import to_markdown
from fptkit.lab.reporting.page import to_html
from fptkit.lab.reporting.single_run.compose import compose_run
from fptkit.lab.reporting.single_run.read import read_run
from fptkit.lab.studies.suggest import Suggestion

NASTY = "<script>alert('x')</script>&\"'"


def report_on(folder: Path, split: SplitAssessed | None = None, **changes: Any) -> Report:
    return compose_run(read_run(make_run_folder(folder, split, **changes)))


def section(report: Report, key: str) -> Section:
    return next(one for one in report.sections if one.key == key)


def texts(one: Section) -> str:
    """Everything a section says, without its pictures."""
    parts = [*one.paragraphs, *one.notes, one.code]
    parts += [text for point in one.points for text in (point.text, *point.below)]
    for table in one.tables:
        parts += [table.caption, *table.notes]
        parts += [entry.text for row in (table.header, *table.rows, *table.foot) for entry in row]
    for shown in one.exhibits:
        parts += [shown.title, *shown.lines, shown.text, shown.aligned, *map(str, shown.cells)]
    return "\n".join(parts)


class _Tags(HTMLParser):
    """Counts tags, and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags_of(page: str) -> _Tags:
    found = _Tags()
    found.feed(page)
    assert not found.open
    return found


def test_the_order_of_a_classification(tmp_path: Path) -> None:
    report = report_on(tmp_path, split_of(classes_of(), mistake(Content(picture=PIXEL, size=(1, 1)))))
    assert [one.key for one in report.sections] == [
        "what",
        "notes",
        "result",
        "trained",
        "curves",
        "confusion",
        "classes",
        "calibration",
        "worst",
        "speed",
        "repeat",
    ]
    assert report.banner == ""
    assert report.warnings == ("a warning",)
    said = texts(section(report, "result"))
    assert (
        "test: accuracy 90.0 % [70.0, 97.0]; chance 50.0 %, the most frequent class 55.0 %. Better than the most "
        "frequent class by 35.0 points." in said
    )
    assert "10 % train" not in said
    trained = texts(section(report, "trained"))
    assert "100 of 1,000 parameters train (10 %); 90 got a gradient" in trained
    assert "the digest of all frozen tensors was that from before: cdcdcdcdcdcdcdcd" in trained
    assert [entry.text for entry in section(report, "trained").tables[0].rows[2]] == [
        "attention",
        "blocks 0–1",
        "880",
        "0",
        "frozen",
    ]
    calibration = texts(section(report, "calibration"))
    assert "expected calibration error 5.0 points; on average over-confident: confidence 95.0 %" in calibration
    speed = texts(section(report, "speed"))
    for figure in ("8.0 s for 40 steps", "640", "2 GFLOP in a step, 80 GFLOP in all, 10 GFLOP/s", "512 MiB"):
        assert figure in speed
    assert "fptkit run mine.yaml" in texts(section(report, "repeat"))


def test_an_interval_belongs_to_the_figure_beside_it(tmp_path: Path) -> None:
    """A task with a metric of its own by the name of accuracy gets no interval of another one."""
    found = texts(section(report_on(tmp_path, split_of(classes_of(right=12))), "result"))
    assert "test: accuracy 90.0 %;" in found
    assert "[70.0" not in found


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.7, 0.97), "Better than the most frequent class by 35.0 points"),
        ((0.5, 0.97), "Not distinguishable from the most frequent class on this test"),
        ((0.2, 0.5), "Worse than the most frequent class"),
    ],
)
def test_the_result_is_beside_what_needs_no_learning(interval: tuple[float, float], said: str, tmp_path: Path) -> None:
    assert said in texts(section(report_on(tmp_path, split_of(classes_of(interval=interval))), "result"))


def test_regression(tmp_path: Path) -> None:
    split = split_of(numbers_of("price"), mistake(Content(cells=(("rooms", "3"),)), true=(5.0,), predicted=(9.5,)))
    split = split.model_copy(update={"loss": 0.25, "loss_interval": (0.2, 0.3), "unit": True})
    report = report_on(tmp_path, split)
    assert "confusion" not in {one.key for one in report.sections}
    assert (
        "test: mean squared error 0.25 [0.2, 0.3]; R² 0.75, where always predicting the mean of these targets has R² 0."
        in texts(section(report, "result"))
    )
    errors = section(report, "errors")
    assert [picture.title for picture in errors.pictures] == [
        "test: price, predicted against true",
        "test: price, residuals",
    ]
    assert "In the unit of the data." in texts(errors)
    assert "predicted 9.5, true 5" in texts(section(report, "worst"))


def test_a_forecast_has_errors_by_step_and_no_interval(tmp_path: Path) -> None:
    names = [f"{channel} +{step}" for step in (1, 2, 3) for channel in ("load", "wind")]
    worst = mistake(
        Content(series=((1.0, None, 2.0), (5.0, 6.0, 7.0)), channels=("load", "wind")),
        true=(1.0,) * 6,
        predicted=(1.0, 3.0) * 3,
        answers=6,
    )
    task = {"name": "series", "protocol": "clean", "source": "x", "options": {"problem": "forecasting"}}
    report = report_on(
        tmp_path,
        split_of(numbers_of(*names, points=()), worst),
        task=task,
        notes=["test: squared error of last value 1.2"],
    )
    result = texts(section(report, "result"))
    assert "[" not in result
    assert "naive forecasts on test: squared error of last value 1.2" in result
    titles = [picture.title for picture in section(report, "errors").pictures]
    assert titles == [f"test: {channel}, error by step of the forecast" for channel in ("load", "wind")]
    [shown] = section(report, "worst").exhibits
    assert shown.lines == ("load: mean absolute error 0", "wind: mean absolute error 2")
    assert shown.picture is not None
    lines = re.findall(r"<polyline class=\"([a-z0-9 ]+)\"", "".join(shown.picture.body))
    assert lines == ["range", "line c1", "line c0", "range", "line c1"]  # a known value alone is no line


def test_tagging_shows_true_and_wrong_tags_below_the_letters(tmp_path: Path) -> None:
    worst = mistake(Content(text="ACDEF" * 8), true=(0, 1, -100, 1, 0) * 8, predicted=(0, 0, 1, 1, 0) * 8, answers=40)
    answers = classes_of(("H", "E"), places=places_of(5), place="position", answers=40, examples=20)
    report = report_on(tmp_path, split_of(answers, worst))
    [shown] = section(report, "worst").exhibits
    assert shown.aligned.splitlines()[:4] == [
        "     1",
        "     ACDEFACDEFACDEFACDEFACDEFACDEF",
        "true HE·EHHE·EHHE·EHHE·EHHE·EHHE·EH",
        "pred  H    H    H    H    H    H",
    ]
    assert shown.aligned.splitlines()[4] == "     31"
    assert shown.lines == ("8 of 32 answers wrong",)
    assert shown.text == ""
    assert [picture.title for picture in section(report, "places").pictures] == ["test: accuracy by position"]


def test_tags_with_long_names_get_letters(tmp_path: Path) -> None:
    worst = mistake(Content(text="AC"), true=(0, 1), predicted=(1, 1), answers=2)
    answers = classes_of(("helix", "sheet"), places=places_of(2), place="position")
    [shown] = section(report_on(tmp_path, split_of(answers, worst)), "worst").exhibits
    assert shown.aligned.splitlines() == ["a = helix", "b = sheet", "     1", "     AC", "true ab", "pred b"]


def test_labels_are_a_table(tmp_path: Path) -> None:
    figures = classes_of().classes
    places = tuple(Place(name=name, answers=20, right=18, classes=figures) for name in ("red", "round"))
    worst = mistake(Content(text="x"), true=(1, 0), predicted=(1, 1), answers=2, confidence=(0.9, 0.6))
    report = report_on(tmp_path, split_of(classes_of(("no", "yes"), places=places, place="label"), worst))
    assert "round" in texts(section(report, "places"))
    assert section(report, "worst").exhibits[0].lines == ("1 of 2 answers wrong", "round: predicted yes, true no")


@pytest.mark.parametrize("count", [2, 3, 12, 13, 40, 100])
def test_the_matrix_has_a_cell_for_each_count_and_names_that_fit(count: int, tmp_path: Path) -> None:
    names = tuple(f"class number {number}" for number in range(count))
    [picture] = section(report_on(tmp_path, split_of(classes_of(names))), "confusion").pictures
    drawn = ElementTree.fromstring(picture.file())
    cells = [one for one in drawn.iter() if "cell" in one.get("class", "")]
    assert len(cells) == 4
    assert sum("c1" in one.get("class", "") for one in cells) == 2
    right = max(float(one.get("x", 0)) + float(one.get("width", 0)) for one in cells)
    assert right <= picture.width
    shown = [one for one in drawn.iter() if one.get("class") == "name" and one.get("text-anchor") == "end"]
    places = sorted(float(one.get("y", 0)) for one in shown if one.get("y"))
    assert all(later - before >= 10.9 for before, later in pairwise(places))
    assert len([one for one in drawn.iter() if "over" in one.get("class", "")]) == (4 if count <= 12 else 0)


def test_of_many_classes_the_weakest_are_named(tmp_path: Path) -> None:
    names = tuple(f"c{number}" for number in range(17))
    report = report_on(tmp_path, split_of(classes_of(names)))
    assert section(report, "classes").points[0].text == "test: the lowest F1 in %: c0 90.0, c1 90.0."
    [table] = section(report, "classes").tables
    assert [row[0].text for row in table.rows] == ["c0", "c1"]
    assert "Left out are 15 of 17 classes" in table.notes[0]


def test_too_many_classes_for_a_matrix_have_their_pairs(tmp_path: Path) -> None:
    names = tuple(map(str, range(101)))
    confusion = section(report_on(tmp_path, split_of(classes_of(names))), "confusion")
    assert not confusion.pictures
    assert "101 classes, too many for a matrix" in texts(confusion)
    assert [entry.text for entry in confusion.tables[0].rows[0]] == ["0", "1", "1", "10.0"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": {"name": "mnist", "source": "digits", "stand_in": True}}, "Fallback (stand-in) data: digits"),
        ({"backbone": {"name": "gpt2", "weights": "nano", "stand_in": True}}, "Fallback (stand-in) weights: nano"),
        ({"times_tested": 3}, "evaluated 3 times"),
        ({"data_fraction": 0.1}, "Trained on 10 % of the training data"),
        ({"best_step": 40, "steps": 40}, "The best step is the last one"),
        ({"best_step": 0}, "training made the model worse"),
    ],
)
def test_warnings_come_first(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    report = report_on(tmp_path, split_of(classes_of()), **changes)
    assert any(said in warning for warning in report.warnings)
    page = to_html(report).replace("\N{NO-BREAK SPACE}", " ")
    assert page.index(said) < page.index("What was run")


def test_a_sampled_test_says_so(tmp_path: Path) -> None:
    drawn = report_on(tmp_path / "drawn", split_of(classes_of(), size=200))
    assert any("batches with 20 examples were drawn from 200" in warning for warning in drawn.warnings)
    endless = report_on(tmp_path / "endless", split_of(classes_of(), size=None))
    assert any("20 were generated for this evaluation" in warning for warning in endless.warnings)


def test_a_smoke_run_and_one_without_result_have_a_banner(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path, split_of(classes_of()))
    (folder / "recipe.yaml").write_text("pinned: {profile: smoke}\n")
    assert compose_run(read_run(folder)).banner.startswith("A smoke run")
    diverged = report_on(tmp_path / "other", status="diverged", reason="the loss is nan")
    assert diverged.banner == "The run diverged: there is no result. the loss is nan"


def test_a_run_of_an_older_version_says_what_is_missing(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("parameter_parts", "chance_accuracy", "fractions", "accuracies", "versions", "seeds"):
        summary.pop(key)
    (folder / "summary.json").write_text(json.dumps(summary))
    for name in ("environment.json", "preparation.json", "model.json", "recipe.yaml", "metrics.jsonl"):
        (folder / name).unlink()
    report = compose_run(read_run(folder))
    assert any("There is no assessment.json" in warning for warning in report.warnings)
    assert "Counts by role and block are not recorded" in texts(section(report, "trained"))
    assert "test: accuracy 90.0 %" in texts(section(report, "result"))
    tags_of(to_html(report))


def test_a_run_without_a_test_shows_validation(tmp_path: Path) -> None:
    metrics = {"validation": {"loss": 1.0, "accuracy": 0.8}, "test": {}}
    report = report_on(tmp_path, split_of(classes_of()), status="validated", metrics=metrics)
    result = texts(section(report, "result"))
    assert "The test splits were not evaluated" in result
    assert "validation, on which the step was chosen: accuracy 80.0 %" in result
    assert "confusion" not in {one.key for one in report.sections}  # it is of an earlier evaluation


def test_an_assessment_of_another_step_is_not_shown(tmp_path: Path) -> None:
    report = report_on(tmp_path, split_of(classes_of()), best_step=30)
    assert "confusion" not in {one.key for one in report.sections}


def test_no_wrong_answer(tmp_path: Path) -> None:
    split = split_of(classes_of(confused=(), right=20))
    assert "no answer is wrong" not in to_html(report_on(tmp_path / "a", split))  # nothing to show, no section
    several = split_of(classes_of(), mistake(Content(text="x")))
    assert "x" in texts(section(report_on(tmp_path / "b", several), "worst"))


def nasty_run(folder: Path) -> Report:
    content = [
        Content(text=NASTY),
        Content(symbols=(NASTY, "b")),
        Content(cells=((NASTY, NASTY),)),
        Content(series=((1.0, 2.0),), channels=(NASTY,)),
        Content(picture=PIXEL),
    ]
    worst = [mistake(one, name=NASTY) for one in content]
    task = {"name": NASTY, "protocol": NASTY, "source": NASTY, "stand_in": True}
    return report_on(
        folder,
        split_of(classes_of((NASTY, f"{NASTY} two")), *worst),
        task=task,
        notes=[NASTY],
        warnings=[NASTY],
        recipe=NASTY,
    )


def test_texts_of_users_are_escaped(tmp_path: Path) -> None:
    report = nasty_run(tmp_path)
    page = to_html(report)
    found = tags_of(page)
    assert "script" not in found.count
    assert page.count("&lt;script&gt;") > 15
    for one in report.sections:
        for picture in one.pictures:
            ElementTree.fromstring(picture.file())
    assert "<script>" not in to_markdown(report)


def test_one_file_without_scripts_and_requests(tmp_path: Path) -> None:
    page = to_html(nasty_run(tmp_path))
    found = tags_of(page)
    assert "script" not in found.count
    assert all(source.startswith(("data:", "#")) for source in found.sources)
    assert "http:" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https:" not in page
    assert "default-src 'none'" in page
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path, split_of(classes_of(), mistake(Content(text="x"))))
    control = Suggestion("fptkit study x --controls=frozen_random", 10)
    pages = {to_html(compose_run(read_run(folder), control)) for _ in range(2)}
    assert len(pages) == 1
    assert "fptkit study x --controls=frozen_random" in pages.pop()


def test_a_long_run_has_a_page_of_bounded_size(tmp_path: Path) -> None:
    worst = [mistake(Content(text="A" * 600), index=number) for number in range(12)]
    folder = make_run_folder(tmp_path, split_of(classes_of(tuple(f"c{n}" for n in range(100))), *worst))
    lines = [{"step": step, "split": "train", "loss": 1.0 / step, "learning_rate": 1e-3} for step in range(1, 100_001)]
    lines += [{"step": step, "split": "validation", "loss": 1.0, "accuracy": 0.5} for step in range(0, 100_000, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = to_html(compose_run(read_run(folder)))
    assert len(page) < 200_000
    loss = next(
        picture for picture in section(compose_run(read_run(folder)), "curves").pictures if "loss" in picture.key
    )
    assert max(len(points.split()) for points in re.findall(r'points="([^"]*)"', "".join(loss.body))) <= 300


def test_values_that_are_not_finite_are_left_out_of_curves(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path, split_of(classes_of()))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "split": "train", "loss": NaN, "learning_rate": 1e-3}\n{"step": 60, "split": "tr')
    tags_of(to_html(compose_run(read_run(folder))))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run \(summary\.json\)"):
        read_run(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(DataError, match="is not the summary of a run"):
        read_run(tmp_path)
    make_run_folder(tmp_path)
    (tmp_path / "assessment.json").write_text('{"format": 2, "step": 1, "splits": {}}')
    with pytest.raises(DataError, match=r"assessment\.json: format: .* Remove it"):
        read_run(tmp_path)
