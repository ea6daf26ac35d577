"""Compiles C and C++ for this processor at run time, with the system's compiler, and loads the result.

A compiled library is kept in the user's cache for all later processes (`fptkit.numerics.library_cache`). Its name
follows from the source, the compiler and its version, the options and the processor, so that a home folder shared by
several machines has one for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fptkit.errors import UsageError
from fptkit.numerics import library_cache

SWITCH = "FPTKIT_KERNELS"
"""Environment variable: ``off`` turns everything that is compiled here off."""

_VALUES = {**dict.fromkeys(("", "on", "1", "true", "yes"), True), **dict.fromkeys(("off", "0", "false", "no"), False)}

_COMPILERS = {"C": ("CC", "cc", "gcc", "clang"), "C++": ("CXX", "g++", "clang++", "c++")}
"""For each language, the variable that names the compiler to try first, and the usual names."""

_PATIENCE_S = 120


class Unavailable(Exception):
    """A source cannot be compiled or run here; the message says why."""


@dataclass(frozen=True)
class Source:
    """A source file, and how it is compiled.

    Args:
        path: the file; its name without the suffix begins the library's.
        language: of the file.
        options: of the compiler, when it compiles.
        libraries: options of the compiler when it links.
        tunings: options for the instructions of this processor; the first one that the compiler takes is used. Some
            compilers know ``-march=native`` on x86 only.
        problem_of: says why a loaded library does not run here, empty if it does.
    """

    path: Path
    language: Literal["C", "C++"]
    options: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    tunings: tuple[str, ...] = ("-march=native", "-mcpu=native", "")
    problem_of: Callable[[ctypes.CDLL], str] = lambda library: ""


def load(source: Source) -> ctypes.CDLL:
    """The compiled library, by the first compiler that can. Each source is tried once per process.

    Raises:
        Unavailable: ``FPTKIT_KERNELS`` turns it off, there is no compiler, or none makes a library that runs here.
        UsageError: ``FPTKIT_KERNELS`` has an unknown value.
    """
    given = os.environ.get(SWITCH, "").strip()
    if given.lower() not in _VALUES:
        raise UsageError(f"{SWITCH}: unknown value '{given}'. Set it to off to turn compiled kernels off, or to on")
    if not _VALUES[given.lower()]:
        raise Unavailable(f"{SWITCH}={given} turns compiled kernels off")
    found = _library_or_reason(source)
    if isinstance(found, str):
        raise Unavailable(found)
    return found


@functools.cache
def _library_or_reason(source: Source) -> ctypes.CDLL | str:
    """The compiled library, or why the preferred compiler does not make one."""
    reasons = []
    for compiler in commands(source.language):
        reason = ""
        for tuning in source.tunings:
            try:
                return _library(source, compiler, tuning)
            except Unavailable as err:
                reason = str(err)
        reasons.append(reason)
    if reasons:
        return reasons[0]
    variable, *names = _COMPILERS[source.language]
    return f"no {source.language} compiler was found (${variable}, {', '.join(names)})"


def commands(language: Literal["C", "C++"]) -> list[tuple[str, ...]]:
    """Compilers of a language that are here, best first: that of ``$CC`` or ``$CXX``, then those of the usual names."""
    variable, *names = _COMPILERS[language]
    found: list[tuple[str, ...]] = [(name,) for name in names]
    with contextlib.suppress(ValueError):  # a quote that is not closed
        found.insert(0, tuple(shlex.split(os.environ.get(variable, ""))))
    return [(path, *words[1:]) for words in found if words and (path := shutil.which(words[0]))]


def _library(source: Source, compiler: tuple[str, ...], tuning: str) -> ctypes.CDLL:
    """The library as one compiler makes it with one tuning, kept or made now, and tried.

    Raises:
        Unavailable: the compiler fails, or its result cannot be loaded or run.
    """
    options = (*source.options, *filter(None, [tuning]))
    name = f"{source.path.stem}-{_digest(source, compiler, options)}.so"
    library = None
    if kept := library_cache.find(name):
        with contextlib.suppress(OSError):  # such as one linked to libraries that were since removed: made again
            library = ctypes.CDLL(str(kept))
    if library is None:
        library = _compiled(source, compiler, options, name)
    if problem := source.problem_of(library):
        raise Unavailable(f"{source.path.name} compiled by {compiler[0]} {problem}")
    return library


def _compiled(source: Source, compiler: tuple[str, ...], options: tuple[str, ...], name: str) -> ctypes.CDLL:
    """Compile, link, keep and load."""
    try:
        with tempfile.TemporaryDirectory(prefix="fptkit-", ignore_cleanup_errors=True) as folder:
            compiled, linked = Path(folder) / f"{name}.o", Path(folder) / name
            _run(*compiler, *options, "-c", str(source.path), "-o", str(compiled))
            _run(*compiler, "-shared", str(compiled), "-o", str(linked), *source.libraries)
            kept = library_cache.keep(linked, name)
            return ctypes.CDLL(str(kept or linked))
    except OSError as err:
        raise Unavailable(f"what {compiler[0]} makes of {source.path.name} cannot be written or loaded: {err}") from err


def _run(*command: str) -> str:
    """What a command prints.

    Raises:
        Unavailable: it fails.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE_S,
            env={**os.environ, "LC_ALL": "C"},  # one text of --version, and errors that can be found
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as err:
        raise Unavailable(f"{command[0]} cannot be run: {err}") from err
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"{command[0]} fails: {next((line for line in lines if 'error' in line), lines[-1])}")
    return done.stdout


def _digest(source: Source, compiler: tuple[str, ...], options: tuple[str, ...]) -> str:
    """Of all that decides what the compiler makes."""
    try:
        text = source.path.read_text(encoding="utf-8")
    except OSError as err:
        raise Unavailable(f"{source.path} cannot be read: {err}; install fptkit again") from err
    known = (text, *compiler, _version(compiler), *options, "", *source.libraries, platform.machine(), _processor())
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:16]


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return _run(*compiler, "--version")


@functools.cache
def _processor() -> str:
    """What ``-march=native`` goes by."""
    facts = Path("/proc/cpuinfo")
    if not facts.is_file():
        return platform.processor() or platform.machine()
    first = facts.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(("model name", "flags", "Features", "CPU")))
