"""The models of a recipe: the loader checks against them, and listings and the JSON Schema are made from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SerializeAsAny, ValidationInfo, field_validator

from fptkit.options import Added, Decides, Options
from fptkit.specs import KINDS, Spec, limits

Width = Annotated[int, Field(ge=1, le=limits.WIDTH)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

SeedName = Literal["init", "order", "data"]
"""What a seed of its own can be given to, see `SeedOptions`."""

SECTIONS: dict[str, type[Spec]] = {kind.section: kind.record for kind in KINDS if kind.section and not kind.many}
"""Keys of a recipe that name one component."""

COMPONENT_LISTS: dict[str, type[Spec]] = {kind.section: kind.record for kind in KINDS if kind.many}
"""Keys of a recipe that name any number of components."""

DEFAULT_NAMES = {kind.section: kind.default for kind in KINDS if kind.default}
"""Components used if a recipe names none."""

REQUIRED = frozenset(kind.section for kind in KINDS if kind.required)
"""Sections every recipe must have."""


class Component(Options):
    """A section of a recipe that names a component: ``{name: ..., further options}``."""

    name: str = Field(description="name the component is registered by")
    options: SerializeAsAny[Options] = Field(default=Options(), description="options of the component")


class HeadOptions(Options):
    """The head: pooling of the backbone's token vectors, and layers from there to the answer."""

    readout: Literal["auto", "last", "last_k", "mean"] = Field(
        default="auto",
        description="pooling: the head reads the last token, the last k tokens, or the mean of all, without padding; "
        "auto: all tokens if each has a label, last_k if the task asks for several answers, else last for a causal "
        "backbone and mean for others",
    )
    hidden: tuple[Width, ...] = Field(
        default=(), max_length=limits.BLOCKS, description="widths of hidden layers before the output layer"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout probability of the hidden layers")


class ScheduleOptions(Options):
    """The learning rate schedule: a factor on the learning rate of every parameter group.

    Every schedule begins with the warm-up: the factor rises linearly, and is 1 from step ``warmup_steps``.

    Source: constant: Lu et al. 2021, section 2. cosine: Loshchilov and Hutter 2017, section 3, without restarts, as in
    torch.optim.lr_scheduler.CosineAnnealingLR. plateau: as in torch.optim.lr_scheduler.ReduceLROnPlateau without
    threshold and cooldown, but patience counts as ``train.patience`` does: torch's is one less.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    name: Literal["constant", "cosine", "plateau"] = Field(
        default="constant",
        description="constant: no change; cosine: decay along half a cosine until train.max_steps; plateau: multiplied "
        "by factor when validation no longer improves",
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=limits.STEPS,
        description="warm-up: steps over which the learning rate rises; below train.max_steps",
    )
    final_share: float = Field(
        default=0.0, ge=0, lt=1, description="cosine: fraction of the learning rate that is left at train.max_steps"
    )
    patience: int = Field(
        default=2,
        ge=1,
        le=limits.STEPS,
        description="plateau: validations without improvement before the learning rate falls",
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="plateau: factor on the learning rate when it falls")

    @field_validator("final_share", "patience", "factor")
    @classmethod
    def _belongs_to_the_name(cls, value: float, info: ValidationInfo) -> float:
        """Refuse a setting of another schedule, which would be ignored silently."""
        name, field = info.data.get("name"), info.field_name or ""
        owner = "cosine" if field == "final_share" else "plateau"
        if name is not None and name != owner and value != cls.model_fields[field].default:
            raise ValueError(f"is a setting of the {owner} schedule, but the schedule is {name}; leave it out")
        return value


class SeedOptions(Options):
    """Seeds of single sources of randomness, to vary one and keep the others.

    Source: the distinction of sources: Bouthillier et al. 2021, "Accounting for Variance in Machine Learning
    Benchmarks".
    """

    init: Seed | None = Field(
        default=None,
        description="seed of what is drawn when the model is built: encoder, head, random weights of the backbone, "
        "parameters added by the freezing policy, order of shuffled tokens in evaluation; null: train.seed",
    )
    order: Seed | None = Field(
        default=None,
        description="seed of what is drawn during training: order of the examples, dropout, augmentation, examples of "
        "an endless training split, batches of a sampled evaluation; null: train.seed",
    )
    data: Seed | None = Field(
        default=None,
        description="seed of which training examples are used: those of data_fraction, and a task's random split if "
        "its own seed is null; null: train.seed for data_fraction, and the same split in all runs",
    )


class TrainOptions(Options):
    """Training: optimizer, batches, learning rate, limits, early stopping, checkpoints.

    Source: learning rate and optimizer defaults: Lu et al. 2021, Table 12, and torch.optim.Adam. The step counts are
    our own, for minutes on a laptop.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0, description="learning rate; a freezing rule may multiply it")
    batch_size: int = Field(
        default=16,
        ge=1,
        le=limits.BATCH,
        description="examples per step, over all micro-batches and processes; with batch_tokens, the upper limit",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        le=limits.BATCH_TOKENS,
        description="token budget: upper limit on the tokens of a step's batch, padding included (examples times the "
        "longest of them); for tasks whose examples differ in length; null: batch_size alone decides",
    )
    # Decides the result: in micro-batches, dropout draws other masks and batch norms see other examples.
    accumulate: int = Field(
        default=1,
        ge=1,
        le=limits.BATCH,
        description="gradient accumulation: micro-batches per step, whose gradients are averaged over examples; must "
        "divide batch_size",
    )
    activation_checkpointing: Annotated[bool, Decides.NOTHING] = Field(
        default=False,
        description="gradient checkpointing: store only the input of each block and recompute the block in the "
        "backward pass; less memory, more time, the same result",
    )
    # Decides the result: compiled, dropout draws other masks.
    compile: bool = Field(
        default=False,
        description="compile the forward and backward of training steps (torch.compile): takes minutes once, then "
        "increases throughput, mainly on GPUs; the same result up to rounding and other dropout masks. If it fails, "
        "the run reports it and continues uncompiled",
    )
    cuda_graphs: Annotated[Literal["auto", "never"], Decides.NOTHING] = Field(
        default="auto",
        description="auto: on a GPU, the steps of each shape of batch are recorded as a CUDA graph and repeated by a "
        "single launch; what cannot be recorded runs as usual, which the run reports; never: steps run as usual",
    )
    max_steps: Annotated[int, Decides.LENGTH] = Field(
        default=2000, ge=1, le=limits.STEPS, description="steps after which training ends"
    )
    # Unlike max_steps, a resumed run cannot change these two: a run that one of them ended is complete.
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="time limit: training ends after this many seconds of training steps, without evaluation and "
        "saving; null: no limit. Results then depend on the machine",
    )
    max_flops: float | None = Field(
        default=None,
        gt=0,
        description="FLOP budget: floating-point operations of training steps, forward and backward; training ends "
        "after the steps they allow, at least one, or after max_steps if that is less; null: no limit",
    )
    data_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="fraction of the training split to train on, at least one example; drawn by seed, and a smaller "
        "fraction is part of a larger one",
    )
    training_sample: int | None = Field(
        default=None,
        ge=1,
        le=limits.EXAMPLES,
        description="number of training examples on which the best step is evaluated at the end, all if there are "
        "fewer; null: none",
    )
    metric: Annotated[str | None, Added.LATER] = Field(
        default=None,
        min_length=1,
        description="validation metric that chooses the best step, one of the task's, of metrics, or loss; null: the "
        "task's choice",
    )
    validate_every: int = Field(default=200, ge=1, le=limits.STEPS, description="steps between two validations")
    patience: Annotated[int | None, Decides.LENGTH] = Field(
        default=5,
        ge=1,
        le=limits.STEPS,
        description="early stopping: training ends after this many validations without improvement; null: never",
    )
    clip_norm: float | None = Field(
        default=1.0,
        gt=0,
        description="gradient clipping: upper limit on the norm of the gradient of all trained parameters; null: none",
    )
    adam_betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="decay rates of Adam's two running means")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="added to Adam's denominator")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay, times the learning rate")
    log_every: Annotated[int, Decides.NOTHING] = Field(
        default=20, ge=1, le=limits.STEPS, description="steps between two reports of training loss and throughput"
    )
    seed: Seed = Field(default=0, description="random seed: decides everything random in a run")
    seeds: SeedOptions = Field(
        default=SeedOptions(), description="seeds of single sources of randomness; those that are null follow seed"
    )
    # Decides the result: protocols skip complete batches, and unmasked padding depends on the longest example of a
    # batch.
    evaluation_batch_size: int = Field(
        default=64, ge=1, le=limits.BATCH, description="examples per batch in validation and test"
    )
    checkpoint_every: Annotated[int | None, Decides.NOTHING] = Field(
        default=None, ge=1, le=limits.STEPS, description="steps between two checkpoints; null: one at each validation"
    )
    # Neither decides the result: features are cached only if nothing but rounding changes and the disk has room for
    # them.
    feature_cache: Annotated[Literal["auto", "never"], Decides.NOTHING] = Field(
        default="auto",
        description="auto: if nothing before the head trains, examples pass the frozen part once and its output is "
        "cached for later epochs, validations and runs, if only rounding changes; never: they pass it every time",
    )
    feature_cache_gib: Annotated[float, Decides.NOTHING] = Field(
        default=20.0, gt=0, description="upper limit on a run's cached features, in GiB; if exceeded, none is cached"
    )
    shard_frozen: Annotated[Literal["never", "always"], Decides.NOTHING] = Field(
        default="never",
        description="always: shard frozen block weights over processes (FSDP2), for models larger than one device; "
        "never: each process holds all of them",
    )
    # Last, since a validator sees only the fields above its own.
    schedule: ScheduleOptions = Field(
        default=ScheduleOptions(), description="learning rate schedule; constant by default, as in the paper"
    )

    def seed_of(self, name: SeedName) -> int:
        """The seed of one source of randomness: its own, else ``seed``."""
        own: int | None = getattr(self.seeds, name)
        return self.seed if own is None else own

    @field_validator("accumulate")
    @classmethod
    def _divides_the_batch(cls, accumulate: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if batch_size is not None and batch_size % accumulate:
            raise ValueError(
                f"must divide train.batch_size, but {batch_size} examples do not make {accumulate} equal micro-batches"
            )
        return accumulate

    @field_validator("schedule")
    @classmethod
    def _fits_the_run(cls, schedule: ScheduleOptions, info: ValidationInfo) -> ScheduleOptions:
        max_steps, patience = info.data.get("max_steps"), info.data.get("patience")
        if max_steps is not None and schedule.warmup_steps and schedule.warmup_steps >= max_steps:
            raise ValueError(
                f"warmup_steps must be below train.max_steps, but {schedule.warmup_steps} is not below {max_steps}"
            )
        if schedule.name == "cosine" and info.data.get("max_seconds") is not None:
            raise ValueError(
                "the cosine schedule needs a known last step, which train.max_seconds does not give; leave one of the "
                "two out, or limit training by train.max_steps or train.max_flops"
            )
        if schedule.name == "plateau" and patience is not None and schedule.patience >= patience:
            raise ValueError(
                f"patience must be below train.patience, but with {schedule.patience} and {patience} training ends "
                "before the learning rate falls"
            )
        return schedule


class Pinned(Options):
    """The choices of an earlier run where this recipe leaves them open.

    A run writes them into its resolved recipe, so that running that recipe repeats the run.
    """

    # Names only: the choices themselves decide the result.
    recipe: Annotated[str | None, Decides.NOTHING] = Field(
        default=None, description="name of the recipe the run was started from"
    )
    profile: Annotated[str | None, Decides.NOTHING] = Field(
        default=None, description="profile the run was started with; its values are written out"
    )
    weights: str | None = Field(default=None, description="entry of backbone.weights that was used")
    source: str | None = Field(default=None, description="entry of task.source that was used")
    precision: str | None = Field(
        default=None,
        pattern="^(float32|bfloat16|int8|int8_storage)$",
        description="precision that was used: float32, bfloat16, int8 or int8_storage",
    )


class RecipeSettings(Options):
    """The part of a recipe that can be checked without a registry."""

    description: Annotated[str, Decides.NOTHING] = Field(default="", description="one line for listings")
    # Their paths do not decide the result; the code of those that a recipe uses is part of a run's address.
    plugins: Annotated[tuple[str, ...], Decides.NOTHING] = Field(
        default=(), max_length=limits.PLUGIN_FILES, description="plugin files this recipe needs, relative to the recipe"
    )
    head: HeadOptions = Field(default=HeadOptions(), description="pooling (read-out) and output layer")
    train: TrainOptions = Field(
        default=TrainOptions(), description="optimizer, batches, learning rate, limits, early stopping, checkpoints"
    )
    shuffle_tokens: bool = Field(
        default=False,
        description="control: the tokens of each example are shuffled before the backbone; false: their order is kept",
    )
    precision: Literal["auto", "auto_float", "float32", "bfloat16", "int8", "int8_storage"] = Field(
        default="auto",
        description="mixed precision: how frozen weights are stored and multiplied; auto_float: bfloat16 if the "
        "processor multiplies it faster, else float32; auto: the same, or int8 for weights for which a study has shown "
        "that results are equivalent; in a study always as auto_float, so that arms do not differ in it; int8: frozen "
        "linear maps are quantised and multiplied in 8-bit integers, forward and in the gradient of the input, the "
        "rest in bfloat16; on processors without instructions for it, as auto_float; int8_storage: they are quantised, "
        "but multiplied in bfloat16, for models that do not fit otherwise. Trained weights are always float32",
    )
    float32_products: Annotated[Literal["auto", "exact", "tf32"], Added.LATER] = Field(
        default="auto",
        description="how a GPU multiplies matrices that are float32, such as those of encoder and head; tf32: with "
        "factors rounded to 11 bits, several times as fast; exact: in float32; auto: tf32 in mixed precision, whose "
        "factors are coarser anyway, and exact with precision float32. A CPU always multiplies exactly",
    )
    # On another device or with other threads, results differ by rounding.
    device: Annotated[Literal["auto", "cpu", "cuda"], Decides.NOTHING] = Field(
        default="auto", description="device to train on; auto: a GPU if there is one"
    )
    threads: Annotated[int | None, Decides.NOTHING] = Field(
        default=None, ge=1, le=limits.THREADS, description="CPU threads; null: torch's default"
    )
    pinned: Pinned = Field(default=Pinned(), description="choices of an earlier run; written by fptkit, not by hand")


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
    readout: Annotated[Component | None, Added.LATER] = Field(
        default=None,
        description="head: pooling and output; also written as head.readout; null: a built-in one by head.readout",
    )
    loss: Annotated[Component | None, Added.LATER] = Field(
        default=None, description="what training minimises; null: the task's own loss"
    )
    optimizer: Annotated[Component | None, Added.LATER] = Field(
        default=None, description="the optimizer; null: adamw with the values of the section train"
    )
    schedule: Annotated[Component | None, Added.LATER] = Field(
        default=None,
        description="the learning rate schedule; also written as train.schedule; null: the one of train.schedule",
    )
    metrics: Annotated[tuple[Component, ...], Added.LATER] = Field(
        default=(), description="metrics in addition to those of the task"
    )
    transforms: Annotated[tuple[Component, ...], Added.LATER] = Field(
        default=(), description="random changes of training examples (augmentation), one after the other"
    )
    # They watch a run and cannot change it.
    listeners: Annotated[tuple[Component, ...], Decides.NOTHING] = Field(
        default=(), description="followers of the run's events"
    )
