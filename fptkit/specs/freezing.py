"""Records of freezing policies: roles, rules, and the blocks a rule applies to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from fptkit.errors import PluginError
from fptkit.specs.base import Spec, all_are, check_defaults, resolve_target

if TYPE_CHECKING:
    from fptkit.options import Options

Role = Literal[
    "input",
    "output",
    "position",
    "attention",
    "feed_forward",
    "norm",
    "recurrent",
    "embedding",
    "adapter",
    "other",
]
"""What a parameter is for."""

ROLES: tuple[Role, ...] = get_args(Role)

OUTSIDE_BLOCKS = ("input", "output")
"""Roles outside the blocks: those of encoder and head."""

BLOCK_SLICE = re.compile(r"(-?[0-9]{1,4})?:(-?[0-9]{1,4})?(:[1-9][0-9]{0,3})?")
"""A slice of blocks as text, ``START:STOP`` or ``START:STOP:STEP``, by the rules of Python."""


@dataclass(frozen=True, kw_only=True)
class FreezingRule:
    """One row of a freezing policy: parameters of this role train.

    Args:
        role: one of `ROLES`, or ``"all"``.
        learning_rate_multiplier: factor on the recipe's learning rate, > 0.
        blocks: the blocks it applies to: indices, negative ones from the end, or a slice as text, such as ``"6:"``;
            None for all blocks and for parameters outside the blocks.
        required: if true, a model in which the rule matches no parameter is an error.

    Raises:
        PluginError: the role is unknown, or is outside the blocks although blocks are given; the multiplier is not a
            finite number above 0; or the blocks are neither integers nor a slice.

    Example:
        >>> import fptkit
        >>> fptkit.FreezingRule(role="attention", blocks="-2:", learning_rate_multiplier=0.1).described_blocks
        '-2:'
    """

    role: str
    learning_rate_multiplier: float = 1.0
    blocks: tuple[int, ...] | str | None = None
    required: bool = True

    def __post_init__(self) -> None:
        if self.role not in (*ROLES, "all"):
            raise PluginError(f"freezing rule: unknown role {self.role!r}; roles are {', '.join(ROLES)} and all")
        multiplier = self.learning_rate_multiplier
        if not (all_are((int, float), [multiplier]) and math.isfinite(multiplier) and multiplier > 0):
            raise PluginError(
                f"freezing rule for {self.role}: the learning-rate multiplier is {multiplier!r}, expected a finite "
                "number above 0"
            )
        if self.blocks is None:
            return
        if isinstance(self.blocks, str):
            fits = BLOCK_SLICE.fullmatch(self.blocks) is not None
        else:
            fits = isinstance(self.blocks, (tuple, list)) and len(self.blocks) > 0 and all_are(int, self.blocks)
        if not fits:
            raise PluginError(
                f"freezing rule for {self.role}: blocks is {self.blocks!r}, expected a tuple of integers, or a slice "
                "as text, START:STOP or START:STOP:STEP"
            )
        if self.role in OUTSIDE_BLOCKS:
            raise PluginError(f"freezing rule for {self.role}: this role is outside the blocks; leave blocks out")
        if not isinstance(self.blocks, str):
            object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def described_blocks(self) -> str:
        """The blocks in words: ``all``, ``6:12`` or ``0, 1``."""
        if self.blocks is None or isinstance(self.blocks, str):
            return self.blocks or "all"
        return ", ".join(map(str, self.blocks))


@dataclass(frozen=True, kw_only=True)
class FreezingPolicySpec(Spec):
    """A freezing policy: the table of what trains. Parameters that no rule matches stay frozen.

    A recipe may change any policy by `fptkit.freezing.options.FreezingOptions`.

    Args:
        rules: the rows; if several match a parameter, the last one applies.
        free_form: true for a policy without rows of its own; the recipe gives all of them.
        prepare: function, or its location as text, that changes the backbone before the rows apply, for example to add
            adapters; None for no change. It is called as ``(options, *, backbone, seed) -> fptkit.Backbone`` and
            returns the backbone, changed in place, or a new one around it. Parameters it adds have the role ``adapter``
            in ``parameter_roles()``; the same options and seed must give the same names and values. Torch's global
            generator is seeded with ``seed`` for the call and restored after it.
        options: model of the policy's options (a subclass of `fptkit.freezing.options.FreezingOptions`), or its
            location as text; None for the options that every policy has.

    Raises:
        PluginError: there is no rule, or one is not a `FreezingRule`; a free form has rules; ``prepare`` or ``options``
            are not of these types, or are text not of the form ``package.module:attribute``.

    Example:
        >>> import fptkit
        >>> rules = (fptkit.FreezingRule(role="output"), fptkit.FreezingRule(role="norm", blocks=(0,)))
        >>> str(fptkit.FreezingPolicySpec(name="first_norm", summary="output and the first norm train", rules=rules))
        "freezing policy 'first_norm'"
    """

    kind: ClassVar[str] = "freezing policy"

    rules: tuple[FreezingRule, ...]
    free_form: bool = False
    prepare: str | Callable[..., Any] | None = None
    options: str | type[Options] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("rules", FreezingRule, "FreezingRule")
        if not self.rules and not self.free_form:
            raise PluginError(f"{self}: it has no rules, so nothing would train")
        if self.rules and self.free_form:
            raise PluginError(f"{self}: free_form is true, but it has rules; leave out one of the two")
        self._check_place("prepare")
        self._check_place("options")
        if not (self.prepare is None or isinstance(self.prepare, str) or callable(self.prepare)):
            raise PluginError(f"{self}: prepare {self.prepare!r} cannot be called")

    def options_model(self) -> type[Options]:
        """The policy's options model; by default that of every policy.

        Raises:
            PluginError: it cannot be imported, or is not a subclass of `fptkit.freezing.options.FreezingOptions`.
        """
        # Named as text: records must not import components.
        of_every_policy: type[Options] = resolve_target("fptkit.freezing.options:FreezingOptions", wanted_by=self)
        if self.options is None:
            return of_every_policy
        model: type[Options] = resolve_target(self.options, wanted_by=self)
        if not (isinstance(model, type) and issubclass(model, of_every_policy)):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of FreezingOptions")
        check_defaults(model, self)
        return model
