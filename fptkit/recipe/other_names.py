"""What users of other libraries call the keys of a recipe, so that an error can suggest the right one."""

from __future__ import annotations

from collections.abc import Sequence

from fptkit.errors import nearest

OTHER_NAMES: dict[str, str] = {
    "lr": "learning_rate",
    "eta": "learning_rate",
    "steps": "max_steps",
    "num_steps": "max_steps",
    "max_iters": "max_steps",
    "iterations": "max_steps",
    "epochs": "max_steps",
    "num_train_epochs": "max_steps",
    "max_epochs": "max_steps",
    "bs": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "eval_batch_size": "evaluation_batch_size",
    "per_device_eval_batch_size": "evaluation_batch_size",
    "gradient_accumulation_steps": "accumulate",
    "accumulate_grad_batches": "accumulate",
    "grad_accum": "accumulate",
    "gradient_checkpointing": "activation_checkpointing",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "grad_clip": "clip_norm",
    "max_grad_norm": "clip_norm",
    "gradient_clip_val": "clip_norm",
    "betas": "adam_betas",
    "eps": "adam_epsilon",
    "warmup": "schedule",
    "warmup_steps": "schedule",
    "warmup_ratio": "schedule",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "early_stopping": "patience",
    "early_stopping_patience": "patience",
    "eval_every": "validate_every",
    "eval_steps": "validate_every",
    "val_check_interval": "validate_every",
    "save_steps": "checkpoint_every",
    "save_every": "checkpoint_every",
    "logging_steps": "log_every",
    "random_state": "seed",
    "random_seed": "seed",
    "model": "backbone",
    "pretrained": "backbone",
    "dataset": "task",
    "data": "task",
    "policy": "freezing",
    "freeze": "freezing",
    "freezing_policy": "freezing",
    "tokenizer": "encoder",
    "embedding": "encoder",
    "trackers": "listeners",
    "tracker": "listeners",
    "loggers": "listeners",
    "logger": "listeners",
    "callbacks": "listeners",
    "report_to": "listeners",
    "optimizer": "train",
    "optim": "train",
    "training": "train",
    "trainer": "train",
    "classifier": "head",
    "pooling": "readout",
    "pool": "readout",
    "dtype": "precision",
    "amp": "precision",
    "fp16": "precision",
    "bf16": "precision",
    "num_threads": "threads",
    "pretrained_model_name_or_path": "weights",
    "checkpoint": "weights",
    "n_layer": "blocks",
    "num_layers": "blocks",
    "num_hidden_layers": "blocks",
    "layers": "blocks",
    "hidden_size": "width",
    "d_model": "width",
    "n_embd": "width",
    "n_head": "heads",
    "num_heads": "heads",
    "num_attention_heads": "heads",
}
"""Names of other libraries (PyTorch, Lightning, Hugging Face, scikit-learn) -> the key of a recipe."""


def meant(key: str, allowed: Sequence[str]) -> str | None:
    """The allowed key that an unknown one may mean: what it is called here, else the most similar; None if none is."""
    called = OTHER_NAMES.get(key.lower())
    return called if called in allowed else nearest(key, allowed)


def meant_below(key: str, dotted: Sequence[str]) -> str | None:
    """The dotted key whose last part an unknown key is, or means; None if there is none."""
    wanted = {key.lower(), OTHER_NAMES.get(key.lower(), key)}
    return next((path for path in dotted if path.rpartition(".")[2] in wanted), None)
