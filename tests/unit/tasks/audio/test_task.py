"""The task ``audio`` as a whole: class folders, tables, lengths, faults, prediction from the preparation alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from fptkit.errors import DataError, FptkitError, SourceError, UsageError
from fptkit.tasks.audio.options import AudioOptions
from fptkit.tasks.audio.preparation import AudioPreparation
from fptkit.tasks.audio.reader import files
from fptkit.tasks.audio.task import Audio


def tone(number: int, rate: int = 8000) -> np.ndarray:
    seconds = 0.1 + 0.01 * (number % 7)
    return 0.5 * np.sin(2 * np.pi * (300 + 400 * (number % 3)) * np.arange(int(seconds * rate)) / rate)


def folders(folder: Path, count: int = 30) -> Path:
    for number in range(count):
        place = folder / ("low", "mid", "high")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        wavfile.write(place / f"{number}.wav", 8000, tone(number).astype(np.float32))
    return folder


def task_of(source: Any, **options: Any) -> Audio:
    return Audio(AudioOptions(source=source, **{"rate": 8000, **options}), seed=0)


def whole(task: Audio, split: str) -> Any:
    found = task.split(split)
    assert found.size is not None
    return found.batch(range(found.size), torch.Generator())


def test_class_folders(tmp_path: Path) -> None:
    (folders(tmp_path / "a") / "readme.txt").write_text("hello")
    task = task_of(f"path:{tmp_path / 'a'}")
    assert task.output.names == ("high", "low", "mid")
    assert "1 files passed over: .txt 1" in task.notes
    assert whole(task, "train").lengths is not None
    assert any("has only" in warning for warning in task.warnings)


def test_fifteen_recordings_train_with_a_warning(tmp_path: Path) -> None:
    task = task_of(f"path:{folders(tmp_path, 15)}")
    assert sum(task.split(name).size or 0 for name in ("train", "validation", "test")) == 15
    assert any("classes with fewer than 5 training examples" in warning for warning in task.warnings)


def test_own_splits_of_folders(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        folders(tmp_path / split, 30 if split == "train" else 9)
    task = task_of(f"path:{tmp_path}")
    assert {name: task.split(name).size for name in ("train", "validation", "test")} == {
        "train": 30,
        "validation": 9,
        "test": 9,
    }


def table(tmp_path: Path, ending: str = "csv") -> Path:
    folders(tmp_path / "clips")
    rows = [f"clips/{('low', 'mid', 'high')[n % 3]}/{n}.wav,{n / 7:.3f},s{n % 5}" for n in range(30)]
    text = "\n".join(["file,pitch,speaker", *rows])
    (tmp_path / f"list.{ending}").write_text(text.replace(",", "\t") if ending == "tsv" else text)
    return tmp_path / f"list.{ending}"


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_table_with_numbers_and_groups(tmp_path: Path, ending: str) -> None:
    task = task_of(f"path:{table(tmp_path, ending)}", target="pitch", split={"group": "speaker"})
    assert task.target.kind == "numbers"
    assert task.split("test").size == 6
    assert "by group (speaker)" in task.notes[0]


def test_files_are_those_that_are_opened(tmp_path: Path) -> None:
    place = table(tmp_path)
    found = list(files(AudioOptions(source=f"path:{place}"), f"path:{place}"))
    assert sorted(path.name for path in found) == sorted(["list.csv", *(f"{n}.wav" for n in range(30))])


def test_recordings_that_a_table_does_not_list_are_counted(tmp_path: Path) -> None:
    place = table(tmp_path)
    wavfile.write(tmp_path / "clips" / "low" / "more.wav", 8000, tone(0).astype(np.float32))
    task = task_of(f"path:{place}", target="pitch")
    assert "1 recordings next to those of list.csv are not listed in it" in task.notes


@pytest.mark.parametrize("features", ["log_mel", "raw"])
def test_prediction_needs_the_preparation_alone(tmp_path: Path, features: str) -> None:
    task = task_of(f"path:{folders(tmp_path / 'old')}", features=features)
    read_back = AudioPreparation.model_validate_json(task.preparation.model_dump_json())
    assert read_back == task.preparation
    train = whole(task, "train")
    shutil.rmtree(tmp_path / "old")
    folders(tmp_path / "new")
    batch = read_back.prepare(read_back.read([f"path:{tmp_path / 'new'}"]))
    for inputs, length, target in zip(train.inputs, train.lengths, train.targets, strict=True):
        same = [row for row in range(30) if batch.lengths[row] == length]
        fitting = [row for row in same if torch.equal(batch.inputs[row, :length], inputs[:length])]
        assert target in batch.targets[fitting]
    for number, path in enumerate(sorted((tmp_path / "new").rglob("*.wav"))):
        path.rename(tmp_path / f"{number}.wav")
    shutil.rmtree(tmp_path / "new")
    flat = read_back.read([f"path:{tmp_path}"])
    assert flat.labels == {}
    assert len(read_back.prepare(flat)) == 30
    [answer, *_] = read_back.answers(torch.eye(3)[:1])
    assert answer["class"] == "high"


@pytest.mark.parametrize("features", ["log_mel", "raw"])
@pytest.mark.parametrize("level", [1e-4, 1e-6])
def test_the_level_does_not_matter(tmp_path: Path, features: str, level: float) -> None:
    one = task_of(f"path:{folders(tmp_path / 'a')}", features=features)
    for path in folders(tmp_path / "b").rglob("*.wav"):
        rate, samples = wavfile.read(path)
        wavfile.write(path, rate, samples * np.float32(level))
    other = task_of(f"path:{tmp_path / 'b'}", features=features)
    torch.testing.assert_close(whole(one, "train").inputs, whole(other, "train").inputs, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("crop", ["start", "centre"])
def test_long_recordings_are_cut(tmp_path: Path, crop: str) -> None:
    folders(tmp_path)
    long = np.concatenate([np.zeros(8000), tone(0), np.zeros(8000)]).astype(np.float32)
    wavfile.write(tmp_path / "low" / "long.wav", 8000, long)
    task = task_of(f"path:{tmp_path}", max_seconds=0.2, crop=crop)
    assert "1 recordings are cut to 0.2 seconds (max_seconds)" in task.notes
    clip = task.preparation.hear(str(tmp_path / "low" / "long.wav"))
    assert len(clip.samples) == 1600
    assert clip.samples.any() == (crop == "centre")
    assert not clip.silent
    assert len(whole(task, "train").inputs[0]) <= task.max_tokens


def test_silent_and_very_short_recordings(tmp_path: Path) -> None:
    folders(tmp_path)
    wavfile.write(tmp_path / "low" / "silent.wav", 8000, np.zeros(900, np.int16))
    wavfile.write(tmp_path / "mid" / "short.wav", 8000, np.array([5, -7], np.int16))
    task = task_of(f"path:{tmp_path}")
    assert any("1 of 32 recordings are silent" in warning for warning in task.warnings)
    assert "1 recordings are shorter than a frame, and padded to one" in task.notes


def test_flat_recordings_say_what_to_do(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "x.wav", 8000, tone(0).astype(np.float32))
    (tmp_path / "meta.csv").write_text("file,label\nx.wav,1\n")
    with pytest.raises(DataError, match=r"x.wav: the recording is in no class folder.*source: path:.*meta.csv"):
        task_of(f"path:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("file,label\nno.wav,a\n", {}, DataError, r"t.csv:2: there is no file .*no.wav; correct column 'file'"),
        ("file,label\n,a\n", {}, DataError, r"t.csv:2: column 'file' has no path; fill it in"),
        ("a,b\n1,2\n", {}, UsageError, r"task.path: .*t.csv: no column is known to have paths; name it"),
        (
            "file,kind,room\nx.wav,a,b\n",
            {},
            UsageError,
            r"task.target: .*t.csv has no column that is known to be labels",
        ),
        ("file,label\nx.wav,a\n", {"target": "kind"}, UsageError, r"no column 'kind'; it has file, label"),
        ("file,label\nx.wav,a\n", {"path": "sound"}, DataError, r"no column 'sound'"),
        ("file,label\nx.wav,a\n", {"split": {"group": "who"}}, UsageError, r"no column 'who'"),
        ("file,label\nx.wav,a\n", {}, DataError, r"one class, 'a'"),
    ],
)
def test_faults_of_tables(tmp_path: Path, text: str, options: Any, error: type, message: str) -> None:
    wavfile.write(tmp_path / "x.wav", 8000, tone(0).astype(np.float32))
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=message):
        task_of(f"path:{tmp_path / 't.csv'}", **options)


def test_folders_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        task_of(f"path:{tmp_path}")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x")
    with pytest.raises(SourceError, match=r"it has .txt 1"):
        task_of(f"path:{tmp_path}")


def test_links_in_circles_and_fifos_do_not_hang(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "low" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "low" / "pipe.wav")
    task = task_of(f"path:{tmp_path}")
    assert task.output.names == ("high", "low", "mid")


def test_a_damaged_recording_is_named(tmp_path: Path) -> None:
    folders(tmp_path)
    broken = tmp_path / "mid" / "31.wav"
    broken.write_bytes((tmp_path / "mid" / "1.wav").read_bytes()[:-100])
    with pytest.raises(FptkitError, match=r"31.wav: truncated: its header declares [\d,]+ samples"):
        task_of(f"path:{tmp_path}")


def test_class_folders_of_an_unpacked_archive_with_splits_below(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 6)):
        for number in range(count):
            place = tmp_path / "archive" / ("low", "high")[number % 2] / split
            place.mkdir(parents=True, exist_ok=True)
            wavfile.write(place / f"{number}.wav", 8000, tone(number).astype(np.float32))
    task = task_of(f"path:{tmp_path}")
    assert task.output.names == ("high", "low")
    assert task.split("test").size == 6
    assert len(list(files(AudioOptions(source=f"path:{tmp_path}"), f"path:{tmp_path}"))) == 18
    pooled = task_of(f"path:{tmp_path}", split={"own": False})
    assert sum(pooled.split(name).size or 0 for name in ("train", "validation", "test")) == 18


@pytest.mark.parametrize("names", [("none", "NA", "null"), tuple(map(str, range(25)))])
def test_names_of_class_folders_are_neither_numbers_nor_missing(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        for number in range(3):
            wavfile.write(tmp_path / name / f"{number}.wav", 8000, tone(number).astype(np.float32))
    assert sorted(task_of(f"path:{tmp_path}").output.names) == sorted(names)


@pytest.mark.parametrize("cell", ["a\\{}.wav", "./a/{}", "a/{}.wav"])
def test_ways_to_write_a_path_in_a_table(tmp_path: Path, cell: str) -> None:
    (tmp_path / "clips" / "a").mkdir(parents=True)
    rows = []
    for number in range(10):
        wavfile.write(tmp_path / "clips" / "a" / f"{number}.wav", 8000, tone(number).astype(np.float32))
        rows.append(f"{cell.format(number)},{'yn'[number % 2]}\n")
    (tmp_path / "list.csv").write_text("id,label\n" + "".join(rows))
    entry = f"path:{tmp_path / 'list.csv'}"
    options: dict[str, Any] = {"path": "id", "root": str(tmp_path / "clips")}
    assert task_of(entry, **options).output.names == ("n", "y")
    assert len(list(files(AudioOptions(source=entry, **options), entry))) == 11


@pytest.mark.parametrize("cell", ["x" * 5000, "https://example.org/a.wav", "~nobody-has-this-name/a.wav"])
def test_cells_that_are_no_path(tmp_path: Path, cell: str) -> None:
    wavfile.write(tmp_path / "x.wav", 8000, tone(0).astype(np.float32))
    (tmp_path / "t.csv").write_text(f"path,label\nx.wav,a\n{cell},b\n")
    with pytest.raises(DataError, match=r"t\.csv:3: "):
        task_of(f"path:{tmp_path / 't.csv'}")


def test_a_source_that_is_neither_recording_nor_table(tmp_path: Path) -> None:
    (tmp_path / "list.xlsx").write_bytes(b"PK")
    with pytest.raises(SourceError, match="neither a recording nor a table"):
        task_of(f"path:{tmp_path / 'list.xlsx'}")


@pytest.mark.parametrize("written", ["flac", "mp3", "ogg", "aiff"])
def test_the_content_decides_the_format_of_a_file_named_wav(tmp_path: Path, written: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    folders(tmp_path, 9)
    soundfile.write(tmp_path / f"x.{written}", tone(6), 8000)
    (tmp_path / f"x.{written}").rename(tmp_path / "low" / "x.wav")
    task = task_of(f"path:{tmp_path}")
    assert sum(task.split(name).size or 0 for name in ("train", "validation", "test")) == 10


def test_repeated_recordings_and_empty_class_folders_are_said(tmp_path: Path) -> None:
    place = folders(tmp_path / "a", 15)
    (place / "none").mkdir()
    task = task_of([f"path:{place}", f"path:{place}"])
    assert "15 files are listed more than once" in " ".join(task.notes)
    assert any(warning.startswith("folders without recordings") for warning in task.warnings)


@pytest.mark.parametrize("option", ["path", "root"])
def test_options_of_tables_are_refused_for_folders(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match=rf"task\.{option}: it is for tables"):
        task_of(f"path:{folders(tmp_path)}", **{option: "x"})
