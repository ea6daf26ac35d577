"""What the recipes of tiny pretrainings have in common."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fptkit.files import LOCK
from fptkit.lab.pretraining.options import PretrainRecipe, SyntheticRecipe
from fptkit.lab.pretraining.recipes import LoadedTaskPretraining, load_pretraining

TRAIN: dict[str, Any] = {
    "batch_tokens": 128,
    "sequence_lengths": {"tokens": [16, 32], "weights": [1, 1]},
    "cooldown_sequence_lengths": {"tokens": [32], "weights": [1]},
    "max_steps": 12,
    "warmup_steps": 2,
    "validate_every": 4,
    "validation_tokens": 200,
    "checkpoint_every": 100,
    "log_every": 4,
    "precision": "float32",
}
"""A training of about a second."""


def silent(_line: str) -> None:
    """A log that drops its lines."""


def interrupt_at_step_4(line: str) -> None:
    """A log that sends SIGINT after four steps."""
    if line.startswith("step 4"):
        signal.raise_signal(signal.SIGINT)


SEPARATOR = "<|endoftext|>"
SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "sté", "thu", "vo", "zi")


def write_corpus(path: Path, *, documents: int = 6, words: int = 600) -> Path:
    """Made-up words with structure that a tiny model learns within a few steps."""
    generator = np.random.default_rng(0)
    texts = []
    for _ in range(documents):
        parts = ["".join(generator.choice(SYLLABLES, 2)) for _ in range(words)]
        texts.append(" ".join(parts).replace("moba ", "moba.\n\n"))
    path.write_text(f"\n{SEPARATOR}\n".join(texts), "utf-8")
    return path


def language_recipe(path: Path, train: dict[str, Any] | None = None, **sections: Any) -> PretrainRecipe:
    """A recipe that runs in about a second."""
    given = {
        "data": {"path": str(path), "validation_share": 0.1},
        "tokenizer": {"vocabulary": 300},
        "model": {"blocks": 2, "width": 32, "heads": 2, "positions": 32, "dropout": 0.1},
        "save_dtype": "float32",
        **sections,
        "train": TRAIN | (train or {}),
    }
    return PretrainRecipe.model_validate(given)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the time it was written, the lock left out."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Nothing in the folder is written, added or removed inside the block."""
    before = contents(folder)
    yield
    assert contents(folder) == before


def synthetic_recipe(train: dict[str, Any] | None = None, **sections: Any) -> SyntheticRecipe:
    """A recipe that runs in about a second."""
    given = {
        "kind": "synthetic",
        "data": {"vocabulary": 12, "held_out_tokens": 600},
        "model": {"blocks": 2, "width": 32, "heads": 2, "positions": 32},
        "save_dtype": "float32",
        **sections,
        "train": TRAIN | (train or {}),
    }
    return SyntheticRecipe.model_validate(given)


TASK: dict[str, Any] = {
    "kind": "task",
    "task": {"name": "bit_xor", "bits": 2, "validation_size": 32, "test_size": 200},
    "backbone": {"name": "random", "blocks": 2, "width": 32, "heads": 2, "dropout": 0.1, "like": "gpt2"},
    "train": {
        "learning_rate": 3e-3,
        "batch_size": 16,
        "max_steps": 12,
        "validate_every": 4,
        "log_every": 2,
        "patience": None,
    },
    "precision": "float32",
    "threads": 1,
}
"""A pretraining of about a second."""


def write_task_recipe(path: Path, content: dict[str, Any] | None = None, **sections: Any) -> Path:
    path.write_text(yaml.safe_dump({**(content or TASK), **sections}, sort_keys=False), "utf-8")
    return path


def load_task_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedTaskPretraining:
    _, loaded = load_pretraining(str(path), overrides=overrides)
    assert isinstance(loaded, LoadedTaskPretraining)
    return loaded
