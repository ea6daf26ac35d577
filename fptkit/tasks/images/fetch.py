"""MNIST and CIFAR-10 with torchvision's addresses, checksums and folder layout.

`fptkit.sources.download` fetches the files, since torchvision's own download has no timeout. A folder that torchvision
filled is used as it is. CIFAR-10's pickles are read by the restricted reader and never executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from torchvision.datasets import CIFAR10, MNIST
from torchvision.datasets.utils import check_integrity, check_md5

from fptkit.errors import DataError, SourceError
from fptkit.sources import Unavailable, data_folder, shown_folder
from fptkit.sources.download import Retries, download, unpack
from fptkit.sources.probe import NoAnswer, first_answering
from fptkit.tasks.images.readers import Form, LabelledImages, read_cifar_folder, read_idx_folder


def torchvision_folder() -> Path:
    """Return the folder that is torchvision's ``root``."""
    return data_folder() / "torchvision"


def fetched_mnist(form: Form) -> dict[str, LabelledImages]:
    """Return MNIST; download it unless it is cached and its checksums match.

    Raises:
        Unavailable: it is not cached and cannot be downloaded.
    """
    folder = torchvision_folder() / "MNIST" / "raw"
    wanted = dict(MNIST.resources)
    if _bad_files(folder, wanted):
        with _locked(folder):
            if bad := _bad_files(folder, wanted):
                server = _answering([mirror + bad[0] for mirror in MNIST.mirrors], _state(folder, bad))
                for name in bad:
                    _fetch(server.removesuffix(bad[0]) + name, folder / name, wanted[name])
    # torchvision also stores unpacked files, which have no checksums; only the archives are verified.
    return read_idx_folder(folder, form, packed=True)


def fetched_cifar10(form: Form) -> dict[str, LabelledImages]:
    """Return CIFAR-10; download it unless it is cached and its checksums match.

    Raises:
        Unavailable: it is not cached and cannot be downloaded.
        DataError: the archive's checksum matches, but that of an unpacked file does not.
    """
    root = torchvision_folder()
    folder = root / CIFAR10.base_folder
    wanted = dict([*CIFAR10.train_list, *CIFAR10.test_list])
    if _bad_files(folder, wanted):
        with _locked(folder):
            if bad := _bad_files(folder, wanted):
                archive = root / CIFAR10.filename
                if not check_integrity(archive, CIFAR10.tgz_md5):
                    _fetch(_answering([CIFAR10.url], _state(folder, bad)), archive, CIFAR10.tgz_md5)
                unpack(archive, root)
                archive.unlink()
                if bad := _bad_files(folder, wanted):
                    raise DataError(f"{shown_folder(folder)}: wrong checksum of {', '.join(bad)} from the archive")
    return read_cifar_folder(folder, form)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time download into a folder; the next one waits and then finds the files."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as err:
        raise Unavailable(f"not in {shown_folder(folder)}, which is not writable ({err.strerror})") from err
    try:
        yield
    finally:
        lock.release()


def _bad_files(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Names of files that are missing or have the wrong MD5."""
    return [name for name, md5 in wanted.items() if not check_integrity(folder / name, md5)]


def _state(folder: Path, bad: Sequence[str]) -> str:
    damaged = [name for name in bad if (folder / name).is_file()]
    if damaged:
        return f"{shown_folder(folder / damaged[0])} is damaged (wrong checksum)"
    return f"not in {shown_folder(folder)}"


def _answering(addresses: Sequence[str], state: str) -> str:
    """The first address whose server answers.

    Raises:
        Unavailable: none does.
    """
    try:
        return first_answering(addresses)
    except NoAnswer as err:
        raise Unavailable(f"{state}, and {addresses[0]} cannot be reached ({err})") from err


def _fetch(address: str, destination: Path, md5: str) -> None:
    try:
        download(address, destination, retries=Retries(timeout_s=15.0, attempts=3))
    except SourceError as err:
        raise Unavailable("; ".join(f"{entry}: {reason}" for entry, reason in err.tried)) from err
    if not check_md5(destination, md5):
        destination.unlink()
        raise Unavailable(f"{address}: the checksum of the downloaded file differs from torchvision's; file removed")
