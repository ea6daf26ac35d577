"""The campaign of faults: its short version finds nothing, and it would find something if there were something."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="the campaign needs the extra 'dev'")
if sys.platform != "linux":
    pytest.skip("the campaign needs Linux", allow_module_level=True)

import file_shim
import mutate
import part_kills
import smoke
from children import Judged, Limits, each_in_child, in_child, judge, start_child, wait_for
from parts import Fault, Tally, all_parts
from record import Record, figures

from fptkit.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "tests/campaign", "--seconds", "20", "--state", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "figures.json").read_text())["parts"]
    assert all(part["made"] and not part["faults"] for part in made)
    assert len(made) == len(all_parts())


# What it must notice.


def _fine() -> None:
    pass


def _refused() -> None:
    raise DataError("x.csv: no rows")


def _traceback() -> None:
    raise ValueError("not for users")


def _hangs() -> None:
    while True:
        pass


def _waits() -> None:
    time.sleep(100)


def _dies() -> None:
    ctypes.string_at(0)


def _hungry() -> None:
    bytearray(64 << 20)


def _differs() -> None:
    raise Judged("other bits")


ACTIONS: Sequence[tuple[Callable[[], None], str]] = (
    *((_fine, ""), (_traceback, "ValueError at"), (_refused, ""), (_hangs, "no answer in 0.5 s")),
    *((_waits, "no answer in 0.5 s"), (_dies, "died with status -11"), (_hungry, "more than 32 MiB")),
    *((_differs, "other bits"), (_fine, "")),
)


def test_every_kind_of_fault_is_noticed_and_the_next_trial_is_made(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("x")
    found = each_in_child(
        range(len(ACTIONS)),
        lambda trial: ("action", ACTIONS[trial][0]),
        tmp_path,
        limits=Limits(seconds=0.5, mib=32),
        keep=lambda _: tmp_path / "input",
    )
    faults = {fault.trial: fault for fault in found.faults}
    assert sorted(faults) == [trial for trial, (_, kind) in enumerate(ACTIONS) if kind]
    assert all(ACTIONS[trial][1] in fault.kind for trial, fault in faults.items())
    assert all(Path(fault.kept).read_text() == "x" for fault in faults.values())
    assert found.counts == {"action": 6, "ended by force": 3}
    assert found.largest["MiB"] > 60


def test_commands_may_end_by_their_documented_statuses_only() -> None:
    assert [judge(lambda code=code: sys.exit(code)) is None for code in (0, 1, 2, 3, 4, 99)] == [True] * 4 + [False] * 2


def test_a_child_is_ended_with_what_it_started(tmp_path: Path) -> None:
    def starts_another() -> None:
        if os.fork() == 0:
            (tmp_path / "other").write_text(str(os.getpid()))
        time.sleep(100)

    ended = in_child(starts_another, tmp_path / "log", limit_s=0.5)
    assert (ended.late, ended.code) == (True, -9)
    other = int((tmp_path / "other").read_text())
    until = time.monotonic() + 30
    while Path(f"/proc/{other}").exists() and time.monotonic() < until:
        if Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    else:
        assert not Path(f"/proc/{other}").exists()


def _a_command() -> None:
    """The command ``fptkit --version``: it ends with status 0, by an exception or at once (see `main.command`)."""
    with pytest.raises(SystemExit, match=r"^0$"):
        smoke.fptkit("--version")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_takes_signals_as_a_command_does_from_its_first_moment(tmp_path: Path, number: int) -> None:
    for trial in range(40):
        child = start_child(_a_command, log := tmp_path / f"log-{trial}")
        time.sleep(trial / 2000)
        os.kill(child, number)  # the child is not waited for: its number is not given away
        code, late = wait_for(child, 60)
        assert not late
        assert code in (0, 130, -number)
        assert "Traceback" not in log.read_text()


def test_a_partial_report_may_open_a_test_of_an_unchosen_rate_and_nothing_else() -> None:
    def results(test_at_1e_3: float | None, test_at_1e_2: float) -> dict[str, bytes]:
        rows = [
            {
                "task": "xor",
                "arm": "a",
                "learning_rate": rate,
                "status": "finished" if test else "validated",
                "test": test,
            }
            for rate, test in ((1e-3, test_at_1e_3), (1e-2, test_at_1e_2))
        ]
        cell = {"task": "xor", "arm": "a", "chosen_rates": {"0": 1e-2}, "common": {"learning_rate": 1e-2}}
        return {"results.json": json.dumps({"cells": [cell], "runs": rows}).encode()}

    alone = part_kills.without_unchosen_tests(results(None, 0.5))
    assert part_kills.without_unchosen_tests(results(0.7, 0.5)) == alone
    assert part_kills.without_unchosen_tests(results(0.7, 0.6)) != alone


def test_memory_of_a_child_is_limited(tmp_path: Path) -> None:
    ended = in_child(lambda: bytearray(400 << 20), tmp_path / "log", limit_s=30, memory_mib=100)
    assert ended.code == 99
    assert "MemoryError" in (tmp_path / "log").read_text()
    assert in_child(lambda: 5, tmp_path / "log", limit_s=30).result == 5


# What is damaged.


@pytest.mark.parametrize("name", ["x.bin", "x.csv", "x.npz", "x.csv.gz", "x.png", "x.tar.gz"])
def test_damage_follows_from_its_number_and_is_damage(name: str, tmp_path: Path) -> None:
    data = intact(name, tmp_path)
    made = [[mutate.damaged(data, name, random.Random(number)) for number in range(200)] for _ in range(2)]
    assert made[0] == made[1]
    assert sum(some != data for some in made[0]) > 180
    assert len(set(made[0])) > 100


def intact(name: str, folder: Path) -> bytes:
    import file_kinds
    import numpy as np

    if name == "x.bin":
        return bytes(range(256)) * 4
    if name == "x.png":
        from PIL import Image

        Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(folder / name)
        return (folder / name).read_bytes()
    make: dict[str, Any] = {
        "x.csv": (file_kinds._csv, "a.csv"),
        "x.npz": (file_kinds._npz, "a.npz"),
        "x.csv.gz": (file_kinds._csv_gz, "a.csv.gz"),
        "x.tar.gz": (file_kinds._tar, "a.tar.gz"),
    }
    make[name][0](folder)
    return (folder / make[name][1]).read_bytes()


# The library under the files.

SCRIPT = """
import os, sys
sys.path.insert(0, {campaign!r})
from pathlib import Path
import file_shim
place = Path({place!r})
if {step}:
    file_shim.turn_clock_back({step})
    import time
    seen = [time.time() for _ in range(5)]
    assert seen == sorted(seen, reverse=True) and seen[0] - seen[-1] > 4 * {step} - 1, seen
    before = time.monotonic()
    assert time.monotonic() >= before
    raise SystemExit
file_shim.arm(place / "state", place / "inside", {kind!r}, {operation})
(place / "outside").write_text("never counted")
(place / "inside").mkdir()                     # 1
with open(place / "inside" / "a", "wb", buffering=0) as file:  # 2
    file.write(b"0123456789")                  # 3
    os.fsync(file.fileno())                    # 4
os.replace(place / "inside" / "a", place / "inside" / "b")  # 5
os.unlink(place / "inside" / "b")              # 6
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shim") / "file_shim.so"
    done = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(path), str(file_shim.SOURCE), "-ldl"], capture_output=True
    )
    if done.returncode:
        pytest.skip("no C compiler")
    return path


def shimmed(library: Path, place: Path, kind: str = "", operation: int = 0, step: float = 0) -> tuple[int, str]:
    script = SCRIPT.format(
        campaign=str(ROOT / "tests" / "campaign"), place=str(place), kind=kind, operation=operation, step=step
    )
    environment = {**os.environ, file_shim.VARIABLE: str(library)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_operations_are_counted(library: Path, tmp_path: Path) -> None:
    assert shimmed(library, tmp_path) == (0, "")
    assert file_shim.seen(tmp_path / "state") == file_shim.Seen(6, 0, "")


@pytest.mark.parametrize(
    ("kind", "operation", "status", "error", "name", "left"),
    [
        ("killed before", 3, -9, "", "write", {"a": b""}),
        ("killed after", 3, -9, "", "write", {"a": b"0123456789"}),
        ("no space", 3, 1, "No space left", "write", {"a": b""}),
        ("EIO", 4, 1, "Input/output error", "fsync", {"a": b"0123456789"}),
        ("short write", 3, 0, "", "write", {}),
        ("torn", 3, 1, "Input/output error", "write", {"a": b"01234"}),
        ("torn", 5, 1, "Input/output error", "rename", {"b": b"0123456789"}),
        ("killed before", 5, -9, "", "rename", {"a": b"0123456789"}),
        ("killed after", 6, -9, "", "unlink", {}),
        ("EIO", 1, 1, "Input/output error", "mkdir", None),
    ],
)
def test_an_operation_fails_as_asked(
    library: Path, tmp_path: Path, kind: str, operation: int, status: int, error: str, name: str, left: Any
) -> None:
    code, text = shimmed(library, tmp_path, kind, operation)
    assert code == status
    assert error in text
    assert (file_shim.seen(tmp_path / "state").hit, file_shim.seen(tmp_path / "state").name) == (1, name)
    inside = tmp_path / "inside"
    assert ({path.name: path.read_bytes() for path in inside.iterdir()} if inside.exists() else None) == left


def test_the_clock_goes_back(library: Path, tmp_path: Path) -> None:
    assert shimmed(library, tmp_path, step=3600.0) == (0, "")


# What it records.


class Two:
    """A part of ten trials."""

    name, promise, tries, long, chunk = "two", "nothing breaks", "tries", 10, 4


def test_a_campaign_continues_where_it_was_stopped(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.add("two", 0, Tally.from_content({"counts": {"a": 4}, "faults": [], "largest": {"seconds": 1.5}}), 2.0)
    record.add("two", 8, Tally.from_content({"counts": {"a": 2}, "faults": [], "largest": {"seconds": 0.5}}), 1.0)
    with (tmp_path / "chunks.jsonl").open("a") as file:
        file.write('{"part": "two", "fir')  # killed while it wrote
    again = Record(tmp_path)
    assert again.done == {("two", 0), ("two", 8)}
    again.add("two", 4, Tally.from_content({"counts": {"b": 4}, "faults": [], "largest": {}}), 1.0)
    (part,) = figures(Record(tmp_path), [Two()], "campaign")["parts"]  # type: ignore[list-item]
    assert (part["made"], part["counts"], part["share"]) == (10, {"a": 6, "b": 4}, 1.0)
    assert part["largest"] == {"seconds": 1.5}


def test_faults_are_counted_by_their_kind(tmp_path: Path) -> None:
    record = Record(tmp_path)
    tally = Tally(faults=[Fault("KeyError at x:1", 3, "..."), Fault("KeyError at x:1", 5, "..."), Fault("hang", 6, "")])
    tally.counts["a"] += 4
    record.add("two", 0, tally, 1.0)
    (part,) = figures(record, [Two()], "campaign")["parts"]  # type: ignore[list-item]
    assert part["faults"] == {"KeyError at x:1": 2, "hang": 1}
    assert part["share"] == 0.4
