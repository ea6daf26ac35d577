"""Delta files: everything of a run but its frozen part, in one safetensors file.

The tensors are those that training changed, by their names in the model. The header's ``__metadata__`` holds, as text:

| key | content |
|---|---|
| ``fptkit_delta`` | format of the file |
| ``recipe`` | the resolved recipe, YAML, without the places of the data |
| ``preparation`` | ``preparation.json`` |
| ``attachments`` | JSON: name of a file that belongs to it -> content, zlib in base64 |
| ``model`` | JSON: step, identity and digest of the frozen part and of the data, version |
| ``digest`` | SHA-256 of the tensors: names, dtypes, shapes, bytes |
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from torch import Tensor

from fptkit.engine.checkpoint import write_model_files
from fptkit.errors import CheckpointError, DataError
from fptkit.files import MODEL, PREPARATION, RECIPE, write_bytes, write_text
from fptkit.freezing.proof import digest_tensors
from fptkit.sources.decoding import SAFETENSORS, decoding

FORMAT = "1"
KEY = "fptkit_delta"

_LARGEST_HEADER = 100_000_000
"""Bytes; that of safetensors itself."""

_LARGEST_ATTACHMENT = 500_000_000
"""Bytes of an attachment once it is decompressed: far more than any tokenizer, far less than a decompression bomb."""


def write_delta(
    path: Path,
    tensors: dict[str, Tensor],
    *,
    recipe: str,
    preparation: str,
    attachments: dict[str, bytes],
    origin: dict[str, Any],
) -> None:
    """Write a delta file.

    Args:
        path: the file.
        tensors: the trained tensors.
        recipe: the resolved recipe, YAML.
        preparation: content of ``preparation.json``.
        attachments: files that belong to it.
        origin: content of ``model.json``.
    """
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    packed = {name: base64.b64encode(zlib.compress(data, 9)).decode() for name, data in attachments.items()}
    metadata = {
        KEY: FORMAT,
        "recipe": recipe,
        "preparation": json.dumps(json.loads(preparation)),
        "attachments": json.dumps(packed),
        "model": json.dumps(_own(origin)),
        "digest": digest_tensors(sorted(stored.items())),
    }
    write_bytes(path, save(stored, metadata=metadata))


def is_delta(path: Path) -> bool:
    """Whether a file is a delta file, of any format."""
    return KEY in _metadata(path)


def unpack_delta(path: Path, folder: Path) -> None:
    """Write the files of a run folder from a delta file.

    Args:
        path: the file.
        folder: an existing folder.

    Raises:
        CheckpointError: the file is truncated, altered, or of another format.
    """
    from safetensors.torch import load

    metadata = _metadata(path)
    if metadata.get(KEY) != FORMAT:
        raise CheckpointError(f"{path} has format {metadata.get(KEY)!r}; this version reads format {FORMAT}")
    with decoding(path, SAFETENSORS, CheckpointError, advice="it is truncated or was altered; get an intact copy"):
        tensors = load(path.read_bytes())
    if digest_tensors(sorted(tensors.items())) != metadata.get("digest"):
        raise CheckpointError(f"{path} was altered: its tensors do not have its digest; get an intact copy")
    with decoding(path, "a delta file", CheckpointError, advice="it is truncated or was altered; get an intact copy"):
        recipe, preparation = str(metadata["recipe"]), str(metadata["preparation"])
        packed = json.loads(metadata["attachments"])
        attached = {_plain_name(n): _decompressed(base64.b64decode(held, validate=True)) for n, held in packed.items()}
        origin = _own(json.loads(metadata["model"]))
    write_text(folder / RECIPE, recipe)
    write_text(folder / PREPARATION, preparation)
    for name, content in attached.items():
        write_bytes(folder / name, content)
    write_model_files(folder, {"model": tensors}, MODEL, origin)


def _metadata(path: Path) -> dict[str, Any]:
    """The metadata of a safetensors file; empty if it is none."""
    try:
        with decoding(path, SAFETENSORS), path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if 0 < size <= _LARGEST_HEADER else {}
    except DataError:
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _own(origin: dict[str, Any]) -> dict[str, Any]:
    """The content of ``model.json`` without what describes the file itself."""
    return {key: value for key, value in origin.items() if key not in ("format", "files")}


def _plain_name(name: str) -> str:
    """A name without folders that is none of the run's own files.

    Raises:
        ValueError: it is another one.
    """
    if name != Path(name).name or name.startswith(".") or "\\" in name or name in (RECIPE, PREPARATION, MODEL):
        raise ValueError(f"an attachment is called {name!r}")
    return name


def _decompressed(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(data, _LARGEST_ATTACHMENT)
    if unpacker.unconsumed_tail:
        raise ValueError("an attachment is too large")
    return found
