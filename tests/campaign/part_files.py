"""Damaged files of every kind that fptkit reads."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from children import Limits, each_in_child, in_child, working_in
from file_kinds import KINDS, FileKind
from mutate import damaged
from parts import Tally

MODULES = (
    *("numpy", "pandas", "scipy.io.wavfile", "PIL.Image", "torchvision", "transformers", "yaml", "fptkit.cli.main"),
    *("fptkit.cli.report", "fptkit.cli.verify", "fptkit.cli.validate", "fptkit.cli.predict", "fptkit.cli.new"),
    *("fptkit.engine.run", "fptkit.tasks.table.task", "fptkit.tasks.images.task", "fptkit.tasks.own_images.task"),
    *("fptkit.tasks.arrays.task", "fptkit.tasks.series.task", "fptkit.tasks.text.task", "fptkit.tasks.audio.task"),
    *("fptkit.tasks.sequences.task", "fptkit.tasks.homology.records", "fptkit.tasks.listops.files"),
    *("fptkit.backbones.random", "fptkit.backbones.gpt2_build", "fptkit.backbones.huggingface.build"),
    *("fptkit.inference.trained", "fptkit.lab.reporting.write", "fptkit.lab.verification.verify"),
    *("lmdb", "pyarrow.parquet", "soundfile", "gguf", "transformers.models.llama.modeling_llama"),
)


class Files:
    """See `Part`."""

    name = "files"
    promise = (
        "A damaged or hostile file ends in an error of fptkit within 5 s and 500 MiB, or is read: no traceback, no "
        "crash, nothing outside of the folder"
    )
    tries = "damaged files"
    long = 100_000
    chunk = 200
    modules = MODULES

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        for number in sorted({_number(trial) for trial in trials}):
            intact(number)
        attack = functools.partial(_attack, place)
        return each_in_child(trials, attack, place, limits=Limits(mib=500), keep=lambda trial: _victim(place, trial))


def _number(trial: int) -> int:
    """The kind of file of a trial."""
    chosen = random.Random(f"kind {trial}").choices(range(len(KINDS)), [kind.weight for kind in KINDS])
    return chosen[0]


def _kind(trial: int) -> FileKind:
    return KINDS[_number(trial)]


def intact(number: int) -> Path:
    """The intact folder of a kind, written once for a whole campaign, by a process of its own."""
    final = Path(os.environ["CAMPAIGN_INTACT"]) / f"{number}"
    if not final.exists():
        partial = Path(tempfile.mkdtemp(prefix=".", dir=final.parent))
        ended = in_child(functools.partial(_make, number, partial), final.parent / f"{number}.log", limit_s=120)
        if ended.code:
            raise RuntimeError((final.parent / f"{number}.log").read_text())
        with contextlib.suppress(OSError):  # another process was faster
            partial.rename(final)
    return final


def _make(number: int, folder: Path) -> None:
    with working_in(folder):
        KINDS[number].make(folder)


def _attack(place: Path, trial: int) -> tuple[str, Callable[[], Any]]:
    """Damage a file of a kind, both of which follow from the number."""
    kind = _kind(trial)
    folder = place / f"kind-{_number(trial)}"
    chance = random.Random(f"file {trial}")
    source = intact(_number(trial))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, symlinks=True)
    victim = _victim(place, trial)
    assert victim is not None, kind.name
    victim.write_bytes(damaged(victim.read_bytes(), victim.name, chance))

    def read() -> None:
        with working_in(folder):
            kind.read(folder, victim)

    return kind.name, read


def _victim(place: Path, trial: int) -> Path | None:
    """The file that a trial damages."""
    kind = _kind(trial)
    source = intact(_number(trial))
    found = sorted({path.relative_to(source) for name in kind.victims for path in source.glob(name) if path.is_file()})
    if not found:
        return None
    return place / f"kind-{_number(trial)}" / random.Random(f"victim {trial}").choice(found)
