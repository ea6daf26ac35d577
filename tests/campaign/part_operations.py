"""A fault at every file operation of a run and of a study."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import file_shim
import smoke
from children import in_child
from parts import Fault, Tally


class _Operations:
    """Disturbs one operation, continues undisturbed, and compares."""

    name, tries, promise, long, chunk = "", "", "", 0, 0
    modules = smoke.MODULES
    folder = "run"

    def command(self, folder: Path) -> Callable[[], None]:
        """What is disturbed."""
        raise NotImplementedError

    def result(self, folder: Path) -> dict[str, Any]:
        """What must be the same."""
        raise NotImplementedError

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        whole = _new(place, "whole")
        expected, count = self._whole(whole)
        tally = Tally()
        for trial in trials:
            kind, operation = self._attack(trial)
            if operation > count:
                continue
            folder = _new(place, f"trial-{trial}")
            found = self._disturb(folder, kind, operation, expected, tally)
            if found:
                kept = place / "kept" / folder.name
                kept.parent.mkdir(exist_ok=True)
                folder.rename(kept)
                tally.faults.append(Fault(f"{kind}: {found[0]}", trial, found[1], str(kept)))
            shutil.rmtree(folder, ignore_errors=True)
        tally.measure("file operations", count)
        return tally

    def _attack(self, trial: int) -> tuple[str, int]:
        """What happens to which operation: all kinds for each one."""
        kinds = file_shim.KINDS
        return kinds[trial % len(kinds)], _spread(trial // len(kinds), self.long // len(kinds))

    def _whole(self, folder: Path) -> tuple[dict[str, Any], int]:
        """The undisturbed result, and the number of operations."""
        state = folder / "state"
        command = self.command(folder)

        def counted() -> None:
            file_shim.arm(state, folder / self.folder)
            command()

        smoke.undisturbed(folder, counted)
        return self.result(folder), file_shim.seen(state).operations

    def _disturb(
        self, folder: Path, kind: str, operation: int, expected: dict[str, Any], tally: Tally
    ) -> tuple[str, str] | None:
        """Kind and text of the broken promise, if there is one."""
        state, log = folder / "state", folder / "disturbed.log"

        def disturbed() -> None:
            file_shim.arm(state, folder / self.folder, kind, operation)
            self.command(folder)()

        ended = in_child(disturbed, log, limit_s=smoke.LIMIT_S)
        text = log.read_text(errors="replace")
        what = file_shim.seen(state)
        tally.counts[f"{kind}, {what.name}" if what.hit else "not reached"] += 1
        where = f"operation {operation}, {what.name}\n{text[-3000:]}"
        if ended.late:
            return "hangs", where
        if "Traceback" in text or ended.code not in (0, 1, 2, 3, -9):
            return (
                f"ends with {ended.code} and a traceback" if "Traceback" in text else f"ends with {ended.code}",
                where,
            )
        if ended.code in (1, 2, 3) and not text.strip():
            return "no word about it", where
        return self._continue(folder, expected, where)

    def _continue(self, folder: Path, expected: dict[str, Any], where: str) -> tuple[str, str] | None:
        log = folder / "continued.log"
        ended = in_child(self.command(folder), log, limit_s=smoke.LIMIT_S)
        text = log.read_text(errors="replace")
        if ended.code or "Traceback" in text:
            return f"cannot be continued (status {ended.code})", f"{where}\n--- continued\n{text[-3000:]}"
        if different := smoke.differences(self.result(folder), expected):
            return f"another result: {', '.join(different)}", where
        return None


def _spread(number: int, count: int) -> int:
    """A number from 1 to ``count``, each once, and the first few far apart: a part of a campaign has some of all."""
    return number * 37 % count + 1


def _new(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    return folder


class RunOperations(_Operations):
    """See `Part`."""

    name, tries = "run-operations", "faults of file operations of a run"
    promise = (
        "A run that is killed, or whose disk fails, at any file operation says so; resumed, it gives the bits of one "
        "that was never disturbed"
    )
    long, chunk = 6 * 300, 12

    def command(self, folder: Path) -> Callable[[], None]:
        """See `_Operations`."""
        return smoke.run_command(folder)

    def result(self, folder: Path) -> dict[str, Any]:
        """See `_Operations`."""
        return smoke.result_of_run(folder)


class StudyOperations(_Operations):
    """See `Part`."""

    name, tries = "study-operations", "faults of file operations of a study"
    promise = (
        "A study that is killed, or whose disk fails, at any file operation says so; called again, it gives the same "
        "results.json"
    )
    long, chunk = 2 * 900, 2
    folder = "ledger"

    def _attack(self, trial: int) -> tuple[str, int]:
        """Two kinds for each operation, in turn, since a study has many."""
        kinds, operation = file_shim.KINDS, _spread(trial // 2, self.long // 2)
        return kinds[(2 * operation + trial % 2) % len(kinds)], operation

    def command(self, folder: Path) -> Callable[[], None]:
        """See `_Operations`."""
        return smoke.study_command(folder, smoke.SMALL_STUDY)

    def result(self, folder: Path) -> dict[str, Any]:
        """See `_Operations`."""
        return smoke.result_of_study(folder)
