"""Records of tasks, encoders, backbones, listeners and folders of recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fptkit.errors import PluginError
from fptkit.specs.base import ComponentSpec, Spec

INPUT_KINDS = ("vectors", "symbols", "grid", "mixed")
"""Input kinds an encoder can accept: `fptkit.Vectors`, `fptkit.Symbols`, `fptkit.Grid` and `fptkit.Mixed`."""
_AND_KINDS = f"{', '.join(INPUT_KINDS[:-1])} and {INPUT_KINDS[-1]}"


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(ComponentSpec):
    """A sequence model. Target: ``(options, *, positions, seed, pinned) -> fptkit.Backbone``.

    ``positions`` is the task's longest example in tokens (T), ``seed`` decides random weights, ``pinned`` is the
    weights entry that an earlier run of this recipe used, or None.

    Example:
        >>> import fptkit
        >>> str(fptkit.BackboneSpec(name="norm_only", summary="one layer norm", target="my_package.norm:Norm"))
        "backbone 'norm_only'"
    """

    kind: ClassVar[str] = "backbone"


@dataclass(frozen=True, kw_only=True)
class EncoderSpec(ComponentSpec):
    """Raw tokens to token vectors. Target: ``(options, *, input, width) -> torch.nn.Module``.

    ``input`` is the task's `fptkit.Vectors`, `fptkit.Symbols`, `fptkit.Grid` or `fptkit.Mixed`, ``width`` is the
    backbone's D; the module maps a batch's ``inputs`` to (B, T', D). An encoder that changes the number of tokens or
    mixes them must be a `fptkit.Encoder`.

    Args:
        accepts: input kinds it can take, of ``"vectors"``, ``"symbols"``, ``"grid"`` and ``"mixed"``.

    Raises:
        PluginError: ``accepts`` is empty, names another kind, or is not a tuple or list.

    Example:
        >>> import fptkit
        >>> spec = fptkit.EncoderSpec(
        ...     name="pairs", summary="two tokens as one", target="my_package.pairs:Pairs", accepts=("vectors",)
        ... )
    """

    kind: ClassVar[str] = "encoder"

    accepts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("accepts", str, f"input kinds, of {_AND_KINDS}")
        if not self.accepts:
            raise PluginError(f"{self}: accepts is empty; name one or several of {_AND_KINDS}")
        if unknown := [kind for kind in self.accepts if kind not in INPUT_KINDS]:
            raise PluginError(f"{self}: accepts names {unknown[0]!r}; input kinds are {_AND_KINDS}")


@dataclass(frozen=True, kw_only=True)
class TaskProtocol:
    """A named way to prepare and score a task. Results under different protocols never share a table.

    Args:
        name: its name in recipes (``task.protocol``).
        summary: one line.
        splits: pairs of a split's name and what it holds, with its size.
        faults: pairs of a fault's number and its effect in this task; numbers as in ``docs/protocols.md``.

    Example:
        >>> import fptkit
        >>> fptkit.TaskProtocol(name="clean", splits=(("test", "100 recordings of other speakers"),)).name
        'clean'
    """

    name: str
    summary: str = ""
    splits: tuple[tuple[str, str], ...] = ()
    faults: tuple[tuple[str, str], ...] = ()


CLEAN = TaskProtocol(
    name="clean", summary="own validation split; validation and test evaluated in full; test evaluated once"
)

Protocol = TaskProtocol
"""The former name of `TaskProtocol`; plugins may use either."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec(ComponentSpec):
    """A task: data, splits, loss and metrics. Target: ``(options, *, seed, pinned) -> fptkit.Task``.

    ``seed`` is the run's seed of data, ``train.seeds.data`` or else ``train.seed``; runs are comparable if their data
    do not depend on it. An option ``seed`` in a section ``split`` of the options, if it is null, is set to
    ``train.seeds.data``, if that is given. ``pinned`` is the data source that an earlier run of this recipe used, or
    None.

    Args:
        protocols: the ways to prepare and score it, the default first.
        files: function, or its location as text, that gives the files and folders an entry of ``source`` stands for:
            ``(options, entry) -> iterable of pathlib.Path``; nothing for an entry without files. It must not open them
            or import torch. Their content identifies the data of a run. None: for ``path:PLACE`` the place itself.
        preparation: class of the task's `fptkit.Preparation`, or its location as text, by which a run folder alone
            prepares new inputs; None if the task has none.
        look: function, or its location as text, by which ``fptkit new recipe --data`` sees whether a file or folder is
            for this task: ``(place, labels) -> fptkit.tasks.reading.look.Look or None``, with the columns to predict
            if the user names them; None if the task reads no users' files.

    Raises:
        PluginError: ``protocols`` is empty, or not a tuple or list of `TaskProtocol`; ``files``, ``preparation`` or
            ``look`` are text not of the form ``package.module:attribute``.

    Example:
        >>> import fptkit
        >>> str(fptkit.TaskSpec(name="parity", summary="is the number of ones odd?", target="my_package.parity:Parity"))
        "task 'parity'"
    """

    kind: ClassVar[str] = "task"

    protocols: tuple[TaskProtocol, ...] = (CLEAN,)
    files: str | Callable[..., Any] | None = None
    preparation: str | type | None = None
    look: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_place("files")
        self._check_place("preparation")
        self._check_place("look")
        self._make_tuple("protocols", TaskProtocol, "fptkit.TaskProtocol")
        if not self.protocols:
            raise PluginError(f"{self}: it has no protocol")


@dataclass(frozen=True, kw_only=True)
class ListenerSpec(ComponentSpec):
    """A listener: follows the events of a run. Target: ``(options, *, folder) -> object with handle(event)``.

    ``folder`` is the run folder; events are the classes of `fptkit.engine.events`. The target of a listener that may
    act takes the keyword ``run``, too: its `fptkit.RunControl`.

    Args:
        may: what it may do, of ``"stop"`` (end training) and ``"metrics"`` (add metrics of its own); empty: it only
            watches. One that may stop decides when training ends, so it counts in the address of a study's runs.

    Raises:
        PluginError: ``may`` names something else, or is not a tuple or list.

    Example:
        >>> import fptkit
        >>> str(fptkit.ListenerSpec(name="beep", summary="a sound at the end", target="my_package.beep:Beep"))
        "listener 'beep'"
    """

    kind: ClassVar[str] = "listener"

    may: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("may", str, "actions, of stop and metrics")
        if unknown := sorted(set(self.may) - {"stop", "metrics"}):
            raise PluginError(f"{self}: may names {unknown[0]!r}; a listener may stop and add metrics")


@dataclass(frozen=True, kw_only=True)
class RecipeFolderSpec(Spec):
    """A folder of recipes that ``fptkit run NAME`` finds by bare name.

    Args:
        folder: the folder with the YAML files, a path or text.

    Raises:
        PluginError: the folder is neither text nor a path.

    Example:
        >>> import fptkit
        >>> fptkit.RecipeFolderSpec(name="mine", summary="recipes of my tasks", folder="recipes").folder.name
        'recipes'
    """

    kind: ClassVar[str] = "recipe folder"

    folder: Path

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.folder, (str, Path)) or not str(self.folder):
            raise PluginError(f"{self}: folder is {self.folder!r}, expected a path")
        object.__setattr__(self, "folder", Path(self.folder))
