"""Where tokenizers are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from fptkit.sources import Unavailable
from fptkit.sources.tokenizers import TOKENIZER, find_tokenizer
from fptkit.sources.weights import PACKAGED


def test_in_the_package_in_a_folder_and_as_a_file(tmp_path: Path) -> None:
    assert find_tokenizer("builtin:gpt2_nano") == PACKAGED / "gpt2_nano" / TOKENIZER
    (tmp_path / TOKENIZER).write_text("{}")
    assert find_tokenizer(f"path:{tmp_path}") == tmp_path / TOKENIZER
    assert find_tokenizer(f"path:{tmp_path / TOKENIZER}") == tmp_path / TOKENIZER


@pytest.mark.parametrize(
    "entry", ["builtin:vit_nano", "path:/none", "path:~nobody-of-this-name/x", f"path:/{'x' * 300}"]
)
def test_missing(entry: str) -> None:
    with pytest.raises(Unavailable, match=r"no tokenizer\.json; write it|cannot be read"):
        find_tokenizer(entry)


def test_in_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    (tmp_path / TOKENIZER).write_text("{}")
    asked = []

    def cached(repository: str, name: str, revision: str | None = None) -> str:
        asked.append((repository, name, revision))
        return str(tmp_path / TOKENIZER)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    assert find_tokenizer("hub:org/name@v1") == tmp_path / TOKENIZER
    assert asked == [("org/name", TOKENIZER, "v1")]


def test_not_in_the_cache_and_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match=r"tokenizer\.json"):
        find_tokenizer("hub:org/none-of-this-name")
