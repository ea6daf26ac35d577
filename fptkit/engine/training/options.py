"""Options of fptkit's own heads, losses, metrics, optimizers, schedules and transforms. Loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from fptkit.options import Options
from fptkit.specs import limits

Beta = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=limits.WIDTH)]
WeightDecay = Annotated[float, Field(ge=0, description="decoupled weight decay, times the learning rate")]
L2 = Annotated[float, Field(ge=0, description="weight decay, added to the gradient (L2 penalty)")]
Betas = Annotated[tuple[Beta, Beta], Field(description="decay rates of Adam's two running means")]
Epsilon = Annotated[float, Field(gt=0, description="added to the denominator")]


class _Numbers(Options):
    """Options without infinities."""

    model_config = ConfigDict(allow_inf_nan=False)


class AdamWOptions(_Numbers):
    """Source: Loshchilov and Hutter 2019; defaults of torch.optim.AdamW, but no weight decay, as in ``train``."""

    betas: Betas = (0.9, 0.999)
    epsilon: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0
    amsgrad: bool = Field(default=False, description="use the largest second moment so far (AMSGrad)")


class AdamOptions(_Numbers):
    """Source: Kingma and Ba 2015; defaults of torch.optim.Adam."""

    betas: Betas = (0.9, 0.999)
    epsilon: Epsilon = 1e-8
    weight_decay: L2 = 0.0
    amsgrad: bool = Field(default=False, description="use the largest second moment so far (AMSGrad)")


class SgdOptions(_Numbers):
    """Source: Sutskever et al. 2013 for momentum; torch.optim.SGD."""

    momentum: Beta = Field(default=0.9, description="factor on the sum of earlier gradients; 0: none")
    nesterov: bool = Field(default=False, description="Nesterov's form of momentum")
    weight_decay: L2 = 0.0

    @field_validator("nesterov")
    @classmethod
    def _needs_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("Nesterov's form needs a momentum above 0")
        return nesterov


class RmspropOptions(_Numbers):
    """Source: torch.optim.RMSprop, and its defaults."""

    smoothing: Beta = Field(default=0.99, description="decay rate of the running mean of squared gradients")
    epsilon: Epsilon = 1e-8
    momentum: Beta = Field(default=0.0, description="factor on the sum of earlier updates; 0: none")
    centered: bool = Field(default=False, description="divide by the running standard deviation instead")
    weight_decay: L2 = 0.0


class AdafactorOptions(_Numbers):
    """Source: Shazeer and Stern 2018; torch.optim.Adafactor, and its defaults."""

    beta2_decay: float = Field(
        default=-0.8, lt=0, description="the decay rate of the second moment is 1 - step ** beta2_decay"
    )
    clip: float = Field(default=1.0, gt=0, description="upper limit on the root mean square of an update")
    weight_decay: WeightDecay = 0.0


class MuonOptions(_Numbers):
    """Source: Jordan et al. 2024; torch.optim.Muon. The adjustment of the learning rate: Liu et al. 2025."""

    roles: tuple[Literal["input", "attention", "feed_forward", "recurrent", "output", "other"], ...] = Field(
        default=("attention", "feed_forward", "recurrent"),
        min_length=1,
        description="roles whose matrices Muon updates; AdamW updates all other parameters",
    )
    momentum: Beta = Field(default=0.95, description="momentum coefficient")
    nesterov: bool = Field(default=True, description="Nesterov's form of momentum")
    rounds: int = Field(default=5, ge=1, le=100, description="rounds of the iteration that orthogonalises an update")
    adjust: Literal["match_rms_adamw", "original"] = Field(
        default="match_rms_adamw",
        description="match_rms_adamw: updates as large as those of AdamW, so that its learning rates fit; original: "
        "by the shape of the matrix",
    )
    betas: Betas = Field(default=(0.9, 0.999), description="decay rates of AdamW's two running means")
    epsilon: float = Field(default=1e-8, gt=0, description="added to AdamW's denominator")
    weight_decay: WeightDecay = 0.0


class WarmupOptions(_Numbers):
    """The warm-up, which all of fptkit's own schedules begin with."""

    warmup_steps: int = Field(
        default=0, ge=0, le=limits.STEPS, description="warm-up: steps over which the learning rate rises"
    )


class DecayOptions(WarmupOptions):
    """Options of schedules that fall until the last step."""

    final_share: float = Field(
        default=0.0, ge=0, lt=1, description="fraction of the learning rate that is left at the last step"
    )


class PlateauOptions(WarmupOptions):
    """Source: torch.optim.lr_scheduler.ReduceLROnPlateau without threshold and cooldown; its patience is one less."""

    patience: int = Field(
        default=2, ge=1, le=limits.STEPS, description="validations without improvement before the learning rate falls"
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="factor on the learning rate when it falls")


class OneCycleOptions(_Numbers):
    """Source: Smith and Topin 2019; torch.optim.lr_scheduler.OneCycleLR with cosines, without its cycle of momentum."""

    rise: float = Field(default=0.3, gt=0, lt=1, description="fraction of the steps over which the learning rate rises")
    start_share: float = Field(default=0.04, gt=0, le=1, description="fraction of the learning rate at the first step")
    final_share: float = Field(default=4e-6, ge=0, lt=1, description="fraction that is left at the last step")


class InverseSqrtOptions(_Numbers):
    """Source: Vaswani et al. 2017, section 5.3, scaled so that the largest learning rate is the recipe's."""

    warmup_steps: int = Field(
        default=100,
        ge=1,
        le=limits.STEPS,
        description="warm-up: steps over which the learning rate rises; then it falls with the square root of the step",
    )


class CrossEntropyOptions(_Numbers):
    """Source: label smoothing: Szegedy et al. 2016, section 7; torch.nn.functional.cross_entropy."""

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target that is spread over all classes"
    )


class FocalOptions(_Numbers):
    """Source: Lin et al. 2017, equation 4, without weights of classes."""

    gamma: float = Field(default=2.0, ge=0, description="how much less well-classified answers count; 0: cross-entropy")


class HuberOptions(_Numbers):
    """Source: Huber 1964; torch.nn.functional.huber_loss. For scaled targets, delta is in standard deviations."""

    delta: float = Field(default=1.0, gt=0, description="error from which the loss grows linearly")


class SmoothL1Options(_Numbers):
    """Source: Girshick 2015; torch.nn.functional.smooth_l1_loss: the Huber loss divided by beta."""

    beta: float = Field(default=1.0, gt=0, description="error from which the loss grows linearly")


class QuantileOptions(_Numbers):
    """Source: Koenker and Bassett 1978."""

    quantile: float = Field(default=0.5, gt=0, lt=1, description="quantile that is predicted; 0.5: the median")


class AverageOptions(Options):
    """Options of metrics of each class."""

    average: Literal["macro", "weighted", "micro"] = Field(
        default="macro",
        description="macro: the mean over classes; weighted: weighted by how often they occur; micro: over all answers",
    )


class AurocOptions(Options):
    """Source: Hand and Till 2001 for several classes: the mean of each class against all others."""

    average: Literal["macro", "weighted"] = Field(
        default="macro", description="macro: the mean over classes; weighted: weighted by how often they occur"
    )


class TopKOptions(Options):
    """How many of the best classes count."""

    k: int = Field(default=5, ge=1, le=limits.CLASSES, description="an answer is right among the k best classes")


class AttentionOptions(_Numbers):
    """Source: Lin et al. 2017, "A structured self-attentive sentence embedding", with one linear map of scores."""

    queries: int = Field(
        default=1, ge=1, le=64, description="weighted means of the tokens, each with weights of its own"
    )


class FlipOptions(_Numbers):
    """How often grids are flipped."""

    probability: Probability = Field(default=0.5, description="probability that an example is flipped")
    direction: Literal["left_right", "up_down"] = Field(default="left_right", description="which sides are exchanged")


class ShiftOptions(_Numbers):
    """Source: the random crop of padded images of He et al. 2016, section 4.2, with 4 pixels."""

    most: Count = Field(default=4, description="cells by which a grid is shifted at most, in each direction")


class NoiseOptions(_Numbers):
    """The size of the noise."""

    deviation: float = Field(default=0.1, ge=0, description="standard deviation of the noise, in the inputs' unit")


class ScaleOptions(_Numbers):
    """The range of factors."""

    deviation: float = Field(
        default=0.1, ge=0, description="standard deviation of the factor, around 1; one factor for each example"
    )


class MaskOptions(_Numbers):
    """How many tokens are masked."""

    probability: Probability = Field(default=0.1, description="probability that a span begins at a token")
    span: Count = Field(default=1, description="tokens in a row that become zero")


class CutoutOptions(_Numbers):
    """Source: DeVries and Taylor 2017, arXiv 1708.04552."""

    side: Count = Field(default=8, description="side of the square that becomes zero, in cells")


class ReplaceOptions(_Numbers):
    """How many symbols are replaced."""

    probability: Probability = Field(default=0.1, description="probability that a symbol is replaced by a random one")
