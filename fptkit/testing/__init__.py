"""Contract checks for each kind of component.

fptkit's own tests run them on every registered component; plugin authors run them on theirs::

    from fptkit.testing import check_task
    def test_contract():
        check_task(MyTask(MyOptions(), seed=0, pinned=None))

Each check raises ``AssertionError`` with a message that says which promise is broken. Each is imported on first use,
since some need torch: the tests of a command, a data set or a search start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names as in the table below, for type checkers and editors; a test compares the two
    from fptkit.backbones.finite import check_finite as check_finite
    from fptkit.backbones.finite import check_mixed_precision as check_mixed_precision
    from fptkit.engine.listener_check import check_listener as check_listener
    from fptkit.engine.training.checks import check_added_metric as check_added_metric
    from fptkit.engine.training.checks import check_answer_loss as check_answer_loss
    from fptkit.engine.training.checks import check_head as check_head
    from fptkit.engine.training.checks import check_optimizer as check_optimizer
    from fptkit.engine.training.checks import check_schedule as check_schedule
    from fptkit.engine.training.checks import check_transform as check_transform
    from fptkit.lab.contracts import check_command as check_command
    from fptkit.lab.contracts import check_control as check_control
    from fptkit.lab.contracts import check_data_set as check_data_set
    from fptkit.lab.contracts import check_launcher as check_launcher
    from fptkit.lab.contracts import check_published as check_published
    from fptkit.lab.contracts import check_report_section as check_report_section
    from fptkit.lab.contracts import check_search as check_search
    from fptkit.lab.contracts import check_weight_source as check_weight_source
    from fptkit.testing.components import TOLERANCE as TOLERANCE
    from fptkit.testing.components import check_backbone as check_backbone
    from fptkit.testing.components import check_built_twice as check_built_twice
    from fptkit.testing.components import check_encoder as check_encoder
    from fptkit.testing.components import check_task as check_task
    from fptkit.testing.components import trained_roles as trained_roles
    from fptkit.testing.options import check_options as check_options

_HOMES = {
    "fptkit.backbones.finite": (
        "check_finite",
        "check_mixed_precision",
    ),
    "fptkit.engine.listener_check": ("check_listener",),
    "fptkit.engine.training.checks": (
        "check_added_metric",
        "check_answer_loss",
        "check_head",
        "check_optimizer",
        "check_schedule",
        "check_transform",
    ),
    "fptkit.lab.contracts": (
        "check_command",
        "check_control",
        "check_data_set",
        "check_launcher",
        "check_published",
        "check_report_section",
        "check_search",
        "check_weight_source",
    ),
    "fptkit.testing.components": (
        "TOLERANCE",
        "check_backbone",
        "check_built_twice",
        "check_encoder",
        "check_task",
        "trained_roles",
    ),
    "fptkit.testing.options": ("check_options",),
}
"""The public names, by module."""

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # strings, all of them


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        import importlib

        found: object = getattr(importlib.import_module(_HOME_OF[name]), name)
        return found
    raise AttributeError(f"module 'fptkit.testing' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
