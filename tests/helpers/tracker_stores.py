"""Reads the figures of a run back from the stores of trackers, with the trackers' own readers."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Figures = Counter[tuple[str, int, float]]
"""How often a figure is there: name with split, step, value."""


def figures_of(folder: Path) -> Figures:
    """Those of ``metrics.jsonl`` in a run folder."""
    found: Figures = Counter()
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        split, step = record.pop("split"), record.pop("step")
        found.update((f"{split}/{name}", step, value) for name, value in record.items())
    return found


def run_of(folder: Path, tracker: str) -> str:
    """What identifies the run of a folder in the tracker's store."""
    return str(json.loads((folder / f"tracker_{tracker}.json").read_text())["run"])


def in_tensorboard(folder: Path) -> Figures:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if "/" in tag and not tag.endswith("text_summary")]
    return Counter(
        (tag, event.step, tensor_util.make_ndarray(event.tensor_proto).item())
        for tag in tags
        for event in events.Tensors(tag)
    )


def in_mlflow(uri: str, run: str) -> Figures:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return Counter(
        (name, metric.step, metric.value)
        for name in client.get_run(run).data.metrics
        for metric in client.get_metric_history(run, name)
    )


def in_trackio(project: str, run: str) -> Figures:
    from trackio.sqlite_storage import SQLiteStorage

    return Counter(
        (name, row["step"], value)
        for row in SQLiteStorage.get_logs(project, run)
        for name, value in row.items()
        if "/" in name
    )


def in_wandb(folder: Path) -> Figures:
    """Those of all offline files in a run folder, as ``wandb sync`` would send them."""
    found: Figures = Counter()
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.update((name, row["step"], value) for name, value in row.items() if "/" in name)
    return found


def wandb_records(folder: Path) -> list[Any]:
    """All records of the offline files in a run folder."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in _leveldb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
    return found


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, after the seven bytes with which wandb begins it.

    Source: LevelDB, doc/log_format.md: blocks of 32 KiB; each part of a record has a checksum (4 bytes), a length (2)
    and a kind (1): 1 whole, 2 first, 3 middle, 4 last.
    """
    at, record = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""
