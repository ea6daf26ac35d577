"""Studies whose runs are made up, but stored like real ones: run folders, results and ``study.yaml``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fptkit.files import ADDRESS, METRICS, RECIPE, SUMMARY
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cells import recipe_for_trial
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName, Request, Study, Trial
from fptkit.lab.studies.record import FILE, study_folder, study_text
from fptkit.lab.studies.results import run_folder
from fptkit.lab.studies.search import next_step
from fptkit.lab.studies.summarise import write_results
from fptkit.recipe.dump import dump_recipe

Quality = Callable[[CellName, Trial], float]
"""Accuracy of a complete training; below 0: the run diverges."""


@dataclass
class StoredRuns:
    """Carries out a study with made-up runs.

    Args:
        study: the study.
        ledger: folder of the ledger.
        quality: accuracy of each run.
        made: outcomes so far, by address.
    """

    study: Study
    ledger: Path
    quality: Quality
    made: dict[str, Outcome]

    def carry_out(self) -> Path:
        """Make all runs that the study needs, and write its results; returns the folder of the study."""
        for cell in self.study.cells:
            known: dict[Trial, Outcome] = {}
            while True:
                step = next_step(self.study.settings, cell, self.study.settings.first_seeds, known)
                if step.done:
                    break
                for request in step.requests:
                    known[request.trial] = self._run(cell.name, request)
        folder = study_folder(self.ledger, self.study)
        write_results(self.study, self.made, self.ledger, folder)
        command = ["fptkit", "study", str(self.study.path), "--ledger", str(self.ledger)]
        (folder / FILE).write_text(study_text(self.study, [], command), encoding="utf-8")
        return folder

    def open_test(self, address: str) -> None:
        """Evaluate the test of a stored run, as ``fptkit run --resume`` does."""
        path = run_folder(self.ledger, address) / SUMMARY
        told = json.loads(path.read_text(encoding="utf-8"))
        told["status"] = "finished"
        told["metrics"]["test"] = {"test": {"accuracy": told["metrics"]["validation"]["accuracy"] - 0.01}}
        path.write_text(json.dumps(told), encoding="utf-8")

    def _run(self, name: CellName, request: Request) -> Outcome:
        cell = next(cell for cell in self.study.cells if cell.name == name)
        loaded = recipe_for_trial(cell, request.trial)
        address = address_of(loaded.recipe, self.study.code_version, registry=loaded.registry)
        folder = run_folder(self.ledger, address)
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / RECIPE).write_text(dump_recipe(loaded.recipe), encoding="utf-8")
            (folder / ADDRESS).write_text(address + "\n", encoding="utf-8")
        told = self._summary(name, request, cell.train.max_steps)
        (folder / SUMMARY).write_text(json.dumps(told), encoding="utf-8")
        validation = told["metrics"]["validation"]["accuracy"]
        line = {"step": told["steps"], "split": "validation", "accuracy": validation}
        (folder / METRICS).write_text(json.dumps(line) + "\n", encoding="utf-8")
        self.made[address] = Outcome(address, told["status"], told.get("reason", ""), told["steps"], told)
        return self.made[address]

    def _summary(self, name: CellName, request: Request, length: int) -> dict[str, Any]:
        quality = self.quality(name, request.trial)
        steps = request.until_step or length
        done = "finished" if request.open_test else "validated" if steps == length else "paused"
        status, accuracy = ("diverged", 0.0) if quality < 0 else (done, quality * steps / length)
        test = {"test": {"accuracy": accuracy - 0.01}} if status == "finished" else {}
        return {
            "status": status,
            **({"reason": "the loss is nan"} if status == "diverged" else {}),
            "selection": {"metric": "accuracy", "higher_is_better": True},
            "fractions": ["accuracy"],
            "accuracies": ["accuracy"],
            "metrics": {"validation": {"accuracy": accuracy}, "test": test},
            "freezing": "fpt",
            "steps": steps,
            "best_step": steps,
            "validated_step": steps,
            "versions": {"fptkit": "0.1.0"},
        }


def carried_out(study: Study, ledger: Path, quality: Quality) -> tuple[Path, StoredRuns]:
    """The folder of a study that was carried out, and its runs."""
    runs = StoredRuns(study, ledger, quality, {})
    return runs.carry_out(), runs
