"""Published figures: equal to the papers' tables, and compared with ours only with the reasons against it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fptkit.errors import DataError, UnknownNameError
from fptkit.lab.published import (
    ArmKind,
    Pair,
    against_rows,
    arm_kind,
    compare,
    load_published,
    published_names,
    table_heading,
    table_notes,
    table_rows,
)
from fptkit.lab.published.load import read_published
from fptkit.lab.studies.results import CellResult, CommonRate, Estimate, RateResult, StudyResults
from fptkit.registry import load_plugins
from fptkit.specs import FreezingPolicySpec, TaskSpec

ROOT = Path(__file__).parents[3]

COUNTS = {
    "fpt2021": {
        "table_1": 21,
        "table_2": 35,
        "successive_language": 28,
        "successive_random": 20,
        "underfitting": 6,
        "frozen_norm": 4,
        "unfreezing": 28,
        "unfreezing_last": 3,
        "size": 6,
        "backbones": 6,
        "cached_output": 2,
        "cached_speed": 2,
        "steps": 14,
        "depth": 6,
        "output_depth": 6,
    },
    "rothermel2021": {"table_1": 16},
    "tape2019": {"fold_holdout": 4},
    "lra2020": {"transformer": 2, "s4": 2},
}
"""Figures of each table, counted in the papers' tables."""

SUMS = {
    ("fpt2021", "table_1"): {"FPT": 459.8, "full": 458.4, "lstm": 324.9},
    ("fpt2021", "table_2"): {
        "language": 455.9,
        "random": 408.9,
        "bit_memory_pretrained": 440.3,
        "vit": 458.2,
        "statistics": 435.2,
    },
    ("fpt2021", "successive_language"): {
        "bit_memory": 370,
        "bit_xor": 352,
        "listops": 125,
        "mnist": 315,
        "cifar10": 207,
        "cifar10_lra": 134,
        "remote_homology": 34,
    },
    ("fpt2021", "successive_random"): {
        "bit_xor": 350,
        "listops": 125,
        "mnist": 292,
        "cifar10": 184,
        "cifar10_lra": 117,
    },
    ("fpt2021", "frozen_norm"): {"language": 129.7, "random": 116.7},
    ("fpt2021", "underfitting"): {"FPT": 77.1, "transformer": 112, "Linformer": 136},
    ("fpt2021", "unfreezing"): {
        "FPT": 455.9,
        "+feed-forward": 462.2,
        "+attention": 407.4,
        "+feed-forward +attention": 393.3,
    },
    ("fpt2021", "unfreezing_last"): {"language": 224.8},
    ("fpt2021", "size"): {"12 blocks": 129.9, "24 blocks": 133.8, "36 blocks": 137.8},
    ("fpt2021", "backbones"): {"bert": 107.1, "t5_encoder": 80.1, "longformer": 83.8},
    ("fpt2021", "cached_output"): {"output only": 57.5},
    ("fpt2021", "cached_speed"): {"output only": 2500},
    ("fpt2021", "steps"): {"language": 817_500, "random": 1_186_000},
    ("fpt2021", "depth"): {"1 block": 34, "2 blocks": 52, "6 blocks": 73},
    ("fpt2021", "output_depth"): {"1 block": 12, "3 blocks": 18, "6 blocks": 33, "12 blocks": 50, "24 blocks": 17},
    ("rothermel2021", "table_1"): {
        "frozen, random": 242.9,
        "frozen, pretrained": 265.6,
        "unfrozen, random": 296.1,
        "unfrozen, pretrained": 300.8,
    },
    ("tape2019", "fold_holdout"): {"LSTM": 26, "Transformer": 21, "ResNet": 17, "one-hot": 9},
    ("lra2020", "transformer"): {"Transformer": 78.81},
    ("lra2020", "s4"): {"S4": 148.0},
}
"""Sums of each row, computed from the papers' tables without the loader."""


def test_the_papers_and_the_count_of_their_figures() -> None:
    assert published_names() == ("fpt2021", "lra2020", "rothermel2021", "tape2019")
    for name, tables in COUNTS.items():
        published = load_published(name)
        assert {table: len(published.of(table)) for table in published.tables} == tables
        assert len(published.figures) == sum(tables.values())


@pytest.mark.parametrize(("name", "table"), SUMS)
def test_rows_add_up(name: str, table: str) -> None:
    sums: dict[str, float] = {}
    for figure in load_published(name).of(table):
        sums[figure.row] = sums.get(figure.row, 0) + figure.value
    assert sums == pytest.approx(SUMS[name, table], abs=1e-9)


def test_every_table_has_its_sums() -> None:
    assert set(SUMS) == {(name, table) for name, tables in COUNTS.items() for table in tables}


@pytest.mark.parametrize(
    ("name", "table", "row", "column", "value", "sem"),
    [
        ("fpt2021", "table_1", "FPT", "cifar10", 72.1, None),
        ("fpt2021", "table_1", "lstm", "cifar10_lra", 11.7, None),
        ("fpt2021", "table_2", "random", "bit_memory", 75.8, None),
        ("fpt2021", "table_2", "vit", "remote_homology", 7.5, None),
        ("fpt2021", "table_2", "statistics", "cifar10", 56.5, None),
        ("fpt2021", "successive_language", "mnist", "output", 23, None),
        ("fpt2021", "successive_random", "cifar10_lra", "output+norm", 34, None),
        ("fpt2021", "frozen_norm", "random", "norm frozen", 55.0, None),
        ("fpt2021", "underfitting", "FPT", "train", 38.5, None),
        ("fpt2021", "underfitting", "Linformer", "train", 97, None),
        ("fpt2021", "unfreezing", "+feed-forward", "remote_homology", 13.1, None),
        ("fpt2021", "unfreezing", "+attention", "mnist", 89.0, None),
        ("fpt2021", "unfreezing", "+feed-forward +attention", "cifar10", 32.9, None),
        ("fpt2021", "unfreezing_last", "language", "+feed-forward +last attention", 80.0, None),
        ("fpt2021", "output_depth", "3 blocks", "language", 18, None),
        ("fpt2021", "output_depth", "24 blocks", "random", 17, None),
        ("fpt2021", "size", "36 blocks", "random", 65.7, None),
        ("fpt2021", "backbones", "t5_encoder", "listops", 15.4, None),
        ("fpt2021", "steps", "language", "bit_xor", 500, None),
        ("fpt2021", "depth", "2 blocks", "random", 16, None),
        ("rothermel2021", "table_1", "frozen, pretrained", "cifar10_lra", 54.7, 1.4),
        ("rothermel2021", "table_1", "unfrozen, random", "cifar10", 77.8, 0.2),
        ("rothermel2021", "table_1", "unfrozen, pretrained", "listops", 56.3, 0.9),
        ("tape2019", "fold_holdout", "LSTM", "remote_homology", 26, None),
        ("lra2020", "s4", "S4", "cifar10_lra", 88.5, None),
    ],
)
def test_figures_typed_by_hand(name: str, table: str, row: str, column: str, value: float, sem: float | None) -> None:
    (figure,) = [f for f in load_published(name).of(table) if (f.row, f.column) == (row, column)]
    assert (figure.value, figure.sem) == (value, sem)


def test_what_a_figure_says_of_itself() -> None:
    by_place = {(f.table, f.row, f.column): f for f in load_published("fpt2021").figures}
    large = by_place["table_1", "FPT", "cifar10"]
    assert (large.blocks, large.width, large.repeats) == (36, 1280, True)
    assert by_place["table_1", "full", "cifar10"].blocks == 3
    quoted = by_place["table_1", "full", "listops"]
    assert (quoted.blocks, quoted.width) == (3, None)
    assert by_place["table_1", "full", "remote_homology"].blocks is None
    assert "quoted from Tay" in quoted.not_comparable[0]
    ablated = by_place["successive_random", "mnist", "output+norm"]
    assert (ablated.body, ablated.freezing, ablated.task) == ("random", "output_norm", "mnist")
    assert by_place["table_1", "lstm", "remote_homology"].learning_rate == 3e-4
    assert by_place["table_2", "vit", "remote_homology"].learning_rate == 1e-4
    assert {f.split for f in by_place.values() if f.task in ("listops", "remote_homology")} == {"validation"}
    assert {f.split for f in by_place.values() if f.task == "cifar10"} == {"test"}
    assert {(f.table, f.column) for f in by_place.values() if f.split == "train"} == {("underfitting", "train")}
    diverged = {(f.row, f.task) for f in by_place.values() if any("diverged" in note for note in f.notes)}
    assert diverged == {("+attention", "mnist"), ("+attention", "cifar10"), ("+feed-forward +attention", "mnist")}
    assert by_place["depth", "2 blocks", "language"].blocks == 2


def test_rounded_repetitions_agree_except_the_one_that_is_noted() -> None:
    """The ablation's last column repeats Table 2 in whole percents; the paper contradicts itself once."""
    published = load_published("fpt2021")
    originals = {figure.identity: figure for figure in published.figures if not figure.repeats}
    apart = []
    for figure in published.figures:
        if figure.repeats and abs(figure.value - originals[figure.identity].value) > 0.5:
            apart.append((figure.table, figure.row))
            assert "34.3" in " ".join(figure.notes)
    assert apart == [("successive_random", "listops")]


@pytest.mark.parametrize("name", ["fpt2021", "lra2020", "rothermel2021", "tape2019"])
def test_names_are_those_of_fptkit(name: str) -> None:
    """Tasks, policies, options and faults that a file names exist."""
    registry = load_plugins(selection="")
    published = load_published(name)
    policies = {entry.spec.name for entry in registry.entries(FreezingPolicySpec)}
    assert {figure.freezing for figure in published.figures} <= policies
    for task, facts in published.tasks.items():
        spec = registry.get(TaskSpec, task)
        assert set(facts.options) <= set(spec.options_model().model_fields)
        (protocol,) = [protocol for protocol in spec.protocols if protocol.name == published.protocol]
        told = {number for number, _ in protocol.faults}
        assert set(facts.faults) <= told
        by_chance, of_its_own = {"D4", "D19", "D20"}, {"D21"}  # precision is a reason of its own
        assert told - set(facts.faults) <= by_chance | of_its_own


def test_an_unknown_paper_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_published("rothermel")
    assert caught.value.suggestion == "rothermel2021"
    with pytest.raises(UnknownNameError):
        load_published("../published/fpt2021")


SMALL = """
name: small
title: A paper
authors: Someone
year: 2020
source: here
checked_against: transcription
protocol: clean
protocol_words: words
learning_rates: one
learning_rate_words: words
seeds: 3
tasks:
  mnist: {source: torchvision, options: {}}
arms:
  a: {body: language, freezing: fpt, blocks: 12, width: 768}
  b: {body: random, freezing: fpt, blocks: 12, width: 768}
tables:
  first:
    place: Table 1
    title: title
    columns: [mnist]
    rows:
      a: [98.5 ± 0.1]
      b: [91]
"""


def test_a_small_file_is_read() -> None:
    first, second = read_published(SMALL, "small.yaml").figures
    assert (first.value, first.sem, first.seeds, first.body) == (98.5, 0.1, 3, "language")
    assert (second.value, second.sem, second.body) == (91, None, "random")


def test_a_place_that_is_empty_in_the_paper_has_no_figure() -> None:
    text = SMALL.replace("[mnist]", "[mnist, cifar10]").replace("tasks:", "tasks:\n  cifar10: {source: x, options: {}}")
    small = read_published(text.replace("b: [91]", "b: [91, null]").replace("0.1]", "0.1, 60]"), "small.yaml")
    assert [(figure.row, figure.column) for figure in small.figures] == [
        ("a", "mnist"), ("a", "cifar10"), ("b", "mnist"),
    ]  # fmt: skip
    assert table_rows(small, "first")[1] == {"": "b", "mnist": "91.0", "cifar10": "–"}


SECOND = "  second: {place: p, title: t, columns: [mnist], rows: {a: [97]}}\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("year: 2020", "year: 2020\nyeer: 2020", "yeer"),
        ("year: 2020", "year: 2020\nyear: 2021", "duplicate key 'year'"),
        ("      b: [91]", "      a: [91]", "duplicate key 'a'"),
        ("year: 2020\n", "", "year: Field required"),
        ("b: [91]", "b: [91, 92]", "row 'b' has 2 figures for 1 columns"),
        ("b: [91]", "b: []", "row 'b' has 0 figures"),
        ("b: [91]", "b: [null]", "row 'b' has no figure"),
        ("tables:", "absent: [{place: Table 2, title: t}]\ntables:", "why: Field required"),
        ("seeds: 3", "seeds: 3\nmost_steps: 5", "most_steps"),
        ("    title: title", "    title: title\n    all: {checked_against: memory}", "checked_against"),
        ("b: [91]", "b: [191]", "an accuracy of 191 %"),
        ("b: [91]", "b: [-1]", "greater than or equal to 0"),
        ("b: [91]", "b: [91 + 2]", "valid number"),
        ("b: [91]", "b: [true]", "TableCell"),
        ("b: [91]", "c: [91]", "'c' is not a task, arm or label"),
        ("columns: [mnist]", "columns: [mnist, mnist]", "a column is listed twice"),
        ("columns: [mnist]", "columns: [cifar10]", "'cifar10' is not a task, arm or label"),
        ("body: random, ", "", "its body is not given"),
        ("body: random", "body: language", "the same figure as table 'first', row 'a'"),
        ("    rows:", "    labels: {c: {}}\n    rows:", "label 'c' is neither a row nor a column"),
        ("    title: title", "    title: title\n    all: {arm: z}", "there is no arm 'z'"),
        ("    title: title", "    title: title\n    all: {arm: a}", "row 'b', column 'mnist': two arms, 'a' and 'b'"),
        ("  a: {body", "  mnist: {body: x, freezing: fpt}\n  a: {body", "'mnist' is both task and arm"),
        ("      b: [91]\n", "      b: [91]\n" + SECOND, "one of them must say 'repeats: true'"),
        ("blocks: 12, width: 768}\ntables", "blocks: 12, repeats: true}\ntables", "no other table has this figure"),
        ("      b: [91]\n", "      b: [91]\n    exceptions: [{row: z, columns: [mnist], facts: {}}]\n", "row 'z'"),
        ("      b: [91]\n", "      b: [91]\n    exceptions: [{row: b, columns: [z], facts: {}}]\n", "column 'z'"),
        ("name: small", "name: [small", "not valid YAML"),
    ],
)
def test_a_faulty_file_is_refused(old: str, new: str, message: str) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_published(SMALL.replace(old, new), "small.yaml")
    assert str(caught.value).startswith("small.yaml: ")


def test_files_repeat_each_figure_as_the_paper_writes_it() -> None:
    """Nothing is lost between the file and the figures: read by PyYAML, the rows are the same."""
    for name in published_names():
        raw = yaml.safe_load((ROOT / "fptkit" / "lab" / "published" / f"{name}.yaml").read_text(encoding="utf-8"))
        written = [
            float(str(cell).split("±")[0])  # PyYAML reads 1e4 as text
            for table in raw["tables"].values()
            for row in table["rows"].values()
            for cell in row
            if cell is not None
        ]
        assert [figure.value for figure in load_published(name).figures] == written


# ---- kinds -----------------------------------------------------------------------------------------------------------


def cell(**changes: Any) -> CellResult:
    """A cell as like Rothermel's frozen pretrained arm on CIFAR-10 as there can be."""
    facts: dict[str, Any] = {
        "task": "photographs",
        "arm": "ours",
        "complete": True,
        "metric": "accuracy",
        "rates": tuple(
            RateResult(
                learning_rate=rate,
                validation=Estimate(values=(0.6,), mean=0.6, sem=None),
                runs=(),
            )
            for rate in (1e-4, 1e-3)
        ),
        "chosen_rate": 1e-3,
        "test_split": "test",
        "test": {"test": Estimate(values=(0.66, 0.67, 0.68), mean=0.67, sem=0.006)},
        "steps": (400_000,) * 3,
        "best_steps": (350_000,) * 3,
        "task_name": "cifar10",
        "protocol": "clean",
        "source": "torchvision",
        "backbone": "gpt2",
        "weights": "hub:openai-community/gpt2",
        "init": "pretrained",
        "blocks": 12,
        "width": 768,
        "freezing": "fpt",
        "readout": "last",
        "encoder": "linear",
        "task_options": {"patch_size": 4, "train_size": None, "augment": "auto"},
        "backbone_options": {"dropout": 0.1, "init": "pretrained"},
        "precision": "float32",
    }
    return CellResult(**{**facts, **changes})


def study(*cells: CellResult) -> StudyResults:
    return StudyResults(
        name="s",
        code_version="0",
        tasks=tuple(dict.fromkeys(c.task for c in cells)),
        arms=tuple(dict.fromkeys(c.arm for c in cells)),
        reference=cells[0].arm,
        seeds=(0, 1, 2),
        learning_rates=(1e-4, 1e-3),
        search="",
        budget="",
        confidence=0.95,
        cells=cells,
        comparisons=(),
    )


def paired(name: str, *cells: CellResult) -> list[Pair]:
    return [pair for pair in compare(study(*cells), load_published(name)) if pair.arm]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "frozen/language"),
        ({"weights": "builtin:gpt2_nano", "weights_stand_in": True}, "frozen/language"),
        ({"weights": "builtin:bit_memory_nano"}, "frozen/bit_memory"),
        ({"weights": "builtin:synthetic_nano"}, "frozen/synthetic"),
        ({"init": "statistics"}, "frozen/statistics"),
        ({"init": "statistics", "weights": "builtin:bit_memory_nano"}, "frozen/statistics_bit_memory"),
        ({"init": "random"}, "frozen/random"),
        ({"init": "flat_0.02"}, "frozen/random"),
        ({"weights": "random"}, "frozen/random"),
        ({"freezing": "full"}, "full/language"),
        ({"freezing": "output_only"}, "output_only/language"),
        ({"backbone": "random", "weights": "random", "backbone_options": {"like": "gpt2"}}, "frozen/random"),
        ({"backbone": "random", "weights": "random", "backbone_options": {"like": "vit"}}, "frozen/random_vit"),
        ({"backbone": "random", "weights": "random", "backbone_options": {"like": "lstm"}}, "frozen/lstm"),
        ({"backbone": "vit", "weights": "builtin:vit_nano"}, "frozen/vit"),
        ({"backbone": "vit", "weights": "random"}, "frozen/random_vit"),
        ({"backbone": "lstm", "weights": "random", "init": "random", "freezing": "full"}, "full/lstm"),
        ({"backbone": "bert", "weights": "hub:google-bert/bert-base-uncased"}, "frozen/bert"),
        ({"backbone": "none", "weights": ""}, "frozen/none"),
        ({"freezing_options": {"learning_rate_multipliers": {"input": 2.0}}}, "frozen/language"),
    ],
)
def test_the_kind_of_an_arm(changes: dict[str, Any], kind: str) -> None:
    found, why = arm_kind(cell(**changes))
    assert (str(found), why) == (kind, "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backbone": "", "freezing": ""}, "no run of it has finished"),
        ({"freezing": "custom"}, "it changes the rows of its freezing policy"),
        ({"freezing_options": {"train": [{"role": "attention"}]}}, "it changes the rows of its freezing policy"),
        ({"freezing_options": {"freeze": ["norm"]}}, "it changes the rows of its freezing policy"),
        ({"shuffle_tokens": True}, "its tokens are shuffled"),
        ({"weights": "path:mine"}, "the pretraining of the weights in path:mine is not known"),
        ({"backbone": "random", "weights": "random", "backbone_options": None}, "the architecture with random weights"),
        ({"backbone": "lstm", "weights": "path:mine"}, "an LSTM with loaded weights"),
    ],
)
def test_an_arm_of_no_kind_says_why(changes: dict[str, Any], why: str) -> None:
    found, told = arm_kind(cell(**changes))
    assert found is None
    assert why in told


def test_published_arms_are_of_kinds_that_ours_can_be() -> None:
    """Else a pair could never be found, as after a misspelt word in a file."""
    ours = {
        str(arm_kind(cell(**changes, freezing=freezing))[0])
        for freezing in {figure.freezing for figure in load_published("fpt2021").figures}
        for changes in (
            {},
            {"init": "random"},
            {"init": "statistics"},
            {"weights": "builtin:bit_memory_nano"},
            {"backbone": "vit"},
            {"backbone": "bert"},
            {"backbone": "t5_encoder"},
            {"backbone": "longformer"},
            {"backbone": "lstm", "weights": "random"},
        )
    }
    for name in ("fpt2021", "rothermel2021"):
        theirs = {str(ArmKind(f.body, f.freezing)) for f in load_published(name).figures}
        assert theirs - ours <= {"full/linformer"}  # fptkit has no such backbone


# ---- pairs -----------------------------------------------------------------------------------------------------------


def test_a_pair_that_nothing_tells_apart_is_comparable() -> None:
    (pair,) = paired("rothermel2021", cell())
    assert (pair.comparable, pair.reasons) == (True, ())
    assert pair.ours is not None
    assert pair.theirs is not None
    assert (pair.ours.mean, pair.ours.sem, pair.ours.seeds) == (pytest.approx(67.0), pytest.approx(0.6), 3)
    assert (pair.theirs.value, pair.theirs.row) == (66.3, "frozen, pretrained")
    assert pair.gap == pytest.approx(0.7)
    assert any("batch size 8" in note for note in pair.notes)


def as_fpt2021(**changes: Any) -> CellResult:
    one = cell().rates[1:]
    return cell(**{"protocol": "fpt2021", "rates": one, **changes})


def test_so_is_one_of_the_papers_own_protocol() -> None:
    (pair,) = paired("fpt2021", as_fpt2021())
    assert (pair.comparable, pair.reasons) == (True, ())
    assert pair.theirs is not None
    assert (pair.theirs.value, pair.theirs.table) == (68.2, "table_2")
    assert "their seeds and spread are not recorded" in pair.notes
    listops = {"length": [501, 1999], "max_depth": 10, "max_arguments": 10, "train_size": 96000, "max_length": None}
    (pair,) = paired("fpt2021", as_fpt2021(task_name="listops", source="generated", task_options=listops))
    assert pair.comparable  # under fpt2021 our test split is the validation data too


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "fpt2021"}, "protocol: ours fpt2021, theirs clean"),
        ({"protocol": ""}, "protocol: ours not known, theirs clean"),
        ({"test_split": "odd", "test": {"odd": Estimate(values=(0.5, 0.5), mean=0.5, sem=0.0)}}, "split: ours odd"),
        ({"source": "simulated", "data_stand_in": True}, "data: ours simulated, a fallback (stand-in) for torchvision"),
        ({"source": "path:some.npz"}, "data: not known whether path:some.npz has all of"),
        ({"source": "elsewhere"}, "data: ours elsewhere, theirs torchvision"),
        ({"data_fraction": 0.1}, "data: ours 10 % of the training split, theirs all of it"),
        ({"task_options": None}, "task: the options of ours are not known"),
        ({"task_options": {"patch_size": 2, "train_size": None}}, "task: patch_size is 2 here, 4 there"),
        ({"task_options": {"patch_size": 4, "train_size": 5000}}, "task: train_size is 5,000 here, null there"),
        ({"task_options": {"train_size": None}}, "task: patch_size is not known here, 4 there"),
        ({"blocks": 4, "width": 256}, "size: ours 4 blocks of 256, theirs 12 blocks of 768"),
        ({"blocks": None}, "size: ours ? blocks of 768, theirs 12 blocks of 768"),
        ({"weights": "builtin:gpt2_nano", "weights_stand_in": True}, "weights: ours builtin:gpt2_nano, a fallback"),
        ({"weights": "hub:distilbert/distilgpt2"}, "weights: ours hub:distilbert/distilgpt2, theirs hub:openai"),
        ({"freezing_options": {"learning_rate_multipliers": {"input": 2.0}}}, "freezing: ours uses different"),
        ({"encoder": "mlp"}, "encoder: ours mlp"),
        ({"head_options": {"hidden": [64]}}, "head: ours has hidden layers or dropout"),
        (
            {"training_parts": {"loss": {"name": "focal", "gamma": 2.0}, "metrics": [{"name": "f1"}]}},
            "training: ours with loss focal (gamma 2.0)",
        ),
        ({"rates": cell().rates[:1]}, "learning rate: ours a fixed one, without a search, theirs the best of several"),
        ({"steps": (), "best_steps": ()}, "training: the length of ours is not known"),
        (
            {"steps": (2000, 2000), "best_steps": (1500, 2000)},
            "training: ours was best at its last step, 2,000, theirs trained up to 400,000 steps",
        ),
        ({"precision": "bfloat16"}, "precision: ours bfloat16 (frozen weights and matrix products), theirs float32"),
        ({"precision": "int8"}, "precision: ours int8"),
        ({"precision": "bfloat16, float32"}, "precision: ours bfloat16, float32"),
        ({"precision": ""}, "precision: ours not known"),
        ({"complete": False}, "seeds: not all of our runs are finished"),
        ({"test": {"test": Estimate(values=(0.6,), mean=0.6, sem=None)}}, "seeds: ours one, theirs the mean over 3"),
    ],
)
def test_each_reason_against_a_pair(changes: dict[str, Any], reason: str) -> None:
    (pair,) = paired("rothermel2021", cell(**changes))
    assert not pair.comparable
    (found,) = pair.reasons
    assert found.startswith(reason)
    assert pair.gap is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "clean"}, "protocol: ours clean, theirs fpt2021, which carries the faults D5, D6 on this task"),
        ({"rates": cell().rates}, "learning rate: ours the best of 2 on validation, theirs a fixed one"),
        ({"chosen_rate": 3e-3}, "learning rate: ours 0.003, theirs 0.001"),
        ({"steps": (2500,), "best_steps": (2000,)}, "training: ours 2,500 steps, theirs converged after 400,000"),
        ({"schedule": "cosine"}, "learning rate: ours with the schedule cosine, theirs constant"),
        ({"readout": "mean"}, "read-out: ours mean, theirs last"),
        (
            {"backbone": "random", "weights": "random", "init": "random", "backbone_options": {"like": "gpt2"}},
            "weights: init random here, flat_0.02 there (D11",
        ),
        ({"precision": "bfloat16"}, "precision: ours bfloat16 (frozen weights and matrix products), theirs float32"),
        (
            {"backbone": "lstm", "weights": "random", "freezing": "full", "blocks": 3, "chosen_rate": 3e-4},
            "backbone: ours is the LSTM of Ba et al. 2016, theirs that of their code (variant: official)",
        ),
    ],
)
def test_each_reason_of_the_papers_own_protocol(changes: dict[str, Any], reason: str) -> None:
    (pair,) = paired("fpt2021", as_fpt2021(**changes))
    (found,) = pair.reasons
    assert found.startswith(reason)


def test_the_lstm_of_the_papers_code_is_comparable() -> None:
    drawn = {"backbone": "lstm", "weights": "random", "freezing": "full", "blocks": 3, "chosen_rate": 3e-4}
    (pair,) = paired("fpt2021", as_fpt2021(**drawn, backbone_options={"variant": "official", "dropout": 0.1}))
    assert (pair.comparable, pair.reasons) == (True, ())
    assert any(note.startswith("D12: their LSTM") for note in pair.notes)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout"])
def test_another_dropout_is_noted(name: str) -> None:
    for ours, noted in ((0.1, False), (0.0, True), (None, False)):
        (pair,) = paired("fpt2021", as_fpt2021(backbone_options={"init": "pretrained", name: ours}))
        said = f"{name.replace('_', ' ')}: ours {ours}, theirs 0.1"
        assert (said in pair.notes) is noted


def test_a_random_draw_as_the_papers_is_comparable() -> None:
    drawn = {"weights": "random", "init": "random", "backbone_options": {"like": "gpt2", "init": "flat_0.02"}}
    (pair,) = paired("fpt2021", as_fpt2021(backbone="random", **drawn))
    assert pair.comparable


def test_the_papers_validation_figures_are_not_our_test_figures() -> None:
    options = {"length": [501, 1999], "max_depth": 10, "max_arguments": 10, "train_size": 96000, "max_length": None}
    (pair,) = paired("fpt2021", as_fpt2021(protocol="clean", task_name="listops", source="generated",
                                           task_options=options))  # fmt: skip
    assert pair.reasons[0].endswith("which carries the faults D1, D2, D6, D7 on this task")
    assert pair.reasons[1].startswith("split: ours test, theirs the validation split")
    shorter = {**options, "length": (30, 100)}
    (pair,) = paired("fpt2021", as_fpt2021(task_name="listops", source="generated", task_options=shorter))
    assert pair.reasons == ("task: length is [30, 100] here, [501, 1999] there",)


def test_their_vit_trains_its_positions_as_ours_does() -> None:
    weights = "hub:timm/vit_base_patch16_224.orig_in21k_ft_in1k"
    (pair,) = paired("fpt2021", as_fpt2021(backbone="vit", weights=weights))
    assert (pair.comparable, pair.reasons) == (True, ())
    assert pair.theirs is not None
    assert pair.theirs.value == 72.5


def test_listops_with_brackets_is_the_one_of_clean() -> None:
    """Rothermel et al. fixed D1 and D2: a pair under clean is comparable and says so, one under fpt2021 is not."""
    options = {"length": [501, 1999], "max_depth": 10, "max_arguments": 10, "train_size": 96000, "max_length": None}
    listops = {"task_name": "listops", "source": "generated", "task_options": options}
    (pair,) = paired("rothermel2021", cell(**listops))
    assert (pair.comparable, pair.reasons) == (True, ())
    assert any("D1 and D2 are fixed" in note for note in pair.notes)
    (pair,) = paired("rothermel2021", cell(**listops, protocol="fpt2021"))
    assert pair.reasons == ("protocol: ours fpt2021, theirs clean",)


def test_other_papers_say_nothing_of_precision() -> None:
    pixels = {"patch_size": 1, "train_size": None}
    full = cell(task_name="cifar10_lra", freezing="full", init="random", task_options=pixels, precision="int8")
    (pair,) = paired("lra2020", full)
    assert not any(reason.startswith("precision") for reason in pair.reasons)


def under_fitting(**changes: Any) -> CellResult:
    pixels = {"patch_size": 1, "train_size": None, "augment": "auto"}
    return as_fpt2021(task_name="cifar10_lra", task_options=pixels, **changes)


SEEN = Estimate(values=(0.4, 0.42), mean=0.41, sem=0.01)


def test_accuracy_on_training_data_has_a_pair_of_its_own() -> None:
    test, train = paired("fpt2021", under_fitting(train=SEEN))
    facts = [
        (pair.theirs.value, pair.ours.split, pair.ours.seeds) for pair in (test, train) if pair.ours and pair.theirs
    ]
    assert facts == [(38.6, "test", 3), (38.5, "train", 2)]
    single = "their figure was read in one transcription only"
    assert [single in pair.notes for pair in (test, train)] == [False, True]
    assert test.comparable
    assert train.gap == pytest.approx(41 - 38.5)
    (reason,) = train.reasons
    assert reason.startswith("training accuracy: their code averages over training batches, with dropout")
    tables = against_rows((test, train))
    assert tables.comparable[0]["arm"] == "ours"
    assert tables.orientation[0]["arm"] == "ours (on training data)"


def test_without_a_result_on_training_data_theirs_is_listed_alone() -> None:
    pairs = compare(study(under_fitting()), load_published("fpt2021"))
    assert [pair.theirs.value for pair in pairs if pair.arm and pair.theirs] == [38.6]
    alone = {pair.theirs.value: pair.reasons[0] for pair in pairs if pair.theirs and pair.theirs.split == "train"}
    assert alone.keys() == {38.5, 70, 97}
    assert all(reason.endswith("on training data (train.training_sample)") for reason in alone.values())


def test_a_training_sample_of_a_split_without_test_is_no_result() -> None:
    (pair,) = paired("fpt2021", under_fitting(train=SEEN, test={}, complete=False))
    assert pair.ours is None
    assert pair.reasons == ("not all of its runs are finished",)


def test_an_arm_of_a_table_that_is_not_here_names_the_table() -> None:
    lstm = as_fpt2021(backbone="lstm", weights="random", init="random", blocks=3)
    (pair,) = paired("fpt2021", lstm)
    assert pair.theirs is None
    assert pair.reasons[0].startswith("Table 3 of the paper has this arm, but its figures are not in fptkit: ")
    (pair,) = paired("rothermel2021", cell(backbone="lstm", weights="random", init="random", blocks=3))
    assert pair.reasons == ("the paper does not have this arm on this task",)


def test_frozen_norms_of_the_paper_freeze_the_positions_too() -> None:
    (pair,) = paired("fpt2021", as_fpt2021(freezing="input_output"))
    assert pair.comparable
    assert pair.theirs is not None
    assert (pair.theirs.value, pair.theirs.place) == (61.5, "Table 16")
    (pair,) = paired("fpt2021", as_fpt2021(freezing="frozen_norm"))
    assert pair.theirs is None


def test_a_rate_for_all_seeds_is_compared_with_ours_for_all_seeds() -> None:
    """Rothermel et al. chose one rate for all seeds; Lu et al. had no search."""
    common = CommonRate(learning_rate=1e-3, test={"test": Estimate(values=(0.64, 0.66), mean=0.65, sem=0.01)})
    (pair,) = paired("rothermel2021", cell(common=common))
    assert pair.ours is not None
    assert (pair.ours.mean, pair.ours.seeds, pair.comparable) == (pytest.approx(65), 2, True)
    assert "ours at one learning rate for all seeds, as theirs" in pair.notes
    (pair,) = paired("fpt2021", cell(common=common))
    assert pair.ours is not None
    assert pair.ours.mean == pytest.approx(67)
    (pair,) = paired("rothermel2021", cell(common=CommonRate(learning_rate=None)))
    assert (pair.ours, pair.reasons) == (None, ("no common learning rate could be chosen for all seeds",))


def test_a_quoted_figure_is_comparable_with_nothing() -> None:
    drawn = {"backbone": "random", "weights": "random", "backbone_options": {"like": "gpt2"}, "freezing": "full"}
    (pair,) = paired("fpt2021", as_fpt2021(**drawn, task_name="cifar10_lra", task_options={
        "patch_size": 1, "train_size": None, "augment": "auto"}))  # fmt: skip
    assert pair.reasons == ("quoted from Tay et al. 2020, not trained by the authors: another model and code",)


def test_what_a_nano_study_gets_is_for_orientation() -> None:
    nano = cell(
        weights="builtin:gpt2_nano", weights_stand_in=True, blocks=4, width=256, source="path:x.npz", steps=(2500,) * 3
    )
    (pair,) = paired("fpt2021", nano)
    assert pair.theirs is not None
    assert pair.theirs.value == 68.2  # 12 blocks: the nearest of 12, 24 and 36
    assert [reason.partition(":")[0] for reason in pair.reasons] == [
        "protocol", "data", "size", "weights", "learning rate", "training",
    ]  # fmt: skip


def test_the_figure_of_our_size_is_taken() -> None:
    large = as_fpt2021(blocks=36, width=1280, weights="hub:openai-community/gpt2-large@main")
    (pair,) = paired("fpt2021", large)
    assert pair.comparable
    assert pair.theirs is not None
    assert (pair.theirs.value, pair.theirs.table) == (72.1, "size")


def test_two_figures_of_one_arm_are_both_shown() -> None:
    probe = as_fpt2021(freezing="output_only", task_name="cifar10_lra")
    pairs = paired("fpt2021", probe)
    assert [pair.theirs.value for pair in pairs if pair.theirs] == [24.7, 17]
    assert "theirs: cached features" in pairs[0].notes


def test_what_lacks_a_counterpart_is_reported_on_both_sides() -> None:
    cells = (
        cell(),
        cell(arm="made up", weights="builtin:synthetic_nano"),
        cell(arm="mine", weights="path:mine"),
        cell(arm="late", test={}, complete=False),
        cell(task="bits", task_name="bit_xor"),
        cell(task="numbers", metric="mean_squared_error"),
    )
    pairs = compare(study(*cells), load_published("rothermel2021"))
    lacking = {(pair.task, pair.arm): pair.reasons[0] for pair in pairs if pair.arm and pair.theirs is None}
    assert lacking == {
        ("photographs", "made up"): "the paper does not have this arm on this task",
        ("photographs", "mine"): "the pretraining of the weights in path:mine is not known",
        ("photographs", "late"): "not all of its runs are finished",
        ("bits", "ours"): "the paper has no task bit_xor",
        ("numbers", "ours"): "its metric is mean_squared_error, the paper's accuracy",
    }
    missing = [(pair.task, pair.kind) for pair in pairs if not pair.arm]
    assert missing == [("cifar10", "frozen/random"), ("cifar10", "full/random"), ("cifar10", "full/language")]
    assert not any(pair.comparable for pair in pairs if pair.theirs is None or pair.ours is None)


def test_rows_are_sorted_into_tables_that_never_mix() -> None:
    cells = (cell(), cell(arm="nano", blocks=4, width=256), cell(arm="mine", weights="path:mine"))
    tables = against_rows(compare(study(*cells), load_published("rothermel2021")))
    (comparable,) = tables.comparable
    assert comparable["task"] == "photographs"
    assert comparable["arm"] == "ours"
    assert (comparable["ours"], comparable["theirs"], comparable["gap"]) == ("67.0 ± 0.6", "66.3 ± 0.0", "+0.7")
    assert comparable["where"] == "Table 1, frozen, pretrained, cifar10"
    (orientation,) = tables.orientation
    assert (orientation["arm"], orientation["why"]) == ("nano", "size: ours 4 blocks of 256, theirs 12 blocks of 768")
    (alone,) = tables.ours_only
    assert (alone["arm"], alone["ours"]) == ("mine", "67.0 ± 0.6")
    assert [row["theirs"] for row in tables.theirs_only] == ["61.8 ± 0.2", "77.8 ± 0.2", "77.7 ± 0.1"]
    assert tables.theirs_only[0]["arm"] == "GPT-2 with random weights (frozen/random, 12 blocks)"


def test_a_gap_below_zero_and_a_share_of_the_data_are_shown() -> None:
    low = cell(data_fraction=0.1, test={"test": Estimate(values=(0.5, 0.5), mean=0.5, sem=0.0)})
    (row,) = against_rows(compare(study(low), load_published("rothermel2021"))).orientation
    assert (row["arm"], row["gap"]) == ("ours (10 % of the data)", "−16.3")


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys\n"
        "from fptkit.lab.published import load_published, compare\n"
        "load_published('fpt2021')\n"
        "sys.exit(', '.join(n for n in ('torch', 'numpy', 'scipy', 'transformers') if n in sys.modules) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_tables_are_shown_as_the_paper_has_them() -> None:
    rothermel = load_published("rothermel2021")
    assert table_rows(rothermel, "table_1")[1] == {
        "": "frozen, pretrained",
        "listops": "46.1 ± 0.3",
        "mnist": "98.5 ± 0.1",
        "cifar10": "66.3 ± 0.0",
        "cifar10_lra": "54.7 ± 1.4",
    }
    fpt = load_published("fpt2021")
    assert table_rows(fpt, "table_1")[0]["bit_memory"] == "100.0"
    assert table_rows(fpt, "steps")[1] | {"": ""} == {
        "": "",
        "bit_memory": "40,000",
        "bit_xor": "20,000",
        "listops": "6,000",
        "mnist": "20,000",
        "cifar10": "400,000",
        "cifar10_lra": "600,000",
        "remote_homology": "100,000",
    }
    assert table_rows(load_published("lra2020"), "transformer")[0]["cifar10_lra"] == "42.44"
    assert table_heading(fpt, "steps") == "Table 6: training steps to convergence (training steps)"
    assert [tuple(row.values()) for row in table_rows(fpt, "output_depth")] == [
        ("1 block", "12", "–"),
        ("3 blocks", "18", "–"),
        ("6 blocks", "33", "–"),
        ("12 blocks", "33", "17"),
        ("24 blocks", "–", "17"),
    ]


def test_the_notes_of_a_table_say_what_its_numbers_hide() -> None:
    notes = table_notes(load_published("fpt2021"), "table_1")
    assert "FPT (cifar10): 36 blocks, elsewhere 12" in notes
    assert "full (listops, cifar10, cifar10_lra): 3 blocks, elsewhere 12" in notes
    assert any(note.startswith("full (listops, cifar10_lra): quoted from Tay") for note in notes)
    assert any(note.startswith("lstm: D12") for note in notes)
    assert table_notes(load_published("lra2020"), "s4") == ("source: the repository of S4's authors",)


def test_what_holds_for_a_whole_column_is_shown_once() -> None:
    notes = table_notes(load_published("rothermel2021"), "table_1")
    (brackets,) = [note for note in notes if "brackets" in note]
    assert brackets.startswith("ListOps has brackets and full length (D1 and D2 are fixed)")


def test_each_figure_names_its_source() -> None:
    sources = {name: {figure.source for figure in load_published(name).figures} for name in published_names()}
    assert sources == {
        "fpt2021": {"arXiv 2103.05247"},
        "rothermel2021": {"arXiv 2107.12460"},
        "tape2019": {"arXiv 1906.08230"},
        "lra2020": {"arXiv 2011.04006", "the repository of S4's authors"},
    }
    for name in published_names():
        expected = {"transcription", "one transcription"} if name == "fpt2021" else {"transcription"}
        assert {figure.checked_against for figure in load_published(name).figures} == expected
