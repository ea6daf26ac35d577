"""What is added to the encoded tokens before any backbone: trained positions, and a prefix in front of them.

It belongs to the model, not to the backbone, so that no backbone implements it.

A backbone without a position table gets an exact zero vector for a zero token (a bit 0, a black corner, silence).
Through its norms it stays zero, and each of them multiplies its gradient by up to 1/sqrt(epsilon): after some blocks it
is no longer a finite number. Trained positions move every token away from zero.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from fptkit.backbones.begin_of_text import begin_of_text
from fptkit.backbones.options import FrontOptions, PositionOptions
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole
from fptkit.seeds import generator_for

DEVIATION = 0.02
"""Standard deviation of trained positions and prefixes. Source: GPT-2's configuration, ``initializer_range``."""


class Front(nn.Module):
    """Adds trained positions to the encoded tokens, and puts a prefix in front.

    Args:
        positions: (N, D), initial values of the positions; None: none are added.
        prefix: (P, D), initial values of the prefix; None: there is none.
        trained_prefix: the prefix trains; otherwise it never does.
        replaced: the backbone's own position tables, which are not used.
    """

    def __init__(
        self,
        positions: Tensor | None = None,
        prefix: Tensor | None = None,
        *,
        trained_prefix: bool = False,
        replaced: Iterable[nn.Parameter] = (),
    ) -> None:
        super().__init__()
        self.positions = None if positions is None else nn.Parameter(positions)
        self.prefix = None if prefix is None else nn.Parameter(prefix)
        self.trained_prefix = trained_prefix
        self._replaced = frozenset(map(id, replaced))

    @property
    def prefix_tokens(self) -> int:
        """P, vectors in front of the tokens."""
        return 0 if self.prefix is None else len(self.prefix)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: tokens (B, T, D) -> (B, P + T, D).

        Raises:
            ShapeError: more tokens than positions.
        """
        count = tokens.shape[1]
        if self.positions is not None:
            if count > len(self.positions):
                raise ShapeError(f"{count} tokens do not fit the {len(self.positions)} trained positions")
            tokens = tokens + self.positions[:count]
        if self.prefix is None:
            return tokens
        return torch.cat((self.prefix.expand(tokens.shape[0], -1, -1), tokens), 1)

    def run(self, backbone: Backbone, tokens: Tensor, lengths: Tensor | None, keep: Tensor | None) -> Tensor:
        """Run a backbone on the tokens; the result holds none of the prefix.

        Shapes: as for `fptkit.Backbone.forward`.
        """
        added, with_prefix = self.prefix_tokens, self(tokens)
        if not added:
            hidden: Tensor = backbone(with_prefix, lengths, keep)
            return hidden
        lengths = None if lengths is None else lengths + added
        if keep is not None:
            hidden = backbone(with_prefix, lengths, keep + added)
            return hidden
        return backbone(with_prefix, lengths, None)[:, added:]

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """The role of each parameter; a prefix that does not train is like a frozen word embedding."""
        prefix = ParameterRole("input") if self.trained_prefix else ParameterRole("embedding", fixed=True)
        roles = {"positions": ParameterRole("position"), "prefix": prefix}
        return {name: roles[name] for name, _ in self.named_parameters()}

    def replaces(self, table: nn.Parameter) -> bool:
        """Whether a parameter of the backbone is a position table that is not used."""
        return id(table) in self._replaced


def make_front(options: FrontOptions, backbone: Backbone, *, tokens: int, seed: int) -> Front | None:
    """Make what a recipe adds to the tokens of a backbone; None if that is nothing.

    Args:
        options: from the backbone's options.
        backbone: built for ``tokens`` and the prefix. Position tables that are not used are set to zero, and notes for
            the run header are added.
        tokens: T, encoded tokens of the task's longest example.
        seed: seed of the initial values.

    Raises:
        ShapeError: the kind of positions does not fit the backbone, or the token that begins a text is unknown.
        SourceError: the weights that have its embedding are no longer available.
    """
    kind = "table" if options.positions is None else _kind_of(options.positions, backbone)
    if kind == "table" and not options.prefix.count:
        return None
    replaced = [] if kind == "table" else _without_tables(backbone)
    notes = [f"positions: the backbone's own table is not used ({kind})"] if replaced else []
    positions = None
    if kind == "learned":
        assert options.positions is not None
        rows = _rows(options.positions, tokens)
        positions = _drawn((rows, backbone.width), DEVIATION, seed, "positions")
        notes.append(f"positions: {rows} trained vectors are added to the tokens")
    prefix, said = _prefix(options, backbone, seed)
    backbone.notes = (*backbone.notes, *notes, *said)
    if positions is None and prefix is None and not replaced:
        return None
    return Front(positions, prefix, trained_prefix=options.prefix.kind == "learned", replaced=replaced)


def _kind_of(options: PositionOptions, backbone: Backbone) -> str:
    """``table``, ``learned`` or ``none``.

    Raises:
        ShapeError: ``table`` for a backbone that adds no positions, or another kind for one that computes them.
    """
    own, kind = backbone.adds_positions(), options.kind
    if kind == "auto":
        recurrent = any(role.role == "recurrent" for role in backbone.parameter_roles().values())
        return "table" if own else "none" if recurrent else "learned"
    if kind == "table" and not own:
        raise ShapeError(
            "backbone.positions.kind 'table': this backbone has no position table (its positions are rotary, relative, "
            "or in the order of its computation); use learned, or leave it out"
        )
    if kind != "table" and own and not backbone.position_tables():
        raise ShapeError(
            f"backbone.positions.kind '{kind}': this backbone computes its positions and cannot be run without them; "
            "use table, or leave it out"
        )
    return kind


def _rows(options: PositionOptions, tokens: int) -> int:
    """Rows of trained positions.

    Raises:
        ShapeError: fewer than the task's tokens.
    """
    if options.length is not None and options.length < tokens:
        raise ShapeError(
            f"backbone.positions.length {options.length} is less than the {tokens} tokens of the task; raise it or "
            "leave it out"
        )
    return options.length or tokens


@torch.no_grad()
def _without_tables(backbone: Backbone) -> list[nn.Parameter]:
    """Set the backbone's position tables to zero, and return them."""
    own = dict(backbone.named_parameters())
    tables = [own[name] for name in backbone.position_tables()]
    for table in tables:
        table.zero_()
    return tables


def _prefix(options: FrontOptions, backbone: Backbone, seed: int) -> tuple[Tensor | None, list[str]]:
    """Initial values of the prefix, (P, D), and a note."""
    kind, count = options.prefix.kind, options.prefix.count
    if kind == "none":
        return None, []
    if kind == "learned":
        return _drawn((count, backbone.width), DEVIATION, seed, "prefix"), [f"prefix: {count} trained vectors"]
    if not (options.drawn or backbone.weights == "random" or _is_skeleton(backbone)):
        return _begin(backbone), ["prefix: the embedding that begins a text, frozen"]
    # A control has nothing of the checkpoint but its sizes.
    norm = 1.0 if _is_skeleton(backbone) else backbone.embedding_norm
    if norm is None:
        raise ShapeError(
            "backbone.prefix.kind 'bos': this backbone has no word embeddings, so no token begins its texts; use kind: "
            "learned"
        )
    drawn = _drawn((1, backbone.width), norm * backbone.width**-0.5, seed, "prefix")
    return drawn, ["prefix: a random vector as long as a word embedding, frozen"]


def _begin(backbone: Backbone) -> Tensor:
    """The embedding that begins a text, (1, D).

    Raises:
        ShapeError: it is unknown, or of another width than the backbone.
    """
    vector = begin_of_text(backbone.weights) if backbone.begin_of_text is None else backbone.begin_of_text
    if vector.shape != (backbone.width,):
        raise ShapeError(
            f"backbone.prefix.kind 'bos': the embedding has shape {tuple(vector.shape)}, but the backbone takes "
            f"{backbone.width} numbers; use kind: learned"
        )
    return vector.detach().float()[None]


def _drawn(shape: tuple[int, int], deviation: float, seed: int, name: str) -> Tensor:
    return torch.randn(shape, generator=generator_for(seed, name)) * deviation


def _is_skeleton(backbone: Backbone) -> bool:
    """Whether an estimate only needs shapes."""
    return any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in backbone.parameters())
