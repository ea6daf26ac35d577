"""Records of freezing policies: roles, rules, and the blocks a rule applies to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
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

Kind = Literal["weight", "bias", "scale"]
"""What a parameter does: a matrix or table, an addend, or a factor of each number, as in a norm."""

PARAMETER_KINDS: tuple[Kind, ...] = get_args(Kind)

OUTSIDE_BLOCKS = ("input", "output")
"""Roles outside the blocks: those of encoder and head."""

BLOCK_SLICE = re.compile(r"(-?[0-9]{1,4})?:(-?[0-9]{1,4})?(:[1-9][0-9]{0,3})?")
"""A slice of blocks as text, ``START:STOP`` or ``START:STOP:STEP``, by the rules of Python."""


@dataclass(frozen=True)
class FromOption:
    """Stands in a `FreezingRule` for the value of one of the policy's options.

    Args:
        name: of the option.

    Example:
        >>> import fptkit
        >>> fptkit.FreezingRule(role="attention", last=fptkit.FromOption("layers")).described_blocks
        'last (option layers)'
    """

    name: str

    def __str__(self) -> str:
        return f"(option {self.name})"


@dataclass(frozen=True, kw_only=True)
class FreezingRule:
    """One row of a freezing policy: parameters of this role train.

    ``learning_rate_multiplier``, ``blocks`` and ``last`` may be a `FromOption`: then the recipe decides.

    Args:
        role: one of `ROLES`, or ``"all"``.
        learning_rate_multiplier: factor on the recipe's learning rate, > 0.
        blocks: the blocks it applies to: indices, negative ones from the end, or a slice as text, such as ``"6:"``;
            None for all blocks and for parameters outside the blocks.
        required: if true, a model in which the rule matches no parameter is an error.
        kind: only parameters of this kind, of `PARAMETER_KINDS`; None for all.
        last: the last so many blocks, at least 1, instead of ``blocks``.
        when: name of an option of the policy; the rule applies only if its value is true. Empty: always.

    Raises:
        PluginError: the role or kind is unknown, or the role is outside the blocks although blocks are given; the
            multiplier is not a finite number above 0; the blocks are neither integers nor a slice, or are given twice.

    Example:
        >>> import fptkit
        >>> fptkit.FreezingRule(role="attention", blocks="-2:", learning_rate_multiplier=0.1).described_blocks
        '-2:'
    """

    role: str
    learning_rate_multiplier: float | FromOption = 1.0
    blocks: tuple[int, ...] | str | FromOption | None = None
    required: bool = True
    kind: str | None = None
    last: int | FromOption | None = None
    when: str = ""

    def __post_init__(self) -> None:
        if self.role not in (*ROLES, "all"):
            raise PluginError(f"freezing rule: unknown role {self.role!r}; roles are {', '.join(ROLES)} and all")
        if self.kind not in (None, *PARAMETER_KINDS):
            raise PluginError(
                f"freezing rule for {self.role}: unknown kind {self.kind!r}; kinds are {', '.join(PARAMETER_KINDS)}"
            )
        if not isinstance(self.when, str):
            raise PluginError(f"freezing rule for {self.role}: when is {self.when!r}, expected the name of an option")
        self._check_multiplier()
        self._check_place()

    def _check_multiplier(self) -> None:
        multiplier = self.learning_rate_multiplier
        if isinstance(multiplier, FromOption):
            return
        if not (all_are((int, float), [multiplier]) and math.isfinite(multiplier) and multiplier > 0):
            raise PluginError(
                f"freezing rule for {self.role}: the learning-rate multiplier is {multiplier!r}, expected a finite "
                "number above 0"
            )

    def _check_place(self) -> None:
        """Check the blocks."""
        if self.blocks is None and self.last is None:
            return
        if self.blocks is not None and self.last is not None:
            raise PluginError(f"freezing rule for {self.role}: it has both blocks and last; leave out one of the two")
        if self.role in OUTSIDE_BLOCKS:
            raise PluginError(f"freezing rule for {self.role}: this role is outside the blocks; leave blocks out")
        if self.last is not None:
            if not isinstance(self.last, FromOption) and not (all_are(int, [self.last]) and self.last >= 1):
                raise PluginError(
                    f"freezing rule for {self.role}: last is {self.last!r}, expected a number of blocks, at least 1"
                )
        elif not isinstance(self.blocks, FromOption):
            self._check_blocks()

    def _check_blocks(self) -> None:
        if isinstance(self.blocks, str):
            fits = BLOCK_SLICE.fullmatch(self.blocks) is not None
        else:
            fits = isinstance(self.blocks, (tuple, list)) and len(self.blocks) > 0 and all_are(int, self.blocks)
        if not fits:
            raise PluginError(
                f"freezing rule for {self.role}: blocks is {self.blocks!r}, expected a tuple of integers, or a slice "
                "as text, START:STOP or START:STOP:STEP"
            )
        if isinstance(self.blocks, (tuple, list)):
            object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def described_blocks(self) -> str:
        """The blocks in words: ``all``, ``6:12``, ``0, 1`` or ``last 2``."""
        if self.last is not None:
            return f"last {self.last}"
        if self.blocks is None or isinstance(self.blocks, (str, FromOption)):
            return str(self.blocks or "all")
        return ", ".join(map(str, self.blocks))

    @property
    def described_rate(self) -> str:
        """The learning rate in words: ``× 0.1``, or ``× (option factor)``."""
        factor = self.learning_rate_multiplier
        return f"× {factor}" if isinstance(factor, FromOption) else f"× {factor:g}"

    @property
    def described_kind(self) -> str:
        """Which parameters of the role in words: ``all``, ``bias``, or ``all, if option norms``."""
        return (self.kind or "all") + (f", if option {self.when}" if self.when else "")

    @property
    def options_used(self) -> tuple[str, ...]:
        """Names of the options that the rule refers to."""
        values = (getattr(self, field.name) for field in fields(self))
        return (*(value.name for value in values if isinstance(value, FromOption)), *filter(None, [self.when]))

    def with_options(self, options: Options) -> FreezingRule | None:
        """The rule with the values of options in their places; None if it does not apply.

        Args:
            options: of the policy.

        Raises:
            PluginError: the value of an option does not fit, or there is no such option.
        """
        try:
            found = {name: getattr(options, name) for name in self.options_used}
        except AttributeError as err:
            raise PluginError(f"freezing rule for {self.role}: the policy has no option {err.name!r}") from err
        if self.when and not found[self.when]:
            return None
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: found[value.name] for name, value in values.items() if isinstance(value, FromOption)}
        return replace(self, **given) if given else self


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
            in ``parameter_roles()`` or by ``roles``; the same options and seed must give the same names and values.
            Torch's global generator is seeded with ``seed`` for the call and restored after it.
        options: model of the policy's options (a subclass of `fptkit.freezing.options.FreezingOptions`), or its
            location as text; None for the options that every policy has.
        roles: function, or its location as text, that changes the roles of the backbone's parameters for this policy:
            ``(options, *, roles) -> mapping``, from parameter names to `fptkit.ParameterRole`. It gets those that the
            backbone declares, and returns one for each of the same names, and for those of parameters that ``prepare``
            added. None: as the backbone declares them.

    Raises:
        PluginError: there is no rule, or one is not a `FreezingRule`; a free form has rules; ``prepare``, ``roles`` or
            ``options`` are not of these types, or are text not of the form ``package.module:attribute``.

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
    roles: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("rules", FreezingRule, "FreezingRule")
        if not self.rules and not self.free_form:
            raise PluginError(f"{self}: it has no rules, so nothing would train")
        if self.rules and self.free_form:
            raise PluginError(f"{self}: free_form is true, but it has rules; leave out one of the two")
        self._check_place("prepare")
        self._check_place("options")
        self._check_place("roles")
        for place in ("prepare", "roles"):
            given = getattr(self, place)
            if not (given is None or isinstance(given, str) or callable(given)):
                raise PluginError(f"{self}: {place} {given!r} cannot be called")

    def rules_for(self, options: Options) -> tuple[FreezingRule, ...]:
        """The rows with the values of options in their places, without those that do not apply.

        Args:
            options: an instance of `options_model`.

        Raises:
            PluginError: the value of an option does not fit its rule.
        """
        found = (rule.with_options(options) for rule in self.rules)
        return tuple(rule for rule in found if rule is not None)

    def options_model(self) -> type[Options]:
        """The policy's options model; by default that of every policy.

        Raises:
            PluginError: it cannot be imported, or is not a subclass of `fptkit.freezing.options.FreezingOptions`.
        """
        # Named as text: records must not import components.
        of_every_policy: type[Options] = resolve_target("fptkit.freezing.options:FreezingOptions", wanted_by=self)
        if self.options is None:
            self._check_options_used(of_every_policy)
            return of_every_policy
        model: type[Options] = resolve_target(self.options, wanted_by=self)
        if not (isinstance(model, type) and issubclass(model, of_every_policy)):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of FreezingOptions")
        check_defaults(model, self)
        self._check_options_used(model)
        return model

    def _check_options_used(self, model: type[Options]) -> None:
        for name in (name for rule in self.rules for name in rule.options_used):
            if name not in model.model_fields:
                raise PluginError(
                    f"{self}: a rule refers to the option '{name}'; its options are {', '.join(model.model_fields)}"
                )
