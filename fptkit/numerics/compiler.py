"""Compiles C and C++ for this CPU at run time, with the system's compiler, and loads the result.

A compiled library is cached in the user's cache folder for later processes (`fptkit.numerics.library_cache`). Its name
depends on the source, the compiler and its version, the options and the CPU, so that machines that share a home folder
do not share libraries.
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
from fptkit.sources.activity import doing

SWITCH = "FPTKIT_KERNELS"
"""Environment variable: ``off`` turns off everything that is compiled here."""

_VALUES = {**dict.fromkeys(("", "on", "1", "true", "yes"), True), **dict.fromkeys(("off", "0", "false", "no"), False)}

_COMPILERS = {"C": ("CC", "cc", "gcc", "clang"), "C++": ("CXX", "g++", "clang++", "c++")}
"""For each language, the environment variable with the compiler to try first, and the usual names of compilers."""

_PATIENCE_S = 120


class Unavailable(Exception):
    """A source cannot be compiled or run here; the message says why."""


@dataclass(frozen=True)
class Source:
    """A source file and how to compile it.

    Args:
        path: the file; the library's name starts with its name.
        language: language of the file.
        options: compiler options for compiling.
        libraries: compiler options for linking.
        tunings: options for the instruction set of this CPU; the first one that the compiler accepts is used. Some
            compilers accept ``-march=native`` only on x86.
        problem_of: returns the reason why a loaded library does not run here, or an empty text.
    """

    path: Path
    language: Literal["C", "C++"]
    options: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    tunings: tuple[str, ...] = ("-march=native", "-mcpu=native", "")
    problem_of: Callable[[ctypes.CDLL], str] = lambda library: ""


def load(source: Source) -> ctypes.CDLL:
    """Compile and load a source with the first compiler that succeeds. Each process tries a source only once.

    Args:
        source: the source file and its compiler options.

    Raises:
        Unavailable: ``FPTKIT_KERNELS`` is off, there is no compiler, or no compiler makes a library that runs here.
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
    """The compiled library, or the reason why the preferred compiler fails."""
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
    """List the installed compilers of a language: first the one in ``$CC`` or ``$CXX``, then the usual ones."""
    variable, *names = _COMPILERS[language]
    found: list[tuple[str, ...]] = [(name,) for name in names]
    with contextlib.suppress(ValueError):  # a quote that is not closed
        found.insert(0, tuple(shlex.split(os.environ.get(variable, ""))))
    return [(path, *words[1:]) for words in found if words and (path := shutil.which(words[0]))]


def _library(source: Source, compiler: tuple[str, ...], tuning: str) -> ctypes.CDLL:
    """The library of one compiler with one tuning, from the cache or compiled now, and checked.

    Raises:
        Unavailable: the compiler fails, or its result cannot be loaded or run.
    """
    options = (*source.options, *filter(None, [tuning]))
    name = f"{source.path.stem}-{_digest(source, compiler, options)}.so"
    library = None
    if kept := library_cache.find(name):
        with contextlib.suppress(OSError):  # such as one linked to libraries that were removed: compile again
            library = ctypes.CDLL(str(kept))
    if library is None:
        library = _compiled(source, compiler, options, name)
    if problem := source.problem_of(library):
        raise Unavailable(f"{source.path.name} compiled by {compiler[0]} {problem}")
    return library


def _compiled(source: Source, compiler: tuple[str, ...], options: tuple[str, ...], name: str) -> ctypes.CDLL:
    """Compile, link, cache and load."""
    doing(f"compiling {source.path.name}, once for this processor")
    try:
        with tempfile.TemporaryDirectory(prefix="fptkit-", ignore_cleanup_errors=True) as folder:
            compiled, linked = Path(folder) / f"{name}.o", Path(folder) / name
            _run(*compiler, *options, "-c", str(source.path), "-o", str(compiled))
            _run(*compiler, "-shared", str(compiled), "-o", str(linked), *source.libraries)
            kept = library_cache.keep(linked, name)
            return ctypes.CDLL(str(kept or linked))
    except OSError as err:
        raise Unavailable(f"{source.path.name} compiled by {compiler[0]} cannot be written or loaded: {err}") from err


def _run(*command: str) -> str:
    """Run a command and return its output.

    Raises:
        Unavailable: the command fails.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE_S,
            env={**os.environ, "LC_ALL": "C"},  # --version and errors in English
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as err:
        raise Unavailable(f"{command[0]} cannot be run: {err}") from err
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"{command[0]} fails: {next((line for line in lines if 'error' in line), lines[-1])}")
    return done.stdout


def _digest(source: Source, compiler: tuple[str, ...], options: tuple[str, ...]) -> str:
    """Digest of everything that the compiler's result depends on."""
    try:
        text = source.path.read_text(encoding="utf-8")
    except OSError as err:
        raise Unavailable(f"{source.path} cannot be read: {err}; reinstall fptkit") from err
    known = (text, *compiler, _version(compiler), *options, "", *source.libraries, platform.machine(), _processor())
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:16]


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return _run(*compiler, "--version")


@functools.cache
def _processor() -> str:
    """The properties of the CPU that ``-march=native`` depends on."""
    facts = Path("/proc/cpuinfo")
    if not facts.is_file():
        return platform.processor() or platform.machine()
    first = facts.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(("model name", "flags", "Features", "CPU")))
