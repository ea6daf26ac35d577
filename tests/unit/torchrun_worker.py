"""What a process does that torchrun_runs.py starts: runs, one after the other, some of them disturbed.

Called with a JSON file: a list of runs, each with ``recipe``, ``folder`` and what else it asks for, see `carry_out`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from fptkit.engine.distributed import part
from fptkit.engine.launch import process_rank
from fptkit.engine.loop import Trainer
from fptkit.engine.run import RunRequest, run
from fptkit.errors import FptkitError
from fptkit.recipe.load import load_recipe


def disturb(rank: int, step: int, how: Any) -> None:
    """In one process, before one step: send a signal to it, given its number, or raise an error of this text."""
    plain = Trainer._step

    def disturbed(self: Trainer, number: int, factor: float) -> Any:
        if process_rank() == rank and number == step:
            Trainer._step = plain  # type: ignore[method-assign]
            if not isinstance(how, int):
                raise ValueError(how)
            os.kill(os.getpid(), how)
        return plain(self, number, factor)

    Trainer._step = disturbed  # type: ignore[method-assign]


def carry_out(wanted: dict[str, Any]) -> None:
    """One run. ``disturb``: see there."""
    if "disturb" in wanted:
        disturb(*wanted["disturb"])
    loaded = load_recipe(wanted["recipe"])
    summary = run(RunRequest(loaded, Path(wanted["folder"]), resume=wanted.get("resume", False)))
    name = f"returned-{process_rank()}.json"
    (Path(wanted["folder"]) / name).write_text(json.dumps(summary))


def main() -> None:
    for wanted in json.loads(Path(sys.argv[1]).read_text()):
        try:
            carry_out(wanted)
        except FptkitError as err:
            print(f"rank {process_rank()} {type(err).__name__}: {err}", file=sys.stderr, flush=True)
            part(err.exit_code, told=process_rank() == 0)
    part(0, told=True)


if __name__ == "__main__":
    main()
