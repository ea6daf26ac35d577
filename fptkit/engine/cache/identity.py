"""What decides cached features, except the examples; the name of their file is made from it."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from fptkit import __version__
from fptkit.engine.build import Built
from fptkit.engine.code_version import code_version
from fptkit.freezing.proof import digest_tensors
from fptkit.options import Options, deciding
from fptkit.recipe.models import Recipe, TrainOptions


def identity_of(built: Built, recipe: Recipe, options: TrainOptions, frozen_digest: str) -> dict[str, str]:
    """Everything that decides features, except the examples, as text by name."""
    model, readout = built.model, recipe.readout
    device = next(model.parameters()).device
    before = [model.encoder, model.backbone, model.head, *([] if model.front is None else [model.front])]
    modules = itertools.chain.from_iterable(part.modules() for part in before)
    return {
        "frozen": frozen_digest,
        "buffers": digest_tensors(
            (name, tensor) for name, tensor in model.state_dict().items() if not name.startswith("head.")
        ),
        "encoder": f"{built.encoder_name} {_content(recipe.encoder.options) if recipe.encoder else ''}",
        "backbone": f"{recipe.backbone.name} {_content(recipe.backbone.options)}",
        "freezing": f"{recipe.freezing.name} {_content(recipe.freezing.options)}",
        "read-out": f"{built.readout} {model.head.output.tokens} {_content(readout.options) if readout else ''}",
        "precision": built.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
        "batch": str(options.evaluation_batch_size),
        "versions": f"fptkit {__version__} {code_version()}, torch {torch.__version__}",
        "sources": _sources(modules),
    }


def _content(options: Options) -> str:
    return json.dumps(deciding(options), sort_keys=True)


def _sources(modules: Iterator[nn.Module]) -> str:
    """A digest of the files that define the modules, including those of plugins."""
    digests = set()
    for kind in {type(module) for module in modules}:
        try:
            file = inspect.getsourcefile(kind)
        except TypeError:  # defined in no file
            file = None
        if file and Path(file).is_file():
            digests.add(hashlib.sha256(Path(file).read_bytes()).hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
