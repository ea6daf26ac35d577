"""Records of the trackers."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import ListenerSpec


@hookimpl
def fptkit_listeners() -> list[ListenerSpec]:
    return [
        ListenerSpec(
            name="tensorboard",
            summary="figures, recipe and result as TensorBoard event files",
            target="fptkit.engine.trackers.tensorboard:tensorboard_tracker",
            options="fptkit.engine.trackers.options:TensorboardOptions",
            extra="tensorboard",
        ),
        ListenerSpec(
            name="mlflow",
            summary="figures, recipe and result as a run of an MLflow experiment",
            target="fptkit.engine.trackers.mlflow:mlflow_tracker",
            options="fptkit.engine.trackers.options:MlflowOptions",
            extra="mlflow",
        ),
        ListenerSpec(
            name="wandb",
            summary="figures, recipe and result as a run of Weights & Biases",
            target="fptkit.engine.trackers.wandb:wandb_tracker",
            options="fptkit.engine.trackers.options:WandbOptions",
            extra="wandb",
        ),
        ListenerSpec(
            name="trackio",
            summary="figures, recipe and result as a run of trackio",
            target="fptkit.engine.trackers.trackio:trackio_tracker",
            options="fptkit.engine.trackers.options:TrackioOptions",
            extra="trackio",
        ),
    ]
