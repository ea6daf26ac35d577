"""Reading a pickle without running its code.

TAPE's LMDB files hold pickles, and a pickle is a program: it may call any function that can be imported. This reader
accepts plain values (numbers, text, bytes, lists, tuples, dicts, None) and numeric numpy arrays. Everything else is
refused by name before it is imported. Even numpy's own functions are not called: the placeholders below record their
calls, and the array is then created from its bytes.

Room is made only for what a pickle has, not for what it claims to have.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fptkit.sources.decoding import cause_of

_NUMERIC = re.compile(r"[<>=|]?([biufc])(\d+)|[<>=|]?(\?)")


class RefusedError(pickle.UnpicklingError):
    """A pickle contains something other than plain values and numeric arrays.

    Args:
        name: what it refers to, as ``module.name``.
        reason: text of the error.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(reason)


class _StandIn:
    """Placeholder for a numpy object while a pickle is read."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"the pickle sets attributes of {type(self).__name__.strip('_')}")


class _Type(_StandIn):
    """A ``numpy.dtype``: its code, and the byte order that its state sets."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        if not isinstance(code, str) or not _NUMERIC.fullmatch(code):
            raise RefusedError("numpy.dtype", f"arrays of dtype {code!r} are refused: only plain numbers are read")
        self.code = code

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subarray, names, fields, ...); other dtypes than plain numbers set one of the last three
        if not (isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "=")):
            raise pickle.UnpicklingError(f"unreadable dtype state {state!r}")
        if any(part is not None for part in state[2:5]):
            raise RefusedError("numpy.dtype", "structured arrays are refused: only plain numbers are read")
        self.code = state[1] + self.code.lstrip("<>=|")

    def array(self, shape: Any, raw: object, order: Any = "C") -> NDArray[Any]:
        if isinstance(raw, str):  # Python 2 wrote bytes like this
            raw = raw.encode("latin-1")
        whole = isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)
        if not whole or not isinstance(raw, (bytes, bytearray)):
            raise pickle.UnpicklingError(f"an array of shape {shape!r} with data of type {type(raw).__name__}")
        dtype = np.dtype(self.code)
        if len(raw) != math.prod(shape) * dtype.itemsize:
            raise pickle.UnpicklingError(f"an array of shape {shape!r} and dtype {dtype} with {len(raw)} bytes")
        array: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape, order=order)
        return array


class _Array(_StandIn):
    """``numpy.ndarray`` before and after its state is set."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: object) -> None:
        # (version, shape, dtype, is Fortran order, bytes)
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Type)):
            raise pickle.UnpicklingError("unreadable array state")
        self.value = state[2].array(state[1], state[4], "F" if state[3] else "C")


class _Function(_StandIn):
    __slots__ = ()


class _MakeArray(_Function):
    """``numpy.core.multiarray._reconstruct(ndarray, shape, code)``."""

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if not isinstance(kind, _ArrayClass):
            raise pickle.UnpicklingError("an array of another class than numpy.ndarray")
        return _Array()


class _MakeScalar(_Function):
    """``numpy.core.multiarray.scalar(dtype, bytes)``."""

    def __call__(self, kind: object, raw: object) -> Any:
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("unreadable numpy number")
        return kind.array((), raw)[()]


class _MakeArrayOfBuffer(_Function):
    """``numpy.core.numeric._frombuffer(bytes, dtype, shape, order)``: how protocol 5 writes arrays."""

    def __call__(self, raw: object, kind: object, shape: object, order: object) -> NDArray[Any]:
        if not isinstance(kind, _Type) or order not in ("C", "F"):
            raise pickle.UnpicklingError("unreadable array")
        return kind.array(shape, raw, order)


class _MakeType(_Function):
    """``numpy.dtype(code, align, copy)``."""

    def __call__(self, code: Any, align: object = False, copy: object = True) -> _Type:
        return _Type(code)


class _ArrayClass(_Function):
    """``numpy.ndarray``, which only `_MakeArray` accepts."""


class _MakeBytes(_Function):
    """``_codecs.encode(text, "latin1")`` and ``bytes()``: how Python 3 writes bytes for protocols 0 to 2."""

    def __call__(self, text: object = "", encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes made from {type(text).__name__} by {encoding!r}")
        return text.encode("latin-1")


_ADMITTED: dict[str, _Function] = {
    "numpy.ndarray": _ArrayClass(),
    "numpy.dtype": _MakeType(),
    "_codecs.encode": _MakeBytes(),
    "builtins.bytes": _MakeBytes(),
    "__builtin__.bytes": _MakeBytes(),
    **{
        f"numpy.{core}.multiarray.{name}": maker
        for core in ("core", "_core")
        for name, maker in (("_reconstruct", _MakeArray()), ("scalar", _MakeScalar()))
    },
    **{f"numpy.{core}.numeric._frombuffer": _MakeArrayOfBuffer() for core in ("core", "_core")},
}


class _PlainUnpickler(pickle._Unpickler):
    """The unpickler written in Python: that in C makes room for what a pickle of ten bytes merely names."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted not in _ADMITTED:
            raise RefusedError(wanted, f"it refers to '{wanted}', which is not a plain value or a numpy array")
        return _ADMITTED[wanted]

    def _load_bytearray(self) -> None:
        """Bytes that can be changed, as arrays have them; the size that the pickle claims is not trusted."""
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(min(size, sys.maxsize))))

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray


def loads(data: bytes) -> Any:
    """Read a pickle of plain values and numeric numpy arrays.

    Arrays are created only at the top level or as values of a top-level dict, as in TAPE's records. More deeply nested
    arrays stay placeholders.

    Raises:
        pickle.UnpicklingError: the pickle is damaged.
        RefusedError: the pickle contains something other than plain values and numeric arrays.
    """
    try:
        value = _PlainUnpickler(io.BytesIO(data), encoding="latin-1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as err:  # the documentation of pickle: damaged data may raise any exception
        raise pickle.UnpicklingError(f"damaged pickle ({cause_of(err)})") from err
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    return _finished(value)


def _finished(value: Any) -> Any:
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, _StandIn):
        raise pickle.UnpicklingError(f"the pickle holds a bare {type(value).__name__.strip('_')}")
    return value
