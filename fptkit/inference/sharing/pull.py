"""Pull a run from a hub into a folder: checked by its digests, and without executing anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fptkit.engine.checkpoint import read_model_files
from fptkit.errors import CheckpointError, HubError
from fptkit.files import MODEL, PREPARATION, RECIPE, SHARED, SUMMARY, new_folder, read_json, write_bytes
from fptkit.inference.saved import SavedRun
from fptkit.inference.sharing.contents import CARD, FORMAT, TENSORS, is_data
from fptkit.inference.sharing.hub import address, check_answers, check_name, one_line_errors

_NEEDED = (RECIPE, PREPARATION, MODEL, TENSORS, SUMMARY)


def pull(place: str, folder: Path | None = None, *, plugin_files: Sequence[Path] = ()) -> Path:
    """Pull a run.

    Args:
        place: owner/name, or owner/name@revision.
        folder: a folder that does not exist yet, or is empty; None: the repository's name here.
        plugin_files: plugins that its recipe needs; those that the recipe names are never executed.

    Returns:
        The folder, which `fptkit.inference.trained.load` takes.

    Raises:
        UsageError: the name is no owner/name, the folder has files already, or the recipe needs a plugin.
        HubError: no such repository or revision, no answer, or no run of fptkit there.
        CheckpointError: a file is not the one that was pushed.
    """
    repository, _, revision = place.partition("@")
    check_name(repository)
    target = folder or Path(repository.partition("/")[2])
    check_answers()
    with new_folder(target) as partial:
        with one_line_errors(repository, revision or None, "pulling"):
            _download(repository, revision or None, partial)
        read_model_files(partial, MODEL)
        SavedRun(Path(place), partial, shared=True).recipe(plugin_files, None)
    return target


def _download(repository: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    found = HfApi(endpoint=address()).model_info(repository, revision=revision)
    names = {each.rfilename for each in found.siblings or ()}
    if SHARED not in names:
        raise HubError(f"{repository} holds no run of fptkit: it has no {SHARED}")

    def fetch(name: str) -> bytes:
        return Path(hf_hub_download(repository, name, revision=found.sha, endpoint=address())).read_bytes()

    write_bytes(folder / SHARED, fetch(SHARED))
    digests = _digests(folder, repository)
    for name, digest in digests.items():
        if name not in names:
            raise CheckpointError(f"{repository}: {name} is missing; ask its owner to push the run again")
        data = fetch(name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(f"{repository}: {name} was altered: its digest is not that of {SHARED}")
        write_bytes(folder / name, data)
    if CARD in names:
        write_bytes(folder / CARD, fetch(CARD))


def _digests(folder: Path, repository: str) -> dict[str, str]:
    """Names and digests of the files of a run.

    Raises:
        HubError: the manifest is of another version, or lists files that no run has.
    """
    content = read_json(folder / SHARED, HubError, where=repository)
    if content.get("format") != FORMAT:
        raise HubError(f"{repository}: {SHARED} has format {content.get('format')!r}; this version reads {FORMAT}")
    files = content.get("files")
    if not isinstance(files, dict) or (lacking := [name for name in _NEEDED if name not in files]):
        raise HubError(f"{repository}: {SHARED} lists no {lacking[0] if isinstance(files, dict) else 'files'}")
    for name in files:
        if not is_data(name):
            raise HubError(f"{repository}: {SHARED} lists {name[:100]!r}, which is no file of a run; it was not pulled")
    return files
