"""Building a transformers model that accepts token vectors, from a config.json and stored or random weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForTextEncoding, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING
from transformers.utils import logging

from fptkit.backbones.config_file import architecture_only, keys_of_code, refuse_quantised
from fptkit.backbones.huggingface.bodies import PARTS, find_body
from fptkit.backbones.huggingface.body import TokenBody, used_parts, width_and_words
from fptkit.backbones.huggingface.model import accepted_by, is_skeleton
from fptkit.backbones.huggingface.stored import check_extent, check_outside, check_report, read_stored, tied_words
from fptkit.backbones.tensors import notes_on_heads
from fptkit.errors import DataError, FptkitError, UsageError, nearest
from fptkit.seeds import derive_seed
from fptkit.sources.weights import WeightFolder


class NoWords(nn.Module):
    """Placeholder for the word embedding, which is dropped because the model gets token vectors.

    Args:
        width: D, numbers per token.
        norm: mean Euclidean norm of the dropped embeddings; None for a skeleton and for a file without them.
    """

    def __init__(self, width: int, norm: float | None) -> None:
        super().__init__()
        self.embedding_dim = width
        self.mean_norm = norm


def make_config(content: Mapping[str, Any], where: str, fault: type[FptkitError] = DataError) -> PretrainedConfig:
    """Create the library's config object from the content of a config.json.

    Args:
        content: its keys and values.
        where: name of the config.json in error messages.
        fault: class of errors.

    Raises:
        FptkitError: of class ``fault``: the library does not know the model type, values are invalid, the weights are
            quantised, or the model consists of several models.
    """
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        near = nearest(kind, CONFIG_MAPPING) if isinstance(kind, str) else None
        raise fault(
            f"{where}: transformers {transformers.__version__} does not know the model_type {kind!r}"
            + (f". Did you mean '{near}'?" if near else "")
            + "\nCode from model repositories is never run."
        )
    refuse_quantised(content, where, fault)
    if fault is UsageError and (keys := keys_of_code(content, every=True)):
        raise fault(f"{where}: {keys[0]} chooses code, not an architecture; fptkit sets it, leave it out")
    values = architecture_only(content)
    try:
        with _quiet():
            config: PretrainedConfig = CONFIG_MAPPING[kind].from_dict(values)
    except Exception as err:  # the library's checks of values raise errors of many kinds
        raise fault(f"{where}: its config is not a valid config of {kind}: {_one_line(err)}") from err
    if config.get_text_config() is not config and kind not in PARTS:
        raise fault(
            f"{where}: a model of type {kind} combines several models; use a model of a single sequence, such as its "
            "text model"
        )
    config.use_cache = False
    config.return_dict = True
    config.output_hidden_states = config.output_attentions = False
    return config


def draw_model(
    config: PretrainedConfig,
    seed: int,
    where: str,
    fault: type[FptkitError] = DataError,
    *,
    part: str | None = None,
) -> PreTrainedModel:
    """Build a model with the library's random initialisation.

    Args:
        config: the library's config.
        seed: seed of the initialisation.
        where: name of the config.json in error messages.
        fault: class of errors.
        part: which of the models that are combined; None: the model is one.

    Raises:
        FptkitError: of class ``fault``: the library cannot build the model, or it does not accept token vectors.
    """
    find_body(config, part, where, fault)  # an error here is better than one about a model that is not used
    # The library draws from torch's global generator; it is seeded here and restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "draw"))
        whole = _instantiate(config, where, fault)
    return _sequence_model(whole.eval(), where, fault, part)


def load_model(
    folder: WeightFolder, config: PretrainedConfig, *, part: str | None = None
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Build a model with the weights of a checkpoint, in float32.

    Args:
        folder: the opened checkpoint.
        config: the library's config.
        part: which of the models that are combined; None: the model is one.

    Returns:
        The model, and notes on what it does not use.

    Raises:
        DataError: tensors are missing, unexpected, of another shape, quantised, or contain NaN or infinity.
    """
    body = find_body(config, part, folder.entry)  # an error about the model is better than one about its tensors
    with torch.device("meta"):
        skeleton = _instantiate(config, folder.entry, DataError)
    kind: Any = type(skeleton)
    if body is None:
        _part_for_vectors(skeleton, folder.entry, DataError)
    stored = read_stored(folder, skeleton)
    check_extent(_sequence_model(skeleton, folder.entry, DataError, part), stored.tensors, folder.entry)
    try:
        # The library initialises missing tensors before it reports them, from torch's global generator: restore that.
        with _quiet(), torch.random.fork_rng(devices=[]):
            whole, report = kind.from_pretrained(
                None, config=config, state_dict=stored.tensors, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as err:  # the library's conversions of old checkpoints raise errors of many kinds
        raise DataError(f"{folder.entry}: its tensors do not fit its config.json: {_one_line(err)}") from err
    words = None if body is not None else whole.get_input_embeddings().weight
    words_are_missing = words is not None and bool(_names_of(whole, {id(words)}) & set(report["missing_keys"]))
    model = _sequence_model(whole.eval(), folder.entry, DataError, part)
    parts = {name for name, _ in whole.named_children()} if body is None else used_parts(whole, body)
    check_report(whole, _names_of(whole, {id(used) for used in model.parameters()}), report, parts, folder.entry)
    heads = check_outside(whole, stored, report, parts, folder.entry)
    if words is not None and words_are_missing:
        tied = tied_words(stored, config, words.shape)
        _set_word_norm(model, None if tied is None else float(tied.norm(dim=1).mean()))
    return model, notes_on_heads(heads, folder.entry)


def describe_words(config: PretrainedConfig, where: str) -> tuple[tuple[str, ...], float]:
    """The names of a model's word embedding, and the factor that it applies to its rows.

    Args:
        config: the library's config.
        where: the checkpoint, for messages.

    Raises:
        DataError: the library cannot build the model, it does not accept token vectors, or the factor is unknown.
    """
    with torch.device("meta"):
        whole = _instantiate(config, where, DataError)
    if find_body(config, None, where) is not None:
        raise DataError(f"{where}: a model of type {config.model_type} has no word embedding that fptkit can use")
    words: Any = _part_for_vectors(whole, where, DataError).get_input_embeddings()
    scale = getattr(words, "scalar_embed_scale", getattr(words, "embed_scale", 1.0))
    if isinstance(scale, torch.Tensor):
        raise DataError(f"{where}: a model of type {config.model_type} scales its word embeddings by a stored number")
    return tuple(sorted(_names_of(whole, {id(words.weight)}))), float(scale)


def _set_word_norm(model: nn.Module, norm: float | None) -> None:
    for module in model.modules():
        if isinstance(module, NoWords):
            module.mean_norm = norm


def _names_of(whole: nn.Module, used: set[int]) -> set[str]:
    """All names of the parameters with these ids; tied parameters have several."""
    return {name for name, parameter in whole.named_parameters(remove_duplicate=False) if id(parameter) in used}


def _instantiate(config: PretrainedConfig, where: str, fault: type[FptkitError]) -> PreTrainedModel:
    """The library's model for a config; for an encoder-decoder only the encoder, if the library has a class for it."""
    encoder_alone = getattr(config, "is_encoder_decoder", False) and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    auto = AutoModelForTextEncoding if encoder_alone else AutoModel
    try:
        with _quiet():
            model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    except Exception as err:  # inconsistent sizes fail wherever they are first used
        raise fault(f"{where}: cannot build a {config.model_type} from its config: {_one_line(err)}") from err
    return model


def _sequence_model(whole: Any, where: str, fault: type[FptkitError], part: str | None) -> PreTrainedModel:
    """The part of a model from token vectors to the last hidden state: no decoder, word embedding or pooler."""
    if (body := find_body(whole.config, part, where, fault)) is not None:
        width, words = width_and_words(whole, body)
        blocks: Any = TokenBody(whole, body, NoWords(width, _mean_norm(words)))
        return blocks.eval()
    model = _part_for_vectors(whole, where, fault)
    _drop_words(model)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def _part_for_vectors(whole: Any, where: str, fault: type[FptkitError]) -> Any:
    """The model without its decoder.

    Raises:
        FptkitError: of class ``fault``: it does not accept token vectors.
    """
    model: Any = whole
    if getattr(whole.config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted_by(whole):
        model = whole.get_encoder()
    if "inputs_embeds" not in accepted_by(model):
        raise fault(
            f"{where}: a model of type {whole.config.model_type} does not accept token vectors: the forward of "
            f"{type(model).__name__} takes no inputs_embeds; use another model"
        )
    return model


def _drop_words(model: PreTrainedModel) -> None:
    """Replace the word embedding of every submodel: in T5 they share their weights but are two modules."""
    words: list[Any] = [part.get_input_embeddings() for part in model.modules() if isinstance(part, PreTrainedModel)]
    rows = words[0].weight.detach()
    norm = _mean_norm(rows)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if any(child is embedding for embedding in words):
                setattr(module, name, NoWords(words[0].embedding_dim, norm))


def _mean_norm(rows: torch.Tensor | None) -> float | None:
    """The mean Euclidean norm of the rows of a word embedding; None for a skeleton, which has no values."""
    return None if rows is None or is_skeleton(rows) else float(rows.float().norm(dim=1).mean())


def set_dropout(config: PretrainedConfig, dropout: float | None, attention_dropout: float | None) -> list[str]:
    """Set the dropout probabilities of a config.

    Args:
        config: changed in place.
        dropout: probability outside the attention weights; None keeps the config's.
        attention_dropout: probability for attention weights; None keeps the config's.

    Returns:
        Names of the options above 0 for which the config has no field.
    """
    fields = [
        name
        for name, value in vars(config).items()
        if ("dropout" in name or "pdrop" in name)
        and not name.startswith(("classifier", "summary"))
        and (value is None or isinstance(value, (int, float)))
        and not isinstance(value, bool)
    ]
    without = []
    for option, wanted, of_attention in (
        ("dropout", dropout, False),
        ("attention_dropout", attention_dropout, True),
    ):
        own = [name for name in fields if ("att" in name) == of_attention]
        if wanted is None:
            continue
        for name in own:
            setattr(config, name, float(wanted))
        if not own and wanted > 0:
            without.append(option)
    return without


def narrow_windows(config: PretrainedConfig, tokens: int) -> None:
    """Narrow attention windows that are wider than the longest sequence needs: the same result for less work.

    Longformer pads every sequence to a multiple of its window. In a window of twice the tokens, each token sees all.

    Args:
        config: changed in place; a config without windows is left unchanged.
        tokens: tokens of the longest sequence.
    """
    windows = getattr(config, "attention_window", None)
    if windows is None:
        return
    windows = [windows] * config.num_hidden_layers if isinstance(windows, int) else windows
    config.attention_window = [min(window, max(4, 2 * tokens)) for window in windows]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off the library's progress bars and reports: their content is checked here and raised as errors."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split()) or type(err).__name__
