"""Where tokenizers are: the file ``tokenizer.json`` beside weights, or in the metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path

from fptkit.sources.choice import Unavailable
from fptkit.sources.gguf.entries import convert_gguf, find_gguf
from fptkit.sources.probe import hub_problem
from fptkit.sources.weights import PACKAGED, hub_errors

TOKENIZER = "tokenizer.json"
"""The file that the library ``tokenizers`` reads and transformers writes."""


def find_tokenizer(entry: str) -> Path:
    """Find the tokenizer of weights (`fptkit.sources.weights.open_weights`); ``path:FILE.json`` names the file itself.

    Raises:
        Unavailable: it is missing and cannot be downloaded; the message gives the reason.
    """
    scheme, _, place = entry.partition(":")
    if scheme == "hub":
        return _from_hub(place)
    if gguf := find_gguf(entry):
        made = convert_gguf(gguf, entry)
        if made.tokenizer_problem:
            raise Unavailable(made.tokenizer_problem)
        return made.folder / TOKENIZER
    try:
        folder = PACKAGED / place if scheme == "builtin" else Path(place).expanduser()
        file = folder if folder.is_file() and scheme == "path" else folder / TOKENIZER
        if file.is_file():
            return file
    except (OSError, RuntimeError) as err:
        raise Unavailable(f"{place[:200]} cannot be read: {getattr(err, 'strerror', None) or err}") from err
    raise Unavailable(
        f"{folder} has no {TOKENIZER}; write it with transformers: "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )


def _from_hub(place: str) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repository, _, revision = place.partition("@")
    try:
        found = try_to_load_from_cache(repository, TOKENIZER, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
        if problem := hub_problem():
            raise Unavailable(f"its {TOKENIZER} is not in the local cache, and {problem}")
        return Path(hf_hub_download(repository, TOKENIZER, revision=revision or None))
    except hub_errors() as err:
        said = " ".join(str(err).split()) or type(err).__name__
        raise Unavailable(f"the {TOKENIZER} of {repository} is not available: {said}") from err
