"""What each arm of a study is, before any result: its model, where its weights are from, what trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fptkit.engine.training.words import parts_in_words
from fptkit.freezing.records import fptkit_freezing_policies
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Section, Table, row
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import CellResult, StudyResults

Fact = tuple[str, Callable[[CellResult], str]]
"""A setting of a cell: its name, and how to read it."""


def arms(results: StudyResults) -> Section:
    """A row for each arm; facts that differ between tasks are listed, counts are given as a range."""
    others = _differing(results)
    rows = tuple(_arm(results, arm, others) for arm in results.arms)
    header = ["arm", "backbone", "weights", "what trains", "parameters", "trained"] + (["also"] if others else [])
    stand_ins = any(cell.weights_stand_in for cell in results.cells)
    notes = [
        *_policies(results),
        *(["‡ fallback (stand-in): not the weights the backbone is named after."] * stand_ins),
    ]
    return Section("what", "Arms", tables=(Table("What is compared.", row(*header), rows, tuple(notes), opened=True),))


def _arm(results: StudyResults, arm: str, others: Sequence[Fact]) -> tuple[Entry, ...]:
    cells = [cell for cell in results.cells if cell.arm == arm]
    known = [cell for cell in cells if cell.backbone]
    summary = results.arm_summaries.get(arm, "")
    about = [summary] if summary else []
    about += ["reference"] if arm == results.reference else []
    entries = [
        Entry(arm, "\n".join(about)),
        Entry(_each(map(_model, known)), _each(map(_size, known), unknown="")),
        Entry(_each(map(_weights, known)), _each(map(_init, known), unknown="")),
        Entry(_each(cell.freezing for cell in known), _each(map(_changes, known), unknown="")),
        Entry(_range(cell.parameters.get("total") for cell in known)),
        Entry(_range(cell.parameters.get("trained") for cell in known)),
    ]
    also = [f"{name} {text}".strip() for name, fact in others if (text := _each(map(fact, known), unknown=""))]
    return (*entries, Entry("; ".join(also) or NOTHING)) if others else tuple(entries)


def _each(texts: Iterable[str], *, unknown: str = NOTHING) -> str:
    """The distinct texts, which differ between tasks if there are several."""
    return " or ".join(dict.fromkeys(filter(None, texts))) or unknown


def _range(counts: Iterable[int | None]) -> str:
    found = [count for count in counts if count is not None]
    if not found:
        return NOTHING
    return " to ".join(dict.fromkeys(wording.amount(count) for count in (min(found), max(found))))


def _model(cell: CellResult) -> str:
    like = (cell.backbone_options or {}).get("like")
    return f"{cell.backbone}, like {like}" if like else cell.backbone


def _size(cell: CellResult) -> str:
    parts = [wording.counted(cell.blocks, "block")] if cell.blocks else []
    parts += [f"width {cell.width:,}"] if cell.width else []
    return ", ".join(parts)


def _weights(cell: CellResult) -> str:
    return f"{cell.weights}{' ‡' if cell.weights_stand_in else ''}"


_INITS = {
    "": "",
    "pretrained": "as loaded",
    "random": "random values, same sizes",
    "statistics": "random values, same mean and deviation",
}


def _init(cell: CellResult) -> str:
    """What the weights are set to; nothing if their name says that they are random."""
    return "" if cell.weights == cell.init == "random" else _INITS.get(cell.init, f"init {cell.init}")


_POLICIES = {policy.name: policy.summary for policy in fptkit_freezing_policies()}


def _policies(results: StudyResults) -> list[str]:
    """What the built-in freezing policies of the study train."""
    used = dict.fromkeys(cell.freezing for cell in results.cells if cell.freezing in _POLICIES)
    return [f"{name}: {_POLICIES[name]}." for name in used]


def _changes(cell: CellResult) -> str:
    """The rows by which a recipe changes its freezing policy."""
    return "; ".join(f"{key} {', '.join(map(_row, _listed(value)))}" for key, value in cell.freezing_options.items())


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]


def _row(rule: object) -> str:
    """A row of a policy: its role, and the blocks if it is limited to some."""
    if not isinstance(rule, Mapping):
        return str(rule)
    blocks = rule.get("blocks")
    return f"{rule.get('role', '')}{'' if blocks is None else f' in blocks {blocks}'}"


def _shuffled(cell: CellResult) -> str:
    return "tokens shuffled" if cell.shuffle_tokens else ""


def _encoder(cell: CellResult) -> str:
    return cell.encoder


def _readout(cell: CellResult) -> str:
    return cell.readout


def _schedule(cell: CellResult) -> str:
    return cell.schedule


def _named(cell: CellResult) -> str:
    return parts_in_words({"training_parts": cell.training_parts}, options=True)


_OTHERS: tuple[Fact, ...] = (
    *(("", _shuffled), ("encoder", _encoder), ("pooling", _readout), ("schedule", _schedule)),
    ("", _named),
)


def _differing(results: StudyResults) -> list[Fact]:
    """Other settings in which arms differ on some task."""
    found: list[Fact] = []
    for name, fact in _OTHERS:
        by_task: dict[str, set[str]] = {}
        for cell in results.cells:
            if cell.backbone:
                by_task.setdefault(cell.task, set()).add(fact(cell))
        if any(len(values) > 1 for values in by_task.values()):
            found.append((name, fact))
    return found
