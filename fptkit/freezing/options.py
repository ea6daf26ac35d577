"""Options of freezing policies: further rows, roles that stay frozen, learning rate multipliers by role."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from fptkit.errors import nearest
from fptkit.options import Options
from fptkit.specs import BLOCK_SLICE, OUTSIDE_BLOCKS, ROLES, FreezingPolicySpec, FreezingRule, limits


def _check_role(role: str, known: tuple[str, ...]) -> str:
    if role not in known:
        hint = nearest(role, known)
        suggestion = f" Did you mean '{hint}'?" if hint else ""
        raise ValueError(f"unknown role '{role}'.{suggestion}\nknown: {', '.join(known)}")
    return role


def _check_slice(text: str) -> str:
    if not BLOCK_SLICE.fullmatch(text):
        raise ValueError(f'\'{text}\' is not of the form START:STOP or START:STOP:STEP, such as "6:" or "-2:"')
    return text


def _form(blocks: Any) -> str:
    return "slice" if isinstance(blocks, str) else "none" if blocks is None else "indices"


# pydantic's own check of a closed list does not suggest the nearest name.
RULE_ROLES = (*ROLES, "all")
Role = Annotated[
    str, AfterValidator(partial(_check_role, known=ROLES)), WithJsonSchema({"type": "string", "enum": list(ROLES)})
]
RuleRole = Annotated[
    str,
    AfterValidator(partial(_check_role, known=RULE_ROLES)),
    WithJsonSchema({"type": "string", "enum": list(RULE_ROLES)}),
]
Multiplier = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# The form is chosen by the type of the value, so that only errors of that form are reported.
Blocks = Annotated[
    Annotated[
        tuple[Annotated[int, Field(ge=-limits.BLOCKS, le=limits.BLOCKS)], ...],
        Field(min_length=1, max_length=limits.BLOCKS),
        Tag("indices"),
    ]
    | Annotated[
        str,
        AfterValidator(_check_slice),
        WithJsonSchema({"type": "string", "examples": ["6:", "-2:"]}),  # a pattern would garble messages
        Tag("slice"),
    ]
    | Annotated[None, Tag("none")],
    Discriminator(_form),
]


class RuleOptions(Options):
    """One row: the parameters with this role train."""

    role: RuleRole = Field(description="role of the parameters; all: every role")
    blocks: Blocks = Field(
        default=None,
        description="blocks that the row applies to: a list of indices, negative ones from the end, or a slice in "
        'quotes, such as "6:" or "-2:"; null: all blocks and everything outside them',
    )
    learning_rate_multiplier: Multiplier = Field(default=1.0, description="factor on train.learning_rate")

    @model_validator(mode="after")
    def _has_blocks(self) -> RuleOptions:
        if self.blocks is not None and self.role in OUTSIDE_BLOCKS:
            raise ValueError(f"role '{self.role}' is outside the blocks; leave 'blocks' out")
        return self

    @property
    def rule(self) -> FreezingRule:
        """The row as a rule of a policy."""
        return FreezingRule(role=self.role, blocks=self.blocks, learning_rate_multiplier=self.learning_rate_multiplier)


class FreezingOptions(Options):
    """Options of every freezing policy. The policy's own rows apply first, then ``freeze``, ``train``, the multipliers.

    Source: fptkit. The released code of Lu et al. 2021 selects parameters by flags and substrings of their names.

    Example:
        >>> import fptkit
        >>> fptkit.FreezingOptions(freeze=("position",), learning_rate_multipliers={"norm": 0.1}).freeze
        ('position',)
    """

    train: tuple[RuleOptions, ...] = Field(
        default=(),
        max_length=limits.RULES,
        description="rows that train in addition to the policy's own; if two rows apply to a parameter, the later one "
        "counts. For the policy custom: all rows",
    )
    freeze: tuple[Role, ...] = Field(
        default=(),
        max_length=limits.RULES,
        description="roles that the policy trains but that stay frozen, except for the rows of train",
    )
    learning_rate_multipliers: dict[Role, Multiplier] = Field(
        default={},
        description="for each role, a further factor on train.learning_rate for the trained parameters with that role",
    )

    def misfits(self, policy: FreezingPolicySpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Find options that do not fit the policy's rows. `apply_policy` finds those that do not fit the model.

        Args:
            policy: the policy of these options.

        Yields:
            The keys that lead to an option, and what is wrong with it.
        """
        own = _trained({rule.role for rule in policy.rules})
        for i, role in enumerate(self.freeze):
            if role in self.freeze[:i]:
                yield ("freeze", i), f"role '{role}' is named twice"
            elif role not in own:
                yield ("freeze", i), _not_trained(policy, role, own)
        trained = _trained({row.role for row in self.train}, own.difference(self.freeze))
        for role in self.learning_rate_multipliers:
            if role not in trained:
                yield ("learning_rate_multipliers", role), _not_trained(policy, role, trained)
        if not trained and policy.free_form:
            yield (), f"policy '{policy.name}' has no rows of its own: give them, as in train: [{{role: output}}]"
        elif not trained:
            yield ("freeze",), f"nothing would train: these are all the roles of policy '{policy.name}'"


def _trained(roles: set[str], further: set[str] | frozenset[str] = frozenset()) -> set[str]:
    """The roles in rows, with ``all`` expanded."""
    return set(ROLES) if "all" in roles else roles | further


def _not_trained(policy: FreezingPolicySpec, role: str, trained: set[str]) -> str:
    there = [known for known in ROLES if known in trained]
    return f"policy '{policy.name}' does not train '{role}' here\ntrained: {', '.join(there) or 'none'}"
