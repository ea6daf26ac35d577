"""The campaign of faults: attacks everything that fptkit promises to survive, and counts.

    python tests/campaign --minutes 30      the long version
    python tests/campaign --seconds 60      the short one

It continues where it was stopped: trials that are done are recorded in the folder of ``--state``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for place in (ROOT, HERE, HERE.parent / "helpers"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

os.environ.setdefault("OMP_NUM_THREADS", "1")

from file_shim import under_the_shim  # noqa: E402
from parts import Part, Tally, all_parts  # noqa: E402
from record import Record, figures, first_of_each, write_figures  # noqa: E402

Chunk = tuple[Part, range]

SHIMMED = {"run-operations", "study-operations", "clock"}
"""Parts that need the library of file_shim.c."""


def main() -> int:
    """Run the campaign; the exit status is 1 if a promise was broken."""
    given = _arguments()
    given.state.mkdir(parents=True, exist_ok=True)
    if not given.parts or SHIMMED & set(given.parts.split(",")):
        under_the_shim(given.state.resolve())
    parts = _chosen(given.parts)
    if given.trial is not None:
        return _repeat(parts[0], given.trial)
    record = Record(given.state)
    limit_s = given.seconds or 60 * given.minutes
    left = [chunk for chunk in _chunks(parts) if (chunk[0].name, chunk[1].start) not in record.done]
    _carry_out(left, record, limit_s, given.processes)
    content = figures(record, parts, _command(given))
    write_figures(given.figures or given.state / "figures.json", content)
    return _report(record, parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after this time; the next call continues")
    parser.add_argument("--seconds", type=float, help="instead of --minutes")
    parser.add_argument("--processes", type=int, default=2, help="how many chunks of trials at a time")
    parser.add_argument("--parts", default="", help="names of parts, with commas between; default: all")
    parser.add_argument("--state", type=Path, default=Path("campaign"), help="folder of what is done and found")
    parser.add_argument("--figures", type=Path, help="file for the figures; default: figures.json in --state")
    parser.add_argument(
        "--trial", type=int, help="repeat one trial of one part in this process, and show what it finds"
    )
    return parser.parse_args()


def _command(given: argparse.Namespace) -> str:
    """What repeats the campaign elsewhere: without names of folders."""
    limit = f"--seconds {given.seconds:g}" if given.seconds else f"--minutes {given.minutes:g}"
    parts = f" --parts {given.parts}" if given.parts else ""
    return f"python tests/campaign {limit} --processes {given.processes}{parts}"


def _chosen(names: str) -> list[Part]:
    parts = {part.name: part for part in all_parts()}
    wanted = [name for name in names.split(",") if name]
    if unknown := [name for name in wanted if name not in parts]:
        raise SystemExit(f"--parts: unknown {', '.join(unknown)}; known: {', '.join(parts)}")
    return [parts[name] for name in wanted or parts]


def _chunks(parts: Sequence[Part]) -> list[Chunk]:
    """All chunks, so ordered that every part has the same share done at any time."""
    found = [
        (part, range(first, min(first + part.chunk, part.long)))
        for part in parts
        for first in range(0, part.long, part.chunk)
    ]
    return sorted(found, key=lambda chunk: chunk[1].start / chunk[0].long)


def _preload(parts: Sequence[Part]) -> None:
    """Import what trials need, once, before any of them is forked."""
    for name in dict.fromkeys(name for part in parts for name in part.modules):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _carry_out(left: list[Chunk], record: Record, limit_s: float, processes: int) -> None:
    """Carry out chunks until all are done or the time is over; the first chunk of every part, and what has begun, are
    finished."""
    started = time.monotonic()
    with _work_folder() as work:
        _preload([part for part, _ in left])
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            under_way: dict[Future[tuple[Tally, float]], Chunk] = {}
            while left or under_way:
                over = time.monotonic() - started > limit_s
                while left and len(under_way) < processes and (left[0][1].start == 0 or not over):
                    part, trials = left.pop(0)
                    under_way[pool.submit(_one_chunk, part, trials, work, record.folder)] = (part, trials)
                if not under_way:
                    break
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    part, trials = under_way.pop(future)
                    tally, seconds = future.result()
                    record.add(part.name, trials.start, tally, seconds)
                    _show(part, trials, tally, seconds)


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    """A folder for the trials, with nothing of the user in reach."""
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        for variable in ("FPTKIT_DATA", "FPTKIT_CACHE", "HOME", "CAMPAIGN_INTACT"):
            (work / variable).mkdir()
            os.environ[variable] = str(work / variable)
        os.environ.update(FPTKIT_PLUGINS="", HF_HUB_OFFLINE="1", COLUMNS="100", TQDM_DISABLE="1")
        yield work


def _one_chunk(part: Part, trials: range, work: Path, state: Path) -> tuple[Tally, float]:
    """In a process of the pool: carry out a chunk, and keep what it kept."""
    place = Path(tempfile.mkdtemp(prefix=f"{part.name}-", dir=work))
    began = time.monotonic()
    tally = part.carry_out(trials, place)
    kept = place / "kept"
    if kept.exists():
        target = state / "kept" / part.name
        shutil.copytree(kept, target, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(place, ignore_errors=True)
    return tally, time.monotonic() - began


def _show(part: Part, trials: range, tally: Tally, seconds: float) -> None:
    kinds = sorted({fault.kind for fault in tally.faults})
    found = f"; {len(tally.faults)} faults: {'; '.join(kinds[:3])}" if kinds else ""
    print(
        f"{part.name} {trials.start}-{trials.stop - 1}: {sum(tally.counts.values())} in {seconds:.1f} s{found}",
        flush=True,
    )


def _report(record: Record, parts: Sequence[Part]) -> int:
    found = 0
    for part in parts:
        tally = record.tallies.get(part.name, Tally())
        made = sum(tally.counts.values())
        print(f"{part.name}: {made:,} {part.tries}, {len(tally.faults)} faults")
        for fault in first_of_each(tally):
            found += 1
            kept = record.folder / "kept" / part.name / Path(fault["kept"]).name if fault["kept"] else ""
            print(f"  {fault['kind']}  (--parts {part.name} --trial {fault['trial']}) {kept}")
    (record.folder / "faults.json").write_text(
        json.dumps({part.name: first_of_each(record.tallies.get(part.name, Tally())) for part in parts}, indent=1)
    )
    return 1 if found else 0


def _repeat(part: Part, trial: int) -> int:
    with _work_folder() as work:
        _preload([part])
        place = work / "trial"
        place.mkdir()
        tally = part.carry_out([trial], place)
    print(json.dumps(tally.content(), indent=1).replace("\\n", "\n"))
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
