"""From files that other libraries wrote, by the recipe of ``fptkit new recipe --data``, to a trained run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from own_data import MOST_LINES, PAGES, first_block, margin

from fptkit.cli.new import new
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe

LEAST_MARGIN = 0.25
"""Test accuracy above that of the most frequent class; the classes of these data differ clearly."""


def pictures(place: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    chance = np.random.default_rng(0)
    for number in range(160):
        pixels = chance.integers(0, 120, (24, 20, 3))
        pixels[..., number % 2] += 120
        folder = place / "birds [2]" / ("red kite", "grün")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return place / "birds [2]"


def recordings(place: Path) -> Path:
    wavfile = pytest.importorskip("scipy.io.wavfile")
    chance = np.random.default_rng(0)
    for number in range(160):
        rate = (8000, 11_025)[number % 3 == 0]
        time = np.arange(int(rate * chance.uniform(0.2, 0.4))) / rate
        sound = 0.3 * np.sin(2 * np.pi * (200, 2000)[number % 2] * time) + 0.03 * chance.normal(size=len(time))
        folder = place / "machines" / ("low", "high")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        wavfile.write(folder / f"{number}.wav", rate, (32_767 * sound).astype(np.int16))
    return place / "machines"


def table(place: Path) -> Path:
    pandas = pytest.importorskip("pandas")
    chance = np.random.default_rng(0)
    price, kind = chance.gamma(3, 20, 600).round(2), chance.choice(["a", "b", "c"], 600)
    frame = pandas.DataFrame({"id": chance.permutation(600), "price": price, "kind": kind})
    frame["returned"] = np.where((price > 50) | (kind == "c"), "yes", "no")
    frame.to_csv(place / "orders.csv", index=False, sep=";", decimal=",")
    return place / "orders.csv"


def sequences(place: Path) -> Path:
    chance = np.random.default_rng(0)
    records = []
    for number in range(240):
        shares = ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])[number % 2]
        letters = "".join(chance.choice(list("ACGT"), int(chance.integers(20, 40)), p=shares))
        records.append(f">gene{number}|{('AT', 'GC')[number % 2]}\n{letters}\n")
    (place / "genes.fasta").write_text("".join(records), encoding="utf-8")
    return place / "genes.fasta"


def texts(place: Path) -> Path:
    pandas = pytest.importorskip("pandas")
    chance = np.random.default_rng(0)
    words = {"good": ["great", "lovely", "fine"], "bad": ["awful", "poor", "dull"]}
    rows = []
    for number in range(240):
        kind = ("good", "bad")[number % 2]
        said = chance.choice([*words[kind], "the", "film", "was"], 8)
        rows.append({"review": " ".join(said) + f" {number}", "sentiment": kind})
    pandas.DataFrame(rows).to_json(place / "reviews.jsonl", orient="records", lines=True)
    return place / "reviews.jsonl"


def arrays(place: Path) -> Path:
    chance = np.random.default_rng(0)
    label = np.arange(240) % 3
    values = chance.normal(size=(240, 12)) + np.eye(3)[label].repeat(4, axis=1) * 2
    np.savez(place / "spectra.npz", X=values[:180], y=label[:180])
    return place / "spectra.npz"


def series(place: Path) -> Path:
    pandas = pytest.importorskip("pandas")
    chance = np.random.default_rng(0)
    parts = []
    for number in range(160):
        steps = np.arange(int(chance.integers(24, 32)))
        wave = np.sin((0.3, 1.2)[number % 2] * steps + chance.uniform(0, 6)) + 0.2 * chance.normal(size=len(steps))
        kind = ("walk", "run")[number % 2]
        parts.append(pandas.DataFrame({"series_id": number, "step": steps, "x": wave, "activity": kind}))
    pandas.concat(parts).to_csv(place / "motion.csv", index=False)
    return place / "motion.csv"


FORMATS: dict[str, Callable[[Path], Path]] = {
    "images": pictures,
    "audio": recordings,
    "table": table,
    "sequences": sequences,
    "text": texts,
    "arrays": arrays,
    "series": series,
}


@pytest.mark.slow
@pytest.mark.parametrize("task", FORMATS)
def test_the_recipe_trains_above_the_majority(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, elsewhere = tmp_path / "my data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(data)
    place = FORMATS[task](data)
    done = CliRunner().invoke(new, ["recipe", "mine", "--data", place.name], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    text = (data / "mine.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= MOST_LINES
    assert yaml.safe_load(text)["task"]["name"] == task
    monkeypatch.chdir(elsewhere)  # the recipe names its data from anywhere
    few = ["threads=1", "backbone.blocks={keep: 2}", "train.max_steps=90", "train.validate_every=30"]
    few += ["train.learning_rate=3e-3"]
    summary = run(RunRequest(load_recipe(str(data / "mine.yaml"), overrides=few), tmp_path / "run"))
    assert margin(summary) >= LEAST_MARGIN
    control = load_recipe(str(data / "mine.yaml"), profile="control", overrides=few)
    assert control.recipe.backbone.options.model_dump()["init"] == "random"


@pytest.mark.slow
def test_the_example_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    exec(first_block("index.md", "python"), {})
    command = re.search(r"fptkit new (recipe --data \S+)", first_block("index.md", "sh"))
    assert command
    done = CliRunner().invoke(new, command[1].split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = yaml.safe_load((tmp_path / "birds.yaml").read_text(encoding="utf-8"))
    shown = yaml.safe_load(first_block("index.md", "yaml").replace("/my/data", str(tmp_path)))
    assert written == shown, "the page shows another recipe than the command writes"
    few = ["threads=1", "train.max_steps=90", "train.validate_every=30"]
    summary = run(RunRequest(load_recipe("birds.yaml", overrides=few), tmp_path / "run"))
    assert margin(summary) >= LEAST_MARGIN
    assert json.loads((tmp_path / "run/summary.json").read_text())["data"]["parts"].keys() == {"birds.csv"}
    assert "birds.csv" in (PAGES / "index.md").read_text(encoding="utf-8")
