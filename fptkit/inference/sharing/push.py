"""Push a run to a hub: recipe, preparation, trained tensors, results, and a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import HubError, UsageError
from fptkit.files import SHARED
from fptkit.inference.saved import opened
from fptkit.inference.sharing.card import Card, write_card
from fptkit.inference.sharing.contents import CARD, check_private, manifest, shared_files
from fptkit.inference.sharing.hub import address, check_answers, check_name, large_files, one_line_errors, token

_HUBS_OWN = (".gitattributes", "README.md")
"""Files that a new repository may have."""


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Args:
        place: address of the commit.
        files: names and sizes in bytes.
        card: the model card.
    """

    place: str
    files: dict[str, int]
    card: Card


def push(
    run: Path,
    repository: str,
    *,
    revision: str | None = None,
    private: bool = False,
    licence: str = "",
    plugin_files: Sequence[Path] = (),
) -> Pushed:
    """Push a run, in one commit; the repository is created if there is none.

    Args:
        run: the run folder.
        repository: owner/name.
        revision: branch, created if there is none; None: the main branch.
        private: whether only its owner may see the repository.
        licence: of the trained tensors; empty: that of weights and data, if it is known.
        plugin_files: plugins, in addition to those of the run.

    Raises:
        UsageError: the name is no owner/name, the folder holds no run, the repository holds something else, or it
            is public though it should be private.
        HubError: no token, no answer, or the hub refuses.
        FptkitError: the run is damaged.
    """
    check_name(repository)
    files, card = prepared(run, repository, licence=licence, plugin_files=plugin_files)
    secret = token()
    check_private(files, secret)
    if secret is None:
        raise HubError(f"{repository}: pushing needs a token; set HF_TOKEN, or log in with: hf auth login")
    check_answers()
    with one_line_errors(repository, revision, "pushing"), large_files():
        place = _commit(repository, revision, private, files)
    return Pushed(place, {name: len(data) for name, data in files.items()}, card)


def prepared(
    run: Path, repository: str, *, licence: str = "", plugin_files: Sequence[Path] = ()
) -> tuple[dict[str, bytes], Card]:
    """The files that `push` uploads, by name, and the card among them. Asks no server.

    Raises:
        UsageError: the folder holds no run that has ended.
        FptkitError: the run is damaged.
    """
    if run.is_file():
        raise UsageError(f"{run}: a delta file has no results to show; push the run folder it came from")
    with opened(run) as saved:
        loaded = saved.recipe(plugin_files, None)
        files = shared_files(saved.folder, loaded.registry)
        card = write_card(saved.folder, files, loaded, repository, licence)
    files[SHARED] = manifest(files)
    files[CARD] = card.text.encode()
    return files, card


def _commit(repository: str, revision: str | None, private: bool, files: dict[str, bytes]) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=address())
    api.create_repo(repository, private=private or None, exist_ok=True)
    found = api.model_info(repository)
    if private and not found.private:
        raise UsageError(
            f"{repository} exists already and is public; make it private there first, or leave --private out"
        )
    names = {each.rfilename for each in found.siblings or ()}
    if SHARED not in names and (others := sorted(names - {*_HUBS_OWN})):
        raise UsageError(f"{repository} holds something else ({others[0]}); choose another name")
    if revision is not None:
        api.create_branch(repository, branch=revision, exist_ok=True)
    operations = [CommitOperationAdd(name, data) for name, data in files.items()]
    made = api.create_commit(repository, operations, commit_message="Run of fptkit", revision=revision)
    return str(made.commit_url)
