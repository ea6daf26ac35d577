"""What a recipe may ask of a freezing policy: further rows, roles that stay frozen, learning rates by role."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from fptkit.errors import nearest
from fptkit.options import Options
from fptkit.specs import BLOCK_SLICE, OUTSIDE_BLOCKS, ROLES, FreezingPolicySpec, FreezingRule


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


# pydantic's own check of a closed list would suggest no nearest name.
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
# The form is told from the value, so that only what is wrong with that form is reported.
Blocks = Annotated[
    Annotated[tuple[int, ...], Field(min_length=1), Tag("indices")]
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
    """One row: parameters of this role train."""

    role: RuleRole = Field(description="what the parameters are for; all: every role")
    blocks: Blocks = Field(
        default=None,
        description="the blocks it holds for: a list of indices, negative ones from the end, or a slice in quotes, "
        'such as "6:" or "-2:"; null: all blocks and what lies outside them',
    )
    learning_rate_multiplier: Multiplier = Field(default=1.0, description="factor on train.learning_rate")

    @model_validator(mode="after")
    def _has_blocks(self) -> RuleOptions:
        if self.blocks is not None and self.role in OUTSIDE_BLOCKS:
            raise ValueError(f"role '{self.role}' lies outside the blocks; leave 'blocks' out")
        return self

    @property
    def rule(self) -> FreezingRule:
        """The row as a policy has it."""
        return FreezingRule(role=self.role, blocks=self.blocks, learning_rate_multiplier=self.learning_rate_multiplier)


class FreezingOptions(Options):
    """What every freezing policy takes. The policy's own rows come first, then ``freeze``, ``train``, the multipliers.

    Source: ours. The released code of Lu et al. 2021 chooses what trains by flags and substrings of names.
    """

    train: tuple[RuleOptions, ...] = Field(
        default=(),
        description="rows that train besides the policy's own; where two hold for one parameter, the later does. "
        "For the policy custom: all rows",
    )
    freeze: tuple[Role, ...] = Field(
        default=(), description="roles that the policy trains and that stay frozen here, but for the rows of train"
    )
    learning_rate_multipliers: dict[Role, Multiplier] = Field(
        default={}, description="role to a further factor on train.learning_rate for its trained parameters"
    )

    def misfits(self, policy: FreezingPolicySpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What does not go together with the policy's rows; what the model has not is found by `apply_policy`.

        Args:
            policy: that these options are for.

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
    """The roles that rows name, ``all`` written out."""
    return set(ROLES) if "all" in roles else roles | further


def _not_trained(policy: FreezingPolicySpec, role: str, trained: set[str]) -> str:
    there = [known for known in ROLES if known in trained]
    return f"policy '{policy.name}' does not train '{role}' here\ntrained: {', '.join(there) or 'none'}"
