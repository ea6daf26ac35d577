"""What a process does that torchrun_runs.py starts: runs, one after the other, some of them disturbed.

Called with a JSON file: a list of runs, each with ``recipe``, ``folder`` and what else it asks for, see `carry_out`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fptkit.engine.loop import Trainer
from fptkit.engine.run import RunRequest, run
from fptkit.engine.team.launch import process_rank
from fptkit.engine.team.processes import part
from fptkit.errors import FptkitError
from fptkit.recipe.load import load_recipe


def disturb(rank: int, step: int, how: Any) -> None:
    """In one process, before one step: send a signal to it, given its number, or raise an error of this text."""
    plain = Trainer.step

    def disturbed(self: Trainer, number: int, factor: float, *ending: Any) -> Any:
        if process_rank() == rank and number == step:
            Trainer.step = plain  # type: ignore[method-assign]
            if not isinstance(how, int):
                raise ValueError(how)
            os.kill(os.getpid(), how)
        return plain(self, number, factor, *ending)

    Trainer.step = disturbed  # type: ignore[method-assign]


def measure(step: int, folder: Path) -> None:
    """Before one step, write the bytes of all tensors that this process holds into ``held-<rank>.json``."""
    plain = Trainer.step

    def measured(self: Trainer, number: int, factor: float, *ending: Any) -> Any:
        if number == step:
            Trainer.step = plain  # type: ignore[method-assign]
            gc.collect()
            # Not by isinstance: it would wake lazy objects of other libraries.
            found = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
            storages = {
                tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
                for tensor in found
                if not hasattr(tensor, "to_local")  # a DTensor; what it has here is a tensor of its own
            }
            (folder / f"held-{process_rank()}.json").write_text(json.dumps(sum(storages.values())))
        return plain(self, number, factor, *ending)

    Trainer.step = measured  # type: ignore[method-assign]


def compile_by(backend: str, broken_in: int | None = None) -> None:
    """Compile by this backend, from nothing; in one process, it fails."""

    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no compiler for this")

    torch._dynamo.reset()
    chosen: Any = broken if process_rank() == broken_in else backend
    torch.compile = partial(torch.compile, backend=chosen)


def carry_out(wanted: dict[str, Any]) -> None:
    """One run. ``disturb`` and ``measure``, a step, and ``compiler``: see there."""
    if "disturb" in wanted:
        disturb(*wanted["disturb"])
    if "measure" in wanted:
        measure(wanted["measure"], Path(wanted["folder"]))
    if "compiler" in wanted:
        compile_by(*wanted["compiler"])
    loaded = load_recipe(wanted["recipe"], overrides=wanted.get("overrides", ()))
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
