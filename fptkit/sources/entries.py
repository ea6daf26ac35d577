"""What an entry of weights may be: checked before anything is opened. Imports no torch."""

from __future__ import annotations

import re

from fptkit.errors import nearest
from fptkit.registry import in_use
from fptkit.sources.packages import PACKAGES
from fptkit.specs import WeightSourceSpec, resolve_target

BUILTIN_WEIGHTS = ("bit_memory_nano", "gpt2_nano", "synthetic_nano", "vit_nano")
"""Names of the weights that ship with the package."""

_OWN = ("hub", "path", "package", "builtin")
"""fptkit's own sources, in the order of messages."""

_HUB_NAME = re.compile(r"(?![^@]*(--|\.\.))[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""The hub forbids ``--`` and ``..`` in names (huggingface_hub, ``utils/_validators.py``)."""


def check_entry(entry: str) -> str:
    """Check that an entry is ``random``, or that its source is known and can have such a place.

    Raises:
        ValueError: it is not; options models turn it into a fault with file and line.
        PluginError: the check of a plugin's source cannot be imported.
    """
    if entry == "random":
        return entry
    scheme, colon, place = entry.partition(":")
    sources = _sources()
    if not colon or scheme not in sources:
        forms = ", ".join([*(form for source in sources.values() for form in source.shown_forms), "random"])
        close = nearest(scheme, sources)
        meant = f"; did you mean '{close}:'?" if close and colon else ""
        raise ValueError(f"unknown source of weights '{entry}'{meant}\nallowed: {forms}")
    source = sources[scheme]
    if not place.strip() and (source.check is None or scheme not in _OWN):  # the checks of our own say more
        raise ValueError(f"'{scheme}:' names no {'folder' if scheme == 'path' else 'place'}; write {source.shown_form}")
    if source.check is not None:
        resolve_target(source.check, wanted_by=source)(place)
    return entry


def is_source(scheme: str) -> bool:
    """Whether an entry of weights may begin with this, before a colon."""
    return scheme in _sources()


def _sources() -> dict[str, WeightSourceSpec]:
    """All sources of weights: fptkit's own in their order, then those of plugins."""
    entries = [entry for entry in in_use().entries(WeightSourceSpec) if isinstance(entry.spec, WeightSourceSpec)]
    entries.sort(key=lambda entry: _OWN.index(entry.spec.name) if entry.spec.name in _OWN else len(_OWN))
    return {entry.spec.name: entry.spec for entry in entries if isinstance(entry.spec, WeightSourceSpec)}


def check_hub(place: str) -> None:
    """Raise ``ValueError`` if this is not a repository, with or without a revision."""
    if not _HUB_NAME.fullmatch(place):
        raise ValueError(f"'hub:{place}' is not of the form hub:ORG/NAME or hub:ORG/NAME@REVISION")


def check_builtin(place: str) -> None:
    """Raise ``ValueError`` if no packaged weights have this name."""
    if place not in BUILTIN_WEIGHTS:
        raise ValueError(f"unknown built-in weights '{place}'\nknown: {', '.join(BUILTIN_WEIGHTS)}")


def check_package(place: str) -> None:
    """Raise ``ValueError`` if no known package has this name."""
    if place not in PACKAGES:
        raise ValueError(f"unknown package with weights '{place}'\nknown: {', '.join(PACKAGES)}")
