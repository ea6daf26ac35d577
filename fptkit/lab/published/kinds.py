"""What kind of arm a cell of a study is: what the sequence model was made from, and what of it trains."""

from __future__ import annotations

from typing import NamedTuple

from fptkit.lab.studies.results import CellResult

_OF_PACKAGE = {
    "builtin:gpt2_nano": "language",
    "builtin:bit_memory_nano": "bit_memory",
    "builtin:synthetic_nano": "synthetic",
    "builtin:vit_nano": "vit",
}
"""What the packaged weights were pretrained on."""

_PRETRAINED = {"gpt2": "language", "vit": "vit", "bert": "bert", "t5_encoder": "t5_encoder", "longformer": "longformer"}
"""What the weights of the hub make of a backbone."""

_SHOWN = {"fpt": "frozen"}


class ArmKind(NamedTuple):
    """What an arm is, as far as a published arm can be the same.

    Args:
        body: what the sequence model was made from: ``language``, ``bit_memory``, ``synthetic``, ``vit``, ``bert`` ...:
            pretrained; ``random``: GPT-2 from a random draw, ``random_vit`` ...: another architecture;
            ``statistics``: GPT-2 redrawn with the statistics of language weights; ``lstm``: one from a random draw;
            any other backbone is called by its registered name.
        freezing: name of the freezing policy.
    """

    body: str
    freezing: str

    def __str__(self) -> str:
        return f"{_SHOWN.get(self.freezing, self.freezing)}/{self.body}"


def arm_kind(cell: CellResult) -> tuple[ArmKind | None, str]:
    """The kind of a cell's arm.

    Returns:
        The kind and an empty text; or None and why it is of no kind that could have a counterpart.
    """
    if not cell.backbone or not cell.freezing:
        return None, "no run of it has finished"
    if cell.freezing == "custom" or cell.freezing_options.get("train") or cell.freezing_options.get("freeze"):
        return None, "it trains rows of its own (freezing.train, freezing.freeze)"
    if cell.shuffle_tokens:
        return None, "it is given its tokens shuffled"
    body, why = _body(cell)
    return (ArmKind(body, cell.freezing), "") if body else (None, why)


def _body(cell: CellResult) -> tuple[str, str]:
    """What the sequence model was made from, and if that is not known, why."""
    if cell.backbone == "random":
        if cell.backbone_options is None:
            return "", "not known which architecture was drawn at random"
        return _drawn(str(cell.backbone_options.get("like", "gpt2"))), ""
    if cell.backbone == "lstm":
        if cell.weights == "random" or cell.init in ("random", "flat_0.02"):
            return "lstm", ""
        return "", f"an LSTM with weights of its own ({cell.weights})"
    if cell.backbone not in _PRETRAINED:
        return cell.backbone, ""
    if cell.weights == "random" or cell.init in ("random", "flat_0.02"):
        return _drawn(cell.backbone), ""
    if cell.weights.startswith("path:"):
        return "", f"not known what the weights in {cell.weights} were pretrained on"
    made_from = _OF_PACKAGE.get(cell.weights, _PRETRAINED[cell.backbone])
    if cell.init == "statistics":
        return ("statistics" if made_from == "language" else f"statistics_{made_from}"), ""
    return made_from, ""


def _drawn(architecture: str) -> str:
    return {"gpt2": "random", "lstm": "lstm"}.get(architecture, f"random_{architecture}")
