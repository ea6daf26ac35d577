"""Checkpoints in formats that are not loaded: what a folder holds instead, and the command that converts it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fptkit.files import find_json

SINGLE = "model.safetensors"
"""File of a checkpoint."""

INDEX = "model.safetensors.index.json"
"""Index of a checkpoint that is split into several files."""

NOT_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state.*)\.(bin|pt|pth)")
"""Files that a trainer writes beside the weights."""

ADAPTER_MODELS = {
    "CAUSAL_LM": "AutoPeftModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
    "SEQ_CLS": "AutoPeftModelForSequenceClassification",
    "TOKEN_CLS": "AutoPeftModelForTokenClassification",
    "QUESTION_ANS": "AutoPeftModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoPeftModelForFeatureExtraction",
}
"""Class of peft that loads an adapter with its model, by ``task_type`` of adapter_config.json."""


@dataclass(frozen=True)
class Place:
    """Where a checkpoint was looked for.

    Args:
        source: what a library opens: the folder, or ORG/NAME on the hub.
        names: names of the files there.
        config: content of its config.json; empty if there is none.
        adapter: content of its adapter_config.json; empty if there is none.
        local: whether ``source`` is a folder.
    """

    source: str
    names: Collection[str]
    config: dict[str, Any]
    adapter: dict[str, Any]
    local: bool = True

    @classmethod
    def of_folder(cls, folder: Path) -> Place:
        """Look into a folder."""
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
        return cls(str(folder), names, find_json(folder / "config.json"), find_json(folder / "adapter_config.json"))

    @property
    def target(self) -> str:
        """Folder for the converted checkpoint."""
        name = self.source.rstrip("/")
        return f"{name}-safetensors" if self.local else f"{name.rpartition('/')[2]}-safetensors"


def missing_files(path: Path, missing: list[str]) -> str:
    """Say why a path is not a folder of weights, and what to do.

    Args:
        path: the path as given.
        missing: names of the files that are not there.
    """
    if path.is_file():
        inside = found_instead(replace(Place.of_folder(path.parent), names=[path.name])) or f"use path:{path.parent}"
        return f"{path} is a file, not a folder with config.json and model.safetensors; {inside}"
    text = f"no {' and no '.join(missing)} in {path}"
    if not path.is_dir():
        return f"{text}: there is no such folder"
    instead = found_instead(Place.of_folder(path)) if missing != ["config.json"] or _is_adapter(path) else ""
    return text + (f"; {instead}" if instead else _further_down(path))


def _further_down(folder: Path) -> str:
    """Name a folder inside that holds weights: one of a trainer's checkpoints, or a snapshot in the hub's cache."""
    for pattern in ("*", "snapshots/*"):
        for inner in sorted(folder.glob(pattern)):
            if (inner / "config.json").is_file() and any((inner / name).is_file() for name in (SINGLE, INDEX)):
                return f"; its folder {inner.relative_to(folder)} has them: use path:{inner}"
    return ""


def found_instead(place: Place) -> str:
    """Say which other format a folder or repository holds and how to convert it; empty if it holds none."""
    names_of_weights = [name for name in place.names if name != SINGLE and not NOT_WEIGHTS.fullmatch(name)]
    for pattern, describe in _FORMATS:
        if names := [name for name in names_of_weights if re.fullmatch(pattern, name)]:
            return f"it holds {describe(place, names[0])}"
    return ""


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def notes_on_adapter(file: Path, entry: str) -> tuple[str, ...]:
    """Return a note if a file of weights has a PEFT adapter beside it, which is not loaded; none otherwise."""
    if not _is_adapter(file.parent):
        return ()
    return (f"{entry}: the PEFT adapter in this folder is not used; merge it into the model with merge_and_unload()",)


def _adapter(place: Place, name: str) -> str:
    kind = ADAPTER_MODELS.get(str(place.adapter.get("task_type")), "AutoPeftModelForFeatureExtraction")
    code = (
        f"from peft import {kind}; "
        f"{kind}.from_pretrained({_text(place.source)}).merge_and_unload().save_pretrained({_text(place.target)})"
    )
    base = place.adapter.get("base_model_name_or_path")
    of = f" for the model {base}" if isinstance(base, str) and base else ""
    return (
        f"a PEFT adapter ({name}){of}, not a whole model; merge it into its model with `{_python(code)}` "
        f"and use path:{place.target}"
    )


def _pickle(place: Place, name: str) -> str:
    what = f"{name}, a pickle file, which could run code and is not read"
    return f"{what}; {_by_library(place) if 'model_type' in place.config else _by_torch(place, name)}"


def _by_library(place: Place, further: str = "", needs: str = "") -> str:
    source, target = _text(place.source), _text(place.target)
    code = (
        f"from transformers import AutoModel; "
        f"AutoModel.from_pretrained({source}{further}).save_pretrained({target}, safe_serialization=True)"
    )
    return f"convert it with{needs} `{_python(code)}` and use path:{place.target}"


def _by_torch(place: Place, name: str) -> str:
    if not place.local:
        return f"download {name} and config.json into a folder, and use path:FOLDER, which says how to convert it"
    file, target = _text(f"{place.source}/{name}"), _text(f"{place.source}/model.safetensors")
    code = (
        f"import torch; from safetensors.torch import save_file; "
        f'held = torch.load({file}, map_location="cpu", weights_only=True); '
        f'held = held.get("state_dict", held.get("model", held)); '
        f"save_file({{n: t.clone().contiguous() for n, t in held.items() if torch.is_tensor(t)}}, {target})"
    )
    return f"convert it with `{_python(code)}`"


def _old_framework(framework: str, option: str) -> Callable[[Place, str], str]:
    def describe(place: Place, name: str) -> str:
        needs = f" transformers 4 and {framework} (pip install 'transformers<5' {framework})"
        return f"{name}, weights of {framework}; {_by_library(place, f', {option}=True', needs)}"

    return describe


def _gguf(place: Place, name: str) -> str:
    if place.local:
        return f"{name}, a GGUF file; name the file itself: path:{place.source}/{name}"
    return f"{name}, a GGUF file; download it, and use path:{name}"


def _graph(place: Place, name: str) -> str:
    return (
        f"{name}, a graph without the names of the model's tensors, which cannot be converted back; use the "
        "checkpoint that it was exported from, saved as model.safetensors"
    )


def _arrays(place: Place, name: str) -> str:
    return (
        f"{name}, arrays under names of their own; load them with the model's library, for vision "
        "transformers model.load_pretrained(FILE) of timm, and save its state_dict as model.safetensors"
    )


def _other_safetensors(place: Place, name: str) -> str:
    if not place.local:
        return f"{name}; download it with config.json into a folder as model.safetensors, and use path:FOLDER"
    return f"{name}; if these are the weights, rename it to model.safetensors"


def _parts(place: Place, name: str) -> str:
    return f"{name}, a part of a split checkpoint, but not its index; add the file {INDEX} that was saved with it"


_FORMATS: tuple[tuple[str, Callable[[Place, str], str]], ...] = (
    (r"adapter_(model\.(safetensors|bin)|config\.json)", _adapter),
    (r".*-\d+-of-\d+\.safetensors", _parts),
    (r".*\.safetensors", _other_safetensors),
    (r"(?!openvino_).*\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?", _pickle),
    (r".*\.(h5|keras)", _old_framework("tensorflow", "from_tf")),
    (r".*\.ckpt\.(index|meta|data-.*)", _old_framework("tensorflow", "from_tf")),
    (r".*\.msgpack", _old_framework("flax", "from_flax")),
    (r"openvino_.*|.*\.onnx|.*\.tflite|.*\.mlmodel", _graph),
    (r".*\.gguf", _gguf),
    (r".*\.(npz|npy)", _arrays),
)
"""Patterns of file names, and how each kind is described; the first kind present is reported."""


def _text(text: str) -> str:
    """A Python literal; it has double quotes, so that a shell's single quotes go around the code."""
    return json.dumps(text, ensure_ascii=False)


def _python(code: str) -> str:
    return f"python -c {shlex.quote(code)}"
