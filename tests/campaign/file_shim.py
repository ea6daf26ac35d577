"""The library that counts file operations, makes one of them fail, and turns the clock back; see file_shim.c."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("file_shim.c")
VARIABLE = "LD_PRELOAD"

KINDS = ("killed before", "killed after", "no space", "EIO", "short write", "torn")
"""What happens to an operation; numbers in file_shim.c are one higher."""

_FORM = struct.Struct("llii l 64s 4096s")


@dataclass(frozen=True)
class Seen:
    """What happened in a process: operations counted, those that were made to fail, and the name of the first one."""

    operations: int
    hit: int
    name: str


def under_the_shim(folder: Path) -> None:
    """Start this command again with the library loaded, unless it is; compiled into a folder."""
    if "file_shim" in os.environ.get(VARIABLE, ""):
        return
    library = folder / "file_shim.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{SOURCE.name} cannot be compiled, which faults of files and clocks need:\n{done.stderr}")
    os.environ[VARIABLE] = str(library)
    os.execv(sys.executable, [sys.executable, *sys.argv])


def arm(state: Path, folder: Path, kind: str = "", operation: int = 0) -> None:
    """In a forked child: watch a folder, and do something to its N-th operation.

    Args:
        state: file that this process and all that it starts share.
        folder: absolute.
        kind: one of `KINDS`; empty to count only.
        operation: from 1.
    """
    number = KINDS.index(kind) + 1 if kind else 0
    state.write_bytes(_FORM.pack(0, operation, number, 1, 0, b"", str(folder).encode()))
    if not ctypes.CDLL(None).campaign_open(str(state).encode()):
        raise RuntimeError("the file shim is not loaded")


def seen(state: Path) -> Seen:
    """What happened since `arm`."""
    counter, _, _, _, hit, name, _ = _FORM.unpack(state.read_bytes())
    return Seen(counter, hit, name.rstrip(b"\0").decode())


def turn_clock_back(seconds: float) -> None:
    """In a forked child: the wall clock goes back by this at every look at it."""
    step = ctypes.CDLL(None).campaign_clock
    step.argtypes = [ctypes.c_double]
    step(seconds)
