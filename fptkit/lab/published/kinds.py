"""The kind of arm of a study's cell: the origin of the sequence model's weights, and what trains."""

from __future__ import annotations

from typing import NamedTuple

from fptkit.lab.studies.results import CellResult

_OF_PACKAGE = {
    "builtin:gpt2_nano": "language",
    "builtin:bit_memory_nano": "bit_memory",
    "builtin:synthetic_nano": "synthetic",
    "builtin:vit_nano": "vit",
}
"""Pretraining data of the packaged weights."""

_PRETRAINED = {"gpt2": "language", "vit": "vit", "bert": "bert", "t5_encoder": "t5_encoder", "longformer": "longformer"}
"""Kind of each backbone with weights from the hub."""

_SHOWN = {"fpt": "frozen"}


class ArmKind(NamedTuple):
    """The kind of an arm, to match it with published arms.

    Args:
        body: origin of the sequence model: ``language``, ``bit_memory``, ``synthetic``, ``vit``, ``bert`` ... if
            pretrained, or the name of the task that ``fptkit pretrain`` used; ``random``: GPT-2 with random weights;
            ``random_vit`` ...: another architecture with random weights; ``statistics``: GPT-2 redrawn with the
            statistics of language weights; ``lstm``: an LSTM with random weights; for any other backbone its registered
            name.
        freezing: name of the freezing policy.
    """

    body: str
    freezing: str

    def __str__(self) -> str:
        return f"{_SHOWN.get(self.freezing, self.freezing)}/{self.body}"


def arm_kind(cell: CellResult) -> tuple[ArmKind | None, str]:
    """Determine the kind of a cell's arm.

    Returns:
        The kind and an empty text; or None and the reason why it cannot match a published arm.
    """
    if not cell.backbone or not cell.freezing:
        return None, "no run of it has finished"
    if cell.freezing == "custom" or cell.freezing_options.get("train") or cell.freezing_options.get("freeze"):
        return None, "it changes the rows of its freezing policy (freezing.train, freezing.freeze)"
    if cell.shuffle_tokens:
        return None, "its tokens are shuffled"
    body, why = _body(cell)
    return (ArmKind(body, cell.freezing), "") if body else (None, why)


def _body(cell: CellResult) -> tuple[str, str]:
    """Origin of the sequence model; or an empty text and the reason why it is unknown."""
    if cell.backbone == "random":
        if cell.backbone_options is None:
            return "", "the architecture with random weights is not known"
        return _drawn(str(cell.backbone_options.get("like", "gpt2"))), ""
    if cell.backbone == "lstm":
        if cell.weights == "random" or cell.init in ("random", "flat_0.02"):
            return "lstm", ""
        return "", f"an LSTM with loaded weights ({cell.weights})"
    if cell.backbone not in _PRETRAINED:
        return cell.backbone, ""
    if cell.weights == "random" or cell.init in ("random", "flat_0.02"):
        return _drawn(cell.backbone), ""
    if cell.weights.startswith("path:"):
        if not cell.pretrained_on:
            return "", f"the pretraining of the weights in {cell.weights} is not known"
        made_from = cell.pretrained_on if cell.backbone == "gpt2" else f"{cell.backbone}_{cell.pretrained_on}"
        return (f"statistics_{made_from}" if cell.init == "statistics" else made_from), ""
    made_from = _OF_PACKAGE.get(cell.weights, _PRETRAINED[cell.backbone])
    if cell.init == "statistics":
        return ("statistics" if made_from == "language" else f"statistics_{made_from}"), ""
    return made_from, ""


def _drawn(architecture: str) -> str:
    return {"gpt2": "random", "lstm": "lstm"}.get(architecture, f"random_{architecture}")
