"""From a config.json, and tensors or a draw, to a model of transformers that is driven by token vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForTextEncoding, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING
from transformers.utils import logging

from fptkit.backbones.huggingface.model import accepted_by, is_skeleton
from fptkit.backbones.tensors import check_numbers
from fptkit.errors import DataError, FptkitError, nearest
from fptkit.seeds import derive_seed
from fptkit.sources.weights import WeightFolder

_LEGACY_BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias", "attn.bias", "attention.bias")
"""Ends of names that old checkpoints hold and models now compute: no parameters."""


class NoWords(nn.Module):
    """Stands where the word embedding was; the model is driven by token vectors.

    Args:
        width: numbers of a token vector.
        norm: mean Euclidean norm of the rows that were dropped, None in a skeleton.
    """

    def __init__(self, width: int, norm: float | None) -> None:
        super().__init__()
        self.embedding_dim = width
        self.mean_norm = norm


def make_config(content: Mapping[str, Any], where: str, fault: type[FptkitError] = DataError) -> PretrainedConfig:
    """The library's config from the content of a config.json.

    Args:
        content: its keys and values.
        where: what to call it in errors.
        fault: error to raise.

    Raises:
        FptkitError: of kind ``fault``: the library does not know its model type, the values do not fit, or the model is
            quantised or of several parts.
    """
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        near = nearest(kind, CONFIG_MAPPING) if isinstance(kind, str) else None
        raise fault(
            f"{where}: transformers {transformers.__version__} knows no model_type {kind!r}"
            + (f". Did you mean '{near}'?" if near else "")
            + "\nCode that a repository brings along is never run."
        )
    if content.get("quantization_config"):
        raise fault(f"{where}: the weights are quantised; fptkit takes plain ones")
    # The type that numbers are stored in: everything is float32 here until the engine chooses.
    values = {key: value for key, value in content.items() if key not in ("dtype", "torch_dtype")}
    try:
        with _quiet():
            config: PretrainedConfig = CONFIG_MAPPING[kind].from_dict(values)
    except Exception as err:  # the library's checks of values raise errors of many kinds
        raise fault(f"{where}: its config is none of a {kind}: {_one_line(err)}") from err
    if config.get_text_config() is not config:
        raise fault(f"{where}: a model of type {kind} has parts of several kinds; fptkit takes models of one sequence")
    config.use_cache = False
    config.return_dict = True
    config.output_hidden_states = config.output_attentions = False
    return config


def draw_model(
    config: PretrainedConfig, seed: int, where: str, fault: type[FptkitError] = DataError
) -> PreTrainedModel:
    """A model drawn as the library draws it.

    Raises:
        FptkitError: of kind ``fault``: the library cannot build it, or it is not driven by token vectors.
    """
    # The library draws from torch's global generator, as its modules do; it is seeded here and put back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "draw"))
        whole = _instantiate(config, where, fault)
    return _sequence_model(whole.eval(), where, fault)


def load_model(folder: WeightFolder, config: PretrainedConfig) -> PreTrainedModel:
    """A model with the weights of a checkpoint, in float32.

    Raises:
        DataError: the checkpoint lacks or adds tensors, holds other shapes, or numbers that are not finite.
    """
    tensors = _checked_tensors(folder)
    with torch.device("meta"):
        skeleton = _instantiate(config, folder.entry, DataError)
    kind: Any = type(skeleton)
    _check_extent(_sequence_model(skeleton, folder.entry, DataError), tensors, folder.entry)
    try:
        # The library draws what the file lacks before it reports it, from torch's global generator, which is put back.
        with _quiet(), torch.random.fork_rng(devices=[]):
            whole, report = kind.from_pretrained(
                None, config=config, state_dict=tensors, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as err:  # the library's conversions of old checkpoints raise errors of many kinds
        raise DataError(f"{folder.entry}: its tensors do not fit its config.json: {_one_line(err)}") from err
    model = _sequence_model(whole.eval(), folder.entry, DataError)
    used = {id(parameter) for parameter in model.parameters()}
    names = {name for name, parameter in whole.named_parameters(remove_duplicate=False) if id(parameter) in used}
    _check_report(whole, names, report, folder.entry)
    return model


def _instantiate(config: PretrainedConfig, where: str, fault: type[FptkitError]) -> PreTrainedModel:
    """The library's model of a config: of an encoder with a decoder, the encoder alone where there is such a class."""
    encoder_alone = getattr(config, "is_encoder_decoder", False) and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    auto = AutoModelForTextEncoding if encoder_alone else AutoModel
    try:
        with _quiet():
            model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    except Exception as err:  # sizes that do not fit one another fail wherever they are first used
        raise fault(f"{where}: no {config.model_type} can be built from its config: {_one_line(err)}") from err
    return model


def _sequence_model(whole: Any, where: str, fault: type[FptkitError]) -> PreTrainedModel:
    """The part from token vectors to the last hidden state: no decoder, no word embedding, no pooler."""
    model: Any = whole
    if getattr(whole.config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted_by(whole):
        model = whole.get_encoder()
    if "inputs_embeds" not in accepted_by(model):
        raise fault(
            f"{where}: a model of type {whole.config.model_type} cannot be driven by token vectors: the forward of "
            f"{type(model).__name__} takes no inputs_embeds"
        )
    _drop_words(model)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    sequence_model: PreTrainedModel = model
    return sequence_model


def _drop_words(model: PreTrainedModel) -> None:
    """Replace the word embedding, of every part that has one: those of T5 share their numbers but are two modules."""
    words: list[Any] = [part.get_input_embeddings() for part in model.modules() if isinstance(part, PreTrainedModel)]
    rows = words[0].weight.detach()
    norm = None if is_skeleton(rows) else float(rows.float().norm(dim=1).mean())  # a skeleton has no numbers
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if any(child is embedding for embedding in words):
                setattr(module, name, NoWords(words[0].embedding_dim, norm))


def _checked_tensors(folder: WeightFolder) -> dict[str, Tensor]:
    tensors = folder.tensors()
    for name in list(tensors):
        if not tensors[name].is_floating_point():
            del tensors[name]  # position numbers and masks of old checkpoints; a parameter would be missed later
            continue
        check_numbers(name, tensors[name], folder.entry)
        tensors[name] = tensors[name].float()
    return tensors


def _check_extent(skeleton: PreTrainedModel, tensors: Mapping[str, Tensor], entry: str) -> None:
    """Hold the size of the model against the file before memory is taken: a mistaken config.json may fill it."""
    needed = sum(parameter.numel() for parameter in skeleton.parameters())
    held = sum(tensor.numel() for tensor in tensors.values())
    if needed > held:
        raise DataError(
            f"{entry}: its config.json describes a model of {needed:,} numbers, but the file holds {held:,} of them"
        )


def _check_report(whole: Any, names: set[str], report: Mapping[str, Any], entry: str) -> None:
    """Explain every tensor that is missing or left over.

    Args:
        whole: the library's model.
        names: its parameters that are used.
        report: what the library found while it loaded.
        entry: for the message.
    """
    if missing := sorted(names & set(report["missing_keys"])):
        raise DataError(f"{entry}: {len(missing)} tensors are missing, the first is {missing[0]}")
    wrong = sorted((name, tuple(found), tuple(expected)) for name, found, expected in report["mismatched_keys"])
    if wrong := [row for row in wrong if row[0] in names]:
        name, found, expected = wrong[0]
        raise DataError(
            f"{entry}: {len(wrong)} tensors do not fit its config.json, the first is {name}: "
            f"expected shape {expected}, found {found}"
        )
    # What is not inside one of the model's own parts belongs to a decoder or to the head of another task.
    parts = {name for name, _ in whole.named_children()}
    prefix = f"{whole.base_model_prefix}."
    unexpected = sorted(name.removeprefix(prefix) for name in report["unexpected_keys"])
    left_over = [name for name in unexpected if name.split(".")[0] in parts and not name.endswith(_LEGACY_BUFFERS)]
    if left_over:
        raise DataError(
            f"{entry}: it holds {len(left_over)} tensors that a model of its config.json has no place for, the first "
            f"is {left_over[0]}"
        )


def set_dropout(config: PretrainedConfig, dropout: float | None, attention_dropout: float | None) -> list[str]:
    """Set the config's dropout probabilities.

    Args:
        config: changed in place.
        dropout: for all but the attention weights; None leaves the config's.
        attention_dropout: for the attention weights; None leaves the config's.

    Returns:
        Names of the options for which the config has no field although they are above 0.
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
    """Where a window is wider than the longest sequence needs, narrow it: the result is the same, the work is less.

    A Longformer pads every sequence to a multiple of its window; twice the tokens already let each token see all.

    Args:
        config: changed in place; without windows it stays as it is.
        tokens: of the longest sequence.
    """
    windows = getattr(config, "attention_window", None)
    if windows is None:
        return
    windows = [windows] * config.num_hidden_layers if isinstance(windows, int) else windows
    config.attention_window = [min(window, max(4, 2 * tokens)) for window in windows]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and reports: what they say is checked and raised as errors here."""
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
