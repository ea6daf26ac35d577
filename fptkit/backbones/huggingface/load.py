"""Building a transformers model that accepts token vectors, from a config.json and stored or random weights."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForTextEncoding, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING
from transformers.utils import logging

from fptkit.backbones.config_file import architecture_only, keys_of_code, refuse_quantised
from fptkit.backbones.huggingface.bodies import PARTS, find_body
from fptkit.backbones.huggingface.body import TokenBody, used_parts, width_and_words
from fptkit.backbones.huggingface.families import REFUSED, Knowledge, knowledge_of
from fptkit.backbones.huggingface.model import NoWords, accepted_by, is_skeleton
from fptkit.backbones.huggingface.repairs import repair
from fptkit.backbones.huggingface.stored import check_extent, check_outside, check_report, read_stored, tied_words
from fptkit.backbones.tensors import notes_on_heads
from fptkit.errors import DataError, FptkitError, UsageError, nearest
from fptkit.seeds import derive_seed
from fptkit.sources.weights import WeightFolder

hub_kernels: Any = None
with contextlib.suppress(ImportError):  # older versions of the library download no kernels
    hub_kernels = importlib.import_module("transformers.integrations.hub_kernels")


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
    if kind in REFUSED:
        raise fault(f"{where}: a model of type {kind} cannot be a backbone: {REFUSED[kind]}")
    refuse_quantised(content, where, fault)
    if fault is UsageError and (keys := keys_of_code(content, every=True)):
        raise fault(f"{where}: {keys[0]} chooses code, not an architecture; fptkit sets it, leave it out")
    values = {**architecture_only(content), **knowledge_of(kind).settings}
    try:
        with quiet():
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
        with quiet(), torch.random.fork_rng(devices=[]):
            whole, report = kind.from_pretrained(
                None, config=config, state_dict=stored.tensors, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as err:  # the library's conversions of old checkpoints raise errors of many kinds
        raise DataError(f"{folder.entry}: its tensors do not fit its config.json: {_one_line(err)}") from err
    words = None if body is not None else getattr(_words_of(whole), "weight", None)
    words_are_missing = words is not None and bool(_names_of(whole, {id(words)}) & set(report["missing_keys"]))
    model = _sequence_model(whole.eval(), folder.entry, DataError, part)
    parts = {name for name, _ in whole.named_children()} if body is None else used_parts(whole, body)
    check_report(whole, _names_of(whole, {id(used) for used in model.parameters()}), report, parts, folder.entry)
    heads = check_outside(whole, stored, report, parts, folder.entry)
    if words is not None and words_are_missing:
        _set_word_norm(model, tied_words(stored, config, tuple(words.shape)))
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
    words = _words_of(_part_for_vectors(whole, where, DataError))
    if not isinstance(getattr(words, "weight", None), Tensor):
        raise DataError(
            f"{where}: a model of type {config.model_type} has no single table of word embeddings; use the encoder "
            "symbols"
        )
    scale = getattr(words, "scalar_embed_scale", getattr(words, "embed_scale", 1.0))
    if isinstance(scale, torch.Tensor):
        raise DataError(f"{where}: a model of type {config.model_type} scales its word embeddings by a stored number")
    return tuple(sorted(_names_of(whole, {id(words.weight)}))), float(scale)


def _set_word_norm(model: nn.Module, words: Tensor | None) -> None:
    """Set the norm of the word embeddings to that of a file's language head; None: it is unknown."""
    for module in model.modules():
        if isinstance(module, NoWords):
            same = words is not None and words.shape[1] == module.embedding_dim
            module.mean_norm = _mean_norm(model, words) if same else None


def _names_of(whole: nn.Module, used: set[int]) -> set[str]:
    """All names of the parameters with these ids; tied parameters have several."""
    return {name for name, parameter in whole.named_parameters(remove_duplicate=False) if id(parameter) in used}


def _instantiate(config: PretrainedConfig, where: str, fault: type[FptkitError]) -> PreTrainedModel:
    """The library's model for a config; for an encoder-decoder only the encoder, if the library has a class for it."""
    encoder_alone = getattr(config, "is_encoder_decoder", False) and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    auto = AutoModelForTextEncoding if encoder_alone else AutoModel
    try:
        with quiet():
            model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    except Exception as err:  # inconsistent sizes fail wherever they are first used
        raise fault(f"{where}: cannot build a {config.model_type} from its config: {_one_line(err)}") from err
    return model


def _sequence_model(whole: Any, where: str, fault: type[FptkitError], part: str | None) -> PreTrainedModel:
    """The part of a model from token vectors to the last hidden state: no decoder, word embedding or pooler."""
    if (body := find_body(whole.config, part, where, fault)) is not None:
        width, words = width_and_words(whole, body)
        blocks: Any = TokenBody(whole, body, NoWords(width, _mean_norm(whole, words)))
        return blocks.eval()
    model = _part_for_vectors(whole, where, fault)
    _replace_words(model, knowledge_of(whole.config.model_type))
    repair(model)
    if getattr(model, "pooler", None) is not None:
        model.pooler = Pooled()
    return model


class Pooled(nn.Identity):
    """Placeholder for the pooler, whose output is not used. Some models call it without asking whether there is one."""


class Entered(nn.Module):
    """Placeholder for the embeddings of a model whose words are narrower than its blocks: vectors pass unchanged."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Tensor:
        """Return the token vectors. Shapes: (B, T, D) -> same."""
        return inputs_embeds


def _part_for_vectors(whole: Any, where: str, fault: type[FptkitError]) -> Any:
    """The model without its decoder.

    Raises:
        FptkitError: of class ``fault``: it does not accept token vectors.
    """
    model: Any = whole
    if body := knowledge_of(whole.config.model_type).body:
        model = whole.get_submodule(body)
    if getattr(whole.config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted_by(whole):
        model = whole.get_encoder()
    if "inputs_embeds" not in accepted_by(model):
        raise fault(
            f"{where}: a model of type {whole.config.model_type} does not accept token vectors: the forward of "
            f"{type(model).__name__} takes no inputs_embeds; use another model"
        )
    return model


def _replace_words(model: PreTrainedModel, known: Knowledge) -> None:
    """Replace the word embeddings of a model and of its submodels: in T5 they share their weights but are two modules.

    If the words are narrower than the blocks, token vectors enter behind their projection. ALBERT and small ELECTRA
    normalise the sum of words and positions before that, so there is no table of positions at the width of the blocks.
    """
    found = (_words_of(part) for part in model.modules() if isinstance(part, PreTrainedModel))
    words = [part for part in found if part is not None]
    table = getattr(words[0], "weight", None) if words else None
    table = table if isinstance(table, Tensor) and table.ndim == 2 else None  # words of several tables have none
    width = int(model.config.hidden_size) if table is None else table.shape[1]
    norm = _mean_norm(model, table)
    if (known.embeddings or known.projection) and width != model.config.hidden_size:
        width, norm = int(model.config.hidden_size), _mean_norm(model, table, known)
        if known.embeddings:
            _replace(model, known.embeddings, Entered())
        if known.projection:
            _replace(model, known.projection, nn.Identity())
    for name in known.left_out:
        if model.get_submodule(name.rpartition(".")[0])._modules.get(name.rpartition(".")[2]) is not None:
            _replace(model, name, nn.Identity())
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if any(child is embedding for embedding in words):
                setattr(module, name, NoWords(width, norm))
    if not any(isinstance(module, NoWords) for module in model.modules()):
        model.add_module("no_words", NoWords(width, norm))


@torch.no_grad()
def _mean_norm(model: nn.Module, table: Tensor | None, known: Knowledge | None = None) -> float | None:
    """Mean Euclidean norm of word embeddings, where token vectors enter; None if it is unknown.

    Args:
        model: the model with all its modules.
        table: (V, D'), the word embeddings; None if there is no single table.
        known: what lies between the table and the place where token vectors enter; None: nothing.
    """
    if table is None or is_skeleton(table):  # a skeleton has no values
        return None
    rows = table.detach().float()
    if known is not None:
        if not known.projection:
            return None
        norm = getattr(model.get_submodule(known.embeddings), "LayerNorm", None) if known.embeddings else None
        rows = model.get_submodule(known.projection)(rows if norm is None else norm(rows))
    return float(rows.norm(dim=1).mean())


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def _words_of(part: PreTrainedModel) -> Any:
    """The word embedding of a model; None if it has none, as models of audio."""
    try:
        return part.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None


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
def quiet() -> Iterator[None]:
    """Turn off the library's progress bars and reports, whose content is checked here and raised as errors, and its
    downloads of kernels, which are code."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    get_kernel = getattr(hub_kernels, "get_kernel", None)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if get_kernel is not None:
        hub_kernels.get_kernel = _refuse_kernel
    try:
        yield
    finally:
        if get_kernel is not None:
            hub_kernels.get_kernel = get_kernel
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _refuse_kernel(name: str, *_: Any, **__: Any) -> NoReturn:
    """Models then use the library's own code, or say that they cannot."""
    raise ImportError(f"fptkit does not download the kernel {name}")


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split()) or type(err).__name__
