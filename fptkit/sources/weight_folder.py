"""A checkpoint on the disk in the Hugging Face format: its config, and its tensors in one file or several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptkit.errors import DataError
from fptkit.files import read_json
from fptkit.sources.activity import doing
from fptkit.sources.decoding import SAFETENSORS, decoding, shown_value
from fptkit.sources.formats import INDEX, SINGLE

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightFolder:
    """A checkpoint in the Hugging Face format.

    Args:
        entry: the entry of ``weights`` that it was opened from.
        config: content of its ``config.json``.
        file: its ``model.safetensors``, or the index of a checkpoint split into several files.
        notes: what a user should know about how it was opened.
    """

    entry: str
    config: dict[str, Any]
    file: Path
    notes: tuple[str, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """Load all tensors, by name.

        Raises:
            DataError: a file is missing or is not a readable safetensors file.
        """
        from safetensors.torch import load_file

        doing(f"reading weights {self.entry}")
        whole = self.file.name == SINGLE
        weight_map = {} if whole else read_index(self.file, self.entry)
        found: dict[str, Tensor] = {}
        for name in [SINGLE] if whole else sorted(set(weight_map.values())):
            file = self.file.with_name(name)
            if not file.exists():
                raise DataError(f"{self.entry}: {file} is missing, but {INDEX} names it; put it back")
            with decoding(file, SAFETENSORS, where=self.entry):
                held = load_file(file)
            found.update(held)
            found.update(
                {tied: found[stored] for tied, stored in _tied_names(file, self.entry).items() if stored in found}
            )
            if absent := sorted(tensor for tensor, place in weight_map.items() if place == name and tensor not in held):
                raise DataError(
                    f"{self.entry}: {file} lacks {len(absent)} tensors that {INDEX} places there, the first is "
                    f"{absent[0]}; replace both by intact copies"
                )
        return found


def _tied_names(file: Path, entry: str) -> dict[str, str]:
    """Names of tied tensors that a file stores under another name, with that name.

    Source: safetensors, ``safetensors.torch.save_model``, which stores them as metadata.
    """
    from safetensors import safe_open

    with decoding(file, SAFETENSORS, where=entry), safe_open(file, framework="pt") as opened:
        names, metadata = set(opened.keys()), opened.metadata() or {}
    return {tied: kept for tied, kept in metadata.items() if kept in names and tied not in names}


def read_index(index: Path, entry: str) -> dict[str, str]:
    """Read the index of a split checkpoint: the file of every tensor, all in the folder of the index.

    Args:
        index: path of the index.
        entry: the checkpoint, for messages.

    Raises:
        DataError: the index is not readable, or names a file outside its folder.
    """
    files = read_json(index, where=entry).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise DataError(f"{entry}: {index} is not an index of safetensors files: it has no mapping 'weight_map'")
    for name in files.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{entry}: {index} names {shown_value(name)}, which is not a file in the same folder")
    return files


def shards_of(index: Path, entry: str) -> list[str]:
    """Return the names of the files in an index. Arguments and errors as for `read_index`."""
    return sorted(set(read_index(index, entry).values()))
