"""Several processes that carry out one run together, as torchrun and accelerate launch start them.

Each takes its part of every batch, and gradients are added up before the step, so that all hold the same tensors at any
time. The first process alone reads and writes the run folder. Whatever decides how a run goes on (a signal, the clock,
an error) is agreed on, so that no process waits for one that has left.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from fptkit.engine.team.launch import local_rank, process_count
from fptkit.errors import DivergedError, FptkitError, Interrupted, PeerError, TrainingError, UsageError

PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for another: as long as one may take to fetch weights, or to write to a slow disk. One that
is gone is noticed at once."""

FAREWELL = datetime.timedelta(seconds=10)
"""How long a failed process waits to hear whether the first one failed alike, and then leaves it to tell."""

Result = TypeVar("Result")


class Processes:
    """The processes of a run, seen from one of them. Of a single one, every method is the plain thing itself.

    Args:
        rank: which one this is, from 0; the first one is the main one.
        count: how many there are.
        store: what all of them can read, also while they fail; None for a single one.
    """

    def __init__(self, rank: int = 0, count: int = 1, store: Store | None = None) -> None:
        self.rank = rank
        self.count = count
        self._store = store
        self._agreed = False

    @property
    def main(self) -> bool:
        """Whether this is the one that reads and writes the run folder and talks to the user."""
        return self.rank == 0

    def together(self, make: Callable[[], Result]) -> Result:
        """Do the same in every process. Where it fails in one, it has failed in all.

        Raises:
            PeerError: it failed elsewhere; the process that failed raises the error itself, if several did the first
                of them.
        """
        if self.count == 1:
            return make()
        try:
            result, error = make(), None
        except Exception as err:
            result, error = None, err
        told = self._gather_everywhere(None if error is None else _described(error))
        for rank, failure in enumerate(told):
            if failure is not None:
                self._fail(rank, failure, error)
        return result  # type: ignore[return-value]  # nobody failed, so it was made

    def from_main(self, make: Callable[[], Result]) -> Result:
        """Do something in the main process only, and have its result everywhere. It must be possible to pickle it.

        Raises:
            PeerError: it failed; the main process raises the error itself.
        """
        if self.count == 1:
            return make()
        error = None
        told: list[Any] = [None, None]
        if self.main:
            try:
                told = [make(), None]
            except Exception as err:
                told, error = [None, _described(err)], err
        self.wait_for(lambda: dist.broadcast_object_list(told, src=0))
        if told[1] is not None:
            self._fail(0, told[1], error)
        result: Result = told[0]
        return result

    def check_same(self, things: Mapping[str, str | int | None]) -> None:
        """Raise where the processes do not have the same of everything that decides results.

        Raises:
            UsageError: they do not.
        """
        if self.count == 1:
            return
        all_things = self._gather_everywhere(dict(things))

        def compare() -> None:
            for name in things:
                for rank, theirs in enumerate(all_things):
                    if theirs[name] != all_things[0][name]:
                        raise UsageError(
                            f"the processes of this run do not have the same {name}: it is {all_things[0][name]} in "
                            f"process 0 and {theirs[name]} in process {rank}. All need the same recipe, data, weights "
                            "and kind of processor"
                        )

        self.together(compare)

    def most(self, *numbers: int) -> tuple[int, ...]:
        """The largest that any process gives, of each number."""
        if self.count == 1 or not numbers:
            return numbers
        largest = torch.tensor(numbers, dtype=torch.int64)
        self.wait_for(lambda: dist.all_reduce(largest, op=dist.ReduceOp.MAX))
        return tuple(largest.tolist())

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process has it set."""
        return flags if self.count == 1 else tuple(number > 0 for number in self.most(*map(int, flags)))

    def add_up(self, numbers: Tensor) -> None:
        """Sum over the processes, in place; the same bits in all of them."""
        if self.count > 1:
            self.wait_for(lambda: dist.all_reduce(numbers))

    def gather_on_main(self, thing: Result) -> list[Result]:
        """What each process has, by rank; elsewhere than in the main process nothing."""
        if self.count == 1:
            return [thing]
        things: list[Any] | None = [None] * self.count if self.main else None
        self.wait_for(lambda: dist.gather_object(thing, things, dst=0))
        return things or []

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Have a fault of one process end all of them, with one message: around everything they do together."""
        try:
            yield
        except (Interrupted, DivergedError):
            raise  # all have come to the same end
        except BaseException as err:
            if self.count > 1 and not self._agreed:
                self._take_leave(err)
            raise
        finally:
            self._agreed = False

    def _gather_everywhere(self, thing: Result) -> list[Result]:
        things: list[Any] = [None] * self.count
        self.wait_for(lambda: dist.all_gather_object(things, thing))
        return things

    def _fail(self, rank: int, failure: dict[str, Any], own: Exception | None) -> None:
        """Raise a fault that all processes now know of."""
        self._agreed = True
        if rank != self.rank:
            raise PeerError(rank, failure["text"], failure["code"]) from own
        assert own is not None
        if isinstance(own, FptkitError):
            own.process = rank
        raise own

    def wait_for(self, exchange: Callable[[], Result]) -> Result:
        """Exchange something; where another process is gone, say what is known of its end.

        Raises:
            PeerError: it left word.
            TrainingError: it did not.
        """
        try:
            return exchange()
        except RuntimeError as err:
            raise self._other_end() or TrainingError(
                "another process of this run is gone and left no word; was it killed? What was saved last is kept, "
                "--resume goes on"
            ) from err

    def _other_end(self) -> PeerError | None:
        """The first fault that another process has left word of."""
        assert self._store is not None
        with contextlib.suppress(RuntimeError):  # the store is gone, too
            for rank in range(self.count):
                if rank != self.rank and self._store.check([_key(rank)]):
                    found = json.loads(self._store.get(_key(rank)))
                    if found["own"]:
                        return PeerError(rank, found["text"], found["code"])
        return None

    def _take_leave(self, err: BaseException) -> None:
        """Leave word of a fault, then the others: whoever waits for this process fails at once, and finds it."""
        assert self._store is not None
        own = not isinstance(err, PeerError)
        with contextlib.suppress(RuntimeError):
            self._store.set(_key(self.rank), json.dumps({"own": own, **_described(err)}))
        _leave()
        if own and isinstance(err, FptkitError) and not self.main and not self._main_failed():
            err.process = self.rank

    def _main_failed(self) -> bool:
        """Whether the main process fails by itself, too, and so tells why."""
        assert self._store is not None
        try:
            self._store.wait([_key(0)], FAREWELL)
            return bool(json.loads(self._store.get(_key(0)))["own"])
        except RuntimeError:
            return False


ALONE = Processes()
"""One process by itself."""

_joined: Processes | None = None


def join_processes() -> Processes:
    """Meet the other processes that a launcher started with this one; `ALONE` where there are none.

    Raises:
        UsageError: the launcher did not say where to meet, or they have parted after a fault.
    """
    global _joined
    if process_count() == 1:
        return ALONE
    if _joined is None:
        try:
            store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        except ValueError as err:
            raise UsageError(f"the launcher did not say where the processes meet: {err}") from err
        # NCCL where a GPU holds the numbers. What is agreed on lies in ordinary memory, and waits for no GPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
        atexit.register(_leave)
        _joined = Processes(rank, count, PrefixStore("fptkit", store))
    if not dist.is_initialized():
        raise UsageError("the processes of this run have parted after a fault; start them again")
    return _joined


def part(code: int, *, told: bool) -> NoReturn:
    """End this process as one of several, at once: connections that are torn down with the interpreter may abort it.

    A launcher that sees one process fail ends the others, so all wait until the reason is told.

    Args:
        code: process status.
        told: whether this process has told why, if the status is not 0.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        with contextlib.suppress(RuntimeError, FptkitError):
            store = join_processes()._store if _joined is None else _joined._store
            assert store is not None
            if told:
                store.set("told", "")
            else:
                store.wait(["told"], FAREWELL)
    _leave()
    os._exit(code)


def local_device(device: torch.device, processes: Processes) -> torch.device:
    """The device of this process: of several, each has a GPU of its own.

    Raises:
        UsageError: there are fewer GPUs than processes on this machine.
    """
    if processes.count == 1 or device.type != "cuda":
        return device
    number, there = local_rank(), torch.cuda.device_count()
    if number >= there:
        raise UsageError(
            f"process {number} of this machine has no GPU of its own: there are {there}. Start at most {there} "
            "processes a machine (torchrun --nproc-per-node), or train on processors with --set device=cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def add_up_step(
    processes: Processes,
    parameters: Sequence[nn.Parameter],
    norms: Sequence[nn.Module],
    loss: Tensor | None,
    share: float,
) -> Tensor | None:
    """Add the gradients of all processes up, in one exchange; returns the loss of the whole batch.

    Where a process has no loss, nothing is added up and all get None: so none waits for it in the exchange.

    Args:
        processes: with none but one, nothing is done.
        parameters: those that train. One that no process has a gradient of has none afterwards either.
        norms: batch norms, whose running statistics become the mean over the processes.
        loss: this process's part of the batch's loss; None where its memory did not suffice.
        share: of the batch's examples that are this process's.
    """
    if processes.count == 1:
        return loss
    missing, *present = processes.any_of(loss is None, *(parameter.grad is not None for parameter in parameters))
    if missing or loss is None:
        return None
    targets = [loss]
    for parameter, somewhere in zip(parameters, present, strict=True):
        if somewhere:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            targets.append(parameter.grad)
    for norm in (norm for norm in norms if norm.training):
        for statistic in (norm.running_mean, norm.running_var):
            assert isinstance(statistic, Tensor)
            targets.append(statistic.mul_(share))
    flat = torch.cat([target.detach().flatten() for target in targets])
    processes.add_up(flat)
    for target, summed in zip(targets, flat.split([target.numel() for target in targets]), strict=True):
        target.copy_(summed.view_as(target))
    return loss


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The batch norms that keep running statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]


def share_other_buffers(processes: Processes, model: nn.Module) -> None:
    """Have what else a module keeps besides its parameters as it is in the main process."""
    if processes.count == 1:
        return
    parameters = dict(model.named_parameters())
    kept = {name: value for name, value in model.state_dict().items() if name not in parameters}
    if kept:
        of_main = processes.from_main(lambda: {name: value.cpu() for name, value in kept.items()})
        for name, value in kept.items():
            value.copy_(of_main[name])


def _described(err: BaseException) -> dict[str, Any]:
    known = isinstance(err, FptkitError)
    text = str(err) if known else f"{type(err).__name__}: {err}"
    return {"text": text, "code": err.exit_code if isinstance(err, FptkitError) else 1}


def _key(rank: int) -> str:
    return f"failed/{rank}"


def _leave() -> None:
    """Close the connections to the other processes."""
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dist.destroy_process_group()
