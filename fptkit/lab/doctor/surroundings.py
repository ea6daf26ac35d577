"""What surrounds fptkit on a machine: Python, packages, terminal, plugins, folders, data sets, the hub. Imports no
torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement

from fptkit import __version__
from fptkit.errors import FptkitError
from fptkit.lab.caches import all_caches, hub_cache, shown_size, size_of, torchvision_sets
from fptkit.lab.doctor.findings import Finding
from fptkit.registry import Plugin
from fptkit.sources import data_sets
from fptkit.sources.choice import data_folder, shown_folder
from fptkit.sources.probe import hub_problem, offline_reason

LEAST_FREE = 2 * 2**30
"""Free bytes below which a disk is reported: a run with GPT-2 writes checkpoints and may download 0.5 GB."""


def python() -> Iterator[Finding]:
    """The interpreter and this installation."""
    place = sys.prefix if sys.prefix != sys.base_prefix else f"{sys.prefix}, not a virtual environment"
    yield Finding(
        "fptkit", f"{__version__} in {shown_folder(Path(__file__).parents[2])}", facts={"version": __version__}
    )
    yield Finding("Python", f"{platform.python_version()} in {place}", facts={"executable": sys.executable})
    yield Finding("system", platform.platform())


def packages() -> Iterator[Finding]:
    """The packages that fptkit needs, and those of its extras."""
    try:
        required = importlib.metadata.requires("fptkit") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "fptkit is not installed, only imported, so its requirements are not known", "note")
        return
    extras = importlib.metadata.metadata("fptkit").get_all("Provides-Extra") or ()
    missing: dict[str, list[str]] = {extra: [] for extra in ("", *extras) if extra != "dev"}
    for requirement in map(Requirement, required):
        for extra in _extras_of(requirement, missing):
            missing[extra] += _missing(requirement)
    yield _package_finding("", missing.pop(""))
    yield from (_package_finding(extra, texts) for extra, texts in missing.items() if texts)
    complete = [extra for extra, texts in missing.items() if not texts]
    if complete:
        yield Finding("extras", f"installed: {', '.join(complete)}", facts={"installed": complete})


def _extras_of(requirement: Requirement, extras: Iterable[str]) -> list[str]:
    """The extras that ask for a requirement; only the empty one if fptkit itself does."""
    asking = [extra for extra in extras if not requirement.marker or requirement.marker.evaluate({"extra": extra})]
    return [""] if "" in asking else asking


def _missing(requirement: Requirement) -> list[str]:
    """The requirement as text, if it is not satisfied; else nothing."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return [f"{requirement.name}{requirement.specifier}"]
    if requirement.specifier.contains(version, prereleases=True):
        return []
    return [f"{requirement.name}{requirement.specifier} (installed: {version})"]


def _package_finding(extra: str, missing: list[str]) -> Finding:
    facts = {"extra": extra, "missing": missing}
    if not missing:
        return Finding(f"extra {extra}" if extra else "required", "all installed", facts=facts)
    text = f"missing: {', '.join(missing)}"
    if extra:
        return Finding(f"extra {extra}", text, "note", f"if you need it: pip install 'fptkit[{extra}]'", facts)
    return Finding("required", text, "fault", "pip install --upgrade fptkit", facts)


def terminal() -> Iterator[Finding]:
    """Whether progress bars, colours and all characters can be shown."""
    size = shutil.get_terminal_size()
    shown = [name for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)) if stream.isatty()]
    facts = {"terminals": shown, "columns": size.columns, "lines": size.lines, "TERM": os.environ.get("TERM", "")}
    if "stderr" in shown:
        yield Finding("terminal", f"{size.columns} x {size.lines}, TERM={facts['TERM'] or 'not set'}", facts=facts)
    else:
        yield Finding("terminal", "none: progress is shown as plain lines", "note", facts=facts)
    encoding = (getattr(sys.stdout, "encoding", None) or "unknown").lower()
    if encoding.replace("-", "") == "utf8":
        yield Finding("encoding", encoding)
    else:
        yield Finding("encoding", f"{encoding}: some characters cannot be shown", "warning", "set PYTHONUTF8=1")


def plugins(loaded: Iterable[Plugin]) -> Iterator[Finding]:
    """The plugins, and why one failed to load."""
    others = [plugin for plugin in loaded if plugin.origin != "builtin"]
    if not others:
        yield Finding("plugins", "none installed besides fptkit's own", "note")
    for plugin in others:
        facts = {"status": plugin.status, "reason": plugin.reason, "seconds": plugin.seconds}
        text = f"{plugin.status}, {plugin.distribution} {plugin.version}".rstrip(" ,")
        if plugin.failed:
            advice = "fptkit plugins --verbose shows the traceback; FPTKIT_PLUGINS selects plugins"
            yield Finding(plugin.name, f"{text}: {plugin.reason}", "warning", advice, facts)
        elif plugin.slow:
            slow = f"{text}; its import takes {plugin.seconds:.1f} s in every command"
            yield Finding(plugin.name, slow, "warning", "its module of hooks should import nothing heavy", facts)
        else:
            yield Finding(plugin.name, text, facts=facts)


def folders() -> Iterator[Finding]:
    """The folders that fptkit writes to: whether it can, their sizes, free space."""
    yield _folder("working folder", Path.cwd(), None, "run fptkit in a folder that you can write to, or use --output")
    yield _folder("temporary files", Path(tempfile.gettempdir()), None, "set TMPDIR to a folder that you can write to")
    try:
        yield _folder("data", data_folder(), None, "downloads fail; set FPTKIT_DATA to a folder that you can write to")
        caches = all_caches()
    except FptkitError as err:
        yield Finding("data and caches", str(err), "fault")
        return
    for cache in caches:
        if cache.folder is None or cache.problem:
            yield Finding(cache.name, cache.problem, "warning", "what it would hold is made again by each process")
        elif cache.name in ("kernels", "features"):
            advice = "it works without, but slower; see docs/doctor.md"
            yield _folder(cache.name, cache.folder, cache.size, advice)
        elif cache.items:
            yield Finding(cache.name, f"{shown_size(cache.size)}; fptkit clean empties it", facts={"bytes": cache.size})
    size, whole = size_of(hub_cache())
    about = size if whole else None
    yield _folder("model hub", hub_cache(), about, "models cannot be downloaded; set HF_HOME to another folder")


def _folder(name: str, folder: Path, size: int | None, advice: str) -> Finding:
    """Whether a folder can be written, or created; its size and the free space."""
    facts: dict[str, object] = {"folder": str(folder), "bytes": size}
    held = "" if size is None else f", {shown_size(size)}"
    there = next(filter(_exists, (folder, *folder.absolute().parents)))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as err:
        reason = err.strerror or str(err)
        return Finding(name, f"{shown_folder(folder)}{held}: not writable: {reason}", "warning", advice, facts)
    facts["free_bytes"] = free
    text = f"{shown_folder(folder)}{held}{'' if there == folder else ', not created yet'}, {shown_size(free)} free"
    if free < LEAST_FREE:
        return Finding(name, text, "warning", "the disk is almost full; fptkit clean shows what can go", facts)
    return Finding(name, text, facts=facts)


def _exists(place: Path) -> bool:
    """Whether something is at a path, or may be: a folder above it cannot be searched."""
    try:
        return place.exists()
    except OSError:
        return True


def data() -> Iterator[Finding]:
    """The data sets that can be fetched."""
    for name in data_sets.data_set_names():
        found = data_sets.status(name)
        facts = {"state": found.state, "folder": str(found.folder), "bytes": found.size}
        if found.state in ("fetched", "by_hand"):
            yield Finding(name, f"{shown_size(found.size)} in {shown_folder(found.folder)}", facts=facts)
        elif found.state == "incomplete":
            text = f"incomplete in {shown_folder(found.folder)}: {', '.join(found.missing)} missing"
            yield Finding(name, text, "warning", f"fptkit data fetch {name} --force", facts)
        else:
            yield Finding(name, "not here", "note", f"fptkit data fetch {name}", facts)
    yield from _torchvision_data()


def _torchvision_data() -> Iterator[Finding]:
    """The data sets of torchvision, which a task downloads when it is first used."""
    for task, (folder, missing) in torchvision_sets().items():
        facts = {"state": "absent" if missing else "fetched", "folder": str(folder), "bytes": size_of(folder)[0]}
        if missing:
            advice = f"a run of task {task} downloads it; before: fptkit prefetch {task}_gpt2"
            yield Finding(task, "not here", "note", advice, facts)
        else:
            yield Finding(task, f"{shown_size(size_of(folder)[0])} in {shown_folder(folder)}", facts=facts)


def asked_hub() -> Callable[[], list[Finding]]:
    """Ask the hub in the background; returns a function that waits for the answer."""
    from huggingface_hub import constants, get_token

    pool = ThreadPoolExecutor(1)
    answer = pool.submit(hub_problem)
    pool.shutdown(wait=False)

    def findings() -> list[Finding]:
        address = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        problem = answer.result()
        login = "logged in" if get_token() else "no login, which public models do not need"
        facts = {"address": address, "problem": problem, "token": bool(get_token())}
        if not problem:
            return [Finding("hub", f"{address} answers; {login}", facts=facts)]
        advice = "what is downloaded still works; fptkit prefetch fetches on another machine"
        if offline_reason():
            return [Finding("hub", f"not asked: {problem}", "note", advice, facts)]
        return [Finding("hub", problem, "note", advice, facts)]

    return findings
