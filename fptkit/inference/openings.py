"""How often test data were opened: counted in the run folder before an evaluation starts, since a broken one counts.

``times_tested`` in ``summary.json`` counts evaluations of the test splits. ``evaluations.jsonl`` has a line for every
evaluation of a split or of other files. The folder of a study's run must not change, since the study's results rest on
it: its lines are in ``NAME.evaluations.jsonl`` beside the folder, as are those of a delta file.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fptkit.errors import DataError, UsageError
from fptkit.files import (
    ADDRESS,
    EVALUATIONS,
    SUMMARY,
    find_json,
    is_intact,
    locked_folder,
    read_summary,
    sealed,
    write_sealed,
)
from fptkit.sources.decoding import decoding


def open_test(folder: Path, splits: Sequence[str], digest: str) -> int:
    """Count an evaluation of test splits; returns how often they were opened, this time included.

    Args:
        folder: the run folder.
        splits: those that are evaluated together.
        digest: of the task's data; empty if it has none.

    Raises:
        UsageError: the run is in progress, or its folder cannot be written.
    """
    line = {"splits": list(splits), "digest": digest}
    with _locked(folder):
        read_summary(folder)  # raises if it was altered
        summary = find_json(folder / SUMMARY)
        times = int(summary.get("times_tested", 0))
        _add(folder, {**line, "test": True})
        if _is_of_study(folder):
            return times + sum(bool(entry.get("test")) for entry in _lines(folder))
        write_sealed(folder / SUMMARY, {**summary, "times_tested": times + 1})
    return times + 1


def open_files(folder: Path, sources: Sequence[str], digest: str) -> int:
    """Count an evaluation on files; returns how often the same content was opened, this time included.

    Args:
        folder: the run folder.
        sources: entries that name the files.
        digest: of their content.

    Raises:
        UsageError: the run is in progress, or its folder cannot be written.
    """
    line = {"source": list(sources), "digest": digest}
    with _locked(folder):
        _add(folder, line)
    return sum(entry.get("digest") == digest and "source" in entry for entry in _lines(folder))


def record_split(folder: Path, splits: Sequence[str], digest: str) -> None:
    """Note an evaluation of a split that is no test; arguments and errors as of `open_test`."""
    with _locked(folder):
        _add(folder, {"splits": list(splits), "digest": digest})


def evaluations_file(folder: Path) -> Path:
    """Where the evaluations of a run are noted."""
    if _is_of_study(folder):
        whole = folder.resolve()
        return whole.with_name(f"{whole.name}.{EVALUATIONS}")
    return folder / EVALUATIONS


def _is_of_study(folder: Path) -> bool:
    """Whether it must not change: the folder of a study's run; or a delta file, which has no folder."""
    return folder.is_file() or (folder / ADDRESS).is_file()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The run folder, locked against a run in it; that of a study's run is not touched."""
    with contextlib.ExitStack() as stack:
        try:
            if not _is_of_study(folder):
                stack.enter_context(locked_folder(folder, "run"))
        except UsageError as err:
            raise UsageError(f"{str(err).partition('; choose')[0]}; evaluations are counted in the run folder") from err
        yield


def _add(folder: Path, entry: Mapping[str, Any]) -> None:
    path = evaluations_file(folder)
    text = json.dumps(sealed({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry})) + "\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as err:
        raise UsageError(
            f"{path}: cannot be written ({err.strerror or err}); evaluations are counted there, so copy the run folder "
            "to a place that can be written"
        ) from err


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    path = evaluations_file(folder)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        advice = "openings cannot be counted, correct or remove the line"
        with decoding(f"{path}:{number}", "JSON", advice=advice):
            entry = json.loads(line)
        if not isinstance(entry, dict) or not is_intact(entry):
            raise DataError(f"{path}:{number}: was altered, so {advice}")
        yield entry
