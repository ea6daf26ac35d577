"""Several processes that carry out one run together, as torchrun and accelerate launch start them.

Each takes its part of every batch, and gradients are summed before the optimizer step, so all processes always hold the
same tensors. Only rank 0 reads and writes the run folder. All processes agree on everything that decides how a run
continues (a signal, the clock, an error), so no process waits for one that has left.
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
from fptkit.specs.guard import plugin_faults

PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for another: downloading weights or writing to a slow disk may take that long. A dead
process is noticed at once."""

BUCKET_BYTES = 64 * 2**20
"""Most bytes of gradients that are copied for one exchange, so that a model that trains in full needs no
room for all of its gradients twice."""

FAREWELL = datetime.timedelta(seconds=10)
"""How long a failed process waits to hear whether rank 0 failed too; if so, rank 0 reports the error."""

Result = TypeVar("Result")


class Processes:
    """The processes of a run, seen from one of them. With a single process, every method does the work directly.

    Args:
        rank: of this process, from 0.
        count: number of processes.
        store: key-value store that all can read, even while they fail; None for a single process.
    """

    def __init__(self, rank: int = 0, count: int = 1, store: Store | None = None) -> None:
        self.rank = rank
        self.count = count
        self._store = store
        self._agreed = False

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which reads and writes the run folder and talks to the user."""
        return self.rank == 0

    def together(self, make: Callable[[], Result]) -> Result:
        """Call ``make`` in every process. If it fails in one, it fails in all.

        Raises:
            PeerError: it failed in another process. The process that failed raises its own error; if several failed,
                the one of lowest rank does.
        """
        if self.count == 1:
            return make()
        try:
            with plugin_faults():
                result, error = make(), None
        except Exception as err:
            result, error = None, err
        failures = self._gather_everywhere(None if error is None else _described(error))
        for rank, failure in enumerate(failures):
            if failure is not None:
                self._fail(rank, failure, error)
        return result  # type: ignore[return-value]  # no process failed, so it was made

    def from_main(self, make: Callable[[], Result]) -> Result:
        """Call ``make`` in rank 0 only, and return its result, which must be picklable, in all processes.

        Raises:
            PeerError: it failed; rank 0 raises its own error.
        """
        if self.count == 1:
            return make()
        error = None
        answer: list[Any] = [None, None]
        if self.main:
            try:
                with plugin_faults():
                    answer = [make(), None]
            except Exception as err:
                answer, error = [None, _described(err)], err
        self.wait_for(lambda: dist.broadcast_object_list(answer, src=0))
        if answer[1] is not None:
            self._fail(0, answer[1], error)
        result: Result = answer[0]
        return result

    def check_same(self, things: Mapping[str, str | int | None]) -> None:
        """Raise if the processes differ in something that decides results.

        Raises:
            UsageError: they differ.
        """
        if self.count == 1:
            return
        all_things = self._gather_everywhere(dict(things))

        def compare() -> None:
            for name in things:
                for rank, theirs in enumerate(all_things):
                    if theirs[name] != all_things[0][name]:
                        raise UsageError(
                            f"{name} differs between the processes of this run: it is {all_things[0][name]} in "
                            f"process 0 and {theirs[name]} in process {rank}. All need the same recipe, data, weights "
                            "and kind of processor"
                        )

        self.together(compare)

    def most(self, *numbers: int) -> tuple[int, ...]:
        """For each number, the largest value over the processes."""
        if self.count == 1 or not numbers:
            return numbers
        largest = torch.tensor(numbers, dtype=torch.int64)
        self.wait_for(lambda: dist.all_reduce(largest, op=dist.ReduceOp.MAX))
        return tuple(largest.tolist())

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process has it set."""
        return flags if self.count == 1 else tuple(number > 0 for number in self.most(*map(int, flags)))

    def add_up(self, numbers: Tensor) -> None:
        """Sum over the processes, in place; the result is the same bits in all of them."""
        if self.count > 1:
            self.wait_for(lambda: dist.all_reduce(numbers))

    def gather_on_main(self, thing: Result) -> list[Result]:
        """What each process has, by rank; empty except in rank 0."""
        if self.count == 1:
            return [thing]
        things: list[Any] | None = [None] * self.count if self.main else None
        self.wait_for(lambda: dist.gather_object(thing, things, dst=0))
        return things or []

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Wrap everything the processes do together: an error in one process ends all of them, with one message."""
        try:
            yield
        except (Interrupted, DivergedError):
            raise  # all processes raise the same
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
        """Raise an error that all processes know about."""
        self._agreed = True
        if rank != self.rank:
            raise PeerError(rank, failure["text"], failure["code"]) from own
        assert own is not None
        if isinstance(own, FptkitError):
            own.process = rank
        raise own

    def wait_for(self, exchange: Callable[[], Result]) -> Result:
        """Exchange something; if another process is gone, report what is known about its end.

        Raises:
            PeerError: it reported an error.
            TrainingError: it did not.
        """
        try:
            return exchange()
        except RuntimeError as err:
            raise self._other_end() or TrainingError(
                "another process died without reporting an error (killed?); the last checkpoint is kept, continue with "
                "--resume"
            ) from err

    def _other_end(self) -> PeerError | None:
        """The first error that another process reported."""
        assert self._store is not None
        with contextlib.suppress(RuntimeError):  # the store may be gone, too
            for rank in range(self.count):
                if rank != self.rank and self._store.check([_key(rank)]):
                    found = json.loads(self._store.get(_key(rank)))
                    if found["own"]:
                        return PeerError(rank, found["text"], found["code"])
        return None

    def _take_leave(self, err: BaseException) -> None:
        """Report an error, then leave the process group: processes that wait for this one fail at once, and find the
        report."""
        assert self._store is not None
        own = not isinstance(err, PeerError)
        with contextlib.suppress(RuntimeError):
            self._store.set(_key(self.rank), json.dumps({"own": own, **_described(err)}))
        _leave()
        if own and isinstance(err, FptkitError) and not self.main and not self._main_failed():
            err.process = self.rank

    def _main_failed(self) -> bool:
        """Whether rank 0 failed on its own, and so reports the reason."""
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
    """Join the processes that a launcher started with this one; `ALONE` if there are none.

    Raises:
        UsageError: the launcher gave no address, or the process group was closed after an error.
    """
    global _joined
    if process_count() == 1:
        return ALONE
    if _joined is None:
        try:
            store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        except ValueError as err:
            raise UsageError(f"the launcher gave no address at which the processes meet: {err}") from err
        # NCCL for tensors on GPUs. Agreements use ordinary memory, and wait for no GPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
        atexit.register(_leave)
        _joined = Processes(rank, count, PrefixStore("fptkit", store))
    if not dist.is_initialized():
        raise UsageError("the process group was closed after an error; restart the run")
    return _joined


def part(code: int, *, told: bool) -> NoReturn:
    """End this process, one of several, immediately: closing connections during interpreter shutdown may abort it.

    A launcher that sees one process fail ends the others, so all wait until the reason is reported.

    Args:
        code: process status.
        told: whether this process has reported the reason, if the status is not 0.
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
    """The device of this process; each of several processes uses a GPU of its own.

    Raises:
        UsageError: there are fewer GPUs than processes on this machine.
    """
    if processes.count == 1 or device.type != "cuda":
        return device
    number, there = local_rank(), torch.cuda.device_count()
    if number >= there:
        raise UsageError(
            f"process {number} of this machine has no GPU of its own: there are {there}. Start at most {there} "
            "processes per machine (torchrun --nproc-per-node), or train on processors with --set device=cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def add_up_step(
    processes: Processes,
    parameters: Sequence[nn.Parameter],
    norms: Sequence[nn.Module],
    loss: Tensor | None,
    share: float,
    ending: Callable[[], bool] = lambda: False,
) -> tuple[Tensor | None, bool]:
    """Sum the gradients of all processes, in one exchange, or in several if they are large.

    One more exchange comes before: the processes agree on what is to be summed, and on whether training continues.
    If a process has no loss, nothing is summed and all get None, so that none waits for it in the exchange.

    Args:
        processes: with a single process, nothing is done.
        parameters: those that train. One without a gradient in any process has none afterwards either.
        norms: batch norms, whose running statistics become the mean over the processes.
        loss: this process's part of the batch's loss; None if it ran out of memory.
        share: fraction of the batch's examples that this process has.
        ending: whether this process wants training to pause or end after this step.

    Returns:
        The loss of the batch, and whether ``ending`` is true in some process.
    """
    if processes.count == 1:
        return loss, ending()
    known = (parameter.grad is not None for parameter in parameters)
    last, missing, *present = processes.any_of(ending(), loss is None, *known)
    if missing or loss is None:
        return None, last
    targets = [loss]
    for parameter, somewhere in zip(parameters, present, strict=True):
        if somewhere:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            targets.append(parameter.grad)
    for norm in (norm for norm in norms if norm.training):
        for statistic in (norm.running_mean, norm.running_var):
            assert isinstance(statistic, Tensor)
            targets.append(statistic.mul_(share))
    for bucket in _buckets(targets):
        flat = torch.cat([target.detach().flatten() for target in bucket])
        processes.add_up(flat)
        for target, summed in zip(bucket, flat.split([target.numel() for target in bucket]), strict=True):
            target.copy_(summed.view_as(target))
    return loss, last


def _buckets(targets: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The same tensors in order, together as long as they hold at most `BUCKET_BYTES`."""
    bucket: list[Tensor] = []
    for target in targets:
        if bucket and sum(one.nbytes for one in bucket) + target.nbytes > BUCKET_BYTES:
            yield bucket
            bucket = []
        bucket.append(target)
    yield bucket


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The batch norms with running statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]


def share_other_buffers(processes: Processes, model: nn.Module) -> None:
    """Copy the buffers of rank 0 to all processes."""
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
    """Leave the process group."""
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dist.destroy_process_group()
