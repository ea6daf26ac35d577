"""The records of fptkit's own heads, losses, metrics, optimizers, schedules and transforms."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import HeadSpec, LossSpec, MetricSpec, OptimizerSpec, ScheduleSpec, TransformSpec

_HERE = "fptkit.engine.training"
_OPTIONS = f"{_HERE}.options"
_OF_CLASSES = ("classes", "token_classes")
_OF_VALUES = ("values", "token_values")


@hookimpl
def fptkit_heads() -> list[HeadSpec]:
    pooled = ("classes", "values", "labels", "ranking")
    return [
        _head("last", "reads the last token", pooled),
        _head("last_k", "reads the last k tokens, as many as the task has answers", pooled),
        _head("mean", "reads the mean of all tokens", pooled),
        _head("first", "reads the first token, for backbones that are not causal", pooled),
        _head("all", "reads every token, for an answer at each", ("token_classes", "token_values", "next_symbol")),
        HeadSpec(
            name="attention",
            summary="reads a mean of all tokens, with learned weights (attention pooling)",
            target=f"{_HERE}.heads:AttentionHead",
            options=f"{_OPTIONS}:AttentionOptions",
            accepts=pooled,
            reference='Lin et al. 2017, "A structured self-attentive sentence embedding"',
        ),
    ]


def _head(name: str, summary: str, accepts: tuple[str, ...]) -> HeadSpec:
    return HeadSpec(name=name, summary=summary, target=f"{_HERE}.heads:{name}", accepts=accepts)


@hookimpl
def fptkit_losses() -> list[LossSpec]:
    return [
        LossSpec(
            name="cross_entropy",
            summary="cross-entropy, with label smoothing if wanted",
            target=f"{_HERE}.losses:cross_entropy",
            options=f"{_OPTIONS}:CrossEntropyOptions",
            accepts=_OF_CLASSES,
        ),
        LossSpec(
            name="focal",
            summary="cross-entropy in which well-classified answers count less",
            target=f"{_HERE}.losses:focal",
            options=f"{_OPTIONS}:FocalOptions",
            accepts=_OF_CLASSES,
            reference="Lin et al. 2017, arXiv 1708.02002",
        ),
        LossSpec(name="mse", summary="squared error", target=f"{_HERE}.losses:mse", accepts=_OF_VALUES),
        LossSpec(name="mae", summary="absolute error (L1)", target=f"{_HERE}.losses:mae", accepts=_OF_VALUES),
        LossSpec(
            name="huber",
            summary="squared error for small errors, absolute error for large ones",
            target=f"{_HERE}.losses:huber",
            options=f"{_OPTIONS}:HuberOptions",
            accepts=_OF_VALUES,
        ),
        LossSpec(
            name="smooth_l1",
            summary="the Huber loss with the slope 1 for large errors",
            target=f"{_HERE}.losses:smooth_l1",
            options=f"{_OPTIONS}:SmoothL1Options",
            accepts=_OF_VALUES,
        ),
        LossSpec(
            name="quantile",
            summary="absolute error with another weight on either side (pinball loss)",
            target=f"{_HERE}.losses:quantile",
            options=f"{_OPTIONS}:QuantileOptions",
            accepts=_OF_VALUES,
        ),
    ]


@hookimpl
def fptkit_optimizers() -> list[OptimizerSpec]:
    return [
        _optimizer("adamw", "Adam with decoupled weight decay", "AdamW", "Loshchilov and Hutter 2019"),
        _optimizer("adam", "Adam", "Adam", "Kingma and Ba 2015"),
        _optimizer("sgd", "gradient descent with momentum", "Sgd"),
        _optimizer("rmsprop", "gradients divided by their running root mean square", "Rmsprop"),
        _optimizer(
            "adafactor", "Adam with a factored second moment, in little memory", "Adafactor", "Shazeer, Stern 2018"
        ),
        _optimizer("muon", "orthogonalised momentum for matrices, AdamW for the rest", "Muon", "Jordan et al. 2024"),
    ]


def _optimizer(name: str, summary: str, options: str, reference: str = "") -> OptimizerSpec:
    return OptimizerSpec(
        name=name,
        summary=summary,
        target=f"{_HERE}.optimizers:{name}",
        options=f"{_OPTIONS}:{options}Options",
        reference=reference,
    )


@hookimpl
def fptkit_schedules() -> list[ScheduleSpec]:
    return [
        _schedule("constant", "no change after the warm-up", "Warmup"),
        _schedule("cosine", "falls along half a cosine until the last step", "Decay", needs_last_step=True),
        _schedule("linear", "falls linearly until the last step", "Decay", needs_last_step=True),
        _schedule("one_cycle", "rises, then falls, each along half a cosine", "OneCycle", needs_last_step=True),
        _schedule("inverse_sqrt", "falls with the square root of the step after the warm-up", "InverseSqrt"),
        _schedule("plateau", "falls when validation no longer improves", "Plateau"),
    ]


def _schedule(name: str, summary: str, options: str, *, needs_last_step: bool = False) -> ScheduleSpec:
    return ScheduleSpec(
        name=name,
        summary=summary,
        target=f"{_HERE}.schedules:{name}",
        options=f"{_OPTIONS}:{options}Options",
        needs_last_step=needs_last_step,
    )


@hookimpl
def fptkit_metrics() -> list[MetricSpec]:
    return [
        _of_classes("f1", "harmonic mean of precision and recall, averaged over classes", options="Average"),
        _of_classes("precision", "share of the answers that are right, averaged over classes", options="Average"),
        _of_classes("recall", "share of a class that is found, averaged over classes", options="Average"),
        _of_classes("balanced_accuracy", "mean over classes of the share that is found"),
        _of_classes("mcc", "Matthews correlation coefficient", least=-1.0),
        _of_classes("kappa", "agreement beyond chance (Cohen's kappa)", least=-1.0),
        _of_classes("auroc", "area under the ROC curve, of each class against the others", options="Auroc"),
        _of_classes("top_k_accuracy", "share of answers among the k best classes", options="TopK"),
        _of_values("mae", "mean absolute error", least=0.0),
        _of_values("rmse", "root of the mean squared error", least=0.0),
        _of_values("r2", "share of the variance that is explained", most=1.0, higher_is_better=True),
        _of_values("pearson", "linear correlation", least=-1.0, most=1.0, higher_is_better=True),
        _of_values("spearman", "correlation of ranks", least=-1.0, most=1.0, higher_is_better=True),
    ]


def _of_classes(name: str, summary: str, *, least: float = 0.0, options: str = "") -> MetricSpec:
    return MetricSpec(
        name=name,
        summary=summary,
        target=f"{_HERE}.metrics:{name}",
        options=f"{_OPTIONS}:{options}Options" if options else None,
        accepts=_OF_CLASSES,
        higher_is_better=True,
        least=least,
        most=1.0,
    )


def _of_values(
    name: str, summary: str, *, least: float | None = None, most: float | None = None, higher_is_better: bool = False
) -> MetricSpec:
    return MetricSpec(
        name=name,
        summary=summary,
        target=f"{_HERE}.metrics:{name}",
        accepts=_OF_VALUES,
        higher_is_better=higher_is_better,
        least=least,
        most=most,
    )


_FUNCTIONS = {"replace": "replace_symbols"}
"""Functions of transforms whose name Python uses for something else."""


@hookimpl
def fptkit_transforms() -> list[TransformSpec]:
    numbers = ("vectors", "grid")
    return [
        _transform("flip", "grids are flipped", "Flip", ("grid",), "Krizhevsky et al. 2012, section 4.1"),
        _transform("shift", "grids are shifted, zeros fill the edge (crop)", "Shift", ("grid",), "He et al. 2016"),
        _transform("noise", "Gaussian noise is added", "Noise", numbers),
        _transform("scale", "each example is multiplied by a factor", "Scale", numbers),
        _transform("mask", "tokens become zero, in spans", "Mask", ("vectors",), "Park et al. 2019, arXiv 1904.08779"),
        _transform("cutout", "a square becomes zero", "Cutout", ("grid",), "DeVries and Taylor 2017, arXiv 1708.04552"),
        _transform("replace", "symbols are replaced by random ones", "Replace", ("symbols",)),
    ]


def _transform(name: str, summary: str, options: str, accepts: tuple[str, ...], reference: str = "") -> TransformSpec:
    return TransformSpec(
        name=name,
        summary=summary,
        target=f"{_HERE}.transforms:{_FUNCTIONS.get(name, name)}",
        options=f"{_OPTIONS}:{options}Options",
        accepts=accepts,
        reference=reference,
    )
