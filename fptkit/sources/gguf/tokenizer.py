"""The tokenizer in a GGUF file's metadata as a ``tokenizer.json`` of the library tokenizers.

Only byte-level BPE is converted, with the rules for cutting a text into words that are known here. Others depend on
code of llama.cpp; such a file still gives weights, and a task with text names another tokenizer.

Source: ggml-org/llama.cpp, ``src/llama-vocab.cpp``: the names of the rules, their expressions, and which of them skip
the merges of whole tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fptkit.sources.choice import Unavailable
from fptkit.sources.gguf.reader import GgufFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CONTROL, _USER_DEFINED = 3, 4
"""Values of ``tokenizer.ggml.token_type``. Source: ggml-org/ggml, ``docs/gguf.md``."""

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_2 = _LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")


def make_tokenizer(file: GgufFile) -> Tokenizer:
    """Make the tokenizer of an opened file.

    Raises:
        Unavailable: it is of a kind that is not converted, or incomplete; the message gives the reason.
    """
    kind, rule = file.metadata.get("tokenizer.ggml.model"), str(file.metadata.get("tokenizer.ggml.pre", ""))
    if kind is None:
        raise Unavailable("its metadata has no tokenizer")
    if kind != "gpt2" or rule not in _CUTTERS:
        named = f"{kind} with the rule {rule!r}" if kind == "gpt2" else str(kind)
        known = ", ".join(sorted(_CUTTERS))
        raise Unavailable(f"its tokenizer ({named}) is not converted; byte-level BPE is, with the rules {known}")
    from tokenizers import AddedToken, decoders

    try:
        tokenizer = _bpe(file, merge_whole_words=rule not in _SKIP_MERGES)
    except (KeyError, ValueError, TypeError) as err:
        raise Unavailable(f"its tokenizer is incomplete or damaged: {err!r}") from err
    except Exception as err:  # the library raises bare exceptions
        raise Unavailable(f"its tokenizer is damaged: {err}") from err
    _CUTTERS[rule](tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    tokens, types = file.metadata["tokenizer.ggml.tokens"], file.metadata.get("tokenizer.ggml.token_type", ())
    for added in (_CONTROL, _USER_DEFINED):
        names = [token for token, found in zip(tokens, types, strict=False) if found == added]
        special = added == _CONTROL
        tokenizer.add_tokens([AddedToken(name, special=special, normalized=False) for name in names])
    _begin_with_bos(tokenizer, file, tokens)
    return tokenizer


def _bpe(file: GgufFile, *, merge_whole_words: bool) -> Tokenizer:
    from tokenizers import Tokenizer, models

    vocabulary = {token: number for number, token in enumerate(file.metadata["tokenizer.ggml.tokens"])}
    merges = []
    for pair in file.metadata["tokenizer.ggml.merges"]:
        left, _, right = pair.partition(" ")
        merges.append((left, right))
    return Tokenizer(models.BPE(vocabulary, merges, ignore_merges=not merge_whole_words))


def _begin_with_bos(tokenizer: Tokenizer, file: GgufFile, tokens: list[str]) -> None:
    """Put the token that begins a text in front, if the metadata says so."""
    from tokenizers import processors

    bos = file.metadata.get("tokenizer.ggml.bos_token_id")
    if file.metadata.get("tokenizer.ggml.add_bos_token") and bos is not None and 0 <= int(bos) < len(tokens):
        name = tokens[int(bos)]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[name, "$A"], pair=[name, "$A", name, "$B"], special_tokens=[(name, int(bos))]
        )


def _gpt2(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)


def _smollm(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    single_digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([single_digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def _by_expression(expression: str, *, compose: bool = False) -> Callable[[Any], None]:
    def cut(tokenizer: Any) -> None:
        from tokenizers import Regex, normalizers, pre_tokenizers

        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(expression), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        if compose:
            tokenizer.normalizer = normalizers.NFC()

    return cut


_CUTTERS: dict[str, Callable[[Any], None]] = {
    "gpt-2": _gpt2,
    "llama-bpe": _by_expression(_LLAMA_3),
    "qwen2": _by_expression(_QWEN_2, compose=True),
    "smollm": _smollm,
}
_SKIP_MERGES = ("llama-bpe",)
"""Rules by which a word that is a token is one token, whatever the merges say."""
