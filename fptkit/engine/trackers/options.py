"""Options of the trackers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fptkit.options import Options

Name = Annotated[str, Field(min_length=1)]


class TensorboardOptions(Options):
    """Options of the tracker ``tensorboard``."""

    folder: Name | None = Field(
        default=None,
        description="folder of event files, in which each run gets a folder of its own; null: tensorboard in the run "
        "folder, or for runs of a study tensorboard in its ledger folder",
    )


class MlflowOptions(Options):
    """Options of the tracker ``mlflow``."""

    uri: Name | None = Field(
        default=None,
        description="address of the tracking server or store; null: MLFLOW_TRACKING_URI, or MLflow's own default",
    )
    experiment: Name | None = Field(
        default=None, description="experiment of the run; null: fptkit, or for runs of a study fptkit/STUDY"
    )


class WandbOptions(Options):
    """Options of the tracker ``wandb``."""

    project: Name | None = Field(default=None, description="project of the run; null: WANDB_PROJECT, or fptkit")
    entity: Name | None = Field(default=None, description="user or team; null: WANDB_ENTITY, or the one logged in")
    mode: Literal["online", "offline"] | None = Field(
        default=None,
        description="offline: write files only, for wandb sync; null: WANDB_MODE, or online",
    )


class TrackioOptions(Options):
    """Options of the tracker ``trackio``."""

    project: Name = Field(default="fptkit", description="project of the run")
    space: Name | None = Field(
        default=None, description="Hugging Face Space that shows the runs, as OWNER/NAME; null: files on this machine"
    )
