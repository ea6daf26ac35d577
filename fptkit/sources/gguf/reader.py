"""Opening a GGUF file with the library ``gguf``: every fault of the file is one clear line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptkit.errors import DataError
from fptkit.sources.choice import Unavailable
from fptkit.sources.decoding import decoding

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from torch import Tensor

ENDING = ".gguf"
_GGUF, _AGAIN = "a GGUF file", "download or copy it again"


@dataclass(frozen=True)
class GgufFile:
    """An opened GGUF file.

    Args:
        path: the file.
        metadata: its keys and values; arrays are lists.
        stored: its tensors as the library describes them, by name.
    """

    path: Path
    metadata: Mapping[str, Any]
    stored: Mapping[str, Any] = field(repr=False)

    @cached_property
    def architecture(self) -> str:
        """Name of the architecture, such as ``llama``."""
        return str(self.metadata.get("general.architecture", ""))

    def value(self, key: str, default: Any = None) -> Any:
        """A value of the architecture's own part of the metadata, such as ``attention.head_count``."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor as torch counts it, the last dimension first in the file."""
        return tuple(int(size) for size in reversed(self.stored[name].shape.tolist()))

    def numbers(self, name: str) -> NDArray[numpy.float32]:
        """Read and dequantise a tensor: exactly what ``gguf.dequantize`` returns.

        Raises:
            DataError: it is in a format that the library cannot dequantise.
        """
        import numpy
        from gguf import dequantize

        held = self.stored[name]
        advice = "use a file in a common format, such as Q8_0, Q4_K or F16"
        with decoding(self.path, f"tensor {name} in the format {held.tensor_type.name}", advice=advice):
            numbers = dequantize(held.data, held.tensor_type)
        # A copy: the numbers of an unquantised tensor are the file itself, which is not writable.
        return numpy.array(numbers, dtype=numpy.float32).reshape(self.shape(name))

    def tensor(self, name: str) -> Tensor:
        """`numbers` as a tensor of torch."""
        import torch

        return torch.from_numpy(self.numbers(name))

    def is_quantised(self, name: str) -> bool:
        """Whether a tensor is stored in fewer bits, with scales."""
        return self.stored[name].tensor_type.name not in ("F64", "F32", "F16", "BF16")

    def dtype(self, name: str) -> str:
        """torch's name of the dtype that holds an unquantised tensor exactly, or float32."""
        return {"F16": "float16", "BF16": "bfloat16"}.get(self.stored[name].tensor_type.name, "float32")


def open_gguf(path: Path) -> GgufFile:
    """Open a GGUF file; its tensors are read later, one by one.

    Raises:
        Unavailable: the package ``gguf`` is not installed.
        DataError: the file is no GGUF file, incomplete or damaged, of a version that is not read, or a part of several.
    """
    reader = _reader(path)
    metadata = dict(_values(reader, path))
    if int(metadata.get("split.count") or 0) > 1:
        raise DataError(
            f"{path} is part {int(metadata.get('split.no') or 0) + 1} of {metadata['split.count']} files; merge them "
            "with `llama-gguf-split --merge FIRST OUT` of llama.cpp, and use OUT"
        )
    return GgufFile(path, metadata, {held.name: held for held in reader.tensors})


def _reader(path: Path) -> Any:
    try:
        import gguf
        import numpy
    except ImportError as err:
        raise Unavailable(f"{path} is a GGUF file, which needs the package gguf: pip install gguf") from err

    class CheckedReader(gguf.GGUFReader):
        """The library's reader, which otherwise takes what is behind the end of a file for an empty array."""

        data: Any

        def _get(self, offset: int, dtype: Any, count: int = 1, *further: Any, **options: Any) -> Any:
            if type(self.data) is not numpy.ndarray:  # a slice of a plain array takes a third of the time
                self.data = self.data.view(numpy.ndarray)
            end = int(offset) + int(count) * numpy.dtype(dtype).itemsize
            if end > len(self.data):
                raise DataError(
                    f"{path} is incomplete: it should have {end:,} bytes or more, but has {len(self.data):,}; {_AGAIN}"
                )
            return super()._get(offset, dtype, count, *further, **options)

    with decoding(path, _GGUF, advice=_AGAIN):
        return CheckedReader(path)


def _values(reader: Any, path: Path) -> Iterator[tuple[str, Any]]:
    for key, stored in reader.fields.items():
        with decoding(path, _GGUF, advice=_AGAIN):
            value = stored.contents()
        yield key, value
