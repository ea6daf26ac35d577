"""Two hundred runs in one process: its memory, threads and open files do not grow."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import smoke
from children import in_child
from parts import Fault, Tally

WARM_UP = 100
"""Runs before the first measurement: caches of libraries are full then."""

EACH = 25
"""Runs between two measurements."""

MOST_KIB_A_RUN = 20.0
"""Growth of memory for each run after it that counts as none: the allocator's own movements."""


class Soak:
    """See `Part`."""

    name, tries = "soak", "runs in one process"
    promise = "Two hundred runs in one process: no more threads or open files, and no growth of memory"
    long, chunk = 200, 200
    modules = smoke.MODULES

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`; all of them, also to repeat one."""
        tally = Tally()
        log = place / "log"
        ended = in_child(lambda: _runs(place, self.long), log, limit_s=1200)
        if ended.result is None:
            tally.faults.append(Fault("ends badly", trials[0], log.read_text(errors="replace")[-3000:]))
            return tally
        tally.counts["runs"] += self.long
        (memory, threads, files), (after, more_threads, more_files) = ended.result[WARM_UP // EACH], ended.result[-1]
        growth = (after - memory) / (self.long - WARM_UP)
        tally.measure("KiB of memory a run", round(growth, 1))
        tally.measure("further threads", more_threads - threads)
        tally.measure("further open files", more_files - files)
        if growth > MOST_KIB_A_RUN or more_threads > threads or more_files > files:
            tally.faults.append(Fault("it grows", trials[0], repr(ended.result)))
        return tally


def _runs(place: Path, count: int) -> list[tuple[int, int, int]]:
    """Carry them out; what the process has before the first one, and after every few."""
    from fptkit.engine.run import RunRequest, run
    from fptkit.recipe.load import load_recipe

    (place / "r.yaml").write_text(smoke.RUN)
    found = [_measured()]
    for number in range(count):
        run(RunRequest(load_recipe(str(place / "r.yaml")), place / "run", listeners=[]))
        shutil.rmtree(place / "run")
        if (number + 1) % EACH == 0:
            found.append(_measured())
    return found


def _measured() -> tuple[int, int, int]:
    """KiB of memory of its own, without the pages of libraries that a fork sees again; threads; open files."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    (memory,) = [int(line.split()[1]) for line in status if line.startswith("RssAnon")]
    return memory, threading.active_count(), len(os.listdir("/proc/self/fd"))
