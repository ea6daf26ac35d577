"""The inputs of an exported program: their names and shapes, and examples to trace and check it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fptkit.errors import ExportError
from fptkit.inference.saved_task import SavedTask
from fptkit.interfaces import AnswerKind, Encoder, InputKind, Inputs, Mixed, Symbols, Vectors

LENGTHS = ("lengths", "real_tokens")
"""Names of the lengths among the inputs; the second if a part of the inputs has the first."""


@dataclass(frozen=True)
class Form:
    """What an exported program takes: one tensor for each part of the inputs, then the lengths if these may vary.

    Args:
        kind: kind of the inputs.
        output: kind of the answers.
        needed: real tokens that every example must have, for the read-out.
        least: tokens of the shortest batch, padding included.
        most: tokens of the longest batch.
    """

    kind: InputKind
    output: AnswerKind
    needed: int
    least: int
    most: int

    @property
    def parts(self) -> Mapping[str, InputKind]:
        """The kind of each input tensor by its name."""
        return self.kind.parts if isinstance(self.kind, Mixed) else {"inputs": self.kind}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors that the program takes, in their order."""
        return (*self.parts, self.lengths) if self.kind.varies else tuple(self.parts)

    @property
    def lengths(self) -> str:
        """The name of the lengths."""
        return next(name for name in LENGTHS if name not in self.parts)

    @property
    def fixed(self) -> bool:
        """Whether shorter examples must be padded to ``most`` tokens."""
        return self.least == self.most

    def inputs(self, tensors: tuple[Tensor, ...]) -> tuple[Inputs, Tensor | None]:
        """The arguments of the model from those of the program."""
        lengths = tensors[-1] if self.kind.varies else None
        if not isinstance(self.kind, Mixed):
            return tensors[0], lengths
        return dict(zip(self.parts, tensors, strict=False)), lengths

    def shapes(self) -> dict[str, tuple[str, str]]:
        """Shape and dtype of each tensor, as text."""
        tokens = str(self.most) if self.fixed else "tokens"
        found = {}
        for name, kind in self.parts.items():
            free = tokens if self.kind.varies and name == self._last else str(self._tokens(name, self.most))
            if isinstance(kind, Symbols):
                found[name] = f"(batch, {free})", f"int64, symbols from 0 to {kind.count - 1}"
            elif isinstance(kind, Vectors):
                found[name] = f"(batch, {free}, {kind.width})", "float32"
            else:
                rows, columns = kind.size  # type: ignore[union-attr]
                found[name] = f"(batch, {rows}, {columns}, {kind.channels})", "float32"  # type: ignore[union-attr]
        if self.kind.varies:
            found[self.lengths] = "(batch,)", "int64, real tokens of each example; the tokens after them are padding"
        return found

    def draw(self, examples: int, tokens: int, seed: int) -> tuple[Tensor, ...]:
        """Random inputs: standard normal numbers, any symbols, any lengths; the first example has no padding.

        Args:
            examples: number of examples.
            tokens: tokens of the batch, in the part that may vary.
            seed: decides the numbers.
        """
        generator = torch.Generator().manual_seed(seed)
        found = [
            torch.randint(kind.count, (examples, self._tokens(name, tokens)), generator=generator)
            if isinstance(kind, Symbols)
            else torch.randn(self._shape(name, kind, examples, tokens), generator=generator)
            for name, kind in self.parts.items()
        ]
        if self.kind.varies:
            lengths = torch.randint(min(self.needed, tokens), tokens + 1, (examples,), generator=generator)
            lengths[0] = tokens
            found.append(lengths)
        return tuple(found)

    @property
    def _last(self) -> str:
        return list(self.parts)[-1]

    def _tokens(self, name: str, tokens: int) -> int:
        """Tokens of a part if the one that may vary has ``tokens``."""
        return tokens if name == self._last or not isinstance(self.kind, Mixed) else self.kind.tokens_of(name)

    def _shape(self, name: str, kind: InputKind, examples: int, tokens: int) -> tuple[int, ...]:
        if isinstance(kind, Vectors):
            return (examples, self._tokens(name, tokens), kind.width)
        return (examples, *kind.size, kind.channels)  # type: ignore[union-attr]


def form_of(task: SavedTask, encoder: nn.Module) -> Form:
    """The form of a task's inputs, for any number of tokens.

    Args:
        task: the task of the run.
        encoder: its encoder, which decides how many tokens the read-out needs.

    Raises:
        ExportError: parts other than the last one vary in length.
    """
    kind = task.input
    if isinstance(kind, Mixed) and kind.columns:
        raise ExportError(
            f"the parts {', '.join(kind.columns)} of the inputs vary in length, which an exported program cannot "
            "express; use the format safetensors, which needs no trace of the model"
        )
    most = kind.tokens_of(kind.last) if isinstance(kind, Mixed) else task.max_tokens
    if not kind.varies:
        return Form(kind, task.output, most, most, most)
    read = task.output.tokens
    # Backbones compute few read-out tokens in another way than many, and torch.export takes a size of 1 as constant.
    return Form(kind, task.output, _needed(encoder, read, most), max(2, _needed(encoder, 2 * read, most)), most)


def _needed(encoder: nn.Module, read: int, most: int) -> int:
    """The raw tokens that make as many encoded tokens as are read."""
    if not isinstance(encoder, Encoder):
        return min(read, most)
    made = encoder.encoded_lengths(torch.arange(1, most + 1)) >= read
    return int(made.nonzero()[0]) + 1 if bool(made.any()) else most
