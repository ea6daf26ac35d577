"""The typed records plugins return: what a component is called, what it is, and where it is built.

A record is cheap: it names its target and its options model as text (``"package.module:Class"``), and both are imported
only when a recipe uses them. A plugin in a single file may give the objects themselves.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fptkit.errors import PluginError

if TYPE_CHECKING:
    from fptkit.options import Options

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

ROLES = (
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
)
"""`fptkit.interfaces.Role` once more, for code that loads no torch; a test holds the two together."""

FPT_PAPER = "Lu et al. 2021, arXiv 2103.05247"
"""The reference of what follows the paper."""

OUTSIDE_BLOCKS = ("input", "output")
"""Roles no block holds: those of encoder and head."""

BLOCK_SLICE = re.compile(r"(-?[0-9]{1,4})?:(-?[0-9]{1,4})?(:[1-9][0-9]{0,3})?")
"""A slice of blocks as text, ``START:STOP`` or ``START:STOP:STEP``, by the rules of Python."""

INPUT_KINDS = ("vectors", "symbols", "grid", "mixed")
"""What an encoder can accept: `fptkit.Vectors`, `fptkit.Symbols`, `fptkit.Grid` and `fptkit.Mixed`."""
_AND_KINDS = f"{', '.join(INPUT_KINDS[:-1])} and {INPUT_KINDS[-1]}"


def resolve_target(target: str | Callable[..., Any], *, wanted_by: str) -> Any:
    """The object a record names.

    Args:
        target: ``"package.module:attribute"``, or the object itself.
        wanted_by: which record asks, for the error.

    Raises:
        PluginError: the module does not import or has no such attribute.
    """
    if not isinstance(target, str):
        return target
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as err:  # a plugin's module may fail in any way while it is imported
        raise PluginError(f"{wanted_by}: cannot import '{target}': {type(err).__name__}: {err}") from err
    try:
        return getattr(module, attribute)
    except AttributeError as err:
        raise PluginError(f"{wanted_by}: module '{module_name}' has no '{attribute}'") from err


def _all_are(kind: type | tuple[type, ...], values: Iterable[Any]) -> bool:
    """Whether all are of that type; a boolean is no integer here."""
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every record has.

    Args:
        name: the word recipes use, ``lower_snake``.
        summary: one line for listings.
        source: paper or repository it follows.
        licence: licence of the data or weights, where there are any.
        extra: pip extra, or package, it needs beyond the core.

    Raises:
        PluginError: the name is not ``lower_snake``, the summary is empty, or one of the fields is not text.
    """

    kind: ClassVar[str]
    plural: ClassVar[str]

    name: str
    summary: str
    source: str = ""
    licence: str = ""
    extra: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise PluginError(f"{self.kind} name {self.name!r}: use lower-case letters, digits and underscores")
        for label in ("summary", "source", "licence", "extra"):
            if not isinstance(value := getattr(self, label), str):
                raise PluginError(f"{self}: {label} is {value!r}, expected text")
        if not self.summary.strip():
            raise PluginError(f"{self.kind} '{self.name}': the summary is empty")

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    def _check_place(self, label: str) -> None:
        """Raise where the field is text that is no place of an object."""
        value = getattr(self, label)
        if isinstance(value, str) and not _TARGET.fullmatch(value):
            raise PluginError(f"{self}: {label} {value!r} is not of the form 'package.module:attribute'")

    def _make_tuple(self, label: str, of: type, words: str) -> None:
        """Store a list as a tuple; records are frozen, hence the detour.

        Raises:
            PluginError: the field is neither, or holds something else than ``of``.
        """
        value = getattr(self, label)
        if not isinstance(value, (tuple, list)) or not _all_are(of, value):
            raise PluginError(f"{self}: {label} is {value!r}, expected a tuple of {words}")
        object.__setattr__(self, label, tuple(value))


@dataclass(frozen=True, kw_only=True)
class ComponentSpec(Spec):
    """A record whose target is built from a recipe section.

    Args:
        target: class or function, or its place as text. What it is called with is said by each kind.
        options: model of its options (a subclass of `fptkit.Options`), or its place as text; None for no options.

    Raises:
        PluginError: target or options are text of another form than ``package.module:attribute``, or not of the types
            above.
    """

    target: str | Callable[..., Any]
    options: str | type[Options] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_place("target")
        self._check_place("options")
        if not isinstance(self.target, str) and not callable(self.target):
            raise PluginError(f"{self}: target {self.target!r} cannot be called")
        if not (self.options is None or isinstance(self.options, (str, type))):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of fptkit.Options")

    def options_model(self) -> type[Options]:
        """The options model, an empty one where the component has no options."""
        from fptkit.options import Options

        if self.options is None:
            return Options
        model = resolve_target(self.options, wanted_by=str(self))
        if not (isinstance(model, type) and issubclass(model, Options)):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of fptkit.Options")
        return model

    def resolve(self) -> Callable[..., Any]:
        """The class or function that builds the component."""
        built: Callable[..., Any] = resolve_target(self.target, wanted_by=str(self))
        return built


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(ComponentSpec):
    """A sequence model. Target: ``(options, *, positions, seed, pinned) -> fptkit.Backbone``.

    ``positions`` is the task's longest example in tokens (T), ``seed`` draws random weights, ``pinned`` is the weights
    entry an earlier run of this recipe took, or None.
    """

    kind: ClassVar[str] = "backbone"
    plural: ClassVar[str] = "backbones"


@dataclass(frozen=True, kw_only=True)
class EncoderSpec(ComponentSpec):
    """Raw tokens to token vectors. Target: ``(options, *, input, width) -> torch.nn.Module``.

    ``input`` is the task's `fptkit.Vectors`, `fptkit.Symbols`, `fptkit.Grid` or `fptkit.Mixed`, ``width`` is the
    backbone's D; the module maps a batch's ``inputs`` to (B, T', D). One that makes more or fewer tokens, or mixes
    them, is a `fptkit.Encoder`.

    Args:
        accepts: input kinds it can take, of ``"vectors"``, ``"symbols"``, ``"grid"`` and ``"mixed"``.

    Raises:
        PluginError: ``accepts`` is empty, names another kind, or is no tuple or list.
    """

    kind: ClassVar[str] = "encoder"
    plural: ClassVar[str] = "encoders"

    accepts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("accepts", str, f"input kinds, of {_AND_KINDS}")
        if not self.accepts:
            raise PluginError(f"{self}: accepts is empty; name one or several of {_AND_KINDS}")
        if unknown := [kind for kind in self.accepts if kind not in INPUT_KINDS]:
            raise PluginError(f"{self}: accepts names {unknown[0]!r}; input kinds are {_AND_KINDS}")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A named way to prepare and score a task. Results under different protocols never share a table.

    Args:
        name: the word recipes use (``task.protocol``).
        summary: one line.
        splits: pairs of a split's name and what it holds, with its size.
        faults: pairs of a fault's number and what it does in this task; numbers as in ``docs/protocols.md``.
    """

    name: str
    summary: str = ""
    splits: tuple[tuple[str, str], ...] = ()
    faults: tuple[tuple[str, str], ...] = ()


CLEAN = Protocol(name="clean", summary="own validation split; validation and test evaluated whole; test opened once")


@dataclass(frozen=True, kw_only=True)
class TaskSpec(ComponentSpec):
    """A question with data. Target: ``(options, *, seed, pinned) -> fptkit.Task``.

    ``pinned`` is the data source an earlier run of this recipe took, or None.

    Args:
        protocols: the ways to prepare and score it, the default first.

    Raises:
        PluginError: ``protocols`` is empty, or no tuple or list of `Protocol`.
    """

    kind: ClassVar[str] = "task"
    plural: ClassVar[str] = "tasks"

    protocols: tuple[Protocol, ...] = (CLEAN,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("protocols", Protocol, "fptkit.Protocol")
        if not self.protocols:
            raise PluginError(f"{self}: it has no protocol")


@dataclass(frozen=True, kw_only=True)
class FreezingRule:
    """One row of a freezing policy: parameters of this role train.

    Args:
        role: one of `ROLES`, or ``"all"``.
        learning_rate_multiplier: factor on the recipe's learning rate, > 0.
        blocks: the blocks it holds for: indices, negative ones from the end, or a slice as text, such as ``"6:"``; None
            for all and for parameters outside the blocks.
        required: when true, a model in which the rule touches no parameter is an error.

    Raises:
        PluginError: the role is not a role or lies outside the blocks named, the multiplier is not a finite number
            above 0, or the blocks are neither integers nor a slice.
    """

    role: str
    learning_rate_multiplier: float = 1.0
    blocks: tuple[int, ...] | str | None = None
    required: bool = True

    def __post_init__(self) -> None:
        if self.role not in (*ROLES, "all"):
            raise PluginError(f"freezing rule: unknown role {self.role!r}; roles are {', '.join(ROLES)} and all")
        multiplier = self.learning_rate_multiplier
        if not (_all_are((int, float), [multiplier]) and math.isfinite(multiplier) and multiplier > 0):
            raise PluginError(
                f"freezing rule for {self.role}: the learning-rate multiplier is {multiplier!r}, expected a finite "
                "number above 0"
            )
        if self.blocks is None:
            return
        if isinstance(self.blocks, str):
            fits = BLOCK_SLICE.fullmatch(self.blocks) is not None
        else:
            fits = isinstance(self.blocks, (tuple, list)) and len(self.blocks) > 0 and _all_are(int, self.blocks)
        if not fits:
            raise PluginError(
                f"freezing rule for {self.role}: blocks is {self.blocks!r}, expected a tuple of integers, or a slice "
                "as text, START:STOP or START:STOP:STEP"
            )
        if self.role in OUTSIDE_BLOCKS:
            raise PluginError(f"freezing rule for {self.role}: this role lies outside the blocks, name none")
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
    """A freezing policy: the table of what trains. Everything no rule names stays frozen.

    A recipe may change any policy by `fptkit.freezing.options.FreezingOptions`.

    Args:
        rules: the rows; where two match one parameter, the later holds.
        free_form: true for a policy without rows of its own: the recipe gives them all.
        prepare: function, or its place as text, that changes the backbone before the rows are read, such as one that
            adds adapters; None changes nothing. It is called as ``(options, *, backbone, seed) -> fptkit.Backbone`` and
            may change the backbone it is given and give it back, or give another around it. What it adds has the role
            ``adapter`` in ``parameter_roles()``; the same options and seed must give the same names and values. Draws
            from torch's global generator are seeded by ``seed`` and leave no trace.
        options: model of the policy's options (a subclass of `fptkit.freezing.options.FreezingOptions`), or its place
            as text; None for those every policy takes.

    Raises:
        PluginError: there is no rule, or something else than a `FreezingRule`; a free form has rules; ``prepare`` or
            ``options`` are text of another form than ``package.module:attribute``, or not of the types above.
    """

    kind: ClassVar[str] = "freezing policy"
    plural: ClassVar[str] = "policies"

    rules: tuple[FreezingRule, ...]
    free_form: bool = False
    prepare: str | Callable[..., Any] | None = None
    options: str | type[Options] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("rules", FreezingRule, "FreezingRule")
        if not self.rules and not self.free_form:
            raise PluginError(f"{self}: it has no rules, nothing would train")
        if self.rules and self.free_form:
            raise PluginError(f"{self}: it has rules, so it is no free form")
        self._check_place("prepare")
        self._check_place("options")
        if not (self.prepare is None or isinstance(self.prepare, str) or callable(self.prepare)):
            raise PluginError(f"{self}: prepare {self.prepare!r} cannot be called")

    def options_model(self) -> type[Options]:
        """The policy's options model, where it has none that of every policy.

        Raises:
            PluginError: it does not import, or is no subclass of `fptkit.freezing.options.FreezingOptions`.
        """
        # By its place: records import no component.
        of_every_policy: type[Options] = resolve_target("fptkit.freezing.options:FreezingOptions", wanted_by=str(self))
        if self.options is None:
            return of_every_policy
        model: type[Options] = resolve_target(self.options, wanted_by=str(self))
        if not (isinstance(model, type) and issubclass(model, of_every_policy)):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of FreezingOptions")
        return model


@dataclass(frozen=True, kw_only=True)
class ListenerSpec(ComponentSpec):
    """Something that follows every run. Target: ``(options, *, folder) -> object with handle(event)``.

    ``folder`` is the run folder; events are the classes of `fptkit.engine.events`.
    """

    kind: ClassVar[str] = "listener"
    plural: ClassVar[str] = "listeners"


@dataclass(frozen=True, kw_only=True)
class RecipeFolderSpec(Spec):
    """A folder of recipes that ``fptkit run NAME`` finds by bare name.

    Args:
        folder: the folder with the YAML files; text becomes a path.

    Raises:
        PluginError: the folder is neither text nor a path.
    """

    kind: ClassVar[str] = "recipe folder"
    plural: ClassVar[str] = "recipe folders"

    folder: Path

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.folder, (str, Path)) or not str(self.folder):
            raise PluginError(f"{self}: folder is {self.folder!r}, expected a path")
        object.__setattr__(self, "folder", Path(self.folder))


KINDS: dict[str, type[Spec]] = {
    "task": TaskSpec,
    "backbone": BackboneSpec,
    "encoder": EncoderSpec,
    "policy": FreezingPolicySpec,
    "listener": ListenerSpec,
}
"""The word of the command line for each kind of component."""
