"""Checkpoints: trained tensors and optimizer state as safetensors, everything else as JSON.

One folder per step, written under another name and renamed once complete. Its JSON holds a digest of each file, so that
a truncated or altered file is reported by name. The frozen part is not saved, only its name and digest: it can be built
again from its source or seed, and a different one is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from fptkit.errors import CheckpointError
from fptkit.files import flush_folder, read_json, write_bytes, write_sealed
from fptkit.sources.decoding import SAFETENSORS, decoding

FORMAT = 1

STATE = "state.json"
"""The JSON of a checkpoint."""

_INTACT = "replace the checkpoint by an intact copy, or remove its folder: the run resumes from the one before"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Args:
        folder: its folder.
        step: training steps done.
        trained: trained tensors by parameter name.
        optimizer: optimizer tensors, see `pack_optimizer`.
        state: state of the training loop.
        frozen: identity of the frozen part: backbone, weights, digest.
        data: identity of the data: source and digest; empty if the run did not record it.
        records: number of lines of the metrics file at that step, and their digest; empty if the run did not record it.
    """

    folder: Path
    step: int
    trained: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    frozen: dict[str, Any]
    data: dict[str, Any]
    records: dict[str, Any]


class _Identity(BaseModel):
    """The frozen part or the data that a checkpoint belongs to; there may be more keys."""

    model_config = ConfigDict(extra="allow")

    digest: str


class _Frozen(_Identity):
    weights: str


class _Data(_Identity):
    source: str


class _Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Manifest(BaseModel):
    """The JSON beside tensor files; there may be more keys."""

    model_config = ConfigDict(extra="allow")

    format: int
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.safetensors$")], str]


class _State(_Manifest):
    """``state.json`` of a checkpoint."""

    step: int = Field(ge=0)
    state: dict[str, Any]
    frozen: _Frozen
    data: _Data | _Nothing | None = None
    records: dict[str, Any] = {}
    optimizer_tensors: list[str] = []


def save_checkpoint(
    root: Path,
    *,
    step: int,
    trained: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
    keep_steps: set[int],
) -> Path:
    """Write ``root/step-N`` atomically, then delete all other checkpoints except those of ``keep_steps``.

    Args:
        root: folder of the checkpoints.
        step: training steps done.
        trained: trained tensors by parameter name.
        optimizer: optimizer tensors, see `pack_optimizer`.
        state: state of the training loop.
        parts: ``frozen``: identity of the frozen part; ``data``: that of the data; ``records``: number of lines of the
            metrics file, and their digest.
        keep_steps: further steps whose checkpoints are kept.
    """
    final = checkpoint_of(root, step)
    partial = root / f".{final.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    root.mkdir(exist_ok=True)  # without its parents: a run folder that was removed in mid-run is not made again
    partial.mkdir()
    content = {"step": step, "state": dict(state), **{name: dict(part) for name, part in parts.items()}}
    write_model_files(
        partial,
        {"trained": trained, "optimizer": optimizer},
        STATE,
        {**content, "optimizer_tensors": sorted(optimizer)},
    )
    replaced = root / f".{final.name}.old"
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    flush_folder(root)
    shutil.rmtree(replaced, ignore_errors=True)
    for old in _folders(root):
        if _step_of(old) not in {step, *keep_steps}:
            shutil.rmtree(old)
    return final


def write_model_files(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], manifest: str, content: Mapping[str, Any]
) -> None:
    """Write tensor files and the JSON that holds their digests, each flushed to the disk.

    Args:
        folder: an existing folder.
        tensors: file stem -> tensors by name.
        manifest: file name of the JSON.
        content: its content, in addition to ``format`` and ``files``.
    """
    from safetensors.torch import save

    digests = {}
    for stem, named in tensors.items():
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()})
        digests[f"{stem}.safetensors"] = hashlib.sha256(data).hexdigest()
        write_bytes(folder / f"{stem}.safetensors", data, flush=True)
    write_sealed(folder / manifest, {"format": FORMAT, "files": digests, **content}, flush=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        CheckpointError: a file is missing, truncated or altered, or of another format.
    """
    path = folder / STATE
    manifest, tensors = read_model_files(folder, STATE)
    _checked(_State, manifest, path)
    if missing := {"trained", "optimizer"} - tensors.keys():
        raise CheckpointError(f"{path} lists no {min(missing)}.safetensors; {_INTACT}")
    if not manifest["step"] == manifest["state"].get("step", manifest["step"]) == _step_of(folder):
        raise CheckpointError(f"{path} is of another step than {folder.name}; {_INTACT}")
    there = sorted(tensors["optimizer"])
    if manifest.get("optimizer_tensors", there) != there:
        raise CheckpointError(f"{folder / 'optimizer.safetensors'} has other tensors than {STATE} lists; {_INTACT}")
    return Checkpoint(
        folder,
        manifest["step"],
        tensors["trained"],
        tensors["optimizer"],
        manifest["state"],
        manifest["frozen"],
        manifest.get("data") or {},
        manifest.get("records") or {},
    )


def _checked(model: type[_Manifest], content: Mapping[str, Any], path: Path) -> None:
    """Raise if the JSON of a file does not fit its model.

    Raises:
        CheckpointError: it does not; the error names the file and the first value.
    """
    try:
        model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as err:
        fault = err.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise CheckpointError(f"{path} is damaged: {place}: {fault['msg'].lower()}; {_INTACT}") from err


def read_model_files(folder: Path, manifest_name: str) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read what `write_model_files` wrote: the JSON and the tensors by file stem.

    Raises:
        CheckpointError: a file is missing, truncated or altered, or of another format.
    """
    from safetensors.torch import load

    path = folder / manifest_name
    manifest = read_json(path, CheckpointError)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {manifest.get('format')!r}; this version reads format {FORMAT}")
    if "files" not in manifest:
        raise CheckpointError(f"{path} lacks 'files', the digests of the tensor files next to it")
    _checked(_Manifest, manifest, path)
    tensors = {}
    for name, digest in manifest["files"].items():
        try:
            data = (folder / name).read_bytes()
        except OSError as err:
            raise CheckpointError(f"{folder / name} is missing: {err}") from err
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(f"{folder / name} is truncated or was altered: its digest is not that of {path.name}")
        with decoding(folder / name, SAFETENSORS, CheckpointError, advice=_INTACT):
            tensors[Path(name).stem] = load(data)
    return manifest, tensors


def latest_checkpoint(root: Path) -> Path | None:
    """The newest complete checkpoint in ``root``, or None. Cleans up after a process that was killed while saving."""
    for replaced in root.glob(".step-*.old"):
        final = root / replaced.name.removeprefix(".").removesuffix(".old")
        if final.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(final)
    return max(_folders(root), key=_step_of, default=None)


def checkpoint_of(root: Path, step: int) -> Path:
    """The folder of the checkpoint of ``step``."""
    return root / f"step-{step:08d}"


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors that training changes, by name: trained parameters, and buffers such as a batch norm's running means.

    Frozen parameters are never included.
    """
    parameters = dict(model.named_parameters())
    trained: dict[str, Tensor] = {name: value for name, value in parameters.items() if value.requires_grad}
    buffers = {name: value for name, value in model.state_dict().items() if name not in parameters}
    return trained | buffers


def restore_trained(model: nn.Module, tensors: Mapping[str, Tensor], *, origin: Path) -> None:
    """Copy saved tensors into the model; both must have the same names and shapes.

    Raises:
        CheckpointError: names or shapes differ.
    """
    parameters = trained_tensors(model)
    if odd := sorted(parameters.keys() ^ tensors.keys()):
        raise CheckpointError(f"{origin}: its trained tensors are not this model's; the first that differs: {odd[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                raise CheckpointError(
                    f"{origin}: {name} has shape {tuple(tensors[name].shape)}, the model's {tuple(parameter.shape)}"
                )
            parameter.copy_(tensors[name])


def pack_optimizer(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """Optimizer state as ``<parameter name>/<state name>`` -> tensor.

    Args:
        optimizer: after at least one step, or before any (then empty).
        names: id of a parameter -> its name.
    """
    return {
        f"{names[id(parameter)]}/{key}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, packed: Mapping[str, Tensor], names: Mapping[int, str], *, origin: Path
) -> None:
    """Inverse of `pack_optimizer`, in place.

    Raises:
        CheckpointError: a tensor is of no parameter that the optimizer has, or of another shape.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in packed.items():
        name, _, state_name = key.rpartition("/")
        states.setdefault(name, {})[state_name] = value
    _check_states(optimizer, states, names, origin)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if (name := names[id(parameter)]) in states:
                # With fused=True the step counter, too, is on the parameter's device.
                optimizer.state[parameter] = {
                    key: value.to(parameter.device, copy=True) for key, value in states[name].items()
                }


def _check_states(
    optimizer: torch.optim.Optimizer, states: Mapping[str, Mapping[str, Tensor]], names: Mapping[int, str], origin: Path
) -> None:
    """Raise if saved states do not fit the parameters. A state is a number, or has its parameter's shape."""
    shapes = {names[id(one)]: one.shape for group in optimizer.param_groups for one in group["params"]}
    kinds = {frozenset(state) for state in states.values()}
    if strange := sorted(states.keys() - shapes.keys()):
        raise CheckpointError(f"{origin}: its optimizer has tensors of {strange[0]!r}, which this model does not train")
    if len(kinds) > 1:
        raise CheckpointError(f"{origin}: its optimizer has {sorted(map(sorted, kinds))} for different parameters")
    for name, state in states.items():
        for key, value in state.items():
            if value.numel() != 1 and value.shape != shapes[name]:
                raise CheckpointError(
                    f"{origin}: {key} of {name} in its optimizer has shape {tuple(value.shape)}, the model's parameter "
                    f"{tuple(shapes[name])}"
                )


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [folder for folder in root.iterdir() if folder.is_dir() and re.fullmatch(r"step-\d{8,}", folder.name)]


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
