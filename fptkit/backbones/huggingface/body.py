"""A model's blocks run on token vectors, for models of transformers that do not accept ``inputs_embeds``.

The library's modules are used unchanged and keep their parameters; only the loop over the blocks is written here, with
the modules before and after it. Class and register tokens, and what turns pixels or samples into tokens, are left out.

Two things differ from training in the library: blocks and tokens are never skipped at random (``drop_path``,
``layerdrop``), and batch norms always use their stored statistics, since an example must not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from fptkit.backbones.apart import run_apart
from fptkit.backbones.grid import GridBias, places, square_side
from fptkit.backbones.huggingface.bodies import Body
from fptkit.backbones.options import PositionOptions
from fptkit.errors import ShapeError


class Rows(nn.Embedding):
    """A position table whose first row of a token may be preceded by rows of class tokens.

    Args:
        rows: (N, D), the table; the same parameter is kept.
        offset: row of the first token.
    """

    def __init__(self, rows: nn.Parameter, offset: int) -> None:
        super().__init__(rows.shape[0], rows.shape[1], device="meta")
        self.weight = rows
        self.offset = offset

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: tokens (B, T, D) -> (T, D), their positions."""
        return self.weight[self.offset : self.offset + tokens.shape[1]]


class TokenBody(nn.Module):
    """The blocks of a model, with its positions and the norms around them.

    Args:
        whole: the library's model.
        kind: where its parts are.
        words: placeholder of its word embedding, which gives the width.

    Attributes:
        side: side of the square grid that tokens are put into; None: as large as each batch needs.
        block_list: name of the list of blocks.
    """

    block_list = "blocks"

    def __init__(self, whole: Any, kind: Body, words: nn.Module) -> None:
        super().__init__()
        part = whole.get_submodule(kind.part)
        self.kind, self.config = kind, part.config
        self.side: int | None = None
        moved = bool(kind.moved_if and getattr(self.config, kind.moved_if))
        before, after = ((), kind.before) if moved else (kind.before, kind.after)
        self.positions = _table(part, kind)
        self.convolution = _submodule(part, kind.convolution)
        self.before = _sequence(part, before)
        self.blocks: nn.ModuleList = part.get_submodule(kind.blocks)
        self.after = _sequence(part, after)
        self.provider = _submodule(part, kind.provider)
        self.words = words
        if kind.given == "distances":
            self.provider = _biases(part, kind)
            for block in self.blocks:
                _replace_biases(block)
        self.config.num_hidden_layers = len(self.blocks)
        paths: list[Any] = [module for module in self.modules() if "DropPath" in type(module).__name__]
        for path in paths:
            path.drop_prob = 0.0

    def get_input_embeddings(self) -> nn.Module:
        """As in the library's models: the placeholder of the word embedding."""
        return self.words

    def train(self, mode: bool = True) -> TokenBody:
        """See `torch.nn.Module.train`; batch norms and positions stay as in evaluation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) or module is self.provider:
                module.train(False)
        return self

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutput:
        """Run the blocks.

        Shapes: inputs_embeds (B, T, D), attention_mask (B, T), 1 for real tokens -> last_hidden_state (B, T, D).
        """
        real = None if attention_mask is None else attention_mask.bool()
        if real is None or self.kind.masking != "apart" or real.is_meta:
            return BaseModelOutput(last_hidden_state=self._run(inputs_embeds, real))
        return BaseModelOutput(
            last_hidden_state=run_apart(lambda tokens: self._run(tokens, None), inputs_embeds, real.sum(1))
        )

    def _run(self, tokens: Tensor, real: Tensor | None) -> Tensor:
        hidden = tokens
        if self.positions is not None:
            rows = self.positions(tokens)
            if rows.shape[-2] != tokens.shape[1]:
                raise ShapeError(f"{tokens.shape[1]} tokens do not fit a position table of {rows.shape[-2]}")
            hidden = tokens + rows
        if self.convolution is not None:
            if real is not None:
                hidden = hidden.masked_fill(~real[:, :, None], 0.0)  # the convolution must not see padding
            with torch.autocast(hidden.device.type, enabled=False):  # positions are exact, as those of a table
                hidden = hidden + self.convolution(hidden)
        hidden = self.before(hidden)
        if self.kind.dropout:
            hidden = functional.dropout(hidden, getattr(self.config, self.kind.dropout), self.training)
        return self.after(self._run_blocks(hidden, real))

    def _run_blocks(self, hidden: Tensor, real: Tensor | None) -> Tensor:
        given = {**self._masks(hidden, real), **_GIVEN[self.kind.given](self, hidden, real)}
        if self.kind.channels:
            hidden = hidden[:, None]
        for index, block in enumerate(self.blocks):
            if self.kind.given == "first_bias":  # the first block computes the biases of all
                hidden, given["position_bias"] = block(hidden, index=index, **given)
                continue
            result = block(hidden, **given)
            hidden = result[0] if isinstance(result, tuple) else result
        return hidden[:, 0] if self.kind.channels else hidden

    def _masks(self, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
        """What the blocks get of the mask."""
        if self.kind.masking == "apart":
            return {}
        seen = _seen(hidden, real, self.kind.causal)
        added = self.kind.masking == "added" or self.config._attn_implementation != "sdpa"
        return {"attention_mask": _added(seen, hidden) if added else seen}

    @property
    def has_grid(self) -> bool:
        """True if the model's positions are rows and columns."""
        return self.kind.given.startswith("grid") or any(isinstance(module, GridBias) for module in self.modules())

    def fit_grid(self, tokens: int, options: PositionOptions) -> str:
        """Put tokens into the grid of the task's longest example; return a note that says so.

        Args:
            tokens: T, tokens of the task's longest example.
            options: the recipe's options; see `GridBias.fit`.

        Raises:
            ShapeError: see `GridBias.fit`.
        """
        for module in self.modules():
            if isinstance(module, GridBias):
                module.fit(tokens, options)
        self.side = square_side(tokens)
        return f"the model's positions are rows and columns: tokens fill a grid of {self.side} x {self.side}"


def _seen(hidden: Tensor, real: Tensor | None, causal: bool) -> Tensor | None:
    """Which tokens (last dimension) each token sees: (B, 1, T, T), or None if each sees all."""
    count = hidden.shape[1]
    if not causal and real is None:
        return None
    seen = torch.ones((count, count), dtype=torch.bool, device=hidden.device)
    if causal:
        seen = seen.tril()
    seen = seen.expand(hidden.shape[0], 1, count, count)
    return seen if real is None else seen & real[:, None, None]


def _added(seen: Tensor | None, hidden: Tensor) -> Tensor | None:
    """The mask as numbers that are added to scores."""
    if seen is None:
        return None
    return torch.zeros(seen.shape, dtype=hidden.dtype, device=hidden.device).masked_fill(
        ~seen, torch.finfo(hidden.dtype).min
    )


# What blocks get besides tokens and mask, by the value of `Body.given`.


def _rotary(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    """Angles by the place in the sequence."""
    index = torch.arange(hidden.shape[1], device=hidden.device)[None]
    assert body.provider is not None
    return {"position_embeddings": body.provider(hidden, index)}


def _grid_angles(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    """Angles by row and column; the library computes them from the size of an image."""
    count = hidden.shape[1]
    side = body.side or square_side(count)
    patch = body.config.patch_size
    height, width = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    assert body.provider is not None
    angles = body.provider(hidden.new_zeros(1).expand(1, 1, side * height, side * width))
    return {"position_embeddings": tuple(part[:count] for part in angles)}


def _grid_places(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    """Angles by row and column; the library computes them from places."""
    count = hidden.shape[1]
    assert body.provider is not None
    place = places(count, body.side or square_side(count), hidden.device)
    return {"position_embeddings": body.provider(hidden, place)}


def _relative(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    """Embeddings of distances in the sequence; None if the config has none."""
    return {"relative_position_embeddings": None if body.provider is None else body.provider(hidden)}


def _encoded(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    assert body.provider is not None
    return {"position_embeddings": body.provider(hidden)}


def _relative_once(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    assert body.provider is not None
    return {"position_bias": body.provider(hidden)}


def _distances(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    """Biases by distance in rows and columns. The blocks' own biases are `GridBias`, which ignores the resolution."""
    shared = None if body.provider is None else body.provider(hidden.shape[1])
    name = "attention_mask" if body.kind.masking == "added" else "relative_position_bias"
    further: dict[str, Any] = {"resolution": (0, 0)}
    if shared is not None:
        mask = _added(_seen(hidden, real, False), hidden)
        further[name] = shared if mask is None else shared + mask
    return further


def _paddings(body: TokenBody, hidden: Tensor, real: Tensor | None) -> dict[str, Any]:
    return {"paddings": hidden.new_zeros(hidden.shape[:2])}


_GIVEN: dict[str, Callable[[TokenBody, Tensor, Tensor | None], dict[str, Any]]] = {
    "": lambda body, hidden, real: {},
    "rotary": _rotary,
    "grid_angles": _grid_angles,
    "grid_places": _grid_places,
    "relative": _relative,
    "relative_once": _relative_once,
    "distances": _distances,
    "encoded": _encoded,
    "first_bias": lambda body, hidden, real: {"position_bias": None},
    "paddings": _paddings,
}


class BlockBias(GridBias):
    """`GridBias` with the arguments that the library's blocks pass."""

    def forward(self, window: Any, interpolate_pos_encoding: bool = False, dim_size: int = 0) -> Tensor:
        """Shapes: -> (1, H, dim_size, dim_size)."""
        return super().forward(dim_size)


def _biases(part: nn.Module, kind: Body) -> GridBias | None:
    """The biases that all blocks share, if the model has any."""
    owner = part.get_submodule(kind.blocks.rpartition(".")[0])
    shared = getattr(owner, "shared_position_bias", None) or getattr(owner, "relative_position_bias", None)
    return None if shared is None else GridBias(shared.relative_position_bias_table, shared.window_size)


def _replace_biases(block: nn.Module) -> None:
    for owner in list(block.modules()):
        own = getattr(owner, "relative_position_bias", None)
        if own is not None:
            owner.relative_position_bias = BlockBias(own.relative_position_bias_table, own.window_size)


def _table(part: Any, kind: Body) -> Rows | None:
    """The position table; None if the model has none."""
    owner_path, _, name = kind.positions.rpartition(".")
    found = getattr(part.get_submodule(owner_path), name, None) if kind.positions else None
    if found is None:
        return None
    rows = found.weight if isinstance(found, nn.Embedding) else found
    if not isinstance(rows, nn.Parameter):
        rows = nn.Parameter(rows)
    # The parameter stays the same object, so that its name in the library's model can be found.
    rows.data = rows.data.flatten(0, -2)
    offset = getattr(part.config, kind.class_rows) if isinstance(kind.class_rows, str) else kind.class_rows
    return Rows(rows, offset)


def _sequence(part: nn.Module, paths: tuple[str, ...]) -> nn.Sequential:
    """The modules at these paths; a model that pools before its last norm has none there."""
    found = (_submodule(part, path) for path in paths)
    return nn.Sequential(*(module for module in found if module is not None))


def _submodule(part: nn.Module, path: str) -> Any:
    """The module at a path; None if there is no path or no module."""
    owner, _, name = path.rpartition(".")
    return getattr(part.get_submodule(owner), name, None) if path else None


def used_parts(whole: nn.Module, kind: Body) -> set[str]:
    """Return the paths of the parts of a model that a `TokenBody` uses, in the whole model.

    Args:
        whole: the library's model.
        kind: where its parts are.
    """
    part = whole.get_submodule(kind.part)
    paths = {kind.blocks, kind.positions, kind.convolution, kind.provider, *kind.before, *kind.after} - {""}
    used = {path for path in paths if not isinstance(_submodule(part, path), nn.Identity | None)}
    return {f"{kind.part}.{path}" if kind.part else path for path in used}


def width_and_words(whole: nn.Module, kind: Body) -> tuple[int, Tensor | None]:
    """The numbers per token of a model, and the rows of its word embedding, if it has one.

    Args:
        whole: the library's model.
        kind: where its parts are.
    """
    part: Any = whole.get_submodule(kind.part)
    words = _submodule(part, kind.words)
    width = getattr(part.config, "hidden_size", None) or part.config.d_model
    return int(width), None if words is None else words.weight.detach()
