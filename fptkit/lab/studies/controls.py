"""Control arms: what is laid over the reference arm's recipe so that one explanation of its result is taken away.

Light: a study's plan is made without torch, so nothing here opens weights. What a control answers, and what it cannot,
is said in ``docs/controls.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from fptkit.backbones.huggingface.options import ENCODER_SIZES
from fptkit.backbones.lstm.options import LSTM_SIZES
from fptkit.backbones.options import SIZES as GPT2_SIZES
from fptkit.backbones.plain.options import PlainOptions
from fptkit.backbones.vit.options import SIZES as VIT_SIZES
from fptkit.errors import UnknownNameError
from fptkit.lab.studies.options import CONTROLS
from fptkit.options import Options
from fptkit.recipe.models import Recipe

Fragment = Mapping[str, Any]

CONTROL_SUMMARIES: dict[str, str] = {
    "frozen_random": "the same model with weights drawn at random, and frozen",
    "unfrozen_random": "the same model with weights drawn at random, all of them trained",
    "statistics_only": "the same model, each tensor drawn anew with the mean and deviation of the pretrained one",
    "no_backbone": "no sequence model: each token goes to the head by itself; all trained",
    "one_attention_layer": "one attention layer as wide as the model, all of it trained",
    "one_block": "one block of the same model, drawn at random, all of it trained",
    "shuffled_tokens": "the reference, given each example's tokens in an order of their own",
    "output_only": "only the output layer is trained",
    "synthetic_pretrained": "the same architecture pretrained on symbols without meaning",
}
"""One line on each control, for tables; what it answers, in ``docs/controls.md``."""

_BIDIRECTIONAL = ("vit", "bert", "t5_encoder", "longformer")
_ENCODER_WIDTHS = {name: size.width for name, size in ENCODER_SIZES.items()}
_WIDTHS: dict[str, dict[str, int]] = {
    "gpt2": {name: size.width for name, size in GPT2_SIZES.items()},
    "vit": {name: size.width for name, size in VIT_SIZES.items()},
    # The backbone 'random' says base for the paper's.
    "lstm": {**{name: size.width for name, size in LSTM_SIZES.items()}, "base": LSTM_SIZES["paper"].width},
    "bert": _ENCODER_WIDTHS,
    "t5_encoder": _ENCODER_WIDTHS,
    "longformer": _ENCODER_WIDTHS,
}
"""Numbers per token of each size of each architecture."""

_NANO = ("builtin:gpt2_nano", "builtin:bit_memory_nano")
"""Weights of the sizes that ``builtin:synthetic_nano`` has."""
_SYNTHETIC = "builtin:synthetic_nano"


def control_fragment(name: str, recipe: Recipe) -> Fragment | str:
    """What is laid over the reference's recipe to make a control of it.

    Args:
        name: of `fptkit.lab.studies.options.CONTROLS`.
        recipe: the reference's, composed and checked.

    Returns:
        The keys to lay over it, by a recipe's rules; or, where this reference has no such control, the reason.

    Raises:
        UnknownNameError: there is no such control.

    Source: frozen and unfrozen random, statistics, output only: Lu et al. 2021; no backbone, one attention layer, one
    block, shuffled tokens: Tan et al. 2024, arXiv 2406.16964; synthetic pretraining: Wang et al. 2023,
    arXiv 2310.00771.
    """
    if name not in _MAKERS:
        raise UnknownNameError("control", name, CONTROLS)
    return _MAKERS[name](recipe)


def _frozen_random(recipe: Recipe) -> Fragment | str:
    freezing = _policy("fpt", recipe) if recipe.freezing.name == "full" else {}
    if _is_drawn(recipe):
        return freezing or "the reference's own weights are drawn at random and frozen"
    drawn = _redrawn("random", recipe)
    return drawn if isinstance(drawn, str) else {**drawn, **freezing}


def _unfrozen_random(recipe: Recipe) -> Fragment | str:
    if not _is_drawn(recipe):
        drawn = _redrawn("random", recipe)
        return drawn if isinstance(drawn, str) else {**drawn, **_policy("full", recipe)}
    if _trains_all(recipe):
        return "the reference's own weights are drawn at random and all trained"
    return _policy("full", recipe)


def _statistics_only(recipe: Recipe) -> Fragment | str:
    if _is_drawn(recipe):
        return "the reference has no pretrained weights to take the statistics of"
    return _redrawn("statistics", recipe)


def _no_backbone(recipe: Recipe) -> Fragment | str:
    if recipe.backbone.name == "none":
        return "the reference has no backbone itself"
    # The last token alone, seeing no other, would not know the question.
    readout = {"head": {"readout": "mean"}} if recipe.head.readout == "last" else {}
    return {"backbone": {"name": "none", **_stand_in_options(recipe)}, **_policy("full", recipe), **readout}


def _one_attention_layer(recipe: Recipe) -> Fragment | str:
    if recipe.backbone.name == "attention_layer":
        return "the reference is one attention layer itself"
    return {
        "backbone": {
            "name": "attention_layer",
            **_stand_in_options(recipe),
            "causal": _architecture(recipe) not in _BIDIRECTIONAL,
        },
        **_policy("full", recipe),
    }


def _one_block(recipe: Recipe) -> Fragment | str:
    options = recipe.backbone.options
    blocks = getattr(options, "blocks", None)
    if 1 in (blocks, getattr(blocks, "keep", None)) and _is_drawn(recipe) and _trains_all(recipe):
        return "the reference is one block itself, drawn at random and trained"
    if recipe.backbone.name == "random":
        return {"backbone": {"blocks": 1}, **_policy("full", recipe)}
    one = {"blocks": {"keep": 1}}
    if not _takes(options, one):
        return f"backbone '{recipe.backbone.name}' has no option blocks.keep, so that one block cannot be taken"
    drawn = {} if _is_drawn(recipe) else _redrawn("random", recipe)
    if isinstance(drawn, str):
        return drawn
    return {"backbone": {**drawn.get("backbone", {}), **one}, **_policy("full", recipe)}


def _shuffled_tokens(recipe: Recipe) -> Fragment | str:
    if recipe.shuffle_tokens:
        return "the reference shuffles its tokens itself"
    return {"shuffle_tokens": True}


def _output_only(recipe: Recipe) -> Fragment | str:
    if recipe.freezing.name == "output_only":
        return "the reference trains its output layer only itself"
    return _policy("output_only", recipe)


def _synthetic_pretrained(recipe: Recipe) -> Fragment | str:
    if _is_drawn(recipe):
        return "the reference has no pretrained weights that synthetic ones could take the place of"
    if recipe.backbone.name != "gpt2":
        return f"there are synthetic weights for gpt2 only, and the reference is {recipe.backbone.name}"
    weights: tuple[str, ...] = getattr(recipe.backbone.options, "weights", ())
    if weights[:1] == (_SYNTHETIC,):
        return "the reference is pretrained on synthetic data itself"
    if not set(weights) & set(_NANO):
        return (
            f"the packaged synthetic weights are of the nano size, and the reference is {', '.join(weights)}; make "
            "some of its size by `fptkit pretrain pretrain_synthetic` with --set model.blocks, model.width and "
            "model.heads, and add an arm with backbone.weights: path:FOLDER"
        )
    return {"backbone": {"weights": _SYNTHETIC}}


_MAKERS: dict[str, Callable[[Recipe], Fragment | str]] = {
    "frozen_random": _frozen_random,
    "unfrozen_random": _unfrozen_random,
    "statistics_only": _statistics_only,
    "no_backbone": _no_backbone,
    "one_attention_layer": _one_attention_layer,
    "one_block": _one_block,
    "shuffled_tokens": _shuffled_tokens,
    "output_only": _output_only,
    "synthetic_pretrained": _synthetic_pretrained,
}


def _is_drawn(recipe: Recipe) -> bool:
    """Whether the reference's weights are drawn, and no pretrained ones are kept."""
    if recipe.backbone.name == "random":
        return True
    options = recipe.backbone.options
    return getattr(options, "weights", None) == ("random",) or getattr(options, "init", "pretrained") != "pretrained"


def _trains_all(recipe: Recipe) -> bool:
    return recipe.freezing.name == "full" and not getattr(recipe.freezing.options, "freeze", ())


def _policy(name: str, recipe: Recipe) -> dict[str, Any]:
    """The freezing section for this policy; another name starts afresh, under the same one rows are taken away."""
    if recipe.freezing.name == name:
        return {"freezing": {"name": name, "train": [], "freeze": []}}
    return {"freezing": {"name": name}}


def _redrawn(init: str, recipe: Recipe) -> dict[str, Any] | str:
    """The reference's sizes with its weights drawn anew, or why that cannot be had."""
    if not _takes(recipe.backbone.options, {"init": init}):
        return f"backbone '{recipe.backbone.name}' has no option init that takes {init}, which would draw its weights"
    return {"backbone": {"init": init}}


def _takes(options: Options, change: Mapping[str, Any]) -> bool:
    """Whether the options allow a change."""
    try:
        type(options).model_validate({**options.model_dump(), **change})
    except ValidationError:
        return False
    return True


def _architecture(recipe: Recipe) -> str:
    """Name of the reference's architecture: what ``random`` is like, else the backbone's own."""
    return str(getattr(recipe.backbone.options, "like", recipe.backbone.name))


def _stand_in_options(recipe: Recipe) -> dict[str, Any]:
    """Options of a backbone that takes the reference's place, such that it is as wide and drops as much."""
    options = recipe.backbone.options
    found: dict[str, Any] = {}
    if (dropout := getattr(options, "dropout", None)) is not None:
        found["dropout"] = dropout
    weights = getattr(options, "weights", None)
    if not isinstance(weights, tuple) or not _takes(PlainOptions(), {"weights": weights}):
        weights = ("random",)  # none, or a plugin's that are written in another way
    if weights != ("random",):
        found["weights"] = list(weights)
    if "random" in weights and (width := _drawn_width(recipe)):
        found["width"] = width
    return found


def _drawn_width(recipe: Recipe) -> int | None:
    """The width where weights are drawn; None where the options do not tell it, and then the default is taken."""
    options = recipe.backbone.options
    config = getattr(options, "config", None)
    told = [getattr(options, "width", None)]
    if isinstance(config, Mapping):
        told += [config.get(key) for key in ("hidden_size", "n_embd", "d_model")]
    told.append(_WIDTHS.get(_architecture(recipe), {}).get(str(getattr(options, "size", None))))
    return next((width for width in told if isinstance(width, int) and width >= 1), None)
