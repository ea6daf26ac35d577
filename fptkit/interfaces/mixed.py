"""The input kind of several parts, of which one or several may vary in length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from fptkit.errors import ShapeError
from fptkit.interfaces.kinds import Grid, Symbols, Vectors
from fptkit.interfaces.one_tensor import Faults


@dataclass(frozen=True)
class Mixed:
    """Input kind: several named parts of different kinds, whose tokens are concatenated.

    Shapes: inputs are a mapping from names to the tensors of the parts, each with B rows.

    By default only the last part may vary in length; every other part has the same number of tokens in all examples,
    and the lengths of a batch are (B,), those of the last part. With ``varying`` other parts, or several, may: lengths
    are then (B, P), one column for each part. Each part is padded on the right; after encoding, the real tokens of all
    parts follow each other without gaps.

    Args:
        parts: the kind of each part, in the order of their tokens.
        tokens: number of tokens of each part except grids; for a part that may vary, the maximum.
        varying: the parts that may vary in length, in the order of the parts; empty: the last one, unless it is a grid.

    Raises:
        ShapeError: there are no parts, a kind is invalid, ``tokens`` lacks a part or names a wrong one, or ``varying``
            names a part that is not there or is a grid, or is in another order.

    Example:
        >>> import fptkit
        >>> kind = fptkit.Mixed({"image": fptkit.Grid((8, 8)), "words": fptkit.Symbols(1000)}, tokens={"words": 20})
        >>> kind.max_tokens, kind.last
        (84, 'words')
        >>> words, tokens = fptkit.Symbols(1000), {"question": 10, "answer": 20}
        >>> fptkit.Mixed({"question": words, "answer": words}, tokens, varying=("question", "answer")).columns
        ('question', 'answer')
    """

    name: ClassVar[str] = "mixed"

    parts: Mapping[str, Vectors | Symbols | Grid]
    tokens: Mapping[str, int] = field(default_factory=dict)
    varying: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", dict(self.parts))
        object.__setattr__(self, "tokens", dict(self.tokens))
        object.__setattr__(self, "varying", tuple(self.varying))
        if not self.parts:
            raise ShapeError("Mixed: name at least one part")
        for name, kind in self.parts.items():
            if not isinstance(name, str) or not isinstance(kind, (Vectors, Symbols, Grid)):
                raise ShapeError(f"Mixed: part {name!r} is {kind!r}, expected a name with Vectors, Symbols or Grid")
        wanted = [name for name, kind in self.parts.items() if kind.fixed_tokens is None]
        if sorted(wanted) != sorted(self.tokens):
            raise ShapeError(
                f"Mixed: tokens has {', '.join(map(str, self.tokens)) or 'no parts'}; expected all parts except grids: "
                f"{', '.join(wanted) or 'none'}"
            )
        for name, count in self.tokens.items():
            if not isinstance(count, int) or count < 1:
                raise ShapeError(f"Mixed: tokens of part '{name}' are {count!r}, expected an integer of at least 1")
        able = [name for name, kind in self.parts.items() if kind.varies]
        if list(self.varying) != [name for name in able if name in self.varying]:
            raise ShapeError(
                f"Mixed: varying is {', '.join(self.varying)}; expected some of these parts, in this order: "
                f"{', '.join(able) or 'none'}"
            )

    @property
    def last(self) -> str:
        """Name of the last part."""
        return list(self.parts)[-1]

    @property
    def columns(self) -> tuple[str, ...]:
        """The parts, if lengths are (B, P) with a column for each; empty if they are (B,), those of the last part."""
        return () if self.varying in ((), (self.last,)) else tuple(self.parts)

    def length_of(self, name: str, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths of one part of a batch; None if all its tokens are real.

        Shapes: lengths (B,) or (B, P), see `columns` -> (B,).
        """
        if lengths is None:
            return None
        if not self.columns:
            return lengths if name == self.last else None
        return lengths[:, self.columns.index(name)] if name in self.varying else None

    def whole_lengths(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the lengths of a batch in which all tokens are real, in the form of `fptkit.Batch`."""
        counts = [self.parts[name].tokens_in(inputs[name]) for name in self.columns or (self.last,)]
        each = torch.tensor(counts).expand(len(inputs[self.last]), -1)
        return each if self.columns else each[:, 0]

    def tokens_of(self, name: str) -> int:
        """Return the raw tokens of a part; for the last part, the maximum."""
        own = self.parts[name].fixed_tokens
        return self.tokens[name] if own is None else own

    @property
    def max_tokens(self) -> int:
        """Raw tokens of the longest example, over all parts."""
        return sum(self.tokens_of(name) for name in self.parts)

    @property
    def fixed_tokens(self) -> int:
        """Same as ``max_tokens``."""
        return self.max_tokens

    @property
    def varies(self) -> bool:
        """Whether any part may vary in length."""
        return bool(self.columns) or self.parts[self.last].varies

    @property
    def tokens_before(self) -> int:
        """Raw tokens of the parts before the last one; of the longest example, if they vary."""
        return self.max_tokens - self.tokens_of(self.last)

    def tokens_in(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the raw tokens per example of a batch, over all parts, including padding."""
        return sum(kind.tokens_in(inputs[name]) for name, kind in self.parts.items())

    def padded(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the tensor of the last part; its tokens may be padded."""
        return inputs[self.last]

    def padding(self, inputs: Mapping[str, Tensor], lengths: Tensor) -> Tensor:
        """Return the number of padding tokens of each example, over all parts. Shapes: -> (B,)."""
        whole = self.whole_lengths(inputs).to(lengths.device)
        return (whole - lengths).reshape(len(lengths), -1).sum(1)

    def example(self, inputs: Mapping[str, Tensor], row: int, length: int | Tensor | None = None) -> dict[str, Tensor]:
        """Return one example of a batch as a batch of size 1, without padding.

        Args:
            inputs: those of the batch.
            row: of the example.
            length: its real tokens, a row of the batch's lengths; None: nothing is cut.
        """
        lengths = None if length is None else torch.as_tensor(length)[None]
        ends = {name: self.length_of(name, lengths) for name in self.parts}
        return {
            name: part[row : row + 1, : None if (end := ends[name]) is None else int(end)]
            for name, part in inputs.items()
        }

    def faults(self, inputs: Any, size: int, max_tokens: int) -> Faults:
        """Yield the possible faults of inputs that should have ``size`` examples."""
        given = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
        named = isinstance(inputs, Mapping) and tuple(inputs) == tuple(self.parts)
        yield not named, f"inputs are {given}, expected a mapping with the parts {', '.join(self.parts)} in this order"
        for name, part in self.parts.items():
            declared, free = self.tokens_of(name), name in (self.varying or (self.last,))
            for wrong, message in part.faults(inputs[name], size, declared):
                yield wrong, f"part '{name}': {message}"
            tokens = part.tokens_in(inputs[name])
            yield (
                not free and tokens != declared,
                f"part '{name}' has {tokens} tokens, but {declared} are declared; only "
                f"{', '.join(self.varying) or 'the last part'} may vary",
            )

    def length_faults(self, inputs: Mapping[str, Tensor], lengths: Tensor, size: int) -> Faults:
        """Yield the possible faults of a batch's lengths."""
        expected = (size, len(self.columns)) if self.columns else (size,)
        yield tuple(lengths.shape) != expected, f"lengths are {tuple(lengths.shape)}, expected {expected}"
        yield int(lengths.min()) < 1, "an example has no tokens" + (" in a part" if self.columns else "")
        for name in self.parts:
            own = self.length_of(name, lengths)
            yield own is not None and int(own.max()) > inputs[name].shape[1], "a length exceeds the batch's tokens"
        fixed = [place for place, name in enumerate(self.columns) if name not in self.varying]
        whole = self.whole_lengths(inputs).to(lengths.device)
        yield (
            bool(fixed) and not torch.equal(lengths[:, fixed], whole[:, fixed]),
            f"lengths of parts that do not vary must be the tokens of these parts, {whole[0].tolist()}",
        )


InputKind: TypeAlias = Vectors | Symbols | Grid | Mixed


KIND_NAMES: Mapping[type, str] = {kind: kind.name for kind in (Vectors, Symbols, Grid, Mixed)}
"""The name of each input kind in ``EncoderSpec.accepts``."""
