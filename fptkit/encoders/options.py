"""Options of the built-in encoders; light, so that listings and recipe checks load no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from fptkit.options import Options
from fptkit.specs import EncoderSpec

Count = Annotated[int, Field(ge=1)]
Widths = tuple[Count, ...]
Probability = Annotated[float, Field(ge=0, lt=1)]

_HIDDEN = "widths of hidden layers between the token's numbers and the backbone"


class EncoderOptions(Options):
    """What every encoder can be asked for; derive the options of your own from it.

    Source of ``match_norm``: ours. An encoder's draw knows nothing of the backbone, whose blocks were trained on word
    embeddings of another scale.
    """

    match_norm: bool = Field(
        default=False,
        description="multiply the encoder's output by one fixed number, so that its tokens start with the mean norm of "
        "the backbone's word embeddings",
    )


class LinearOptions(EncoderOptions):
    """Options of the encoder ``linear``.

    Source of the gain: kzl/universal-computation, ``universal_computation/fpt.py``.
    """

    hidden: Widths = Field(default=(), description=_HIDDEN)
    orthogonal_gain: float = Field(
        default=1.41, gt=0, allow_inf_nan=False, description="scale of the orthogonal draw of the weights"
    )


class SymbolOptions(EncoderOptions):
    """Options of the encoder ``symbols``."""

    hidden: Widths = Field(
        default=(), description="widths of the embedding and of hidden layers after it; empty: an embedding of width D"
    )


class MlpOptions(EncoderOptions):
    """Options of the encoder ``mlp``. Its defaults are one hidden layer as in a transformer's feed-forward part.

    Source of activation and norm: Vaswani et al. 2017 and Hendrycks & Gimpel 2016, as GPT-2 and ViT use them.
    """

    hidden: Widths = Field(default=(256,), min_length=1, description="widths of the hidden layers")
    activation: Literal["gelu", "relu", "silu", "tanh"] = Field(
        default="gelu", description="function after each hidden layer"
    )
    norm: bool = Field(default=False, description="layer norm of each hidden layer, before its activation")
    dropout: Probability = Field(default=0.0, description="probability of dropping a hidden number")


class Patches1dOptions(LinearOptions):
    """Options of the encoder ``patches1d``.

    Source of the default: Nie et al. 2023 (PatchTST), patches of 16.
    """

    patch: Count = Field(default=16, description="raw tokens in a patch; one patch is one token")
    stride: Count | None = Field(
        default=None, description="raw tokens from one patch to the next, at most patch; null for patch: no overlap"
    )

    @model_validator(mode="after")
    def _reads_every_token(self) -> Patches1dOptions:
        if self.step > self.patch:
            raise ValueError(
                f"stride {self.stride} is above patch {self.patch}: the tokens between patches would never be read"
            )
        return self

    @property
    def step(self) -> int:
        """Raw tokens from one patch to the next."""
        return self.stride or self.patch


class Patches2dOptions(LinearOptions):
    """Options of the encoder ``patches2d``.

    Source of the default: Lu et al. 2021, section 3.1, patches of 4 x 4.
    """

    patch: Count | tuple[Count, Count] = Field(
        default=4, description="side of a patch in cells, or [rows, columns]; divides the grid; one patch is one token"
    )

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of a patch."""
        return (self.patch, self.patch) if isinstance(self.patch, int) else self.patch


class ConvStemOptions(EncoderOptions):
    """Options of the encoder ``conv_stem``.

    Source: Xiao et al. 2021, "Early convolutions help transformers see better", kernels of 3 with stride 2; without
    their batch norm, by which an example would depend on its batch.
    """

    channels: Widths = Field(default=(64, 128), min_length=1, description="channels of each convolution")
    kernel: Count = Field(default=3, description="side of a kernel in cells, or its length in tokens")
    stride: Count = Field(
        default=2, description="cells or tokens from one kernel to the next, in each convolution; at most kernel"
    )
    causal: bool = Field(
        default=False, description="an encoded token sees no raw token after those it stands for; for vectors only"
    )
    orthogonal_gain: float = Field(
        default=1.41,
        gt=0,
        allow_inf_nan=False,
        description="scale of the orthogonal draw of the linear map after the convolutions",
    )

    @model_validator(mode="after")
    def _reads_everything(self) -> ConvStemOptions:
        if self.stride > self.kernel:
            raise ValueError(f"stride {self.stride} is above kernel {self.kernel}: what lies between is never read")
        return self


class PartOptions(Options):
    """The encoder of one part of a mixed input, written as a recipe's own encoder section is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1, description="encoder of the part; its options follow")

    @property
    def given(self) -> dict[str, Any]:
        """The options of the part's encoder, unchecked."""
        return dict(self.model_extra or {})


def _check_builtin(part: PartOptions) -> PartOptions:
    """Check the options of a built-in encoder with the recipe; those of a plugin are checked when it is built."""
    from fptkit.encoders.records import fptkit_encoders

    spec = next((spec for spec in fptkit_encoders() if spec.name == part.name), None)
    if spec is not None:
        part_options(spec, part)
    return part


def part_options(spec: EncoderSpec, part: PartOptions) -> Options:
    """The checked options of a part's encoder.

    Raises:
        ValueError: they are not of the encoder's options model, or ask for ``match_norm``.
    """
    try:
        options = spec.options_model().model_validate(part.given)
    except ValidationError as err:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'options'}: {e['msg']}" for e in err.errors())
        raise ValueError(f"encoder '{spec.name}': {said}") from err
    if getattr(options, "match_norm", False):
        raise ValueError(f"encoder '{spec.name}': match_norm goes with the encoder mixed, which matches every part")
    if isinstance(options, MixedOptions):
        raise ValueError("a part cannot itself be mixed; name its parts beside the others")
    return options


class MixedOptions(EncoderOptions):
    """Options of the encoder ``mixed``.

    Source of the learned vector of each part: the segment embeddings of Devlin et al. 2019 (BERT), drawn with standard
    deviation 0.02 as there.
    """

    parts: dict[str, Annotated[PartOptions, AfterValidator(_check_builtin)]] = Field(
        default_factory=dict,
        description="for a part of the task's input, its encoder as {name: ..., options}; a part that is left out "
        "takes linear, symbols or patches2d, by its kind",
    )
