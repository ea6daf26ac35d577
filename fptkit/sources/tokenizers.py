"""Where tokenizers are: the file ``tokenizer.json`` beside weights, or in the metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path

from fptkit.sources.choice import Unavailable
from fptkit.sources.gguf.entries import convert_gguf, find_gguf
from fptkit.sources.hub import find_hub_file, repository_of
from fptkit.sources.weights import PACKAGED

TOKENIZER = "tokenizer.json"
"""The file that the library ``tokenizers`` reads and transformers writes."""


def find_tokenizer(entry: str) -> Path:
    """Find the tokenizer of weights (`fptkit.sources.weights.open_weights`); ``path:FILE.json`` names the file itself.

    Raises:
        Unavailable: it is missing and cannot be downloaded; the message gives the reason.
    """
    scheme, _, place = entry.partition(":")
    if scheme == "hub":
        repository, revision = repository_of(place)
        return find_hub_file(repository, TOKENIZER, revision)
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
