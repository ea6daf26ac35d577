"""What a recipe holds, as frozen models: the loader checks against them, and listings and schema are made from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SerializeAsAny

from fptkit.options import Options
from fptkit.specs import BackboneSpec, EncoderSpec, FreezingPolicySpec, ListenerSpec, Spec, TaskSpec

Width = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]

SECTIONS: dict[str, type[Spec]] = {
    "task": TaskSpec,
    "encoder": EncoderSpec,
    "backbone": BackboneSpec,
    "freezing": FreezingPolicySpec,
}
"""Keys of a recipe that name one component."""

COMPONENT_LISTS: dict[str, type[Spec]] = {"listeners": ListenerSpec}
"""Keys of a recipe that name any number of components."""

DEFAULT_NAMES = {"backbone": "gpt2", "freezing": "fpt"}
"""Components taken where a recipe names none."""


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


class TrainOptions(Options):
    """How the trained parameters are trained.

    Source of the learning rate and of the optimiser's defaults: Lu et al. 2021, Table 12, and torch.optim.Adam; step
    counts are ours, for minutes on a laptop.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0, description="step size of Adam; a freezing rule may multiply it")
    batch_size: int = Field(default=16, ge=1, description="examples per step")
    max_steps: int = Field(default=2000, ge=1, description="steps after which training ends")
    validate_every: int = Field(default=200, ge=1, description="steps between two validations")
    patience: int | None = Field(
        default=5, ge=1, description="validations without improvement after which training ends; null: never"
    )
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="largest norm of the gradient of all trained parameters; null: no clipping"
    )
    adam_betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="decay of Adam's two running means")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="added to Adam's denominator")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay, per unit of learning rate")
    log_every: int = Field(default=20, ge=1, description="steps between two lines of training figures")
    seed: int = Field(default=0, ge=0, lt=2**63, description="the only source of chance of a run")
    evaluation_batch_size: int = Field(default=64, ge=1, description="examples per batch in validation and test")
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="steps between two checkpoints; null: one at every validation"
    )


class Pinned(Options):
    """What an earlier run of this recipe took where the recipe leaves a choice.

    A run writes it into its resolved recipe, so that running that again repeats the run.
    """

    recipe: str | None = Field(default=None, description="name of the recipe the run was started from")
    profile: str | None = Field(default=None, description="profile it was started with; its values are written out")
    weights: str | None = Field(default=None, description="entry of backbone.weights that was taken")
    source: str | None = Field(default=None, description="entry of task.source that was taken")
    precision: str | None = Field(
        default=None, pattern="^(float32|bfloat16)$", description="precision that was taken: float32 or bfloat16"
    )


class RecipeSettings(Options):
    """The part of a recipe that needs no registry to be checked."""

    description: str = Field(default="", description="one line for listings")
    plugins: tuple[str, ...] = Field(
        default=(), description="plugins in single files this recipe needs; relative to the recipe"
    )
    head: HeadOptions = Field(default=HeadOptions(), description="read-out and output layer")
    train: TrainOptions = Field(default=TrainOptions(), description="optimiser, length and rhythm of training")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="how frozen weights are stored and multiplied; auto: bfloat16 where the processor multiplies it "
        "faster. Trained weights are float32 in any case",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where to train; auto: a GPU if there is"
    )
    threads: int | None = Field(default=None, ge=1, description="processor threads; null: as many as torch takes")
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
    listeners: tuple[Component, ...] = Field(default=(), description="followers of the run's events")
