"""The processes of a run as one argument, with what they need to pass batches through the model together."""

from __future__ import annotations

from dataclasses import dataclass, field

from fptkit.engine.memory import Pieces
from fptkit.engine.team.processes import ALONE, Processes
from fptkit.engine.team.sharding import IdlePass


@dataclass(frozen=True)
class Team:
    """The processes that carry out a run, seen from one of them.

    Args:
        processes: the process group; a single process by default.
        pieces: micro-batches in which a batch passes the model in evaluation; more of them after memory ran out.
        idle: the pass this process makes while others have a batch and it has none; only if weights are sharded.
    """

    processes: Processes = ALONE
    pieces: Pieces = field(default_factory=Pieces)
    idle: IdlePass | None = None
