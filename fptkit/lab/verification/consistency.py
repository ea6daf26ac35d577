"""Checks that the files of one run agree with each other, without knowing what they were."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from fptkit.errors import DataError
from fptkit.files import CHECKPOINTS, METRICS, RECIPE, SUMMARY, find_json, read_json
from fptkit.lab.verification.differences import Findings, json_differences
from fptkit.lab.verification.manifest import TENSOR_DIGESTS
from fptkit.sources.decoding import decoding
from fptkit.sources.download import file_sha256

_AT_REST = ("paused", "validated", "finished")
"""States in which the newest checkpoint is that of the last step."""


def check_run(folder: Path, name: str, findings: Findings, *, tensors: bool) -> None:
    """Check that the files of a run folder agree with each other.

    Args:
        folder: the run folder.
        name: its path, for the differences.
        findings: receives what does not agree.
        tensors: whether to read tensor files.
    """
    if (folder / SUMMARY).is_file():
        try:
            read_json(folder / SUMMARY)
        except DataError as err:
            findings.wrong(f"{name}/{SUMMARY}", str(err))
        if summary := find_json(folder / SUMMARY):
            _check_metrics(folder, name, summary, findings)
            _check_steps(folder, name, summary, findings)
            _check_recipe(folder, name, summary, findings)
    if tensors:
        _check_tensors(folder, name, findings)


def _check_metrics(folder: Path, name: str, summary: Mapping[str, Any], findings: Findings) -> None:
    """The summary's metrics are those of the best step in the metrics file."""
    if not (folder / METRICS).is_file():
        return
    reported: dict[tuple[Any, Any], Any] = {}
    for number, record in _lines(folder / METRICS):
        if record is None:
            if summary.get("status") in _AT_REST:
                findings.wrong(f"{name}/{METRICS}", "is not a JSON object", f"line {number}")
            continue
        reported[record.get("split"), record.get("step")] = {
            key: value for key, value in record.items() if key not in ("split", "step")
        }
    metrics = summary.get("metrics", {})
    best = summary.get("best_step")
    splits = {"validation": metrics.get("validation"), **metrics.get("test", {})}
    for split, values in splits.items():
        if not values:
            continue
        place = f"metrics.{split}" if split == "validation" else f"metrics.test.{split}"
        if (split, best) not in reported:
            findings.wrong(f"{name}/{SUMMARY}", f"{METRICS} has no line of {split} at step {best}", place)
            continue
        for found in json_differences(f"{name}/{SUMMARY}", values, reported[split, best]):
            where = f"{place}.{found.place}"
            findings.wrong(found.file, f"{found.stored}, but {found.derived} in {METRICS}", where)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number and content of every line, None for a line that is no JSON object; training lines are skipped."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if '"train"' in line:
            continue
        record = None
        with contextlib.suppress(DataError), decoding(str(path), "JSON"):
            record = json.loads(line)
        yield number, record if isinstance(record, dict) else None


def _check_steps(folder: Path, name: str, summary: Mapping[str, Any], findings: Findings) -> None:
    """The summary's steps are those of the checkpoints and of the saved model."""
    if summary.get("status") not in _AT_REST:
        return
    steps = [find_json(path).get("step") for path in (folder / CHECKPOINTS).glob("*/state.json")]
    known = [step for step in steps if isinstance(step, int)]
    if known and max(known) != summary.get("steps"):
        findings.wrong(
            f"{name}/{SUMMARY}", f"{summary.get('steps')}, but the newest checkpoint has step {max(known)}", "steps"
        )
    saved = find_json(folder / "model.json").get("step")
    if saved is not None and summary.get("status") != "paused" and saved != summary.get("best_step"):
        findings.wrong(f"{name}/{SUMMARY}", f"{summary.get('best_step')}, but model.json has step {saved}", "best_step")


def _check_recipe(folder: Path, name: str, summary: Mapping[str, Any], findings: Findings) -> None:
    """The summary's learning rate and seed are those of the recipe."""
    if not (folder / RECIPE).is_file():
        return
    train = read_yaml(folder / RECIPE).get("train", {})
    for key in ("learning_rate", "seed", "data_fraction"):
        if key in train and key in summary and train[key] != summary[key]:
            findings.wrong(f"{name}/{RECIPE}", f"{train[key]}, but {summary[key]} in {SUMMARY}", f"train.{key}")


def _check_tensors(folder: Path, name: str, findings: Findings) -> None:
    """Tensor files have the digests in the JSON files beside them."""
    for pattern in TENSOR_DIGESTS:
        for path in sorted(folder.glob(pattern)):
            files = find_json(path).get("files")
            for file, digest in (files if isinstance(files, dict) else {}).items():
                tensors = path.parent / Path(file).name  # the JSON may come from somebody else: nothing outside
                if tensors.is_file() and file_sha256(tensors) != digest:
                    where = f"{name}/{tensors.relative_to(folder).as_posix()}"
                    findings.wrong(where, f"its digest is not the one in {path.name}")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file that fptkit wrote; empty if it is not readable."""
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        with decoding(path, "YAML"):
            found = yaml.load(path.read_text(encoding="utf-8"), loader)  # nosec B506: a safe one
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}
