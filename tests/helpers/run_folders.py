"""Made-up run folders, to report on without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fptkit.engine.assessment.records import (
    Bin,
    ClassesAssessed,
    ClassFigures,
    Content,
    Mistake,
    NumberFigures,
    NumbersAssessed,
    Place,
    RunAssessed,
    SplitAssessed,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A picture of one pixel, PNG in base64."""


def split_of(answers: ClassesAssessed | NumbersAssessed, *worst: Mistake, **changes: Any) -> SplitAssessed:
    found: dict[str, Any] = {"size": 20, "evaluated": 20, "loss": 0.5, "loss_interval": (0.4, 0.6)}
    return SplitAssessed(**{**found, **changes}, answers=answers, worst=worst)


def classes_of(names: tuple[str, ...] = ("cat", "dog"), **changes: Any) -> ClassesAssessed:
    """Twenty answers; in each class one is taken for the next class, as far as they go."""
    count = len(names)
    each = [10] * 2 + [0] * (count - 2)
    found: dict[str, Any] = {
        "examples": 20,
        "answers": 20,
        "right": 18,
        "interval": (0.7, 0.97),
        "classes": tuple(ClassFigures(support=n, predicted=n, right=max(0, n - 1)) for n in each),
        "confused": ((0, 1, 1), (1, 0, 1)),
        "unlisted": 0,
        "calibration": (
            Bin(low=0, high=0.5, answers=0, confidence=0, accuracy=0),
            Bin(low=0.5, high=1, answers=20, confidence=0.95, accuracy=0.9),
        ),
    }
    return ClassesAssessed(**{**found, **changes}, names=names)


def numbers_of(*names: str, **changes: Any) -> NumbersAssessed:
    """A model that explains three quarters of the variance."""
    figures = tuple(
        NumberFigures(name=name, answers=20, bias=0.1, absolute=0.4, squared=0.25, mean=5.0, deviation=1.0)
        for name in names
    )
    found: dict[str, Any] = {
        "examples": 20,
        "outputs": figures,
        "absolute": 0.4,
        "squared": 0.25,
        "absolute_interval": (0.3, 0.5),
        "squared_interval": (0.2, 0.3),
        "points": tuple(((1.0, 1.5), (2.0, 1.75), (3.0, 3.25)) for _ in names),
    }
    return NumbersAssessed(**{**found, **changes})


def mistake(content: Content, **changes: Any) -> Mistake:
    found: dict[str, Any] = {
        "index": 7,
        "loss": 2.0,
        "true": (0,),
        "predicted": (1,),
        "confidence": (0.9,),
        "answers": 1,
    }
    return Mistake(**{**found, **changes}, content=content)


def places_of(count: int, answers: int = 20) -> tuple[Place, ...]:
    return tuple(Place(name=str(place + 1), answers=answers, right=answers - place % 3) for place in range(count))


def make_run_folder(folder: Path, split: SplitAssessed | None = None, **changes: Any) -> Path:
    """Write the files of a finished run whose test split is ``test``.

    Args:
        folder: where to.
        split: assessment of the test; None for a run of an older version.
        changes: of the summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    accuracy = split is None or isinstance(split.answers, ClassesAssessed)
    metric = "accuracy" if accuracy else "mean_squared_error"
    values = {"loss": 0.5, metric: 0.9 if accuracy else 0.25}
    summary = {
        "status": "finished",
        "recipe": "mine",
        "task": {"name": "images", "protocol": "clean", "source": "path:data", "stand_in": False, "options": {}},
        "data": {"source": "path:data", "digest": "ab" * 16, "files": 3},
        "selection": {"metric": metric, "higher_is_better": accuracy},
        "fractions": ["accuracy"] * accuracy,
        "accuracies": ["accuracy"] * accuracy,
        "backbone": {"name": "gpt2", "blocks": 2, "width": 32, "weights": "w", "init": "pretrained", "stand_in": False},
        "encoder": "linear",
        "readout": "last",
        "freezing": "fpt",
        "freezing_options": {},
        "parameters": {"total": 1000, "trained": 100, "reached": 90},
        "parameter_parts": [
            {"role": "input", "first": None, "last": None, "total": 100, "trained": 80},
            {"role": "norm", "first": 0, "last": 1, "total": 10, "trained": 10},
            {"role": "attention", "first": 0, "last": 1, "total": 440, "trained": 0},
        ],
        "flops_per_step": 2_000_000_000,
        "max_steps": 40,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "device": "cpu",
        "threads": 1,
        "precision": "float32",
        "seed": 3,
        "seeds": {"init": 3, "order": 3, "data": 4},
        "majority_accuracy": {"validation": 0.5, "test": 0.55} if accuracy else {},
        "chance_accuracy": 0.5 if accuracy else None,
        "notes": ["a note"],
        "warnings": ["a warning"],
        "processes": 1,
        "metrics": {"validation": values, "test": {"test": values}},
        "steps": 40,
        "best_step": 20,
        "times_tested": 1,
        "seconds": 8.0,
        "examples_per_second": 40.0,
        "peak_memory_mib": 512.0,
        "versions": {"fptkit": "1", "torch": "2"},
        **changes,
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    environment = {"command": ["/bin/fptkit", "run", "mine.yaml"], "code": ["f" * 64], "platform": "Linux"}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    (folder / "model.json").write_text(json.dumps({"frozen": {"digest": "cd" * 32}}), encoding="utf-8")
    (folder / "preparation.json").write_text(json.dumps({"max_tokens": 16}), encoding="utf-8")
    (folder / "recipe.yaml").write_text("description: my run\npinned: {profile: null}\n", encoding="utf-8")
    lines: list[dict[str, Any]] = []
    for step in (20, 40):
        lines.append({"step": step, "split": "train", "loss": 1 / step, "learning_rate": 1e-3})
        lines.append({"step": step, "split": "validation", **values})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if split is not None:
        text = RunAssessed(step=20, splits={"test": split}).model_dump_json()
        (folder / "assessment.json").write_text(text, encoding="utf-8")
    return folder
