"""Compiles ``loops.c`` for this processor, once, and loads it.

The compiler is the system's. What it makes lies in the user's cache under a name that follows from the source, the
compiler, its options and the processor, so that a home folder shared by several machines has one for each.

The loops run in the OpenMP threads of torch: the library is linked to none and finds torch's already loaded. A second
OpenMP would bring threads of its own, and they and torch's, which wait for work by spinning, would take turns.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

_SOURCE = Path(__file__).with_name("loops.c")
_COMPILERS = ("cc", "gcc", "clang")
_OPTIONS = (
    *("-std=c11", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-fopenmp"),
    # Sums may be taken in any order, so that they can be vector code; what is infinite or no number stays so.
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)
_PATIENCE_S = 120


class Unavailable(Exception):
    """The loops cannot be compiled or run here; the message says why."""


def call(name: str, *arguments: Tensor | int | float) -> int:
    """Run a loop of ``loops.c``, and give what it returns.

    Args:
        name: its name.
        arguments: as it is declared: contiguous tensors on the processor, whole numbers, float32 numbers.

    Raises:
        Unavailable: it cannot be run here.
    """
    returned: int = getattr(load(), name)(*map(_as_c, arguments))
    return returned


def _as_c(argument: Tensor | int | float) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)


@lru_cache
def load() -> ctypes.CDLL:
    """The compiled loops, by the first compiler that can.

    Raises:
        Unavailable: there is no compiler, or none of them makes something that runs in torch's threads.
    """
    reasons = []
    for compiler in filter(None, map(shutil.which, _COMPILERS)):
        try:
            return _by(compiler)
        except Unavailable as err:
            reasons.append(str(err))
    raise Unavailable(reasons[0] if reasons else f"there is no C compiler ({', '.join(_COMPILERS)})")


def _by(compiler: str) -> ctypes.CDLL:
    """The loops as one compiler makes them, tried.

    Raises:
        Unavailable: it fails, or its result does not run in torch's threads.
    """
    name = f"loops-{_address(compiler)}.so"
    with _folder(name) as folder:
        library = _load(compiler, folder / name)
    expected, threads = torch.get_num_threads(), int(library.count_threads())
    if threads != expected:
        raise Unavailable(f"loops of {compiler} run in {threads} threads where torch has {expected}")
    return library


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Where the library is, or can be written: the cache, else a folder of this process that is removed afterwards."""
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("fptkit")) / "kernels"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        kept = (cache / name).is_file() or os.access(cache, os.W_OK)
    except OSError:
        kept = False
    if kept:
        yield cache
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _load(compiler: str, path: Path) -> ctypes.CDLL:
    """The library from a file, which is made where it is missing or damaged."""
    if path.is_file():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # a full disk, a copy that was broken off: what is made again takes its place
            pass
    try:
        _compile(compiler, path)
        return ctypes.CDLL(str(path))
    except OSError as err:
        raise Unavailable(f"what {compiler} makes of {_SOURCE.name} cannot be written or loaded: {err}") from err


def _compile(compiler: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        compiled, linked = Path(folder) / "loops.o", Path(folder) / "loops.so"
        _run(compiler, *_OPTIONS, "-c", str(_SOURCE), "-o", str(compiled))
        # Without -fopenmp here, so that no library of threads is asked for.
        _run(compiler, "-shared", str(compiled), "-o", str(linked), "-lm")
        os.replace(linked, path)  # of two processes at once each makes the same


def _run(*command: str) -> str:
    """What a command prints.

    Raises:
        Unavailable: it fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise Unavailable(f"{command[0]} cannot be run: {err}") from err
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"{command[0]} fails: {next((line for line in lines if 'error' in line), lines[-1])}")
    return done.stdout


def _address(compiler: str) -> str:
    known = (_SOURCE.read_text(encoding="utf-8"), compiler, _run(compiler, "--version"), *_OPTIONS, _processor())
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:16]


def _processor() -> str:
    """What ``-march=native`` goes by."""
    facts = Path("/proc/cpuinfo")
    if not facts.is_file():
        return platform.processor() or platform.machine()
    first = facts.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(("model name", "flags", "Features", "CPU")))
