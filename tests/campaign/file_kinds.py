"""Every kind of file that fptkit reads: an intact one, written by another library, and what reads it."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fptkit.engine.build import build, build_task
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe
from fptkit.registry import Registry, load_plugins

HELPERS = Path(__file__).parents[1] / "helpers"
if str(HELPERS) not in sys.path:
    sys.path.append(str(HELPERS))

BACKBONE = {"name": "random", "size": "nano", "blocks": 1, "width": 16, "heads": 2}
FEW = {"batch_size": 8, "max_steps": 4, "validate_every": 2, "patience": None, "learning_rate": 1e-2}


@dataclass(frozen=True)
class FileKind:
    """Args:
    name: what the report counts it as.
    make: writes an intact folder.
    victims: the files in it that are damaged, relative; patterns.
    read: reads the folder with the damaged file; must succeed, or raise an error of fptkit.
    weight: how many of the damaged files are of this kind, in comparison; few, if a reading takes long.
    """

    name: str
    make: Callable[[Path], object]
    victims: tuple[str, ...]
    read: Callable[[Path, Path], object]
    weight: int = 20


@functools.cache
def registry() -> Registry:
    """What fptkit brings itself."""
    return load_plugins(selection="")


# tasks


def task_kind(
    label: str, make: Callable[[Path], object], victims: tuple[str, ...], source: str, /, **task: Any
) -> FileKind:
    """A file that a task opens: the task is built, and a batch of each split made."""
    return FileKind(label, make, victims, lambda folder, _: open_task({"source": f"path:{source}", **task}))


def open_task(task: Mapping[str, Any]) -> None:
    """Build a task and read the first batch of each split."""
    content = {"task": dict(task), "backbone": BACKBONE, "train": FEW, "threads": 1}
    loaded = load_recipe(content, registry_loader=lambda _: registry())
    from fptkit.engine.batches import whole_split

    built = build_task(loaded.recipe, loaded.registry)
    for split in ("train", "validation", *built.test_splits):
        next(whole_split(built, split, built.split(split), 8), None)


def _npz(folder: Path) -> None:
    chance = np.random.default_rng(0)
    y = chance.integers(0, 3, 30)
    np.savez(folder / "a.npz", x=chance.normal(size=(30, 6, 2)), y=y, classes=["slow", "middle", "fast"])


def _npy(folder: Path) -> None:
    chance = np.random.default_rng(0)
    np.save(folder / "x.npy", chance.normal(size=(30, 6, 2)).astype(np.float32))
    np.save(folder / "y.npy", chance.integers(0, 3, 30))


def _tensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    chance = np.random.default_rng(0)
    save_file({"x": chance.normal(size=(30, 6, 2)), "y": chance.integers(0, 3, 30)}, folder / "a.safetensors")


def _frame() -> Any:
    import pandas as pd

    chance = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "price": chance.gamma(3, 20, 40).round(2),
            "country": chance.choice(["AT", "CH", "DE"], 40),
            "when": pd.date_range("2024-01-01", periods=40, freq="11h").strftime("%Y-%m-%d %H:%M"),
            "returned": chance.choice(["yes", "no"], 40),
        }
    )


def _csv(folder: Path) -> None:
    _frame().to_csv(folder / "a.csv", index=False)


def _csv_gz(folder: Path) -> None:
    _frame().to_csv(folder / "a.csv.gz", index=False)


def _tsv(folder: Path) -> None:
    _frame().to_csv(folder / "a.tsv", index=False, sep="\t")


def _parquet(folder: Path) -> None:
    _frame().to_parquet(folder / "a.parquet")


def _texts() -> list[dict[str, str]]:
    words = ["the", "film", "was", "a", "story", "about", "man", "and", "his", "house"]
    return [
        {"review": " ".join(words[(n + k) % 9] for k in range(6)), "sentiment": ("good", "bad")[n % 2]}
        for n in range(30)
    ]


def _jsonl(folder: Path) -> None:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _texts()))


def _json(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(_texts()))


def _documents(folder: Path) -> None:
    for number, row in enumerate(_texts()):
        path = folder / row["sentiment"] / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(row["review"])


def _pictures(*endings: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        from PIL import Image

        chance = np.random.default_rng(0)
        for number in range(14):
            path = folder / "shapes" / ("disc", "cross")[number % 2] / f"{number}.{endings[number % len(endings)]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)

    return make


def _wav(folder: Path) -> None:
    from scipy.io import wavfile

    chance = np.random.default_rng(0)
    for number in range(12):
        path = folder / "machines" / ("hum", "click")[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, 8000, chance.integers(-9000, 9000, 1600).astype(np.int16))


def _flac(folder: Path) -> None:
    import soundfile

    chance = np.random.default_rng(0)
    for number in range(12):
        path = folder / "machines" / ("hum", "click")[number % 2] / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, chance.uniform(-0.5, 0.5, 1600), 8000)


def _series(folder: Path) -> None:
    import pandas as pd

    chance = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"id": n, "time": range(8), "x": chance.normal(size=8), "y": 1.5, "label": ("rest", "run")[n % 2]})
        for n in range(16)
    ]
    pd.concat(parts).to_csv(folder / "a.csv", index=False)


def _ts(folder: Path) -> None:
    chance = np.random.default_rng(0)
    head = "@problemName a\n@timeStamps false\n@missing false\n@univariate false\n@dimensions 2\n@equalLength true\n"
    head += "@seriesLength 5\n@classLabel true rest run\n@data\n"
    rows = [
        ":".join(",".join(f"{v:.3f}" for v in chance.normal(size=5)) for _ in range(2)) + f":{('rest', 'run')[n % 2]}"
        for n in range(16)
    ]
    (folder / "a.ts").write_text(head + "\n".join(rows) + "\n")


def _fasta(folder: Path) -> None:
    chance = np.random.default_rng(0)
    with (folder / "a.fasta").open("w") as file:
        for number in range(30):
            letters = "".join(chance.choice(list("ACGT"), 30))
            print(
                f">seq{number} label={('other', 'promoter')[number % 2]} gene=g{number // 3}",
                letters,
                sep="\n",
                file=file,
            )


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _mnist(packed: bool) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        chance = np.random.default_rng(0)
        for stem, count in (("train", 20), ("t10k", 8)):
            images = chance.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            for name, array in (
                (f"{stem}-images-idx3-ubyte", images),
                (f"{stem}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 2),
            ):
                data = _idx(array)
                (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data, 1, mtime=0) if packed else data)

    return make


def _digits(folder: Path) -> None:
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(folder / "a.npz", x_train=images, y_train=labels, x_test=images[:6], y_test=labels[:6])


def _cifar(folder: Path) -> None:
    chance = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        batch = {
            "data": chance.integers(0, 256, (4, 3072), dtype=np.uint8),
            "labels": [0, 1, 2, 0],
            "batch_label": name,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


FIELDS = {"primary": "MKVLA", "fold_label": 3, "superfamily_label": 5, "family_label": 8, "id": "d1abc__"}


def _homology(packed: bool) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        text = json.dumps([FIELDS | {"fold_label": n % 3, "id": f"d{n}"} for n in range(12)])
        data = gzip.compress(text.encode(), 1, mtime=0) if packed else text.encode()
        (folder / ("x.json.gz" if packed else "x.json")).write_bytes(data)

    return make


def _lmdb(folder: Path) -> None:
    import lmdb

    with (
        lmdb.open(str(folder / "x.lmdb"), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"num_examples", pickle.dumps(6))
        for number in range(6):
            transaction.put(str(number).encode(), pickle.dumps(FIELDS))


def _read_homology(folder: Path, victim: Path) -> None:
    from fptkit.tasks.homology.records import read_records

    read_records(folder / "x.lmdb" if "x.lmdb" in str(victim) else victim)


def _listops(folder: Path) -> None:
    rows = [("( ( ( [MAX 4 ) 3 ) ] )", 4), ("( ( ( ( [SM 9 ) ( ( ( [MIN 7 ) 8 ) ] ) ) 9 ) ] )", 5), ("6", 6)] * 4
    (folder / "x.tsv").write_text("Source\tTarget\n" + "".join(f"{text}\t{value}\n" for text, value in rows))


def _read_listops(folder: Path, victim: Path) -> None:
    from fptkit.tasks.listops.files import read_expressions

    read_expressions(victim)


# archives and weights


def _tar(folder: Path) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name in ("data/one.json", "data/two.json"):
            content = json.dumps([FIELDS] * 3).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / "a.tar.gz").write_bytes(target.getvalue())
    (folder / "outside").mkdir()


def _unpack(folder: Path, victim: Path) -> None:
    from children import Judged

    from fptkit.errors import FptkitError
    from fptkit.sources.archive import unpack

    inside = folder / "outside" / "inside"
    shutil.rmtree(folder / "outside", ignore_errors=True)
    inside.mkdir(parents=True)
    outcome: FptkitError | None = None
    try:
        unpack(victim, inside)
    except FptkitError as err:
        outcome = err
    if [path.name for path in inside.parent.iterdir()] != ["inside"] or Path("/tmp/planted").exists():
        raise Judged("a file outside of the folder")
    if any(path.is_symlink() for path in inside.rglob("*")):
        raise Judged("a link was unpacked")
    if outcome:
        raise outcome


def _gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=32)
    GPT2Model(config).save_pretrained(folder / "weights")


def _build_weights(folder: Path, victim: Path) -> None:
    open_weights("gpt2")


def _llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    LlamaModel(LlamaConfig(vocab_size=20, **sizes)).save_pretrained(folder / "weights")


def open_weights(backbone: str, entry: str = "path:weights") -> None:
    """Build a model on weights from a folder."""
    content = {
        "task": {"name": "bit_xor", "bits": 2, "validation_size": 8, "test_size": 8},
        "backbone": {"name": backbone, "weights": [entry]},
        "train": FEW,
        "threads": 1,
    }
    loaded = load_recipe(content, registry_loader=lambda _: registry())
    build(loaded.recipe, loaded.registry, torch.device("cpu"))


def _gguf(folder: Path) -> None:
    import gguf_files

    model = gguf_files.draw("llama", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    gguf_files.write(folder / "x.gguf", model, "llama")


def _read_gguf(folder: Path, victim: Path) -> None:
    open_weights("huggingface", "path:x.gguf")


# runs


def trained(folder: Path, task: Mapping[str, Any], *, pause_at: int | None = None) -> Path:
    """A run in ``folder/run``; trained on files in the current folder."""
    content = {"task": dict(task), "backbone": BACKBONE, "train": FEW, "threads": 1, "precision": "float32"}
    loaded = load_recipe(content, registry_loader=lambda _: registry())
    run(RunRequest(loaded, folder / "run", pause_at=pause_at, listeners=[]))
    return folder / "run"


XOR = {"name": "bit_xor", "bits": 2, "validation_size": 8, "test_size": 8}


def _finished(folder: Path) -> None:
    trained(folder, XOR)


def _paused(folder: Path) -> None:
    trained(folder, XOR, pause_at=2)
    content = {"task": XOR, "backbone": BACKBONE, "train": FEW, "threads": 1, "precision": "float32"}
    (folder / "asked.json").write_text(json.dumps(content))
    whole = folder / "whole"
    whole.mkdir()
    trained(whole, XOR)


def _resume(folder: Path, victim: Path) -> None:
    """A damaged checkpoint is refused, or the run ends with the bits of the undisturbed one."""
    from children import Judged

    loaded = load_recipe(json.loads((folder / "asked.json").read_text()), registry_loader=lambda _: registry())
    run(RunRequest(loaded, folder / "run", resume=True, listeners=[]))
    if "checkpoints" in victim.parts:
        ours, theirs = ((folder / place / "model.safetensors").read_bytes() for place in ("run", "whole/run"))
        if ours != theirs:
            raise Judged(f"another model after a damaged {victim.name}")


def _load_run(folder: Path, victim: Path) -> None:
    from fptkit.inference.trained import load

    model = load(folder / "run", device="cpu")
    model.predict(np.zeros((2, model.task.max_tokens, model.task.input.width), np.float32))  # type: ignore[union-attr]


def command(*arguments: str) -> Callable[[Path, Path], object]:
    """A command line in the folder, in this process; ``{victim}`` is replaced by the damaged file."""

    def call(folder: Path, victim: Path) -> None:
        from fptkit.cli.main import main

        with open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
            main([argument.format(victim=victim) for argument in arguments])

    return call


def _study(folder: Path) -> None:
    import finished_studies

    finished_studies.finished(folder)
    from fptkit.lab.studies.ledger import Ledger

    with Ledger(folder / "studies") as ledger:
        for path in (folder / "studies" / "runs").glob("*/address"):
            ledger.outcome(path.read_text().strip())


def _table_run(folder: Path) -> None:
    _csv(folder)
    trained(folder, {"name": "table", "source": "path:a.csv", "target": "returned"})
    _frame().drop(columns="returned").head(6).to_csv(folder / "new.csv", index=False)


RECIPE = """
# A recipe.
extends: [base/bit_xor, base/gpt2]
task: {name: bit_xor, bits: 3}
backbone: {weights: "builtin:gpt2_nano", dropout: 0.1}
train: {learning_rate: 1.0e-3, batch_size: 8, max_steps: 20}
profiles:
  smoke: {train: {max_steps: 4}}
"""
STUDY = """
question: Does language help?
tasks:
  bit_xor: {task: {name: bit_xor}}
arms:
  language: {backbone: {name: gpt2, weights: "builtin:gpt2_nano"}, freezing: {name: fpt}}
  random: {backbone: {name: gpt2, weights: random, size: nano}, freezing: {name: fpt}}
learning_rates: [1e-3, 1e-2]
seeds: 3
budget: {steps: 100}
profiles:
  smoke: {seeds: 1}
"""


def _recipe_files(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "study.yaml").write_text(STUDY)


def _delta(folder: Path) -> None:
    shutil.copy(HELPERS.parent / "golden" / "delta_1.safetensors", folder / "delta.safetensors")


def _read_delta(folder: Path, victim: Path) -> None:
    from fptkit.inference.delta import unpack_delta

    with tempfile.TemporaryDirectory(dir=folder) as inside:
        unpack_delta(victim, Path(inside))


TABLE = {"name": "table", "target": "returned"}
CHECKPOINT = ("run/checkpoints/*/state.json", "run/checkpoints/*/*.safetensors")

RARE = 3
"""Weight of kinds whose reading takes long."""

KINDS: tuple[FileKind, ...] = (
    task_kind("npz", _npz, ("a.npz",), "a.npz", name="arrays"),
    task_kind("npy", _npy, ("x.npy", "y.npy"), ".", name="arrays"),
    task_kind("safetensors of data", _tensors, ("a.safetensors",), "a.safetensors", name="arrays"),
    task_kind("csv", _csv, ("a.csv",), "a.csv", **TABLE),
    task_kind("csv.gz", _csv_gz, ("a.csv.gz",), "a.csv.gz", **TABLE),
    task_kind("tsv", _tsv, ("a.tsv",), "a.tsv", **TABLE),
    task_kind("parquet", _parquet, ("a.parquet",), "a.parquet", **TABLE),
    task_kind("jsonl", _jsonl, ("a.jsonl",), "a.jsonl", name="text", tokenizer="builtin:gpt2_nano"),
    task_kind("json", _json, ("a.json",), "a.json", name="text", tokenizer="builtin:gpt2_nano"),
    task_kind("txt", _documents, ("*/*.txt",), ".", name="text", tokenizer="builtin:gpt2_nano"),
    task_kind("png", _pictures("png"), ("shapes/*/*",), "shapes", name="images", size=16),
    task_kind("jpg, bmp, gif", _pictures("jpg", "bmp", "gif"), ("shapes/*/*",), "shapes", name="images", size=16),
    task_kind("webp, tif", _pictures("webp", "tif"), ("shapes/*/*",), "shapes", name="images", size=16),
    task_kind("wav", _wav, ("machines/*/*",), "machines", name="audio", rate=8000),
    task_kind("flac", _flac, ("machines/*/*",), "machines", name="audio", rate=8000),
    task_kind("csv of series", _series, ("a.csv",), "a.csv", name="series"),
    task_kind("ts", _ts, ("a.ts",), "a.ts", name="series"),
    task_kind("fasta", _fasta, ("a.fasta",), "a.fasta", name="sequences", alphabet="dna", split={"group": "gene"}),
    task_kind("idx", _mnist(False), ("*-ubyte",), ".", name="mnist"),
    task_kind("idx.gz", _mnist(True), ("*-ubyte.gz",), ".", name="mnist"),
    task_kind("npz of images", _digits, ("a.npz",), "a.npz", name="mnist"),
    task_kind("pickles of CIFAR-10", _cifar, ("data_batch_*", "test_batch"), ".", name="cifar10"),
    FileKind("json of homology", _homology(False), ("x.json",), _read_homology),
    FileKind("json.gz of homology", _homology(True), ("x.json.gz",), _read_homology),
    FileKind("lmdb", _lmdb, ("x.lmdb/data.mdb",), _read_homology),
    FileKind("tsv of ListOps", _listops, ("x.tsv",), _read_listops),
    FileKind("tar.gz", _tar, ("a.tar.gz",), _unpack),
    FileKind("config.json", _gpt2, ("weights/config.json",), _build_weights),
    FileKind("safetensors of weights", _gpt2, ("weights/model.safetensors",), _build_weights),
    FileKind(
        "config.json of transformers",
        _llama,
        ("weights/config.json",),
        lambda *_: open_weights("huggingface"),
        weight=RARE,
    ),
    FileKind("gguf", _gguf, ("x.gguf",), _read_gguf),
    FileKind("delta file", _delta, ("delta.safetensors",), _read_delta),
    FileKind("run folder, loaded", _finished, ("run/*.json", "run/*.yaml", "run/model.safetensors"), _load_run),
    FileKind("run folder, report", _finished, ("run/*.json*", "run/*.yaml"), command("report", "run"), weight=RARE),
    FileKind("checkpoint, resumed", _paused, CHECKPOINT, _resume, weight=RARE),
    FileKind("run folder, resumed", _paused, ("run/*.json*", "run/*.yaml"), _resume, weight=RARE),
    FileKind(
        "study, report",
        _study,
        ("studies/mine/*.json", "studies/mine/*.yaml"),
        command("report", "studies/mine"),
        weight=RARE,
    ),
    FileKind(
        "study, verify",
        _study,
        ("studies/mine/*", "studies/runs/*/*.*"),
        command("verify", "studies/mine"),
        weight=RARE,
    ),
    FileKind("yaml of a recipe", _recipe_files, ("recipe.yaml",), command("validate", "recipe.yaml")),
    FileKind("yaml of a study", _recipe_files, ("study.yaml",), command("validate", "study.yaml"), weight=RARE),
    FileKind("csv to predict", _table_run, ("new.csv",), command("predict", "run", "{victim}", "--output", "out.csv")),
    FileKind(
        "csv, looked at",
        _csv,
        ("a.csv",),
        command("new", "recipe", "x.yaml", "--data", "a.csv", "--force"),
        weight=RARE,
    ),
    FileKind(
        "ledger.sqlite",
        _study,
        ("studies/ledger.sqlite",),
        command("study", "mine.yaml", "--ledger", "studies", "--dry-run"),
        weight=RARE,
    ),
)
