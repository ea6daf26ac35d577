"""The ledger: the runs in a folder and their status, shared by all studies and processes that use the folder.

A row records which process owns a run and how it ended; the run itself is in its folder, next to the ledger. The folder
takes precedence: locks show whether a run is in progress (the system frees them when a process dies), and
``summary.json`` shows its result. A deleted ledger is therefore rebuilt from the folders; only the reasons of runs that
failed before training are lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

from fptkit.errors import DataError, UsageError, visible
from fptkit.files import ADDRESS, LOCK, read_summary, write_text
from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.results import run_folder

FILE = "ledger.sqlite"
SESSIONS = "sessions"
FORMAT = 1

PATIENCE_S = 60.0
"""How long to wait for other processes to finish writing. A write takes milliseconds; file servers may stall longer."""

_TABLE = """
CREATE TABLE runs (
    address TEXT PRIMARY KEY,
    name TEXT NOT NULL,     -- for people: the cell and trial that first needed it
    recipe TEXT NOT NULL,   -- resolved, as YAML
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    step INTEGER NOT NULL,
    owner TEXT NOT NULL,    -- host:process:session of the study that owns it or last owned it
    tries INTEGER NOT NULL, -- times a worker was started on it
    started REAL,           -- seconds since 1970, of the last try
    ended REAL
)
"""


class Ledger:
    """Opens the ledger of a folder, or creates it.

    Uses SQLite's rollback journal and ``flock``, which also work on shared file systems.

    Args:
        folder: folder of ``ledger.sqlite`` and ``runs/``.

    Raises:
        DataError: the file is damaged.
        UsageError: another version of fptkit wrote it, the folder cannot be written, or other processes keep the
            ledger locked. Methods raise these errors, too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE
        try:
            (folder / SESSIONS).mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(f"{folder}: the ledger folder cannot be used: {err}; choose another --ledger") from err
        with self._told():
            self._database = sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None)
        try:
            with self._writing():
                self._check_format()
                self._open_session()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the runs this process still owns, and close."""
        with contextlib.suppress(UsageError, DataError), self._writing() as database:
            mine = database.execute("SELECT address FROM runs WHERE status = 'running' AND owner = ?", (self.owner,))
            for (address,) in mine.fetchall():
                database.execute("UPDATE runs SET status = 'lost', ended = ? WHERE address = ?", (time.time(), address))
        self._database.close()
        self._session.release()
        self._session_file.unlink(missing_ok=True)

    def outcome(self, address: str) -> Outcome:
        """Current outcome of a run, from its folder, its locks and its row.

        Args:
            address: 64 hexadecimal digits.

        Raises:
            DataError: the folder belongs to another run.
        """
        folder = run_folder(self.folder, address)
        row = self._row(address)
        if not _belongs(folder, address):
            # Deleted by its owner, or never started. A run gets its row before its folder.
            if row and row["status"] == "running" and self._at_work(row["owner"], folder):
                return Outcome(address, "running")
            return Outcome(address)
        before: str = row["status"] if row else ""
        if before in ("running", "") and self._at_work(row["owner"] if row else "", folder):
            summary = read_summary(folder)
            return Outcome(address, "running", step=summary.get("steps", 0), summary=summary)
        summary = read_summary(folder)
        status, reason = _settled(before, row["reason"] if row else "", summary)
        step = summary.get("steps", 0)
        if row is None:
            self._adopt(address, folder, status, reason, step)
        elif status != before:
            with self._writing() as database:
                database.execute(
                    "UPDATE runs SET status = ?, reason = ?, step = ? WHERE address = ? AND status = ? AND owner = ?",
                    (status, reason, step, address, before, row["owner"]),
                )
        return Outcome(address, status, reason, step, summary)

    def claim(self, known: Outcome, *, name: str, recipe: str) -> bool:
        """Claim a run for this process and create its folder.

        Args:
            known: its outcome when the caller decided to continue it.
            name: its name in the ledger, for people.
            recipe: its resolved recipe as YAML.

        Returns:
            Whether this process owns it now; false if another process owns it or has continued it since.

        Raises:
            UsageError: the run folder cannot be written.
        """
        folder = run_folder(self.folder, known.address)
        with self._writing() as database:
            row = self._row(known.address)
            summary = read_summary(folder)
            if row is not None and row["status"] == "running" and self._at_work(row["owner"], folder):
                return False
            if row is not None and row["status"] == "failed":
                return False
            if (summary.get("status"), summary.get("steps", 0)) != (known.summary.get("status"), known.step):
                return False
            if _held(folder / LOCK):
                return False
            database.execute(
                "INSERT INTO runs VALUES (:address, :name, :recipe, 'running', '', :step, :owner, 1, :now, NULL) "
                "ON CONFLICT (address) DO UPDATE SET status = 'running', reason = '', owner = :owner, "
                "tries = tries + 1, started = :now, ended = NULL",
                {
                    "address": known.address,
                    "name": name,
                    "recipe": recipe,
                    "step": known.step,
                    "owner": self.owner,
                    "now": time.time(),
                },
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / ADDRESS, known.address + "\n")
        except OSError as err:
            self.settle(known.address, "waiting")
            raise UsageError(f"the run folder {folder} cannot be written: {err}") from err
        return True

    def settle(self, address: str, status: Status, reason: str = "") -> Outcome:
        """Record how a run of this process ended.

        Args:
            address: address of the run.
            status: its final status.
            reason: why it failed or diverged.

        Returns:
            The outcome, with the summary in its folder.
        """
        reason = visible(reason)  # may quote a file name that is no text
        summary = read_summary(run_folder(self.folder, address))
        step = summary.get("steps", 0)
        with self._writing() as database:
            database.execute(
                "UPDATE runs SET status = ?, reason = ?, step = ?, ended = ? WHERE address = ? AND owner = ?",
                (status, reason, step, time.time(), address, self.owner),
            )
        return Outcome(address, status, reason, step, summary)

    def try_again(self, address: str) -> None:
        """Set a failed run back to waiting."""
        with self._writing() as database:
            database.execute(
                "UPDATE runs SET status = 'waiting', reason = '' WHERE address = ? AND status = 'failed'", (address,)
            )

    def started(self) -> list[tuple[str, str]]:
        """Address and recipe of every started run; runs that lost their row are not included."""
        with self._told():
            found = self._database.execute("SELECT address, recipe FROM runs WHERE recipe <> ''").fetchall()
        return cast("list[tuple[str, str]]", found)

    def _check_format(self) -> None:
        found = self._database.execute("PRAGMA user_version").fetchone()[0]
        tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if found == 0 and tables == 0:
            self._database.execute(_TABLE)
            self._database.execute(f"PRAGMA user_version = {FORMAT}")
        elif found != FORMAT:
            raise UsageError(
                f"{self._path} has format {found}, but this version of fptkit writes {FORMAT}: use the version that "
                "made it, or move the file away; the run folders are used again without it"
            )

    def _open_session(self) -> None:
        """Lock a session file until this process ends; delete the session files of dead processes.

        Runs inside the transaction that opens the ledger, so that no other process takes a new session for a dead one.
        """
        import filelock

        folder = self.folder / SESSIONS
        for path in folder.glob("*.lock"):
            if not _held(path):
                path.unlink(missing_ok=True)
        host = socket.gethostname()
        token = uuid.uuid4().hex[:12]
        self.owner = f"{host}:{os.getpid()}:{token}"
        self._session_file = folder / f"{token}.lock"
        self._session = filelock.FileLock(self._session_file, timeout=0)
        try:
            self._session.acquire()
        except (OSError, filelock.Timeout) as err:
            raise UsageError(f"the ledger folder {self.folder} cannot be locked: {err}") from err

    def _at_work(self, owner: str, folder: Path) -> bool:
        """Whether a run is in progress: its study is alive, or a worker that outlived it holds the folder's lock."""
        if owner == self.owner:
            return True
        token = owner.rpartition(":")[2]
        return bool(token and _held(self.folder / SESSIONS / f"{token}.lock")) or _held(folder / LOCK)

    def _row(self, address: str) -> sqlite3.Row | None:
        with self._told():
            cursor = self._database.cursor()
            cursor.row_factory = sqlite3.Row
            found = cursor.execute("SELECT * FROM runs WHERE address = ?", (address,)).fetchone()
        return cast("sqlite3.Row | None", found)

    def _adopt(self, address: str, folder: Path, status: str, reason: str, step: int) -> None:
        """Add the row of a run that has only a folder: the ledger was deleted, or the folder was copied here."""
        with self._writing() as database:
            database.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, '', ?, ?, ?, '', 1, NULL, NULL)",
                (address, folder.name, status, reason, step),
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; it keeps other processes from writing."""
        with self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into messages a user can act on."""
        try:
            yield
        except sqlite3.OperationalError as err:
            busy = "locked" in str(err)
            advice = f": other processes keep writing to it for over {PATIENCE_S:g} s; retry" if busy else f": {err}"
            raise UsageError(f"the ledger {self._path} cannot be used{advice}") from err
        except sqlite3.DatabaseError as err:
            raise DataError(
                f"the ledger {self._path} is damaged ({err}). Move it away: the run folders next to it are used again "
                "without it"
            ) from err


def _settled(before: str, reason: str, summary: dict[str, Any]) -> tuple[Status, str]:
    """Status and reason of a run that is not in progress, from its row's status and its summary."""
    told = summary.get("status")
    if before in ("failed", "waiting"):
        return cast(Status, before), reason
    if told is None:
        # A worker started but left no summary: it died before training.
        return ("lost" if before in ("running", "lost", "interrupted") else "waiting"), reason
    if told == "running" or told not in get_args(Status):
        return "lost", reason
    return cast(Status, told), visible(str(summary.get("reason", "")))


def _belongs(folder: Path, address: str) -> bool:
    """Whether the folder exists and belongs to the run.

    Raises:
        DataError: it belongs to another run with the same beginning of its address.
    """
    try:
        found = (folder / ADDRESS).read_text(encoding="utf-8").strip()
    except OSError:
        return False
    if found != address:
        raise DataError(f"{folder} belongs to run {found}, not to {address}: move it away")
    return True


def _held(path: Path) -> bool:
    """Whether another process, or another ledger in this process, holds a lock file."""
    import filelock

    if not path.exists():
        return False
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except OSError:
        return not os.access(path, os.W_OK)  # a file we may not open belongs to another user
    lock.release()
    return False
