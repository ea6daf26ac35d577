"""The task: tokens as transformers makes them, begin and end, documents, prediction with the tokenizer of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fptkit.errors import DataError, FptkitError, SourceError, UsageError
from fptkit.interfaces import Classes, Values
from fptkit.seeds import generator_for
from fptkit.sources.tokenizers import TOKENIZER
from fptkit.sources.weights import PACKAGED
from fptkit.tasks.text.options import TextOptions
from fptkit.tasks.text.preparation import TextPreparation
from fptkit.tasks.text.task import Text
from fptkit.testing import check_task

NANO = PACKAGED / "gpt2_nano"
TEXTS = ["The cat sat on the mat.", "naïve — café 日本 🙂", "x" * 50, "a  b\tc", "<|endoftext|> is text here"]


def csv(folder: Path, count: int = 40, name: str = "a.csv") -> Path:
    rows = [f'"{TEXTS[number % 4]} {number}",{"xy"[number % 2]}' for number in range(count)]
    (folder / name).write_text("\n".join(["review,sentiment", *rows]), encoding="utf-8")
    return folder / name


def task(place: Path, **options: Any) -> Text:
    given = {"source": f"path:{place}", "tokenizer": "builtin:gpt2_nano", **options}
    return Text(TextOptions.model_validate(given), seed=0)


def tokens(built: Text, row: int = 0, split: str = "train") -> list[int]:
    batch = built.split(split).batch([row], generator_for(0, "x"))
    found: list[int] = batch.inputs[0].tolist()
    return found


def test_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(NANO)
    records = [json.dumps({"text": text, "label": "xy"[n % 2]}) for n, text in enumerate(TEXTS * 8)]
    (tmp_path / "a.jsonl").write_text("\n".join(records))
    built = task(tmp_path / "a.jsonl")
    assert isinstance(built.preparation, TextPreparation)
    found = built.preparation.prepare(built.preparation.read([f"path:{tmp_path}/a.jsonl"]).take(range(5)))
    for row, text in enumerate(TEXTS):
        expected = reference.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert found.inputs[row, : len(expected)].tolist() == expected, text
    assert found.lengths is not None
    assert int(found.inputs.max()) < built.input.count == 4096


def test_classes_with_names_and_the_promises_of_a_task(tmp_path: Path) -> None:
    built = task(csv(tmp_path))
    assert built.output == Classes(2, names=("x", "y"))
    assert built.content == {"tokenizer": built.input.vocabulary}
    assert built.default_encoder == "word_embeddings"
    check_task(built)


def test_bytes(tmp_path: Path) -> None:
    built = task(csv(tmp_path), bytes=True, tokenizer=None)
    assert built.default_encoder == "symbols"
    assert built.input.count == 257
    assert built.content == {}
    texts = {bytes(token - 1 for token in tokens(built, row)).decode() for row in range(28)}
    assert texts <= {f"{TEXTS[number % 4]} {number}" for number in range(40)}
    check_task(built)


def test_begin_end_and_cutting(tmp_path: Path) -> None:
    path = csv(tmp_path)
    plain = task(path)
    marked = task(path, begin="<|endoftext|>", end="<|endoftext|>")
    assert tokens(marked) == [0, *tokens(plain), 0]
    assert marked.max_tokens == plain.max_tokens + 2
    cut = task(path, begin="<|endoftext|>", end="<|endoftext|>", max_length=4)
    assert tokens(cut) == [0, *tokens(plain)[:2], 0]
    assert "40 texts are cut to their first 4 tokens (max_length)" in cut.notes
    check_task(cut)


def test_class_folders_of_documents(tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / "d" / ("train" if number < 30 else "test") / ("pos", "neg")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f" text {number}\r\n")
    (tmp_path / "d" / "train" / "urls.txt").write_text("http")
    built = task(tmp_path / "d")
    assert built.output == Classes(2, names=("neg", "pos"))
    assert "1 text files in no class folder are passed over" in built.notes
    assert built.split("test").size == 10
    assert isinstance(built.preparation, TextPreparation)
    new = built.preparation.read([f"path:{tmp_path}/d/test"])
    assert len(new) == 10
    assert new.content[0] in {f"text {number}" for number in range(30, 40)}


def test_a_folder_with_one_folder_stands_for_it(tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / "d" / "train" / ("pos", "neg")[number % 2] / str(number % 4)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f"text {number}")
    assert task(tmp_path / "d").output == Classes(2, names=("neg", "pos"))


def test_documents_in_no_class_folder(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("x")
    with pytest.raises(DataError, match=r"0\.txt: a text file in no class folder has no label"):
        task(tmp_path)


def test_a_table_without_column_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(f'{n % 3},"title {n}, or so"' for n in range(60)))
    assert task(tmp_path / "a.csv", header=False, text="2", target="1").output == Classes(3, names=("0", "1", "2"))


def test_regression_and_labels(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"t {n}", "y": n / 3}) for n in range(40)))
    assert task(tmp_path / "a.jsonl").output == Values(1, names=("y",))
    lists = [json.dumps({"text": f"t {n}", "tags": ["a", "b"][: n % 3]}) for n in range(40)]
    (tmp_path / "b.jsonl").write_text("\n".join(lists))
    assert task(tmp_path / "b.jsonl").output.answers == ("a", "b")  # type: ignore[union-attr]


def saved(built: Text, folder: Path) -> TextPreparation:
    """The preparation as a run folder has it."""
    assert isinstance(built.preparation, TextPreparation)
    for name, content in built.preparation.attachments().items():
        (folder / name).write_bytes(content)
    return TextPreparation.model_validate_json(built.preparation.model_dump_json())


def test_new_files_need_the_run_folder_alone(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(NANO, tmp_path / "weights")
    built = task(csv(tmp_path), tokenizer=f"path:{tmp_path}/weights")
    (tmp_path / "run").mkdir()
    preparation = saved(built, tmp_path / "run")
    shutil.rmtree(tmp_path / "weights")
    (tmp_path / "a.csv").unlink()
    preparation.attached(tmp_path / "run")
    (tmp_path / "new.csv").write_text("review\nThe cat sat.\nx\n")
    new = preparation.prepare(preparation.read([f"path:{tmp_path}/new.csv"]))
    from tokenizers import Tokenizer

    expected = Tokenizer.from_file(str(NANO / TOKENIZER)).encode("The cat sat.").ids
    assert new.inputs[0].tolist() == expected
    assert new.targets.tolist() == [0, 0]


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_another_tokenizer_in_the_run_folder(tmp_path: Path, damage: str) -> None:
    preparation = saved(task(csv(tmp_path)), tmp_path)
    file = tmp_path / TOKENIZER
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"tokenizer\.json: (there is no such file|not the tokenizer)"):
        preparation.attached(tmp_path)


def test_the_tokenizer_is_that_of_the_first_available_weights(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / TOKENIZER).write_bytes((NANO / TOKENIZER).read_bytes() + b" ")
    first = f"path:{tmp_path}/t"  # a tokenizer without weights: the backbone falls back, too
    both = task(csv(tmp_path), tokenizer=[first, "builtin:gpt2_nano"])
    assert both.input.vocabulary == task(csv(tmp_path)).input.vocabulary
    assert task(csv(tmp_path), tokenizer=first).input.vocabulary != both.input.vocabulary


def test_settings_of_the_tokenizer_file_cut_nothing(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(NANO / TOKENIZER))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=30)
    (tmp_path / "t").mkdir()
    tokenizer.save(str(tmp_path / "t" / TOKENIZER))
    path = csv(tmp_path)
    changed = task(path, tokenizer=f"path:{tmp_path}/t")
    assert tokens(changed) == tokens(task(path))
    assert changed.input.vocabulary != task(path).input.vocabulary


@pytest.mark.parametrize(
    ("text", "options", "kind", "fault"),
    [
        ("text,label\n" + "ab,x\ncd,y\n" * 9 + ",y\n", {}, DataError, r"a\.csv:20: the text is empty"),
        (json.dumps([{"text": ["a", "b"], "label": "x"}]), {}, DataError, "'text' is a list, not a text"),
        ("foo,bar,baz\n1,2,3\n", {}, UsageError, "task.text: .* its columns are bar, baz, foo"),
        ("text,foo,bar\n1,2,3\n", {}, UsageError, "task.target: .* its columns are bar, foo"),
        ("text,label\na,x\nb,y\n", {"begin": "[CLS]"}, UsageError, r"no token '\[CLS\]'; its special tokens are <"),
        ("text,label\na,x\nb,y\n", {"tokenizer": None}, UsageError, "the backbone has no tokenizer of its own"),
        ("text,label\na,x\nb,y\n", {"tokenizer": "path:/none"}, SourceError, r"no tokenizer\.json; write it"),
        ("text,label\na,x\nb,x\n", {}, DataError, "one class"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, text: str, options: dict[str, Any], kind: type[FptkitError], fault: str
) -> None:
    path = tmp_path / ("a.json" if text.startswith("[") else "a.csv")
    path.write_text(text)
    with pytest.raises(kind, match=fault):
        task(path, **options)


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for content in ("{}", "x", ""):
        (tmp_path / "t" / TOKENIZER).write_text(content)
        with pytest.raises(DataError, match=r"tokenizer\.json: (not readable as a tokenizer|its file)"):
            task(csv(tmp_path), tokenizer=f"path:{tmp_path}/t")


def test_a_new_text_that_is_too_long(tmp_path: Path) -> None:
    preparation = task(csv(tmp_path)).preparation
    assert preparation is not None
    (tmp_path / "new.txt").write_text("word " * 200)
    with pytest.raises(DataError, match=r"new\.txt: 20. tokens, but the longest text"):
        preparation.prepare(preparation.read([f"path:{tmp_path}/new.txt"]))


def test_targets_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    preparation = task(csv(tmp_path)).preparation
    assert preparation is not None
    examples = preparation.read([f"path:{tmp_path}/a.csv"])
    batch = preparation.prepare(examples)
    assert batch.targets.tolist() == [number % 2 for number in range(40)]
    alone = preparation.prepare(examples.take([5]))
    assert torch.equal(alone.inputs[0], batch.inputs[5, : alone.inputs.shape[1]])


def test_a_split_without_labels_is_explained(tmp_path: Path) -> None:
    csv(tmp_path, name="train.csv")
    (tmp_path / "test.csv").write_text("number,review\n1,x\n")
    with pytest.raises(FptkitError, match=r"split: \{own: false\}"):
        task(tmp_path)
