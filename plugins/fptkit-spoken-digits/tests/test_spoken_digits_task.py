"""fptkit's promises of a task; splits, sources, the stand-in, and a few steps of training."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import subprocess
import sys
import wave
from pathlib import Path

import fptkit_spoken_digits
import numpy as np
import pytest
import torch
from fptkit_spoken_digits.options import SpokenDigitsOptions
from fptkit_spoken_digits.task import SpokenDigits, open_source
from fptkit_spoken_digits.tones import SPEAKERS, frequencies, make_tones
from pydantic import ValidationError

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.testing import check_options, check_task

SMALL = SpokenDigitsOptions(source="tones", tone_takes=3, test_takes=1, validation_takes=1)


@pytest.fixture(scope="module")
def small() -> SpokenDigits:
    return SpokenDigits(SMALL, seed=0)


def write_archive(file: Path, *, speakers: int = 4, takes: int = 4) -> None:
    """Every digit by every speaker, ``takes`` times; clip i begins with the sample i."""
    rows = [(digit, speaker, take) for digit in range(10) for speaker in range(speakers) for take in range(takes)]
    clips = [np.full(600 + 100 * take, number, np.int16) for number, (_, _, take) in enumerate(rows)]
    digits, speaker, take = np.array(rows).T
    np.savez(
        file,
        audio=np.concatenate(clips),
        offsets=np.cumsum([0, *map(len, clips)]),
        labels=digits,
        speaker=speaker,
        take=take,
        speakers=np.array([f"s{number}" for number in range(speakers)]),
        sample_rate=8000,
    )


def test_the_record_is_whole() -> None:
    (spec,) = fptkit_spoken_digits.fptkit_tasks()
    check_options(spec)
    (recipes,) = fptkit_spoken_digits.fptkit_recipes()
    assert [file.name for file in recipes.folder.iterdir()] == ["spoken_digits.yaml"]


def test_contract(small: SpokenDigits) -> None:
    check_task(small)


def test_splits_can_be_sent_to_workers(small: SpokenDigits) -> None:
    split = small.split("train")
    again = pickle.loads(pickle.dumps(split))
    generator = torch.Generator()
    assert torch.equal(again.batch([3, 5], generator).inputs, split.batch([3, 5], generator).inputs)


def test_padding_is_zeros_and_lengths_are_the_counts(small: SpokenDigits) -> None:
    split = small.split("train")
    order = np.argsort(split.token_counts)
    batch = split.batch([int(order[0]), int(order[-1])], torch.Generator())
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [split.token_counts[order[0]], split.token_counts[order[-1]]]
    assert batch.inputs.shape == (2, split.token_counts.max(), 80)
    assert bool((batch.inputs[0, int(batch.lengths[0]) :] == 0).all())
    assert bool((batch.inputs[0, int(batch.lengths[0]) - 1] != 0).any())
    assert split.batch([int(order[0])], torch.Generator()).lengths is None


def test_takes_are_held_out(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz")
    options = SpokenDigitsOptions(source=f"path:{tmp_path / 'a.npz'}", test_takes=1, validation_takes=1)
    task = SpokenDigits(options, seed=0)
    assert {name: task.split(name).size for name in ("train", "validation", "test")} == {
        "train": 80,
        "validation": 40,
        "test": 40,
    }
    # Clips of a take have a length of their own, so tokens tell which takes a split holds.
    assert len(set(task.split("test").token_counts.tolist())) == 1
    assert (task.source, task.stand_in) == (f"path:{tmp_path / 'a.npz'}", False)
    assert task.majority_accuracy == {"train": 0.1, "validation": 0.1, "test": 0.1}


def test_speakers_are_held_out(tmp_path: Path) -> None:
    from fptkit_spoken_digits.splits import divide

    write_archive(tmp_path / "a.npz")
    options = SpokenDigitsOptions(source=f"path:{tmp_path / 'a.npz'}", split="speakers")
    clips = open_source(options.source[0], options)

    def speakers_of(options: SpokenDigitsOptions) -> dict[str, set[str]]:
        rows, _ = divide(clips, options)
        together = np.sort(np.concatenate(list(rows.values())))
        assert together.tolist() == list(range(160))  # each clip in just one split
        return {name: {clips.speakers[row] for row in chosen} for name, chosen in rows.items()}

    assert speakers_of(options) == {"train": {"s0", "s1"}, "validation": {"s2"}, "test": {"s3"}}
    named = options.model_copy(update={"test_speakers": ("s1",), "validation_speakers": ("s0", "s3")})
    assert speakers_of(named) == {"train": {"s2"}, "validation": {"s0", "s3"}, "test": {"s1"}}
    with pytest.raises(UsageError, match=r"speaker 'eve' is not available; available: s0, s1, s2, s3"):
        divide(clips, options.model_copy(update={"test_speakers": ("eve",)}))
    with pytest.raises(UsageError, match="speaker 's3' is not available"):
        divide(clips, options.model_copy(update={"validation_speakers": ("s3",)}))
    with pytest.raises(UsageError, match="no clips for train"):
        divide(clips, options.model_copy(update={"test_speakers": 3}))


def test_invalid_splits(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", speakers=2)
    source = f"path:{tmp_path / 'a.npz'}"
    with pytest.raises(UsageError, match=r"no clips for train, validation.*takes 0 to 3"):
        SpokenDigits(SpokenDigitsOptions(source=source), seed=0)
    with pytest.raises(UsageError, match=r"three speakers are required.*s0, s1"):
        SpokenDigits(SpokenDigitsOptions(source=source, split="speakers"), seed=0)


def test_sources_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path))
    small = SMALL.model_dump() | {"source": ("fsdd", f"path:{tmp_path / 'absent'}", "tones")}
    task = SpokenDigits(SpokenDigitsOptions(**small), seed=0)
    assert (task.source, task.stand_in) == ("tones", True)
    assert task.notes[1] == f"path:{tmp_path / 'absent'}: there is no file or folder {tmp_path / 'absent'}"
    with pytest.raises(SourceError, match="git clone") as told:
        SpokenDigits(SpokenDigitsOptions(source="fsdd"), seed=0)
    assert told.value.exit_code == 3
    write_archive(tmp_path / "fsdd.npz")
    task = SpokenDigits(SpokenDigitsOptions(**small), seed=0)
    assert (task.source, task.stand_in) == ("fsdd", False)
    assert SpokenDigits(SpokenDigitsOptions(**small), seed=0, pinned="tones").source == "tones"


def test_a_clone_of_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = tmp_path / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for digit, take in itertools.product(range(10), range(3)):
        with wave.open(str(recordings / f"{digit}_theo_{take}.wav"), "wb") as clip:
            clip.setnchannels(1)
            clip.setsampwidth(2)
            clip.setframerate(8000)
            clip.writeframes(bytes(2 * (600 + 100 * take)))
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path))
    for source in ("fsdd", f"path:{tmp_path / 'fsdd'}", f"path:{recordings}"):
        task = SpokenDigits(SMALL.model_copy(update={"source": (source,)}), seed=0)
        assert [task.split(name).size for name in ("train", "validation", "test")] == [10, 10, 10]
        assert task.source == source


def test_a_damaged_source_is_no_reason_for_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    (tmp_path / "a.txt").write_text("no clips")
    for name in ("a.npz", "a.txt"):
        with pytest.raises(DataError, match=name):
            SpokenDigits(SpokenDigitsOptions(source=(f"path:{tmp_path / name}", "tones")), seed=0)


def test_tones_are_a_stand_in_even_when_named_first(small: SpokenDigits) -> None:
    assert small.stand_in
    with pytest.raises(UnknownNameError):
        small.split("dev")


def test_tones_have_the_pitches_of_their_keys() -> None:
    assert frequencies(5) == (770.0, 1336.0)
    assert frequencies(0) == (941.0, 1336.0)
    assert len({frequencies(digit) for digit in range(10)}) == 10
    clips = make_tones(takes=1, sample_rate=8000)
    assert (len(clips.audio), set(clips.speakers)) == (60, set(SPEAKERS))
    for clip, digit in zip(clips.audio, clips.digits.tolist(), strict=True):
        spectrum = np.abs(np.fft.rfft(clip, 8000))  # one Hz a bin
        low, high = frequencies(digit)
        # Pitch, take and vibrato together move a tone by less than 6 %.
        assert abs(1000 + spectrum[1000:1600].argmax() - high) < 0.06 * high
        assert abs(600 + spectrum[600:1000].argmax() - low) < 0.06 * low


def test_tones_are_the_same_every_time() -> None:
    first, second = (make_tones(takes=1, sample_rate=8000) for _ in range(2))
    assert all(map(np.array_equal, first.audio, second.audio))


@pytest.mark.parametrize("source", ["hub:a/b", "path:", [], "wav"])
def test_unknown_sources_are_refused(source: object) -> None:
    with pytest.raises(ValidationError):
        SpokenDigitsOptions(source=source)


@pytest.mark.parametrize("changed", [{"max_seconds": 0.01}, {"hop_ms": 0.01}, {"bands": 500}])
def test_options_that_do_not_go_together(changed: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SpokenDigits(SMALL.model_copy(update=changed), seed=0)


def test_the_real_recordings() -> None:
    folder = os.environ.get("FPTKIT_SHARED_DATA")
    file = Path(folder or Path(__file__).parents[4] / "shared" / "data", "fsdd.npz")
    if not file.is_file():
        pytest.skip(f"no {file} (set FPTKIT_SHARED_DATA)")
    task = SpokenDigits(SpokenDigitsOptions(source=f"path:{file}"), seed=0)
    assert {name: task.split(name).size for name in ("train", "validation", "test")} == {
        "train": 2400,
        "validation": 300,
        "test": 300,
    }
    counts = task.split("train").token_counts
    assert 15 < np.median(counts) < 30
    assert task.max_tokens == 59
    # Linear on the mean token, without any backbone: the digits are in the features.
    from sklearn.linear_model import RidgeClassifier

    def means(name: str) -> tuple[np.ndarray, np.ndarray]:
        split = task.split(name)
        batch = split.batch(range(split.size or 0), torch.Generator())
        assert batch.lengths is not None
        return (batch.inputs.sum(1) / batch.lengths[:, None]).numpy(), batch.targets.numpy()

    assert RidgeClassifier().fit(*means("train")).score(*means("test")) > 0.6


@pytest.mark.slow
def test_the_recipe_trains(tmp_path: Path) -> None:
    """The command line over the recipe, on tones; nothing frozen may move, or the run fails."""
    package = Path(fptkit_spoken_digits.__file__).parent
    command = [sys.executable, "-m", "fptkit", "run", str(package / "recipes" / "spoken_digits.yaml")]
    # By file and not by entry point, so that it is this code that runs, installed or not.
    command += ["--plugin", str(package / "__init__.py"), "--profile", "smoke"]
    environment = {**os.environ, "FPTKIT_PLUGINS": "", "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "run")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["steps"], summary["task"]["stand_in"]) == ("finished", 4, True)
    assert summary["metrics"]["test"]["test"]["accuracy"] > 0.2  # chance is 0.1
