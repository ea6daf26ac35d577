"""What a recipe holds, as frozen models: the loader checks against them, and listings and schema are made from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SerializeAsAny, ValidationInfo, field_validator

from fptkit.options import Decides, Options
from fptkit.specs import KINDS, Spec

Width = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]

SECTIONS: dict[str, type[Spec]] = {kind.section: kind.record for kind in KINDS if kind.section and not kind.many}
"""Keys of a recipe that name one component."""

COMPONENT_LISTS: dict[str, type[Spec]] = {kind.section: kind.record for kind in KINDS if kind.many}
"""Keys of a recipe that name any number of components."""

DEFAULT_NAMES = {kind.section: kind.default for kind in KINDS if kind.default}
"""Components taken where a recipe names none."""

REQUIRED = frozenset(kind.section for kind in KINDS if kind.required)
"""Sections every recipe must have."""


class Component(Options):
    """A section of a recipe that names a component: ``{name: ..., further options}``."""

    name: str = Field(description="name the component is registered by")
    options: SerializeAsAny[Options] = Field(
        default=Options(), description="its options, of the model its record names"
    )


class HeadOptions(Options):
    """From the backbone's token vectors to the answer."""

    readout: Literal["auto", "last", "last_k", "mean"] = Field(
        default="auto",
        description="tokens the answer is read from: the last real one, the last k, or the mean of all; auto: last_k "
        "where the task asks for several answers, else last under a causal backbone and mean under another",
    )
    hidden: tuple[Width, ...] = Field(default=(), description="widths of hidden layers before the output layer")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping a hidden number in training")


class ScheduleOptions(Options):
    """How the learning rate changes over a run: a factor on every parameter group's own rate.

    Warm-up comes first under every name: the factor rises in equal parts, and is 1 from step ``warmup_steps`` on.

    Source: constant: Lu et al. 2021, section 2. cosine: Loshchilov and Hutter 2017, section 3, without restarts, as
    torch.optim.lr_scheduler.CosineAnnealingLR has it. plateau: as torch.optim.lr_scheduler.ReduceLROnPlateau without
    threshold and cooldown, except that patience counts as ``train.patience`` does: torch's is one less.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    name: Literal["constant", "cosine", "plateau"] = Field(
        default="constant",
        description="constant: the rate stays; cosine: it falls along half a cosine until train.max_steps; plateau: it "
        "is multiplied by factor where validation no longer improves",
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="steps over which the rate rises to its full value, below train.max_steps"
    )
    final_share: float = Field(
        default=0.0, ge=0, lt=1, description="cosine: share of the rate that is left when train.max_steps are done"
    )
    patience: int = Field(
        default=2, ge=1, description="plateau: validations without improvement after which the rate falls"
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="plateau: what the rate is multiplied by when it falls")

    @field_validator("final_share", "patience", "factor")
    @classmethod
    def _belongs_to_the_name(cls, value: float, info: ValidationInfo) -> float:
        """A setting that another schedule reads would be passed over in silence."""
        name, field = info.data.get("name"), info.field_name or ""
        owner = "cosine" if field == "final_share" else "plateau"
        if name is not None and name != owner and value != cls.model_fields[field].default:
            raise ValueError(f"is read by the schedule {owner} only, but the schedule is {name}")
        return value


class TrainOptions(Options):
    """How the trained parameters are trained.

    Source of the learning rate and of the optimiser's defaults: Lu et al. 2021, Table 12, and torch.optim.Adam; step
    counts are ours, for minutes on a laptop.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0, description="step size of Adam; a freezing rule may multiply it")
    batch_size: int = Field(default=16, ge=1, description="examples per step; with batch_tokens, the most of them")
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="most tokens of a step's batch, padding counted: its examples times the longest, in tokens as the "
        "task counts them; for tasks whose examples differ in length; null: batch_size alone decides",
    )
    # Decides: in parts, dropout draws other masks and batch norms see other examples.
    accumulate: int = Field(
        default=1,
        ge=1,
        description="parts a step's batch is cut into, one after the other in memory, their gradients averaged over "
        "examples; must divide batch_size",
    )
    activation_checkpointing: Annotated[bool, Decides.NOTHING] = Field(
        default=False,
        description="keep of each block of the backbone only what goes in, and run it once more in the backward pass: "
        "less memory, more time, the same result",
    )
    # Decides: compiled, dropout draws other masks.
    compile: bool = Field(
        default=False,
        description="compile the forward and backward of training steps (torch.compile): minutes once, then faster "
        "steps, on GPUs above all; the same result up to rounding, with other draws of dropout. Where it cannot be "
        "compiled, a line says so and the run goes on as it is",
    )
    max_steps: Annotated[int, Decides.LENGTH] = Field(default=2000, ge=1, description="steps after which training ends")
    # Unlike max_steps, these two stay what they are: a run that one of them ended is complete.
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="seconds of training steps, evaluation and saving left out, after which training ends; null: no "
        "limit. Results then depend on the machine",
    )
    max_flops: float | None = Field(
        default=None,
        gt=0,
        description="floating-point operations of training steps, forward and backward: training ends after the whole "
        "steps they allow, at least one, where these are below max_steps; null: no limit",
    )
    data_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the training split to train on, at least one example; drawn by seed, and a smaller share "
        "is part of a larger one",
    )
    training_sample: int | None = Field(
        default=None,
        ge=1,
        description="examples of the training split on which the best step's tensors are evaluated at the end, all "
        "where it holds fewer; null: none",
    )
    validate_every: int = Field(default=200, ge=1, description="steps between two validations")
    patience: Annotated[int | None, Decides.LENGTH] = Field(
        default=5, ge=1, description="validations without improvement after which training ends; null: never"
    )
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="largest norm of the gradient of all trained parameters; null: no clipping"
    )
    adam_betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="decay of Adam's two running means")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="added to Adam's denominator")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay, per unit of learning rate")
    log_every: Annotated[int, Decides.NOTHING] = Field(
        default=20, ge=1, description="steps between two lines of training figures"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="the only source of chance of a run")
    # Decides: protocols pass over whole batches, and padding that no mask hides depends on the longest of a batch.
    evaluation_batch_size: int = Field(default=64, ge=1, description="examples per batch in validation and test")
    checkpoint_every: Annotated[int | None, Decides.NOTHING] = Field(
        default=None, ge=1, description="steps between two checkpoints; null: one at every validation"
    )
    # Neither decides: features are kept only where nothing but rounding changes, and where the disk has room for them.
    feature_cache: Annotated[Literal["auto", "never"], Decides.NOTHING] = Field(
        default="auto",
        description="auto: where nothing before the head trains, examples pass the frozen part once and its output is "
        "kept for later epochs, validations and runs, if only rounding changes; never: they pass it every time",
    )
    feature_cache_gib: Annotated[float, Decides.NOTHING] = Field(
        default=20.0, gt=0, description="GiB a run's kept features may take; where they would take more, none are kept"
    )
    shard_frozen: Annotated[Literal["never", "always"], Decides.NOTHING] = Field(
        default="never",
        description="always: of several processes, each holds a part of the blocks' frozen matrices, which come "
        "together block by block in every pass, for bodies that one device does not hold; never: each holds them whole",
    )
    # Below what its checks read: a field sees those above it.
    schedule: ScheduleOptions = Field(
        default=ScheduleOptions(), description="how the learning rate changes; constant, as the paper has it, if left"
    )

    @field_validator("accumulate")
    @classmethod
    def _divides_the_batch(cls, accumulate: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if batch_size is not None and batch_size % accumulate:
            raise ValueError(
                f"must divide train.batch_size, but {batch_size} examples make no {accumulate} equal parts"
            )
        return accumulate

    @field_validator("schedule")
    @classmethod
    def _fits_the_run(cls, schedule: ScheduleOptions, info: ValidationInfo) -> ScheduleOptions:
        max_steps, patience = info.data.get("max_steps"), info.data.get("patience")
        if max_steps is not None and schedule.warmup_steps and schedule.warmup_steps >= max_steps:
            raise ValueError(
                f"warmup_steps must be below train.max_steps, but {schedule.warmup_steps} are not below {max_steps}"
            )
        if schedule.name == "cosine" and info.data.get("max_seconds") is not None:
            raise ValueError(
                "the schedule cosine must know its last step, which train.max_seconds leaves open; leave one of the "
                "two out, or limit training by train.max_steps or train.max_flops"
            )
        if schedule.name == "plateau" and patience is not None and schedule.patience >= patience:
            raise ValueError(
                f"patience must be below train.patience, but with {schedule.patience} and {patience} training ends "
                "before the rate falls"
            )
        return schedule


class Pinned(Options):
    """What an earlier run of this recipe took where the recipe leaves a choice.

    A run writes it into its resolved recipe, so that running that again repeats the run.
    """

    # Names only. What was taken decides.
    recipe: Annotated[str | None, Decides.NOTHING] = Field(
        default=None, description="name of the recipe the run was started from"
    )
    profile: Annotated[str | None, Decides.NOTHING] = Field(
        default=None, description="profile it was started with; its values are written out"
    )
    weights: str | None = Field(default=None, description="entry of backbone.weights that was taken")
    source: str | None = Field(default=None, description="entry of task.source that was taken")
    precision: str | None = Field(
        default=None,
        pattern="^(float32|bfloat16|int8)$",
        description="precision that was taken: float32, bfloat16 or int8",
    )


class RecipeSettings(Options):
    """The part of a recipe that needs no registry to be checked."""

    description: Annotated[str, Decides.NOTHING] = Field(default="", description="one line for listings")
    # Where they are does not decide; the code of those that a recipe uses enters the address of a run.
    plugins: Annotated[tuple[str, ...], Decides.NOTHING] = Field(
        default=(), description="plugins in single files this recipe needs; relative to the recipe"
    )
    head: HeadOptions = Field(default=HeadOptions(), description="read-out and output layer")
    train: TrainOptions = Field(default=TrainOptions(), description="optimiser, length and rhythm of training")
    shuffle_tokens: bool = Field(
        default=False,
        description="control: the backbone gets each example's tokens in an order drawn for it; false: as they come",
    )
    precision: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="auto",
        description="how frozen weights are stored and multiplied; auto: bfloat16 where the processor multiplies it "
        "faster; int8: linear maps stored in 8 bits and multiplied in bfloat16, for models that else do not fit. "
        "Trained weights are float32 in any case",
    )
    # On another device or with other threads, results differ by rounding.
    device: Annotated[Literal["auto", "cpu", "cuda"], Decides.NOTHING] = Field(
        default="auto", description="where to train; auto: a GPU if there is"
    )
    threads: Annotated[int | None, Decides.NOTHING] = Field(
        default=None, ge=1, description="processor threads; null: as many as torch takes"
    )
    pinned: Pinned = Field(default=Pinned(), description="choices of an earlier run, see there; not written by hand")


class Recipe(RecipeSettings):
    """One experiment: which task, encoder, backbone and freezing policy, and how to train.

    Made by `fptkit.recipe.load.load_recipe`, which knows the components' options.
    """

    task: Component = Field(description="data, splits, loss and metrics")
    encoder: Component | None = Field(
        default=None, description="raw tokens to token vectors; null: chosen by the task's kind of input"
    )
    backbone: Component = Field(description="the sequence model between encoder and head")
    freezing: Component = Field(description="which parameters train")
    # They watch a run and cannot change it.
    listeners: Annotated[tuple[Component, ...], Decides.NOTHING] = Field(
        default=(), description="followers of the run's events"
    )
