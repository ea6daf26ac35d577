"""Control arms: changes to the reference arm's recipe that each rule out one explanation of its result.

Planning a study must not load torch, so nothing here opens weights. ``docs/controls.md`` explains what each control
shows and what it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from fptkit.backbones.huggingface.options import ENCODER_SIZES
from fptkit.backbones.lstm.options import LSTM_SIZES
from fptkit.backbones.options import SIZES as GPT2_SIZES
from fptkit.backbones.options import FrontOptions
from fptkit.backbones.plain.options import PlainOptions
from fptkit.backbones.vit.options import SIZES as VIT_SIZES
from fptkit.errors import UnknownNameError
from fptkit.lab.studies.options import CONTROLS
from fptkit.options import Options
from fptkit.recipe.models import Recipe
from fptkit.recipe.tokenizers import with_tokenizer

Fragment = Mapping[str, Any]

CONTROL_SUMMARIES: dict[str, str] = {
    "frozen_random": "the same model with random weights, frozen",
    "unfrozen_random": "the same model with random weights, all trained",
    "statistics_only": "the same model, each tensor redrawn with the mean and standard deviation of the pretrained one",
    "no_backbone": "no sequence model: each token goes to the head separately; all trained",
    "one_attention_layer": "one attention layer of the model's width, all trained",
    "one_block": "one block of the same model with random weights, all trained",
    "shuffled_tokens": "the reference with the tokens of each example in random order",
    "output_only": "only the output layer trains",
    "synthetic_pretrained": "the same architecture pretrained on symbols without meaning",
}
"""One line per control, for tables; ``docs/controls.md`` explains them."""

_BIDIRECTIONAL = ("vit", "bert", "t5_encoder", "longformer")
_ENCODER_WIDTHS = {name: size.width for name, size in ENCODER_SIZES.items()}
_WIDTHS: dict[str, dict[str, int]] = {
    "gpt2": {name: size.width for name, size in GPT2_SIZES.items()},
    "vit": {name: size.width for name, size in VIT_SIZES.items()},
    # The backbone 'random' calls the paper's size base.
    "lstm": {**{name: size.width for name, size in LSTM_SIZES.items()}, "base": LSTM_SIZES["paper"].width},
    "bert": _ENCODER_WIDTHS,
    "t5_encoder": _ENCODER_WIDTHS,
    "longformer": _ENCODER_WIDTHS,
}
"""Width of each size of each architecture."""

_NANO = ("builtin:gpt2_nano", "builtin:bit_memory_nano")
"""Weights with the same sizes as ``builtin:synthetic_nano``."""
_SYNTHETIC = "builtin:synthetic_nano"


def control_fragment(name: str, recipe: Recipe) -> Fragment | str:
    """Recipe keys that turn the reference into a control.

    Args:
        name: one of `fptkit.lab.studies.options.CONTROLS`.
        recipe: the reference's recipe, composed and checked.

    Returns:
        The keys to merge over the reference's recipe; or the reason why this reference has no such control.

    Raises:
        UnknownNameError: there is no such control.

    Source: frozen and unfrozen random, statistics, output only: Lu et al. 2021; no backbone, one attention layer, one
    block, shuffled tokens: Tan et al. 2024, arXiv 2406.16964; synthetic pretraining: Wang et al. 2023,
    arXiv 2310.00771.
    """
    if name not in _MAKERS:
        raise UnknownNameError("control", name, CONTROLS)
    fragment = _MAKERS[name](recipe)
    return fragment if isinstance(fragment, str) else {**_same_tokens(recipe, fragment), **fragment}


def _same_tokens(recipe: Recipe, fragment: Fragment) -> Fragment:
    """Tokenizer and word embeddings of the reference, for a control with another backbone: only that should differ."""
    if not {"name", "weights"} & fragment.get("backbone", {}).keys():
        return {}
    weights = getattr(with_tokenizer(recipe.task.options, recipe), "tokenizer", None)
    if weights is None or getattr(recipe.task.options, "bytes", False):
        return {}
    own = recipe.encoder is None or recipe.encoder.name == "word_embeddings"
    named = getattr(recipe.encoder.options, "weights", None) if recipe.encoder else None
    words = {"encoder": {"name": "word_embeddings", "weights": list(named or weights)}} if own else {}
    return {"task": {"tokenizer": list(weights)}, **words}


def _frozen_random(recipe: Recipe) -> Fragment | str:
    freezing = _policy("fpt", recipe) if recipe.freezing.name == "full" else {}
    if _is_drawn(recipe):
        return freezing or "the reference itself has random, frozen weights"
    drawn = _redrawn("random", recipe)
    return drawn if isinstance(drawn, str) else {**drawn, **freezing}


def _unfrozen_random(recipe: Recipe) -> Fragment | str:
    if not _is_drawn(recipe):
        drawn = _redrawn("random", recipe)
        return drawn if isinstance(drawn, str) else {**drawn, **_policy("full", recipe)}
    if _trains_all(recipe):
        return "the reference itself has random weights, all trained"
    return _policy("full", recipe)


def _statistics_only(recipe: Recipe) -> Fragment | str:
    if _is_drawn(recipe):
        return "the reference has no pretrained weights to take statistics from"
    return _redrawn("statistics", recipe)


def _no_backbone(recipe: Recipe) -> Fragment | str:
    if recipe.backbone.name == "none":
        return "the reference itself has no backbone"
    # The last token alone has not seen the other tokens, so it cannot solve the task.
    readout = {"head": {"readout": "mean"}} if recipe.head.readout == "last" else {}
    return {"backbone": {"name": "none", **_stand_in_options(recipe)}, **_policy("full", recipe), **readout}


def _one_attention_layer(recipe: Recipe) -> Fragment | str:
    if recipe.backbone.name == "attention_layer":
        return "the reference itself is one attention layer"
    dropout = getattr(recipe.backbone.options, "attention_dropout", 0.0)
    return {
        "backbone": {
            "name": "attention_layer",
            **_stand_in_options(recipe),
            **({"attention_dropout": dropout} if dropout else {}),
            **_same_prefix(recipe),
            "causal": _architecture(recipe) not in _BIDIRECTIONAL,
        },
        **_policy("full", recipe),
    }


def _one_block(recipe: Recipe) -> Fragment | str:
    options = recipe.backbone.options
    blocks = getattr(options, "blocks", None)
    if 1 in (blocks, getattr(blocks, "keep", None)) and _is_drawn(recipe) and _trains_all(recipe):
        return "the reference itself is one random block, all trained"
    if recipe.backbone.name == "random":
        return {"backbone": {"blocks": 1}, **_policy("full", recipe)}
    one = {"blocks": {"keep": 1}}
    if not _takes(options, one):
        return f"backbone '{recipe.backbone.name}' has no option blocks.keep, so it cannot be cut to one block"
    drawn = {} if _is_drawn(recipe) else _redrawn("random", recipe)
    if isinstance(drawn, str):
        return drawn
    return {"backbone": {**drawn.get("backbone", {}), **one}, **_policy("full", recipe)}


def _shuffled_tokens(recipe: Recipe) -> Fragment | str:
    if recipe.shuffle_tokens:
        return "the reference itself shuffles its tokens"
    return {"shuffle_tokens": True}


def _output_only(recipe: Recipe) -> Fragment | str:
    if recipe.freezing.name == "output_only":
        return "the reference itself trains only its output layer"
    return _policy("output_only", recipe)


def _synthetic_pretrained(recipe: Recipe) -> Fragment | str:
    if _is_drawn(recipe):
        return "the reference has no pretrained weights to replace by synthetic ones"
    if recipe.backbone.name != "gpt2":
        return f"synthetic weights exist only for gpt2, and the reference is {recipe.backbone.name}"
    weights: tuple[str, ...] = getattr(recipe.backbone.options, "weights", ())
    if weights[:1] == (_SYNTHETIC,):
        return "the reference itself is pretrained on synthetic data"
    if not set(weights) & set(_NANO):
        return (
            f"the packaged synthetic weights have the nano size, and the reference is {', '.join(weights)}; pretrain "
            "weights of its size with `fptkit pretrain pretrain_synthetic` and --set model.blocks, model.width and "
            "model.heads, then add an arm with backbone.weights: path:FOLDER"
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
    """Whether the reference has random weights only."""
    if recipe.backbone.name == "random":
        return True
    options = recipe.backbone.options
    return getattr(options, "weights", None) == ("random",) or getattr(options, "init", "pretrained") != "pretrained"


def _trains_all(recipe: Recipe) -> bool:
    return recipe.freezing.name == "full" and not getattr(recipe.freezing.options, "freeze", ())


def _policy(name: str, recipe: Recipe) -> dict[str, Any]:
    """The freezing section for this policy; if the recipe has the same policy, its extra rows are removed."""
    if recipe.freezing.name == name:
        return {"freezing": {"name": name, "train": [], "freeze": []}}
    return {"freezing": {"name": name}}


def _redrawn(init: str, recipe: Recipe) -> dict[str, Any] | str:
    """The reference with redrawn weights of the same size, or why this is not possible."""
    if not _takes(recipe.backbone.options, {"init": init}):
        return f"backbone '{recipe.backbone.name}' has no option init: {init}, so its weights cannot be redrawn"
    return {"backbone": {"init": init}}


def _takes(options: Options, change: Mapping[str, Any]) -> bool:
    """Whether the options accept a change."""
    try:
        type(options).model_validate({**options.model_dump(), **change})
    except ValidationError:
        return False
    return True


def _architecture(recipe: Recipe) -> str:
    """Name of the reference's architecture: ``like`` of the backbone ``random``, else the backbone's name."""
    return str(getattr(recipe.backbone.options, "like", recipe.backbone.name))


def _stand_in_options(recipe: Recipe) -> dict[str, Any]:
    """Options that give a replacement backbone the width and dropout of the reference's."""
    options = recipe.backbone.options
    found: dict[str, Any] = {}
    if (dropout := getattr(options, "dropout", None)) is not None:
        found["dropout"] = dropout
    weights = getattr(options, "weights", None)
    if not isinstance(weights, tuple) or not _takes(PlainOptions(), {"weights": weights}):
        weights = ("random",)  # no weights, or a plugin's in another format
    if weights != ("random",):
        found["weights"] = list(weights)
    if "random" in weights and (width := _drawn_width(recipe)):
        found["width"] = width
    return found


def _same_prefix(recipe: Recipe) -> dict[str, Any]:
    """The prefix of the reference, if it has one."""
    prefix = FrontOptions.of(recipe.backbone.options).prefix
    return {"prefix": prefix.model_dump()} if prefix.count else {}


def _drawn_width(recipe: Recipe) -> int | None:
    """Width of a backbone with random weights; None if the options do not contain it, for the default."""
    options = recipe.backbone.options
    config = getattr(options, "config", None)
    told = [getattr(options, "width", None)]
    if isinstance(config, Mapping):
        told += [config.get(key) for key in ("hidden_size", "n_embd", "d_model")]
    told.append(_WIDTHS.get(_architecture(recipe), {}).get(str(getattr(options, "size", None))))
    return next((width for width in told if isinstance(width, int) and width >= 1), None)
