"""The task listops: options, sources, splits, and both protocols."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fptkit.errors import DataError, SourceError, UnknownNameError
from fptkit.interfaces import Classes, SampledEvaluation, Split, Symbols
from fptkit.tasks.listops.grammar import decode, evaluate
from fptkit.tasks.listops.options import ListOpsOptions
from fptkit.tasks.listops.task import ListOps
from fptkit.testing import check_task

SMALL = {"length": [10, 60], "max_depth": 4, "train_size": 60, "validation_size": 20, "test_size": 30}


def task_of(**options: object) -> ListOps:
    return ListOps(ListOpsOptions.model_validate({**SMALL, **options}), seed=0)


def rows(split: Split) -> list[list[int]]:
    """The symbols of every example, including padding if the batch has no lengths."""
    assert split.size is not None
    batch = split.batch(range(split.size), torch.Generator())
    lengths = [batch.inputs.shape[1]] * split.size if batch.lengths is None else batch.lengths.tolist()
    return [row[:length] for row, length in zip(batch.inputs.tolist(), lengths, strict=True)]


def targets(split: Split) -> list[int]:
    assert split.size is not None
    return split.batch(range(split.size), torch.Generator()).targets.tolist()


def note_with(task: ListOps, words: str) -> str:
    found = [note for note in task.notes if words in note]
    assert len(found) == 1, task.notes
    return found[0]


def folder_with(folder: Path, **files: list[str]) -> Path:
    folder.mkdir()
    for name, expressions in files.items():
        lines = "".join(f"{evaluate(text)}\t{text}\n" for text in expressions)
        (folder / f"{name}.tsv").write_text(lines)
    return folder


# --- options ------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_long_range_arena() -> None:
    options = ListOpsOptions()
    assert (options.train_size, options.validation_size, options.test_size) == (96_000, 2_000, 2_000)
    assert (options.length, options.max_depth, options.max_arguments) == ((501, 1999), 10, 10)
    assert (options.source, options.protocol, options.max_length) == (("generated",), "clean", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "generate"}, "unknown source 'generate'; allowed: generated, lra, path:DIR"),
        ({"source": "path:"}, "'path:' names no folder"),
        ({"source": []}, "at least 1"),
        ({"protocol": "paper"}, "'clean' or 'fpt2021'"),
        ({"length": [100, 50]}, r"expected \[fewest, most\], got \[100, 50\]"),
        ({"length": [3, 50]}, "greater than or equal to 4"),
        ({"length": [14, 20], "max_depth": 2}, "at least 14 symbols, .* an expression has at most 12"),
        ({"length": [60, 70], "max_depth": 3, "max_arguments": 3}, "has at most 17"),
        ({"train_size": 0}, "greater than or equal to 1"),
        ({"max_arguments": 1}, "greater than or equal to 2"),
        ({"protocol": "fpt2021", "max_length": 100}, "always cuts at 512 symbols"),
        ({"files": {"valid": "x"}}, "valid"),
        ({"depth": 3}, "depth"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ListOpsOptions.model_validate(options)


def test_options_survive_json_and_the_schema_takes_one_source() -> None:
    options = ListOpsOptions(source=["path:x", "generated"], length=(10, 20))
    assert ListOpsOptions.model_validate(json.loads(options.model_dump_json())) == options
    schema = ListOpsOptions.model_json_schema()["properties"]["source"]
    assert [kind["type"] for kind in schema["anyOf"]] == ["string", "array"]


def test_options_are_light() -> None:
    code = "import sys, fptkit.tasks.listops.options; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# --- generated ----------------------------------------------------------------------------------------------------


def test_clean_keeps_brackets_and_whole_expressions() -> None:
    task = task_of()
    assert task.input == Symbols(16, 0)
    assert task.output == Classes(10)
    assert (task.max_tokens, task.source, task.stand_in, task.protocol) == (60, "generated", False, "clean")
    assert task.sampled_evaluation is None
    for name, size in (("train", 60), ("validation", 20), ("test", 30)):
        split = task.split(name)
        assert split.size == size
        # What the model sees is enough to compute the answer, which is what brackets are for.
        assert [evaluate(decode(row)) for row in rows(split)] == targets(split)
    check_task(task)


def test_splits_are_disjoint_and_independent_of_the_run() -> None:
    task = task_of()
    found = [tuple(row) for name in ("train", "validation", "test") for row in rows(task.split(name))]
    assert len(set(found)) == len(found) == 110
    other = ListOps(ListOpsOptions.model_validate(SMALL), seed=5)
    assert [rows(other.split(name)) for name in ("train", "test")] == [
        rows(task.split(name)) for name in ("train", "test")
    ]
    assert rows(task_of(train_size=7, validation_size=3).split("test")) == rows(task.split("test"))
    assert rows(task_of(seed=1).split("test")) != rows(task.split("test"))


def test_majority_and_sizes_are_reported() -> None:
    task = task_of()
    train = targets(task.split("train"))
    commonest = max(range(10), key=train.count)
    for name in ("train", "validation", "test"):
        labels = targets(task.split(name))
        assert task.majority_accuracy[name] == pytest.approx(labels.count(commonest) / len(labels))
    assert note_with(task, "expressions: ").startswith("expressions: train 60, validation 20, test 30; median ")
    assert "seed 0" in note_with(task, "rules of Long Range Arena")
    assert not [note for note in task.notes if "cut" in note]


def test_a_cut_is_never_silent() -> None:
    task = task_of(max_length=15)
    assert task.max_tokens == 15
    whole = task_of()
    assert rows(task.split("test")) == [row[:15] for row in rows(whole.split("test"))]
    longer = sum(len(row) > 15 for name in ("train", "validation", "test") for row in rows(whole.split(name)))
    assert 0 < longer < 110
    assert note_with(task, "cut") == f"{longer} of 110 expressions are cut to their first 15 symbols"


def test_an_unknown_split_is_named() -> None:
    for protocol in ("clean", "fpt2021"):
        with pytest.raises(UnknownNameError, match="unknown split of task listops 'tests'"):
            task_of(protocol=protocol).split("tests")


# --- fpt2021 ------------------------------------------------------------------------------------------------------


def test_the_papers_protocol_drops_brackets_and_reads_padding() -> None:
    clean, paper = task_of(), task_of(protocol="fpt2021")
    assert paper.input == Symbols(15, 0)  # as the paper's code: 15 symbols, 10 outputs
    assert paper.output == Classes(10)
    assert paper.sampled_evaluation == SampledEvaluation(batches=25, continued=True, incomplete=True)
    assert (paper.precision, clean.precision) == ("float32", None)
    flat = {name: [[i for i in row if i != 15] for row in rows(clean.split(name))] for name in ("train", "validation")}
    widest = max(len(row) for name in ("train", "validation") for row in flat[name])
    assert widest <= paper.max_tokens <= 60
    for name, expected in flat.items():
        split = paper.split(name)
        assert split.batch([0, 1], torch.Generator()).lengths is None
        assert rows(split) == [row + [0] * (paper.max_tokens - len(row)) for row in expected]
        assert targets(split) == targets(clean.split(name))
    check_task(paper)


def test_the_papers_protocol_reports_the_validation_data() -> None:
    paper = task_of(protocol="fpt2021")
    assert paper.test_splits == ("test",)
    assert rows(paper.split("test")) == rows(paper.split("validation"))
    assert paper.majority_accuracy["test"] == paper.majority_accuracy["validation"]
    assert "(D1)" in note_with(paper, "D7")


def test_the_papers_protocol_cuts_at_512() -> None:
    sizes = {"length": [501, 800], "max_depth": 10, "train_size": 40, "validation_size": 12, "test_size": 1}
    clean, paper = task_of(**sizes), task_of(**sizes, protocol="fpt2021")
    assert (clean.max_tokens, paper.max_tokens) == (800, 512)
    expected = [[i for i in row if i != 15][:512] for row in rows(clean.split("train"))]
    assert rows(paper.split("train")) == [row + [0] * (512 - len(row)) for row in expected]
    assert any(len(row) < 512 for row in expected)
    assert "cut to their first 512 symbols" in note_with(paper, "cut to")


# --- files --------------------------------------------------------------------------------------------------------


def test_long_range_arenas_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lra"
    folder.mkdir()
    for name, text in (("train", "( ( ( [MAX 4 ) 3 ) ] )"), ("val", "( ( ( [SM 4 ) 3 ) ] )"), ("test", "5")):
        (folder / f"basic_{name}.tsv").write_text(f"Source\tTarget\r\n{text}\t{evaluate(text)}\r\n")
    task = task_of(source=f"path:{folder}")
    assert (task.source, task.stand_in) == (f"path:{folder}", False)
    assert [decode(rows(task.split(name))[0]) for name in ("train", "validation", "test")] == [
        "[MAX 4 3 ]",
        "[SM 4 3 ]",
        "5",
    ]
    assert task.max_tokens == 4
    assert "basic_train.tsv, basic_val.tsv, basic_test.tsv" in note_with(task, "data of")
    check_task(task)


def test_a_folder_without_validation_cuts_it_from_train(shared_data: Path, tmp_path: Path) -> None:
    with gzip.open(shared_data / "listops_nangia_sample.tsv.gz") as lines:
        found = list(lines)
    (tmp_path / "train_d20s.tsv").write_bytes(b"".join(found[:1500]))
    (tmp_path / "test_d20s.tsv.gz").write_bytes(gzip.compress(b"".join(found[1500:])))
    task = task_of(source=f"path:{tmp_path}", validation_size=200)
    assert [task.split(name).size for name in ("train", "validation", "test")] == [1300, 200, 500]
    labels = [int(line.split(b"\t")[0]) for line in found]
    assert targets(task.split("train")) == labels[:1300]
    assert targets(task.split("validation")) == labels[1300:1500]
    assert targets(task.split("test")) == labels[1500:]
    assert "the last 200 of train" in note_with(task, "no validation file")
    check_task(task)


def test_own_names_and_what_train_shares(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path / "mine", a=["[MAX 1 2 ]", "7"], b=["[MIN 1 2 ]"], c=["7", "8", "( ( ( [MAX 1 ) 2 ) ] )"]
    )
    files = {"train": "a.tsv", "validation": "b.tsv", "test": "c.tsv"}
    task = task_of(source=f"path:{folder}", files=files)
    assert targets(task.split("test")) == [7, 8, 2]
    assert note_with(task, "also in train") == "2 of 3 expressions of test are also in train"


def test_usual_names_of_ones_own(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "mine", train=["1", "2"], validation=["3"], test=["4"])
    assert targets(task_of(source=f"path:{folder}").split("validation")) == [3]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"train": ["1"]}, {}, "lacks a file for train or for test"),
        ({"test": ["1"], "validation": ["1"]}, {}, "lacks a file for train or for test"),
        (
            {"train": ["1"], "test": ["1"]},
            {"files": {"test": "other.tsv"}},
            r"lacks other\.tsv, which is set in task\.files",
        ),
        ({"train": ["1"], "test": ["1"]}, {}, "has only 1 expressions, too few to split off 20"),
    ],
)
def test_an_incomplete_folder_is_not_available(
    tmp_path: Path, files: dict[str, list[str]], options: dict[str, object], message: str
) -> None:
    folder = folder_with(tmp_path / "mine", **files)
    with pytest.raises(SourceError, match=message) as caught:
        task_of(source=f"path:{folder}", **options)
    assert caught.value.exit_code == 3
    assert "basic_train.tsv" in caught.value.advice
    assert task_of(source=[f"path:{folder}", "generated"], **options).stand_in


def test_no_folder_and_a_stand_in(tmp_path: Path) -> None:
    task = task_of(source=[f"path:{tmp_path / 'none'}", "generated"])
    assert (task.source, task.stand_in) == ("generated", True)
    assert "there is no folder" in note_with(task, "path:")
    pinned = ListOpsOptions.model_validate({**SMALL, "source": [f"path:{tmp_path / 'none'}", "generated"]})
    with pytest.raises(SourceError):
        ListOps(pinned, seed=0, pinned=f"path:{tmp_path / 'none'}")


def test_a_damaged_file_is_an_error_and_not_a_reason_for_a_stand_in(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "mine", train=["1", "2"], validation=["3"], test=["4"])
    (folder / "validation.tsv").write_text("3\t4\n")
    with pytest.raises(DataError, match=r"validation\.tsv:1: the label is 3, but the value of the expression is 4"):
        task_of(source=[f"path:{folder}", "generated"])


def test_files_under_the_papers_protocol(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "mine", train=["[MAX 1 [MIN 3 4 ] ]", "7"], validation=["[SM 5 5 ]"], test=["4"])
    task = task_of(source=f"path:{folder}", protocol="fpt2021")
    assert task.max_tokens == 5
    assert rows(task.split("train")) == [[12, 2, 11, 4, 5], [8, 0, 0, 0, 0]]
    assert rows(task.split("test")) == [[14, 6, 6, 0, 0]]
    assert np.array(targets(task.split("test"))).tolist() == [0]
