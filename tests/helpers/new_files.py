"""A tiny run for each format of users' files, new files for it, and what a direct computation makes of these.

The direct computation reads with pandas, Pillow, SciPy and NumPy, scales with NumPy, and calls the model.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tiny_runs import BACKBONE, logits, reference, softmax, train

Rows = list[dict[str, Any]]


@dataclass
class Case:
    """A trained run, and new files for it.

    Args:
        run: the run folder.
        new: the new files, unlabelled.
        data: the training files, which are deleted before anything is predicted.
        expected: rows of predictions with probabilities, without the names of examples.
    """

    run: Path
    new: Path
    data: Sequence[Path]
    expected: Rows


def of_classes(names: Sequence[str], values: np.ndarray) -> Rows:
    """Rows for one class per example. Shapes: values (N, K) logits."""
    return [
        {
            "class": names[row.argmax()],
            "probability": row.max(),
            **{f"probability_{name}": chance for name, chance in zip(names, row, strict=True)},
        }
        for row in softmax(values)
    ]


def of_labels(names: Sequence[str], values: np.ndarray) -> Rows:
    """Rows for several labels. Shapes: values (N, 1, L, 2) logits."""
    chances = softmax(values)[:, 0, :, 1]
    return [
        {name: int(chance > 0.5) for name, chance in zip(names, row, strict=True)}
        | {f"probability_{name}": chance for name, chance in zip(names, row, strict=True)}
        for row in chances
    ]


def of_tags(names: Sequence[str], values: Sequence[np.ndarray]) -> Rows:
    """Rows for a class at every token. Shapes: values (T, K) logits for each example."""
    each = [softmax(some) for some in values]
    return [
        {
            "class": [names[place] for place in some.argmax(-1)],
            "probability": some.max(-1).tolist(),
            **{f"probability_{name}": some[:, place].tolist() for place, name in enumerate(names)},
        }
        for some in each
    ]


def of_numbers(names: Sequence[str], values: np.ndarray) -> Rows:
    """Rows for numbers. Shapes: values (N, P), in the unit of the data."""
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]


def padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of unequal length, and the lengths."""
    longest = max(map(len, rows))
    filled = [np.concatenate([row, np.zeros((longest - len(row), *row.shape[1:]), row.dtype)]) for row in rows]
    return torch.from_numpy(np.stack(filled)), torch.tensor([len(row) for row in rows])


SPECIES = ("=wren, small", 'robin "redbreast"', "thrush ü")
"""Class names that a spreadsheet or a careless reader would change."""


def _birds(seed: int, count: int) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    size = chance.normal(50, 10, count)
    size[::7] = np.nan
    frame = pd.DataFrame({"size": size, "place": chance.choice(["garden", "wood", "wood"], count)})
    frame["species"] = np.array(SPECIES)[np.arange(count) % 3]
    frame["sings"], frame["nests"] = np.arange(count) % 2, (np.arange(count) // 2) % 2
    frame["eggs"], frame["weight"] = chance.normal(4, 1, count), chance.normal(1000, 200, count)
    return frame


def _table(folder: Path, targets: Sequence[str], *backbone: str) -> tuple[Path, torch.Tensor, list[pd.DataFrame]]:
    """A trained run on a table, inputs of new rows by pandas, and the frames: train, new."""
    frames = [_birds(seed, count) for seed, count in ((0, 30), (1, 9), (2, 9), (3, 80))]
    for frame, name in zip(frames, ("train", "validation", "test", "new"), strict=True):
        used = ["size", "place", *(targets if name != "new" else ())]
        frame[used].to_csv(folder / f"{name}.csv", index=False)
    source = "{train: path:train.csv, validation: path:validation.csv, test: path:test.csv}"
    run = train(folder, f"{{name: table, source: {source}, target: [{', '.join(targets)}]}}", *backbone)
    fitted, new = frames[0], frames[3]
    scaled = ((new["size"] - fitted["size"].mean()) / fitted["size"].std(ddof=0)).to_numpy()
    inputs = np.zeros((len(new), 2, 1, 5), np.float32)
    inputs[:, 0, 0, 0], inputs[:, 0, 0, 1] = np.nan_to_num(scaled), np.isnan(scaled)
    order = list(fitted["place"].value_counts().index)
    inputs[np.arange(len(new)), 1, 0, [2 + order.index(place) for place in new["place"]]] = 1
    return run, torch.from_numpy(inputs), [fitted, new]


def _files(folder: Path, *names: str) -> list[Path]:
    return [folder / name for name in names]


TABLES = ("train.csv", "validation.csv", "test.csv")


def table(folder: Path, backbone: str = BACKBONE) -> Case:
    run, inputs, _ = _table(folder, ["species"], backbone)
    expected = of_classes(sorted(SPECIES), logits(reference(run), inputs))
    return Case(run, folder / "new.csv", _files(folder, *TABLES), expected)


def table_labels(folder: Path) -> Case:
    run, inputs, _ = _table(folder, ["sings", "nests"])
    expected = of_labels(["sings", "nests"], logits(reference(run), inputs))
    return Case(run, folder / "new.csv", _files(folder, *TABLES), expected)


def table_numbers(folder: Path) -> Case:
    run, inputs, (fitted, _) = _table(folder, ["eggs", "weight"])
    wanted = fitted[["eggs", "weight"]]
    values = logits(reference(run), inputs) * wanted.std(ddof=0).to_numpy() + wanted.mean().to_numpy()
    return Case(run, folder / "new.csv", _files(folder, *TABLES), of_numbers(["eggs", "weight"], values))


def images(folder: Path) -> Case:
    from PIL import Image

    chance = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 8), ("test", 8)):
        for number in range(count):
            place = folder / "data" / split / ("cat", "dog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
    run = train(folder, "{name: images, source: path:data, size: 8}")
    (folder / "new" / "deep").mkdir(parents=True)
    for number in range(5):
        pixels = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "new" / ("deep" if number > 3 else "") / f"{number}.png")
    train_files = sorted((folder / "data" / "train").rglob("*.png"))
    fitted = np.stack([np.asarray(Image.open(file)) for file in train_files]).reshape(-1, 3) / 255
    paths = sorted((folder / "new").rglob("*.png"), key=lambda path: (path.parent.name != "new", path.name))
    paths = sorted(paths, key=lambda path: path.relative_to(folder / "new").parts)
    new = np.stack([np.asarray(Image.open(path)) for path in paths]) / 255
    inputs = torch.from_numpy(((new - fitted.mean(0)) / fitted.std(0)).astype(np.float32))
    return Case(run, folder / "new", [folder / "data"], of_classes(["cat", "dog"], logits(reference(run), inputs)))


def arrays(folder: Path) -> Case:
    chance = np.random.default_rng(0)
    x, y = chance.normal(3, 2, (40, 5)), np.arange(40) % 4
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_val=x[:8], y_val=y[:8], x_test=x[:8], y_test=y[:8])
    run = train(folder, "{name: arrays, source: path:data.npz}")
    new = chance.normal(3, 2, (70, 5))
    np.savez(folder / "new.npz", x=new)
    inputs = torch.from_numpy(((new - x.mean(0)) / x.std(0)).astype(np.float32))[:, :, None, None]
    expected = of_classes(["0", "1", "2", "3"], logits(reference(run), inputs))
    return Case(run, folder / "new.npz", _files(folder, "data.npz"), expected)


def arrays_tags(folder: Path) -> Case:
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(40, 7, 3)), chance.integers(0, 3, (40, 7))
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_val=x[:8], y_val=y[:8], x_test=x[:8], y_test=y[:8])
    run = train(folder, "{name: arrays, source: path:data.npz}")
    new, lengths = chance.normal(size=(9, 7, 3)), np.arange(9) % 6 + 2
    np.savez(folder / "new.npz", x=new, lengths=lengths)
    scaled = ((new - x.reshape(-1, 3).mean(0)) / x.reshape(-1, 3).std(0)).astype(np.float32)
    values = logits(reference(run), *padded([row[:end] for row, end in zip(scaled, lengths, strict=True)]))
    expected = of_tags(["0", "1", "2"], [row[:end] for row, end in zip(values, lengths, strict=True)])
    return Case(run, folder / "new.npz", _files(folder, "data.npz"), expected)


def audio(folder: Path) -> Case:
    from scipy.io import wavfile

    chance = np.random.default_rng(0)

    def write(place: Path, count: int) -> None:
        place.mkdir(parents=True)
        for number in range(count):
            sound = chance.integers(-9000, 9000, int(chance.integers(300, 900)), dtype=np.int16)
            wavfile.write(place / f"{number}.wav", 8000, sound)

    for split in ("train", "validation", "test"):
        for kind in ("click", "hum"):
            write(folder / "data" / split / kind, 8)
    run = train(folder, "{name: audio, source: path:data, rate: 8000, max_seconds: 0.1, features: raw, patch_ms: 10}")
    write(folder / "new", 6)
    rows = []
    for path in sorted((folder / "new").iterdir()):
        sound = wavfile.read(path)[1].astype(np.float64)[:800]
        sound = (sound - sound.mean()) / sound.std()
        rows.append(np.pad(sound, (0, -len(sound) % 80)).reshape(-1, 80).astype(np.float32))
    values = logits(reference(run), *padded(rows))
    return Case(run, folder / "new", [folder / "data"], of_classes(["click", "hum"], values))


def _motion(seed: int, count: int) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        steps = int(chance.integers(6, 12))
        parts.append(
            pd.DataFrame(
                {
                    "id": number,
                    "time": range(steps),
                    "x": chance.normal(5, 3, steps),
                    "y": chance.normal(-100, 20, steps),
                    "label": ("run", "walk")[number % 2],
                }
            )
        )
    frame = pd.concat(parts)
    frame.loc[(frame["time"] == 2) & (frame["id"] % 3 == 0), "x"] = np.nan
    return frame


def _series(folder: Path, normalisation: str) -> Case:
    frames = {
        name: _motion(seed, count)
        for seed, (name, count) in enumerate(zip(("train", "validation", "test", "new"), (20, 8, 8, 7), strict=True))
    }
    for name, frame in frames.items():
        frame.drop(columns=["label"] if name == "new" else []).to_csv(folder / f"{name}.csv", index=False)
    source = "{train: path:train.csv, validation: path:validation.csv, test: path:test.csv}"
    run = train(folder, f"{{name: series, source: {source}, normalisation: {normalisation}}}")
    fitted = frames["train"][["x", "y"]]
    rows = []
    for _, one in frames["new"].groupby("id"):
        values = one[["x", "y"]]
        if normalisation == "train":
            values = (values - fitted.mean()) / fitted.std(ddof=0)
        elif normalisation == "channel":
            values = (values - values.mean()) / values.std(ddof=0)
        elif normalisation == "series":
            values = (values - np.nanmean(values)) / np.nanstd(values)
        rows.append(values.interpolate(limit_direction="both").to_numpy(np.float32))
    expected = of_classes(["run", "walk"], logits(reference(run), *padded(rows)))
    return Case(run, folder / "new.csv", _files(folder, *TABLES), expected)


def _forecast(folder: Path, normalisation: str) -> Case:
    chance = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=120, freq="h")
    values = pd.DataFrame({"load": chance.normal(300, 40, 120), "heat": chance.normal(-4, 2, 120)})
    values.insert(0, "date", hours)
    values.to_csv(folder / "data.csv", index=False)
    task = "name: series, source: path:data.csv, horizon: 2, history: 8, target: [heat]"
    run = train(folder, f"{{{task}, normalisation: {normalisation}}}")
    new = pd.DataFrame(
        {"heat": chance.normal(-4, 2, 11), "load": chance.normal(300, 40, 11)}
    )  # columns in another order
    new.insert(0, "date", pd.date_range("2025-01-01", periods=11, freq="h"))
    new.to_csv(folder / "new.csv", index=False)
    history = new[["load", "heat"]].to_numpy()[-8:]
    fitted = values[["load", "heat"]].to_numpy()[: int(120 * 0.7)]
    mean, deviation = fitted.mean(0), fitted.std(0)
    scaled = (history - mean) / deviation if normalisation != "none" else history
    own_mean, own_deviation = np.zeros(2), np.ones(2)
    if normalisation == "window":
        own_mean, own_deviation = scaled.mean(0), np.maximum(scaled.std(0), 0.01)
        scaled = (scaled - own_mean) / own_deviation
    found = logits(reference(run), torch.from_numpy(scaled.astype(np.float32))[None])
    found = found * own_deviation[1] + own_mean[1]
    if normalisation != "none":
        found = found * deviation[1] + mean[1]
    return Case(run, folder / "new.csv", _files(folder, "data.csv"), of_numbers(["heat +1", "heat +2"], found))


def _letters(seed: int, count: int) -> list[str]:
    chance = np.random.default_rng(seed)
    return ["".join(chance.choice(list("ACGT"), int(chance.integers(5, 12)))) for _ in range(count)]


def sequences(folder: Path) -> Case:
    for name, seed, count in (("train", 0, 20), ("validation", 1, 8), ("test", 2, 8)):
        records = [
            f">s{n} label={('coding', 'other')[n % 2]}\n{text}\n" for n, text in enumerate(_letters(seed, count))
        ]
        (folder / f"{name}.fasta").write_text("".join(records))
    source = "{train: path:train.fasta, validation: path:validation.fasta, test: path:test.fasta}"
    run = train(folder, f"{{name: sequences, source: {source}, alphabet: dna, max_length: 9}}")
    new = _letters(3, 6)
    (folder / "new.fasta").write_text("".join(f">n{number}\n{text.lower()}\n" for number, text in enumerate(new)))
    rows = [np.array(["ACGT".index(letter) + 1 for letter in text[:9]]) for text in new]
    expected = of_classes(["coding", "other"], logits(reference(run), *padded(rows)))
    data = _files(folder, "train.fasta", "validation.fasta", "test.fasta")
    return Case(run, folder / "new.fasta", data, expected)


def sequences_tags(folder: Path) -> Case:
    for name, seed, count in (("train", 0, 20), ("validation", 1, 8), ("test", 2, 8)):
        texts = _letters(seed, count)
        cells = ["".join("H" if letter in "AC" else "E" for letter in text) for text in texts]
        pd.DataFrame({"sequence": texts, "label": cells}).to_csv(folder / f"{name}.csv", index=False)
    source = "{train: path:train.csv, validation: path:validation.csv, test: path:test.csv}"
    run = train(folder, f"{{name: sequences, source: {source}, alphabet: read, problem: tagging}}")
    new = _letters(3, 6)
    pd.DataFrame({"sequence": new}).to_csv(folder / "new.csv", index=False)
    values = logits(reference(run), *padded([np.array(["ACGT".index(a) + 1 for a in text]) for text in new]))
    expected = of_tags(["E", "H"], [row[: len(text)] for row, text in zip(values, new, strict=True)])
    return Case(run, folder / "new.csv", _files(folder, *TABLES), expected)


def _sentences(seed: int, count: int) -> list[str]:
    chance = np.random.default_rng(seed)
    words = ["".join(chance.choice(list(string.ascii_lowercase), 4)) for _ in range(30)]
    return [" ".join(chance.choice(words, int(chance.integers(2, 8)))) for _ in range(count)]


def _text(folder: Path, further: str, tokens: Callable[[str], list[int]], *backbone: str) -> Case:
    for name, seed, count in (("train", 0, 20), ("validation", 1, 8), ("test", 2, 8)):
        frame = pd.DataFrame({"review": _sentences(seed, count)})
        frame["sentiment"] = np.array(["bad", "good"])[np.arange(count) % 2]
        frame.to_csv(folder / f"{name}.csv", index=False)
    source = "{train: path:train.csv, validation: path:validation.csv, test: path:test.csv}"
    task = f"{{name: text, source: {source}, text: review, target: sentiment, {further}}}"
    run = train(folder, task, *backbone)
    new = _sentences(3, 6)
    pd.DataFrame({"review": new}).to_json(folder / "new.jsonl", orient="records", lines=True)
    rows = [np.array(tokens(text), np.int64) for text in new]
    expected = of_classes(["bad", "good"], logits(reference(run), *padded(rows)))
    return Case(run, folder / "new.jsonl", _files(folder, *TABLES), expected)


def text(folder: Path) -> Case:
    from tokenizers import Tokenizer

    from fptkit.sources.weights import PACKAGED

    words = Tokenizer.from_file(str(PACKAGED / "gpt2_nano" / "tokenizer.json"))
    backbone = "{name: gpt2, weights: [builtin:gpt2_nano], dropout: 0.0, blocks: {keep: 1}}"  # with its own words
    return _text(folder, "max_length: 20", lambda text: words.encode(text).ids[:20], backbone)


def text_bytes(folder: Path) -> Case:
    return _text(folder, "bytes: true, max_length: 20", lambda text: [1 + byte for byte in text.encode()[:20]])


SCALES = ("train", "channel", "series", "none")

CASES: dict[str, Callable[[Path], Case]] = {
    "table": table,
    "table of labels": table_labels,
    "table of numbers": table_numbers,
    "images": images,
    "arrays": arrays,
    "arrays with a class at every step": arrays_tags,
    "audio": audio,
    **{f"series scaled by {kind}": partial(_series, normalisation=kind) for kind in SCALES},
    **{f"forecast scaled by {kind}": partial(_forecast, normalisation=kind) for kind in ("train", "window", "none")},
    "sequences": sequences,
    "sequences with a class at every symbol": sequences_tags,
    "text": text,
    "text as bytes": text_bytes,
}
"""How each case is made in an empty folder."""
