"""MNIST and CIFAR-10 with torchvision's addresses, checksums and folder layout.

`fptkit.sources.download` fetches the files, since torchvision's own download has no timeout. A folder that torchvision
filled is used as it is. CIFAR-10's pickles are read by the restricted reader and never executed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from torchvision.datasets import CIFAR10, MNIST
from torchvision.datasets.utils import check_integrity

from fptkit.errors import DataError, SourceError
from fptkit.sources import Unavailable, data_folder, shown_folder
from fptkit.sources.archive import unpack
from fptkit.sources.download import Retries, download, file_sha256
from fptkit.sources.probe import NoAnswer, first_answering
from fptkit.tasks.images.readers import Form, LabelledImages, read_cifar_folder, read_idx_folder

SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
}
"""Digests of the files that are downloaded; torchvision's MD5 digests can be forged.

Source: Keras' ``datasets.cifar10`` for CIFAR-10; TensorFlow Datasets and many others for MNIST."""

_MOST_BYTES = 2**30


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
                    _fetch(server.removesuffix(bad[0]) + name, folder / name)
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
                if not archive.is_file() or file_sha256(archive) != SHA256[archive.name]:
                    _fetch(_answering([CIFAR10.url], _state(folder, bad)), archive)
                _replace_by(archive, folder, wanted)
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


def _replace_by(archive: Path, folder: Path, names: Iterable[str]) -> None:
    """Unpack an archive beside a folder, and replace the folder's files of these names; the archive is removed."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacked-") as place:
        unpack(archive, Path(place))
        for name in names:
            unpacked = Path(place) / folder.name / name
            if not unpacked.is_file():
                raise DataError(f"{archive}: it has no {folder.name}/{name}; remove it, and try again")
            unpacked.replace(folder / name)
    archive.unlink()


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


def _fetch(address: str, destination: Path) -> None:
    """Download a file whose digest is known. Another file is removed.

    Raises:
        Unavailable: it cannot be downloaded, or is another one.
    """
    retries = Retries(timeout_s=15.0, attempts=3)
    try:
        download(address, destination, sha256=SHA256[destination.name], most_bytes=_MOST_BYTES, retries=retries)
    except SourceError as err:
        raise Unavailable("; ".join(f"{entry}: {reason}" for entry, reason in err.tried)) from err
    except DataError as err:
        raise Unavailable(str(err)) from err
